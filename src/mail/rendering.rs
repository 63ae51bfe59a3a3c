//! Rendering of mails: a subject, and a text and an HTML body from the templates in `templates/`.

use std::time::Duration;

use askama::Template;
use url::Url;

use crate::domain::code::Code;
use crate::domain::email::Email;
use crate::domain::not_me::NotMeToken;

/// A mail that is ready to send, in the form that all dialects of providers share.
#[derive(Clone, PartialEq, Eq)]
pub struct RenderedMail {
    /// The recipient's mailbox, with its domain in ASCII (IDNA).
    pub to: String,
    /// Never contains the code: locked screens show subjects.
    pub subject: &'static str,
    pub text: String,
    pub html: String,
}

#[derive(Template)]
#[template(path = "code.txt")]
struct CodeText<'a> {
    code: &'a str,
    /// For programs that read the mail aloud: they read four digits as one number.
    spelled: &'a str,
    ttl: &'a str,
    link: &'a str,
}

#[derive(Template)]
#[template(path = "code.html")]
struct CodeHtml<'a> {
    subject: &'a str,
    code: &'a str,
    spelled: &'a str,
    ttl: &'a str,
    seconds: u64,
    link: &'a str,
}

#[derive(Template)]
#[template(path = "existing_account.txt")]
struct ExistingAccountText<'a> {
    link: &'a str,
}

#[derive(Template)]
#[template(path = "existing_account.html")]
struct ExistingAccountHtml<'a> {
    subject: &'a str,
    link: &'a str,
}

#[derive(Template)]
#[template(path = "activated.txt")]
struct ActivatedText;

#[derive(Template)]
#[template(path = "activated.html")]
struct ActivatedHtml<'a> {
    subject: &'a str,
}

#[derive(Template)]
#[template(path = "password_changed.txt")]
struct PasswordChangedText;

#[derive(Template)]
#[template(path = "password_changed.html")]
struct PasswordChangedHtml<'a> {
    subject: &'a str,
}

#[derive(Template)]
#[template(path = "reset_code.txt")]
struct ResetCodeText<'a> {
    code: &'a str,
    spelled: &'a str,
    ttl: &'a str,
}

#[derive(Template)]
#[template(path = "reset_code.html")]
struct ResetCodeHtml<'a> {
    subject: &'a str,
    code: &'a str,
    spelled: &'a str,
    ttl: &'a str,
    seconds: u64,
}

#[derive(Template)]
#[template(path = "password_reset.txt")]
struct PasswordResetText;

#[derive(Template)]
#[template(path = "password_reset.html")]
struct PasswordResetHtml<'a> {
    subject: &'a str,
}

impl RenderedMail {
    /// The mail with a code, its lifetime, and a "not me" link for a recipient who did not register.
    pub fn code(to: &Email, code: &Code, ttl: Duration, not_me: &Url) -> Self {
        let (subject, code, link) = ("Your Sixty code", code.expose(), not_me.as_str());
        let (spelled, seconds, ttl) = (&spelled(code), ttl.as_secs(), &in_words(ttl));
        let html = CodeHtml { subject, code, spelled, ttl, seconds, link };
        Self::new(to, subject, &CodeText { code, spelled, ttl, link }, &html)
    }

    /// The notice to the owner of an active account that somebody registered the address again.
    pub fn existing_account(to: &Email, not_me: &Url) -> Self {
        let (subject, link) = ("You already have a Sixty account", not_me.as_str());
        Self::new(to, subject, &ExistingAccountText { link }, &ExistingAccountHtml { subject, link })
    }

    /// The notice that an account was activated. Its owner may not be the person who used the code.
    pub fn activated(to: &Email) -> Self {
        let subject = "Your Sixty account is active";
        Self::new(to, subject, &ActivatedText, &ActivatedHtml { subject })
    }

    /// The notice that a password was changed. The account's owner may not be the person who changed it.
    pub fn password_changed(to: &Email) -> Self {
        let subject = "Your Sixty password was changed";
        Self::new(to, subject, &PasswordChangedText, &PasswordChangedHtml { subject })
    }

    /// The mail with the code of a password reset, and the rest of its lifetime.
    pub fn reset_code(to: &Email, code: &Code, ttl: Duration) -> Self {
        let (subject, code) = ("Your code for a new Sixty password", code.expose());
        let (spelled, seconds, ttl) = (&spelled(code), ttl.as_secs(), &in_words(ttl));
        let html = ResetCodeHtml { subject, code, spelled, ttl, seconds };
        Self::new(to, subject, &ResetCodeText { code, spelled, ttl }, &html)
    }

    /// The notice that a password was reset with a code. Whoever reset it reads the owner's mail.
    pub fn password_reset(to: &Email) -> Self {
        let subject = "Your Sixty password was reset";
        Self::new(to, subject, &PasswordResetText, &PasswordResetHtml { subject })
    }

