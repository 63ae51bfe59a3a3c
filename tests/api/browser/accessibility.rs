//! Accessibility of every page: axe-core must find no violation, on a laptop and on a phone, in both color schemes.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::sync::OnceCell;

use super::{Browser, LAPTOP, PHONE};
use crate::support::{PASSWORD, Service};

const ADA: &str = "ada@example.com";

/// Returns the source of axe-core, which npm installs into the target directory.
async fn axe() -> &'static str {
    static SOURCE: OnceCell<String> = OnceCell::const_new();
    SOURCE
        .get_or_init(async || {
            let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api/browser/axe");
            let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("axe");
            let lock = std::fs::read(here.join("package-lock.json")).unwrap();
            let (installed_lock, source) =
                (folder.join("installed.json"), folder.join("node_modules/axe-core/axe.min.js"));
            if std::fs::read(&installed_lock).ok().as_ref() != Some(&lock) {
                std::fs::create_dir_all(&folder).unwrap();
                for file in ["package.json", "package-lock.json", ".npmrc"] {
                    std::fs::copy(here.join(file), folder.join(file)).unwrap();
                }
                let mut npm = Command::new("npm");
                npm.arg("ci").current_dir(&folder);
                // Node ignores the system's certificate authorities.
                let authorities = "/etc/ssl/certs/ca-certificates.crt";
                if Path::new(authorities).exists() {
                    npm.env("NODE_EXTRA_CA_CERTS", authorities);
                }
                let status = npm.status().await.expect("the accessibility tests need npm: apt-get install npm");
                assert!(status.success(), "npm could not install axe-core");
                std::fs::write(&installed_lock, &lock).unwrap();
            }
            std::fs::read_to_string(source).unwrap()
        })
        .await
}

impl Browser {
    /// Asserts that axe-core finds no violation in the page as it is now.
    async fn assert_accessible(&self, page: &str) {
        if self.js("return typeof axe").await == "undefined" {
            self.js(axe().await).await;
        }
        // The frame with a mail has no access to scripts. The mails are checked as pages of their own.
        let run = "const done = arguments[arguments.length - 1];
            axe.run(document, { iframes: false, resultTypes: ['violations'] }).then(
                ({ violations }) => done(violations.flatMap(({ id, nodes }) =>
                    nodes.map(({ target, failureSummary }) => `${id} at ${target}: ${failureSummary}`))),
                (error) => done([String(error)]));";
        let found = self.driver.execute_async(run, vec![]).await.unwrap().json().clone();
        assert_eq!(found, json!([]), "{page}");
    }

    /// Asserts the same in both color schemes and in the windows of a laptop and of a phone.
    async fn assert_accessible_everywhere(&self, page: &str) {
        for size in [LAPTOP, PHONE] {
            self.set_window_size(size).await;
            for scheme in ["light", "dark"] {
                self.set_color_scheme(scheme).await;
                self.assert_accessible(&format!("{page}, {scheme}, {} pixels wide", size.0)).await;
            }
        }
        self.set_window_size(LAPTOP).await;
        assert!(!self.driver.title().await.unwrap().is_empty(), "{page} has no title");
    }
}

#[tokio::test]
#[ignore = "needs Chromium, its chromedriver and npm"]
async fn the_docs_page_is_accessible() {
    let service = Service::start().await;
    service.register_pending(ADA).await;
    let browser = Browser::open(&service.url_of("/docs")).await;
    browser.wait_for_visible("#operations-Account-getCurrentUser").await;
    browser.assert_accessible_everywhere("the list of operations").await;

    browser.click("#operations-Registration-registerUser .opblock-summary-control").await;
    browser.click("#operations-Registration-registerUser .try-out__btn").await;
    browser.wait_for_visible("#operations-Registration-registerUser .execute").await;
    browser.assert_accessible_everywhere("an operation that is tried").await;
    browser.click("#operations-Registration-registerUser .execute").await;
    browser.wait_for_visible("#operations-Registration-registerUser .live-responses-table").await;
    browser.assert_accessible_everywhere("a response").await;
    browser.click("#operations-Registration-registerUser .opblock-summary-control").await;

    browser.click("#operations-Administration-listUsers .opblock-summary-control").await;
    browser.click("#operations-Administration-listUsers .try-out__btn").await;
    browser.wait_for_visible("#operations-Administration-listUsers .execute").await;
    browser.assert_accessible_everywhere("an operation with parameters").await;
    browser.click("#operations-Administration-listUsers .opblock-summary-control").await;

    for (operation, responses) in [
        ("Registration-registerUser", "Responses of POST /v1/users"),
        ("Administration-listUsers", "Responses of GET /v1/users"),
    ] {
        browser.click(&format!("#operations-{operation} .opblock-summary-control")).await;
        let table = browser.wait_for_visible(&format!("#operations-{operation} .responses-table[role=region]")).await;
        assert_eq!(table.attr("aria-label").await.unwrap().as_deref(), Some(responses));
    }
    browser.assert_accessible_everywhere("two operations").await;

    browser.click(".auth-wrapper .authorize").await;
    browser.wait_for_visible(".modal-ux [name=username]").await;
    browser.assert_accessible_everywhere("the dialogue for credentials").await;
    let labels = "return ['username', 'password'].map((name) =>
        document.querySelector(`.modal-ux [name=${name}]`)).flatMap((field) =>
            [field.getAttribute('aria-label'), field.labels[0].textContent])";
    let expected = json!(["E-mail address", "E-mail address:", "Password", "Password:"]);
    assert_eq!(browser.js(labels).await, expected);
}

