//! The name of the service and the person's language: in mails, in pages, and in the user.

use std::fs;

use reqwest::{Method, header};
use serde_json::{Value, json};

use super::process::{Folder, failure_line, output, sixty};
use crate::support::{Answer, PASSWORD, Service};

const ADA: &str = "ada@example.com";

impl Service {
    async fn register_in(&self, language: &str, email: &str, password: &str) -> Answer {
        let request = self.request(Method::POST, "/v1/users").header(header::ACCEPT_LANGUAGE, language);
        Answer::of(request.json(&json!({ "email": email, "password": password }))).await
    }

    async fn set_locale(&self, email: &str, body: &Value) -> Answer {
        let request = self.request(Method::PATCH, "/v1/users/me").basic_auth(email, Some(PASSWORD));
        Answer::of(request.json(body)).await
    }

    async fn newest_subject(&self, email: &str, n: usize) -> String {
        self.wait_for_mail(email, n).await;
        self.mails(email).await[0]["Subject"].as_str().unwrap().to_owned()
    }

    async fn change_password_to(&self, email: &str, new: &str) {
        let request = self.request(Method::PUT, "/v1/users/me/password").basic_auth(email, Some(PASSWORD));
        assert_eq!(request.json(&json!({ "password": new })).send().await.unwrap().status(), 204);
    }
}

#[tokio::test]
async fn mails_speak_the_language_of_the_registration_until_the_user_chooses_another() {
    let service = Service::start().await;
    let registered = service.register_in("pt-BR, de-AT;q=0.8, en;q=0.5", ADA, PASSWORD).await;
    assert_eq!((registered.status.as_u16(), &registered.body["locale"]), (201, &json!("de")));
    let code = service.wait_for_code(ADA, 1).await;
    assert_eq!(service.newest_subject(ADA, 1).await, "Ihr Code für Sixty");

    let chosen = service.set_locale(ADA, &json!({ "locale": "es" })).await;
    assert_eq!(
        (chosen.status.as_u16(), &chosen.body["locale"], &chosen.body["status"]),
        (200, &json!("es"), &json!("pending"))
    );
    assert_eq!(service.activate(ADA, PASSWORD, &code).await.body["locale"], "es");
    assert_eq!(service.newest_subject(ADA, 2).await, "Su cuenta de Sixty está activa");

    let chosen = service.set_locale(ADA, &json!({ "locale": "ar" })).await;
    assert_eq!((&chosen.body["locale"], &chosen.body["status"]), (&json!("ar"), &json!("active")));
    assert_eq!(service.me(ADA, PASSWORD).await.body, chosen.body);
    service.change_password_to(ADA, "another password").await;
    let subject = service.newest_subject(ADA, 3).await;
    assert_eq!(subject.replace(['\u{2068}', '\u{2069}'], ""), "تغيّرت كلمة مرورك في Sixty");
}

#[tokio::test]
async fn a_user_without_a_language_gets_the_default_one() {
    let service = Service::start_with(&["--default-locale=fr"]).await;
    for (email, language) in [("a@example.com", "pt"), ("b@example.com", "*"), ("c@example.com", "nonsense;q=;")] {
        assert_eq!(service.register_in(language, email, PASSWORD).await.body["locale"], Value::Null);
        assert_eq!(service.newest_subject(email, 1).await, "Votre code Sixty");
    }
    assert_eq!(service.set_locale("a@example.com", &json!({ "locale": "en" })).await.body["locale"], "en");
    assert_eq!(service.set_locale("a@example.com", &json!({})).await.body["locale"], "en");
    assert_eq!(service.set_locale("a@example.com", &json!({ "locale": null })).await.body["locale"], Value::Null);
    // A later release may have stored a language that this one does not speak.
    sqlx::query("UPDATE users SET locale = 'pt-BR' WHERE email = 'a@example.com'").execute(&service.db).await.unwrap();
    assert_eq!(service.me("a@example.com", PASSWORD).await.body["locale"], Value::Null);
}

#[tokio::test]
async fn an_unsupported_language_is_refused_with_the_supported_ones() {
    let service = Service::start().await;
    service.register_pending(ADA).await;
    for locale in [json!("pt"), json!("EN"), json!("de-AT"), json!("")] {
        let refused = service.set_locale(ADA, &json!({ "locale": locale })).await;
        assert_eq!(refused.outcome(), (422, "invalid-field"), "{locale}");
        assert_eq!(refused.pointers(), ["/locale"]);
        assert_eq!(refused.body["errors"][0]["detail"], "must be one of en, fr, de, es, ar");
    }
    let refused = service.set_locale(ADA, &json!({ "locale": 1, "role": "admin" })).await;
    assert_eq!(refused.pointers(), ["/locale", "/role"]);
    let anonymous = Answer::of(service.request(Method::PATCH, "/v1/users/me").json(&json!({ "locale": "fr" }))).await;
    assert_eq!(anonymous.outcome(), (401, "unauthenticated"));
}

#[tokio::test]
async fn the_owner_of_an_account_reads_the_notice_in_the_accounts_language() {
    let service = Service::start().await;
    service.register_in("fr", ADA, PASSWORD).await;
    let code = service.wait_for_code(ADA, 1).await;
    service.activate(ADA, PASSWORD, &code).await;
    service.wait_for_mail(ADA, 2).await;
    service.age_grants(std::time::Duration::from_secs(60)).await;

    let strangers = service.register_in("de", ADA, "the stranger's password").await;
    assert_eq!((strangers.status.as_u16(), &strangers.body["locale"]), (201, &json!("de")));
    assert_eq!(service.newest_subject(ADA, 3).await, "Vous avez déjà un compte Sixty");
    assert_eq!(service.me(ADA, PASSWORD).await.body["locale"], "fr");
}