    fn new(to: &Email, subject: &'static str, text: &impl Template, html: &impl Template) -> Self {
        let infallible = "these templates only format strings";
        let (text, html) = (text.render().expect(infallible) + "\n", html.render().expect(infallible));
        Self { to: to.mailbox(), subject, text, html }
    }
}

/// Returns the "not me" link: a page below the public URL of the API.
pub fn not_me_link(public_url: &Url, token: &NotMeToken) -> Url {
    let mut link = public_url.clone();
    let mut path = link.path_segments_mut().expect("an http URL is the base of paths");
    path.pop_if_empty().push("not-me").push(&token.letters());
    drop(path);
    link
}

/// Separates the digits: "0 0 4 2". Otherwise a screen reader reads one number, or drops leading zeros. No commas: the API
/// accepts blanks in a code, so somebody can copy this, too.
fn spelled(code: &str) -> String {
    code.chars().map(String::from).collect::<Vec<_>>().join(" ")
}

/// Returns a duration in words: "one minute", "2 minutes", "90 seconds".
fn in_words(duration: Duration) -> String {
    match duration.as_secs() {
        60 => "one minute".to_owned(),
        seconds if seconds > 0 && seconds % 60 == 0 => format!("{} minutes", seconds / 60),
        1 => "one second".to_owned(),
        seconds => format!("{seconds} seconds"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ada() -> Email {
        Email::parse("Ada@Example.com").unwrap()
    }

    fn link() -> Url {
        not_me_link(&"http://127.0.0.1:8000".parse().unwrap(), &NotMeToken::new([0x1f; 16]))
    }

    fn code_mail() -> RenderedMail {
        RenderedMail::code(&ada(), &Code::parse("0042").unwrap(), Duration::from_secs(60), &link())
    }

    /// Returns the HTML inside `<main>`, without the layout.
    fn content(mail: &RenderedMail) -> &str {
        let (layout, content) = mail.html.split_once("<main>").unwrap();
        assert!(layout.contains(&format!("<title>{}</title>", mail.subject)));
        content.split_once("</main>").unwrap().0.trim()
    }

    #[test]
    fn the_code_mail_is_rendered() {
        let mail = code_mail();
        insta::assert_snapshot!(format!("To: {}\nSubject: {}\n\n{}", mail.to, mail.subject, mail.text), @r"
        To: Ada@example.com
        Subject: Your Sixty code

        Your Sixty code is 0042

        Digit by digit: 0 0 4 2.

        Enter it within one minute to activate your account. After that, you can ask for
        another.

        You get this mail because somebody registered at Sixty with your address. If
        that was not you, you need do nothing: without the code there is no account.
        To delete the registration, open this link within a day and press the button:

        http://127.0.0.1:8000/not-me/bpbpbpbpbpbpbpbpbpbpbpbpbpbpbpbp
        ");
        insta::assert_snapshot!(content(&mail), @r#"
        <h1>Your Sixty code</h1>
        <p class="code" role="img" aria-label="0 0 4 2">0042</p>
        <p>Enter it within <time datetime="PT60S">one minute</time> to activate your account. After that, you can ask
        for another.</p>
        <p class="why">You get this mail because somebody registered at Sixty with your address. If that was not you, you need do
        nothing: without the code there is no account. To delete the registration, open this link within a day and press the
        button:</p>
        <p><a href="http://127.0.0.1:8000/not-me/bpbpbpbpbpbpbpbpbpbpbpbpbpbpbpbp">This was not me</a></p>
        "#);
    }

    #[test]
    fn the_spelled_code_can_be_copied() {
        let mail = code_mail();
        let (_, spelled) = mail.text.split_once("Digit by digit:").unwrap();
        assert_eq!(Code::parse(spelled.lines().next().unwrap()), Code::parse("0042"));
    }

    #[test]
    fn the_notice_of_a_repeated_registration_is_rendered() {
        let mail = RenderedMail::existing_account(&ada(), &link());
        insta::assert_snapshot!(format!("To: {}\nSubject: {}\n\n{}", mail.to, mail.subject, mail.text), @r"
        To: Ada@example.com
        Subject: You already have a Sixty account

        You already have an account at Sixty

        Somebody, perhaps you, just registered with your address. You have an account
        already; it has not changed.

        If it was you, sign in with the password that you chose for the account. If you
        have forgotten it, registering again does not help: ask for a password reset
        where you signed up.

        If it was not you, you need do nothing: whoever it was has learned nothing, and
        cannot get in. To delete their registration, open this link within a day and
        press the button; your account stays as it is:

        http://127.0.0.1:8000/not-me/bpbpbpbpbpbpbpbpbpbpbpbpbpbpbpbp
        ");
        insta::assert_snapshot!(content(&mail), @r#"
        <h1>You already have an account</h1>
        <p>Somebody, perhaps you, just registered at Sixty with your address. You have an account already; it has not changed.</p>
        <p>If it was you, sign in with the password that you chose for the account. If you have forgotten it, registering again
        does not help: ask for a password reset where you signed up.</p>
        <p class="why">If it was not you, you need do nothing: whoever it was has learned nothing, and cannot get in. To delete
        their registration, open this link within a day and press the button; your account stays as it is:</p>
        <p><a href="http://127.0.0.1:8000/not-me/bpbpbpbpbpbpbpbpbpbpbpbpbpbpbpbp">This was not me</a></p>
        "#);
    }

    #[test]
    fn the_notice_of_an_activation_is_rendered() {
        let mail = RenderedMail::activated(&ada());
        insta::assert_snapshot!(format!("To: {}\nSubject: {}\n\n{}", mail.to, mail.subject, mail.text), @r"
        To: Ada@example.com
        Subject: Your Sixty account is active

        Your account is active

        Your Sixty account was just activated, with a code that was mailed to this
        address. If it was you, you need do nothing.

        If it was not you, whoever did it can read your mail. Change the password of
        your mailbox first, then ask the people who run the service that this is about
        to delete the account.

        You get this mail once, because you have an account at Sixty.
        ");
        assert!(mail.html.contains("<h1>Your account is active</h1>"));
        assert!(!format!("{}{}", mail.text, mail.html).contains("http"), "the mail has no link");
    }

    #[test]
    fn the_notice_of_a_changed_password_is_rendered() {
        let mail = RenderedMail::password_changed(&ada());
        insta::assert_snapshot!(format!("To: {}\nSubject: {}\n\n{}", mail.to, mail.subject, mail.text), @r"
        To: Ada@example.com
        Subject: Your Sixty password was changed

        Your password was changed

        The password of your Sixty account was just changed. If it was you, or if you
        have asked the people who run the service that you use to do it, you need do
        nothing.

        If not, somebody may have known your old password. Ask those people to give you
        another one, and change the old one wherever else you have used it.

        You get this mail because you have an account at Sixty.
        ");
        insta::assert_snapshot!(content(&mail), @r#"
        <h1>Your password was changed</h1>
        <p>The password of your Sixty account was just changed. If it was you, or if you have asked the people who run the service
        that you use to do it, you need do nothing.</p>
        <p>If not, somebody may have known your old password. Ask those people to give you another one, and change the old one
        wherever else you have used it.</p>
        <p class="why">You get this mail because you have an account at Sixty.</p>
        "#);
    }

    #[test]
    fn the_mails_of_a_password_reset_are_rendered() {
        let code = RenderedMail::reset_code(&ada(), &Code::parse("00420042").unwrap(), Duration::from_secs(600));
        insta::assert_snapshot!(format!("To: {}\nSubject: {}\n\n{}", code.to, code.subject, code.text), @r"
        To: Ada@example.com
        Subject: Your code for a new Sixty password

        Your code for a new Sixty password is 00420042

        Digit by digit: 0 0 4 2 0 0 4 2.

        Enter it within 10 minutes, together with the password that you want to have.

        You get this mail because somebody, perhaps you, said that they have forgotten
        the password of your Sixty account. If it was not you, you need do nothing:
        your password stays as it is, and nobody can change it without this code. Give
        the code to nobody.
        ");
        assert!(content(&code).contains(r#"aria-label="0 0 4 2 0 0 4 2">00420042</p>"#));
        let notice = RenderedMail::password_reset(&ada());
        assert!(
            notice.text.starts_with("Your password was reset\n") && notice.subject == "Your Sixty password was reset"
        );
        assert!(content(&notice).starts_with("<h1>Your password was reset</h1>"));
    }

    #[test]
    fn the_code_is_the_only_number_of_four_digits() {
        let mail = code_mail();
        for body in [mail.text, mail.html] {
            let numbers = body.split(|c: char| !c.is_ascii_digit()).filter(|run| run.len() >= 4);
            // 8000 is the port of the link, which an operator configures.
            assert_eq!(numbers.collect::<Vec<_>>(), ["0042", "8000"]);
        }
    }

    #[test]
    fn the_link_keeps_the_path_of_the_public_url() {
        for base in ["https://sixty.example/accounts", "https://sixty.example/accounts/"] {
            let link = not_me_link(&base.parse().unwrap(), &NotMeToken::new([0; 16]));
            assert_eq!(link.as_str(), format!("https://sixty.example/accounts/not-me/{}", "a".repeat(32)));
        }
    }

    #[test]
    fn lifetimes_are_written_in_words() {
        let words = [60, 120, 90, 1, 5].map(|seconds| in_words(Duration::from_secs(seconds)));
        assert_eq!(words, ["one minute", "2 minutes", "90 seconds", "one second", "5 seconds"]);
    }
}