#[tokio::test]
#[ignore = "needs Chromium, its chromedriver and npm"]
async fn the_pages_of_problems_and_links_are_accessible() {
    let service = Service::start().await;
    service.register_pending(ADA).await;
    let link = service.wait_for_not_me_link(ADA, 1).await;
    let browser = Browser::open(&service.url_of("/problems/code-expired")).await;
    browser.assert_accessible_everywhere("a problem type").await;
    browser.goto(&service.url_of("/not-me/incomplete")).await;
    browser.assert_accessible_everywhere("an incomplete link").await;
    browser.goto(&link).await;
    browser.assert_accessible_everywhere("the question").await;
    while browser.wait_for_text("h1", |_| true).await != "The registration is deleted" {
        browser.click("button").await;
    }
    browser.assert_accessible_everywhere("the deleted registration").await;
    browser.goto(&link).await;
    while browser.wait_for_text("h1", |_| true).await != "This link works no more" {
        browser.click("button").await;
    }
    browser.assert_accessible_everywhere("the used link").await;
    // The way back.
    browser.click("header a").await;
    browser.wait_for_visible("#operations-Account-getCurrentUser").await;
}

#[tokio::test]
#[ignore = "needs Chromium, its chromedriver and npm"]
async fn the_inbox_and_the_mails_are_accessible() {
    let service = Service::start().await;
    let browser = Browser::open(&service.mail_url).await;
    browser.wait_for_text("#try", |text| !text.is_empty()).await;
    browser.assert_accessible_everywhere("the empty inbox").await;
    browser.click("#faults summary").await;
    browser.wait_for_visible("[data-fault=drop] .state").await;
    browser.assert_accessible_everywhere("the faults").await;
    browser.click("#faults summary").await;

    service.register_active(ADA).await;
    let change = service.request(Method::PUT, "/v1/users/me/password").basic_auth(ADA, Some(PASSWORD));
    let changed = change.json(&json!({ "password": "another password" })).send().await.unwrap();
    assert_eq!(changed.status(), 204);
    service.wait_for_mail(ADA, 3).await;
    service.age_grants(std::time::Duration::from_secs(60)).await;
    service.register(ADA, PASSWORD).await;
    service.wait_for_mail(ADA, 4).await;
    service.register_pending("grace@example.com").await;
    browser.wait_for_text("#status", |text| text == "5 mails").await;
    browser.wait_for_visible("#digits").await;
    browser.assert_accessible_everywhere("a mail in the inbox").await;
    browser.click("#as-text").await;
    browser.wait_for_visible("#text").await;
    browser.assert_accessible_everywhere("the text of a mail").await;

    let mut mails: Vec<Value> = service.mails(ADA).await;
    mails.extend(service.mails("grace@example.com").await);
    for mail in mails {
        let html = service.mail_json(&mail).await["HTML"].as_str().unwrap().to_owned();
        browser.goto(&format!("data:text/html;base64,{}", STANDARD.encode(html.as_bytes()))).await;
        browser.assert_accessible_everywhere(mail["Subject"].as_str().unwrap()).await;
    }
}

#[tokio::test]
#[ignore = "needs Chromium and its chromedriver"]
async fn a_double_click_selects_the_whole_code() {
    let service = Service::start().await;
    service.register_pending(ADA).await;
    let code = service.wait_for_code(ADA, 1).await;
    let browser = Browser::open(&service.mail_url).await;
    let select = async |css: &str| {
        let element = browser.wait_for_visible(css).await;
        browser.driver.action_chain().double_click_element(&element).perform().await.unwrap();
        browser.js("return getSelection().toString().trim()").await
    };
    assert_eq!(select("#digits").await, code.as_str());
    let mail = &service.mails(ADA).await[0];
    let html = service.mail_json(mail).await["HTML"].as_str().unwrap().to_owned();
    browser.goto(&format!("data:text/html;base64,{}", STANDARD.encode(html.as_bytes()))).await;
    assert_eq!(select(".code").await, code.as_str());
}
