use super::*;
use crate::domain::not_me::NotMeToken;
use crate::mail::rendering::not_me_link;

fn ada() -> Email {
    Email::parse("Ada@Example.com").unwrap()
}

fn link() -> Url {
    not_me_link(&"http://127.0.0.1:8000".parse().unwrap(), &NotMeToken::new([0x1f; 16]))
}

fn mails() -> Mails {
    Mails::new(&Brand::default(), Locale::English, None).unwrap()
}

fn branded() -> Brand {
    Brand {
        name: "Acme & Söhne".into(),
        url: Some("https://acme.example".parse().unwrap()),
        logo: Some("https://acme.example/logo.png".parse().unwrap()),
        contact: Some("help@acme.example".parse().unwrap()),
    }
}

fn code() -> Code {
    Code::parse("0042").unwrap()
}

fn code_mail() -> RenderedMail {
    mails().code(None, &ada(), &code(), Duration::from_secs(60), &link())
}

fn shown(mail: &RenderedMail) -> String {
    format!("To: {}\nSubject: {}\n\n{}", mail.to, mail.subject, mail.text)
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
    insta::assert_snapshot!(shown(&mail), @r"
    To: Ada@example.com
    Subject: Your Sixty code

    Your Sixty code is 0042

    Digit by digit: 0 0 4 2.

    Enter it within one minute to activate your account. After that, you can ask
    for another.

    You get this mail because somebody registered at Sixty with your address. If
    that was not you, you need do nothing: without the code there is no account.
    To delete the registration, open this link within a day and press the button:

    http://127.0.0.1:8000/not-me/bpbpbpbpbpbpbpbpbpbpbpbpbpbpbpbp
    ");
    insta::assert_snapshot!(content(&mail), @r#"
    <h1>Your Sixty code</h1>
    <p class="code" dir="ltr" role="img" aria-label="0 0 4 2">0042</p>
    <p>Enter it within <time datetime="PT60S">one minute</time> to activate your account. After that, you can ask for another.</p>
    <p class="why">You get this mail because somebody registered at Sixty with your address. If that was not you, you need do nothing: without the code there is no account. To delete the registration, open this link within a day and press the button:</p>
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
    let mail = mails().existing_account(None, &ada(), &link());
    insta::assert_snapshot!(shown(&mail), @r"
    To: Ada@example.com
    Subject: You already have an account at Sixty

    You already have an account at Sixty

    Somebody, perhaps you, just registered with your address. You have an account
    already; it has not changed.

    If it was you, sign in with the password that you chose for the account. If
    you have forgotten it, registering again does not help: ask for a code to set
    a new password, or contact the people who run Sixty.

    If it was not you, you need do nothing: whoever it was has learned nothing,
    and cannot get in. To delete their registration, open this link within a day
    and press the button; your account stays as it is:

    http://127.0.0.1:8000/not-me/bpbpbpbpbpbpbpbpbpbpbpbpbpbpbpbp
    ");
    insta::assert_snapshot!(content(&mail), @r#"
    <h1>You already have an account at Sixty</h1>
    <p>Somebody, perhaps you, just registered with your address. You have an account already; it has not changed.</p>
    <p>If it was you, sign in with the password that you chose for the account. If you have forgotten it, registering again does not help: ask for a code to set a new password, or contact the people who run Sixty.</p>
    <p class="why">If it was not you, you need do nothing: whoever it was has learned nothing, and cannot get in. To delete their registration, open this link within a day and press the button; your account stays as it is:</p>
    <p><a href="http://127.0.0.1:8000/not-me/bpbpbpbpbpbpbpbpbpbpbpbpbpbpbpbp">This was not me</a></p>
    "#);
}

#[test]
fn the_notice_of_an_activation_is_rendered() {
    let mail = mails().activated(None, &ada());
    insta::assert_snapshot!(shown(&mail), @r"
    To: Ada@example.com
    Subject: Your Sixty account is active

    Your Sixty account is active

    Your Sixty account was just activated, with a code that was mailed to this
    address. If it was you, you need do nothing.

    If it was not you, whoever did it can read your mail. Change the password of
    your mailbox first, then contact the people who run Sixty to have the account
    deleted.

    You get this mail because you have an account at Sixty.
    ");
    assert!(mail.html.contains("<h1>Your Sixty account is active</h1>"));
    assert!(!format!("{}{}", mail.text, mail.html).contains("http"), "the mail has no link");
}

#[test]
fn the_notice_of_an_activation_by_an_operator_is_rendered() {
    insta::assert_snapshot!(shown(&mails().activated_by_operator(None, &ada())), @r"
    To: Ada@example.com
    Subject: Your Sixty account is active

    Your Sixty account is active

    The people who run Sixty have activated your account. Your password is the one
    that you chose when you registered.

    If you did not register, contact the people who run Sixty.

    You get this mail because you have an account at Sixty.
    ");
}

#[test]
fn the_notice_of_a_changed_password_is_rendered() {
    let mail = mails().password_changed(None, &ada());
    insta::assert_snapshot!(shown(&mail), @r"
    To: Ada@example.com
    Subject: Your Sixty password was changed

    Your Sixty password was changed

    The password of your Sixty account was just changed. If it was you, or if you
    asked for it, you need do nothing.

    If not, somebody may have known your old password. Ask for a code to set a new
    one, or contact the people who run Sixty. Change the old password wherever
    else you have used it.

    You get this mail because you have an account at Sixty.
    ");
    insta::assert_snapshot!(content(&mail), @r#"
    <h1>Your Sixty password was changed</h1>
    <p>The password of your Sixty account was just changed. If it was you, or if you asked for it, you need do nothing.</p>
    <p>If not, somebody may have known your old password. Ask for a code to set a new one, or contact the people who run Sixty. Change the old password wherever else you have used it.</p>
    <p class="why">You get this mail because you have an account at Sixty.</p>
    "#);
}

#[test]
fn the_code_for_a_new_password_is_rendered() {
    let code = Code::parse("12345678").unwrap();
    let mail = mails().reset_code(None, &ada(), &code, Duration::from_secs(600));
    insta::assert_snapshot!(shown(&mail), @r"
    To: Ada@example.com
    Subject: Your code to set a new Sixty password

    Your code to set a new password is 12345678

    Digit by digit: 1 2 3 4 5 6 7 8.

    Enter it within 10 minutes, together with your new password. After that, you
    can ask for another.

    If it was not you who asked for it, you need do nothing: nobody can change
    your password without this code. Never pass it on.

    You get this mail because you have an account at Sixty.
    ");
    insta::assert_snapshot!(content(&mail), @r#"
    <h1>Your code to set a new Sixty password</h1>
    <p class="code long" dir="ltr" role="img" aria-label="1 2 3 4 5 6 7 8">12345678</p>
    <p>Enter it within <time datetime="PT600S">10 minutes</time>, together with your new password. After that, you can ask for another.</p>
    <p>If it was not you who asked for it, you need do nothing: nobody can change your password without this code. Never pass it on.</p>
    <p class="why">You get this mail because you have an account at Sixty.</p>
    "#);
}

#[test]
fn the_notice_of_a_new_password_is_rendered() {
    insta::assert_snapshot!(shown(&mails().password_reset(None, &ada())), @r"
    To: Ada@example.com
    Subject: Your Sixty password was reset

    Your Sixty password was reset

    The password of your Sixty account was just reset, with a code that was mailed
    to this address. If it was you, you need do nothing.

    If it was not you, whoever did it can read your mail. Change the password of
    your mailbox first. Then ask for a code to set a new Sixty password, or
    contact the people who run Sixty.

    You get this mail because you have an account at Sixty.
    ");
}

#[test]
fn the_mails_of_a_change_of_address_are_rendered() {
    let (mails, ttl) = (mails(), Duration::from_secs(60));
    insta::assert_snapshot!(shown(&mails.address_code(None, &ada(), &code(), ttl)), @r"
    To: Ada@example.com
    Subject: Your Sixty code for this address

    Your Sixty code is 0042

    Digit by digit: 0 0 4 2.

    Enter it within one minute to make this the address of your Sixty account.
    After that, you can ask for another.

    If it was not you, you need do nothing: somebody probably mistyped an address.
    Without the code nothing changes.
    ");
    insta::assert_snapshot!(shown(&mails.address_taken(None, &ada())), @r"
    To: Ada@example.com
    Subject: Your Sixty account has not changed

    Your Sixty account has not changed

    Somebody, perhaps you, asked to make this the address of another Sixty
    account. You already have an account with this address, so nothing has
    changed.

    If it was you, sign in with this address and its password, or choose a
    different address for the other account.

    If it was not you, you need do nothing: whoever it was has learned nothing,
    and cannot get in.

    You get this mail because you have an account at Sixty.
    ");
    let change = mails.address_change(None, &ada(), &link());
    insta::assert_snapshot!(shown(&change), @r"
    To: Ada@example.com
    Subject: The address of your Sixty account is being changed

    The address of your Sixty account is being changed

    Somebody, perhaps you, asked to change the address of your Sixty account. If
    it was you, you need do nothing.

    If it was not you, somebody knows your password. Open this link within 72
    hours: it takes the change back, and you must then set a new password.

    http://127.0.0.1:8000/not-me/bpbpbpbpbpbpbpbpbpbpbpbpbpbpbpbp

    You get this mail because you have an account at Sixty.
    ");
    insta::assert_snapshot!(content(&change), @r#"
    <h1>The address of your Sixty account is being changed</h1>
    <p>Somebody, perhaps you, asked to change the address of your Sixty account. If it was you, you need do nothing.</p>
    <p>If it was not you, somebody knows your password. Open this link within 72 hours: it takes the change back, and you must then set a new password.</p>
    <p><a href="http://127.0.0.1:8000/not-me/bpbpbpbpbpbpbpbpbpbpbpbpbpbpbpbp">Take the change back</a></p>
    <p class="why">You get this mail because you have an account at Sixty.</p>
    "#);
    insta::assert_snapshot!(shown(&mails.address_restored(None, &ada())), @r"
    To: Ada@example.com
    Subject: Your Sixty account has this address again

    Your Sixty account has this address again

    The change of the address was taken back: this is the address of your Sixty
    account again. The old password no longer works, because somebody else may
    know it.

    Set a new password now: ask for a code as for a forgotten password. Choose one
    that you use nowhere else.

    If that does not work, contact the people who run Sixty.

    You get this mail because you have an account at Sixty.
    ");
}

#[test]
fn a_mail_speaks_the_language_of_its_recipient() {
    let mails = Mails::new(&branded(), Locale::German, None).unwrap();
    let mail = |locale| mails.code(locale, &ada(), &code(), Duration::from_secs(120), &link());
    assert!(mail(None) == mail(Some(Locale::German)), "the default language");
    insta::assert_snapshot!(shown(&mail(None)), @r"
    To: Ada@example.com
    Subject: Ihr Code für Acme & Söhne

    Ihr Code für Acme & Söhne: 0042

    Ziffer für Ziffer: 0 0 4 2.

    Geben Sie ihn innerhalb von 2 Minuten ein, um Ihr Konto zu aktivieren. Danach
    können Sie einen neuen anfordern.

    Sie erhalten diese E-Mail, weil sich jemand mit Ihrer Adresse bei Acme & Söhne
    registriert hat. Wenn Sie das nicht waren, brauchen Sie nichts zu tun: Ohne
    den Code entsteht kein Konto. Um die Registrierung zu löschen, öffnen Sie
    innerhalb eines Tages diesen Link und drücken Sie auf die Schaltfläche:

    http://127.0.0.1:8000/not-me/bpbpbpbpbpbpbpbpbpbpbpbpbpbpbpbp

    Acme & Söhne: https://acme.example
    ");
    insta::assert_snapshot!(shown(&mail(Some(Locale::French))), @r"
    To: Ada@example.com
    Subject: Votre code Acme & Söhne

    Votre code Acme & Söhne : 0042

    Chiffre par chiffre : 0 0 4 2.

    Pour activer votre compte, saisissez ce code : il est valable 2 minutes. Passé
    ce délai, vous pourrez en demander un autre.

    Vous recevez ce message parce que quelqu’un s’est inscrit sur Acme & Söhne
    avec votre adresse. Si ce n’était pas vous, vous n’avez rien à faire : sans ce
    code, aucun compte n’est créé. Pour supprimer cette inscription, ouvrez ce
    lien dans les 24 heures et appuyez sur le bouton :

    http://127.0.0.1:8000/not-me/bpbpbpbpbpbpbpbpbpbpbpbpbpbpbpbp

    Acme & Söhne: https://acme.example
    ");
    insta::assert_snapshot!(shown(&mail(Some(Locale::Spanish))), @r"
    To: Ada@example.com
    Subject: Su código de Acme & Söhne

    Su código de Acme & Söhne es 0042

    Cifra por cifra: 0 0 4 2.

    Introdúzcalo en un plazo de 2 minutos para activar su cuenta. Después podrá
    solicitar otro.

    Recibe este mensaje porque alguien se ha registrado en Acme & Söhne con su
    dirección. Si no fue usted, no tiene que hacer nada: sin el código no se crea
    ninguna cuenta. Para eliminar el registro, abra este enlace en el plazo de un
    día y pulse el botón:

    http://127.0.0.1:8000/not-me/bpbpbpbpbpbpbpbpbpbpbpbpbpbpbpbp

    Acme & Söhne: https://acme.example
    ");
    let arabic = mail(Some(Locale::Arabic));
    insta::assert_snapshot!(shown(&arabic).replace('\u{2068}', "<").replace('\u{2069}', ">"), @r"
    To: Ada@example.com
    Subject: رمزك في <Acme & Söhne>

    رمزك في <Acme & Söhne> هو <0042>

    رقمًا رقمًا: <0 0 4 2>.

    يُرجى إدخاله خلال <دقيقتين> لتفعيل حسابك. وبعد ذلك يمكنك طلب رمز آخر.

    تصلك هذه الرسالة لأن شخصًا سجّل في <Acme & Söhne> بعنوانك. إن لم يصدر ذلك عنك
    فلا يلزمك فعل شيء: لا يُنشأ أي حساب من دون الرمز. لحذف التسجيل يُرجى فتح هذا
    الرابط خلال يوم واحد والضغط على الزر:

    http://127.0.0.1:8000/not-me/bpbpbpbpbpbpbpbpbpbpbpbpbpbpbpbp

    Acme & Söhne: https://acme.example
    ");
    assert!(arabic.html.contains("<html lang=\"ar\" dir=\"rtl\">"));
    assert!(arabic.html.contains("<p class=\"code\" dir=\"ltr\" role=\"img\" aria-label=\"0 0 4 2\">0042</p>"));
}

#[test]
fn every_mail_in_every_language_has_the_name_of_the_service_and_no_other() {
    for (brand, contact) in [(branded(), true), (Brand { name: "Acme".into(), ..Brand::default() }, false)] {
        let mails = Mails::new(&brand, Locale::English, None).unwrap();
        for (mail, locale) in MailName::ALL.into_iter().flat_map(|mail| Locale::ALL.map(|locale| (mail, locale))) {
            let RenderedMail { subject, text, html, .. } = mails.sample(mail, locale).unwrap();
            for part in [&subject, &text, &html] {
                assert!(part.contains("Acme") && !part.to_lowercase().contains("sixty"), "{mail:?} {locale}: {part}");
                assert!(!part.contains("{ $") && !part.contains("{{"), "{mail:?} {locale}: {part}");
            }
            assert_eq!(html.contains("mailto:help@acme.example"), contact, "{mail:?} {locale}");
            assert_eq!(html.contains("src=\"https://acme.example/logo.png\""), contact, "{mail:?} {locale}");
            assert_eq!(text.contains("https://acme.example"), contact, "{mail:?} {locale}");
            let language = format!("<html lang=\"{locale}\" dir=\"{}\">", locale.direction());
            assert!(html.contains(&language) && !html.contains("Acme & "), "{mail:?} {locale}: {html}");
        }
    }
}

#[test]
fn the_contact_is_named_where_somebody_needs_it() {
    let mails = Mails::new(&branded(), Locale::English, None).unwrap();
    for mail in [
        MailName::ExistingAccount,
        MailName::Activated,
        MailName::ActivatedByOperator,
        MailName::PasswordChanged,
        MailName::PasswordReset,
        MailName::AddressRestored,
    ] {
        for locale in Locale::ALL {
            let text = mails.sample(mail, locale).unwrap().text.replace(['\u{2068}', '\u{2069}'], "");
            assert!(text.contains("(help@acme.example)"), "{mail:?} {locale}: {text}");
        }
    }
}

#[test]
fn the_code_is_the_only_number_of_four_digits() {
    let mails = mails();
    for (mail, locale) in MailName::ALL.into_iter().flat_map(|mail| Locale::ALL.map(|locale| (mail, locale))) {
        let RenderedMail { subject, text, html, .. } = mails.sample(mail, locale).unwrap();
        let has_code = mail.variables().contains(&"code");
        let code = if mail == MailName::ResetCode { "00420042" } else { "0042" };
        for (part, count) in [(subject, 0), (text, usize::from(has_code)), (html, usize::from(has_code))] {
            let numbers = part.split(|c: char| !c.is_ascii_digit()).filter(|run| run.len() >= 4);
            assert_eq!(numbers.collect::<Vec<_>>(), [code][..count], "{mail:?} {locale}: {part}");
        }
    }
}
