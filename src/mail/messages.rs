//! What the mails say. The words are in `templates/`; a mail is its subject, a text and an HTML template.

use std::time::Duration;

use askama::Template;

use crate::domain::code::Code;
use crate::domain::email::Email;

/// A mail, ready to be handed to a provider in any dialect.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// The mailbox, its domain in ASCII.
    pub to: String,
    /// Never with the code: subjects show on locked screens.
    pub subject: &'static str,
    pub text: String,
    pub html: String,
}

#[derive(Template)]
#[template(path = "code.txt")]
struct CodeText<'a> {
    code: &'a str,
    ttl: &'a str,
}

#[derive(Template)]
#[template(path = "code.html")]
struct CodeHtml<'a> {
    subject: &'a str,
    code: &'a str,
    ttl: &'a str,
}

#[derive(Template)]
#[template(path = "existing_account.txt")]
struct ExistingAccountText;

#[derive(Template)]
#[template(path = "existing_account.html")]
struct ExistingAccountHtml<'a> {
    subject: &'a str,
}

impl Message {
    /// The code, and how long it lives.
    pub fn code(to: &Email, code: &Code, ttl: Duration) -> Self {
        let (subject, code, ttl) = ("Your Sixty code", code.expose(), &in_words(ttl));
        Self::new(to, subject, &CodeText { code, ttl }, &CodeHtml { subject, code, ttl })
    }

    /// To the owner of an account, when somebody registers its address again.
    pub fn existing_account(to: &Email) -> Self {
        let subject = "You already have a Sixty account";
        Self::new(to, subject, &ExistingAccountText, &ExistingAccountHtml { subject })
    }

    fn new(to: &Email, subject: &'static str, text: &impl Template, html: &impl Template) -> Self {
        let render = "templates only format strings";
        let (text, html) = (text.render().expect(render) + "\n", html.render().expect(render));
        Self { to: to.mailbox(), subject, text, html }
    }
}

/// "one minute", "2 minutes", "90 seconds".
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

    #[test]
    fn the_code_mail() {
        let mail = Message::code(&ada(), &Code::parse("0042").unwrap(), Duration::from_secs(60));
        insta::assert_snapshot!(format!("To: {}\nSubject: {}\n\n{}", mail.to, mail.subject, mail.text), @r"
        To: Ada@example.com
        Subject: Your Sixty code

        Your Sixty code is 0042

        Enter it within one minute to activate your account. After that it is
        worthless, and you can ask for another.

        You get this mail because somebody registered at Sixty with your address. If
        that was not you, you need do nothing: without the code there is no account.
        ");
        assert!(mail.html.contains(r#"<p class="code">0042</p>"#));
    }

    #[test]
    fn the_notice_to_an_accounts_owner() {
        let mail = Message::existing_account(&ada());
        insta::assert_snapshot!(format!("To: {}\nSubject: {}\n\n{}", mail.to, mail.subject, mail.text), @r"
        To: Ada@example.com
        Subject: You already have a Sixty account

        You already have an account at Sixty

        Somebody, perhaps you, just registered with your address. You have an account
        already; it has not changed, and its password is the one that you know.

        You get this mail because the address belongs to an account. If it was not you
        who registered, you need do nothing: whoever it was has learned nothing.
        ");
    }

    #[test]
    fn the_code_is_the_only_number_that_could_be_one() {
        let mail = Message::code(&ada(), &Code::parse("0042").unwrap(), Duration::from_secs(60));
        for body in [mail.text, mail.html] {
            let numbers = body.split(|c: char| !c.is_ascii_digit()).filter(|run| run.len() >= 4);
            assert_eq!(numbers.collect::<Vec<_>>(), ["0042"]);
        }
    }

    #[test]
    fn a_lifetime_reads_like_speech() {
        let words = [60, 120, 90, 1, 5].map(|seconds| in_words(Duration::from_secs(seconds)));
        assert_eq!(words, ["one minute", "2 minutes", "90 seconds", "one second", "5 seconds"]);
    }
}