#[tokio::test]
async fn pages_speak_the_language_of_the_browser_and_problems_stay_english() {
    let service = Service::start().await;
    let page = async |path: &str, language: &str| {
        let request = service.request(Method::GET, path).header(header::ACCEPT, "text/html");
        let response = request.header(header::ACCEPT_LANGUAGE, language).send().await.unwrap();
        let header = |name| response.headers()[name].to_str().unwrap().to_owned();
        let headers = (header(header::CONTENT_LANGUAGE), header(header::VARY));
        (headers, response.text().await.unwrap())
    };
    let link = format!("/not-me/{}", "a".repeat(32));
    let ((language, vary), text) = page(&link, "ar-EG, en;q=0.5").await;
    assert_eq!((&*language, &*vary), ("ar", "Accept-Language"));
    assert!(text.contains("<html lang=\"ar\" dir=\"rtl\">") && text.contains("<h1>ألست أنت؟</h1>"), "{text}");
    let ((language, vary), text) = page("/problems/code-expired", "de").await;
    assert_eq!((&*language, &*vary), ("de", "Accept, Accept-Language"));
    assert!(text.contains("<h1>Es gibt keinen gültigen Code</h1>"), "{text}");
    let ((language, _), text) = page("/problems/code-expired", "pt").await;
    assert!(language == "en" && text.contains("<h1>There is no live code</h1>"), "{text}");

    let request = service.request(Method::GET, "/v1/users/me").header(header::ACCEPT_LANGUAGE, "de");
    assert_eq!(Answer::of(request).await.body["title"], "The credentials are missing or wrong");
    let request = service.request(Method::GET, "/problems/code-expired").header(header::ACCEPT_LANGUAGE, "de");
    assert_eq!(Answer::of(request).await.body["title"], "There is no live code");
}

#[tokio::test]
async fn people_read_the_name_of_the_service_and_no_other() {
    let flags = ["--service-name=Acme & Co", "--service-url=https://acme.example", "--contact=help@acme.example"];
    let service = Service::start_with(&flags).await;
    service.register_pending(ADA).await;
    service.wait_for_mail(ADA, 1).await;
    let mail = service.mail_json(&service.mails(ADA).await[0]).await;
    assert_eq!((&mail["Subject"], &mail["From"]["Name"]), (&json!("Your Acme & Co code"), &json!("Acme & Co")));
    let html = mail["HTML"].as_str().unwrap();
    assert!(html.contains("<h1>Your Acme &amp; Co code</h1>") && html.contains("mailto:help@acme.example"), "{html}");
    let document = Answer::of(service.request(Method::GET, "/openapi.json")).await.body;
    assert_eq!(document["info"]["title"], "Acme & Co");
    for path in ["/docs", "/problems/internal"] {
        let request = service.request(Method::GET, path).header(header::ACCEPT, "text/html");
        let page = request.send().await.unwrap().text().await.unwrap();
        assert!(page.contains("Acme &amp; Co") && !page.contains("Sixty"), "{path}");
    }
}

#[tokio::test]
async fn a_broken_template_stops_the_start_with_its_file_and_line() {
    let folder = Folder::new("broken-template");
    fs::create_dir_all(folder.join("fr")).unwrap();
    fs::write(folder.join("fr/code.txt"), "Bonjour,\n\nvotre code : {{ cod }}\n").unwrap();
    let mut serve = sixty(&["serve"]);
    serve.env("DATABASE_URL", "postgres://127.0.0.1:1/x").env("REDIS_URL", "redis://127.0.0.1:1");
    serve.env("MAIL_URL", "http://127.0.0.1:1").env("CODE_SECRET", "AAAA".repeat(11));
    let (status, line) = failure_line(serve.env("MAIL_TEMPLATES", &folder.0)).await;
    let expected = "sixty: MAIL_TEMPLATES: fr/code.txt:3: there is no variable `cod`; there are ";
    assert!(status == 2 && line.starts_with(expected), "{line}");
}

#[tokio::test]
async fn mails_can_be_previewed_and_their_templates_changed() {
    let folder = Folder::new("mail-templates");
    let (templates, preview) = (folder.join("own"), folder.join("preview"));
    let written = output(sixty(&["mail", "templates"]).arg(&templates)).await;
    assert!(written.status.success(), "{written:?}");
    fs::write(templates.join("code.subject.txt"), "Welcome to {{ service.name }}").unwrap();
    let again = output(sixty(&["mail", "templates"]).arg(&templates)).await;
    assert!(String::from_utf8_lossy(&again.stdout).contains("Wrote 0 templates"), "{again:?}");

    let mut command = sixty(&["mail", "preview"]);
    command.arg(&preview).env("MAIL_TEMPLATES", &templates).env("SERVICE_NAME", "Acme");
    let written = output(&mut command).await;
    assert!(written.status.success(), "{written:?}");
    let read = |name: &str| fs::read_to_string(preview.join(name)).unwrap();
    let index = read("index.html");
    for locale in ["en", "fr", "de", "es", "ar"] {
        for mail in ["code", "existing_account", "activated", "password_changed", "reset_code", "address_restored"] {
            assert!(index.contains(&format!("src=\"{locale}/{mail}.html\"")), "{locale}/{mail}");
            assert!(read(&format!("{locale}/{mail}.html")).contains("Acme"), "{locale}/{mail}");
        }
        assert!(read(&format!("{locale}/code.txt")).starts_with("Subject: Welcome to Acme\n\n"));
    }
    let (status, line) = failure_line(sixty(&["mail", "preview", "/dev/null/x"]).env("SERVICE_NAME", "Acme")).await;
    assert!(status == 1 && line.starts_with("sixty: cannot create /dev/null/x/en: "), "{line}");
}
