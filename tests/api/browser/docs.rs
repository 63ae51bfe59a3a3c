//! The page `/docs`: trying out operations with Swagger UI.

use serde_json::{Value, json};
use thirtyfour::prelude::*;

use super::{Browser, PHONE};
use crate::support::{PASSWORD, Service, eventually};

const ADA: &str = "ada@example.com";

/// An operation's section in the page, in the mode "Try it out".
struct Operation<'a> {
    browser: &'a Browser,
    id: String,
}

impl<'a> Operation<'a> {
    async fn open(browser: &'a Browser, tag: &str, id: &str) -> Self {
        let operation = Operation { browser, id: format!("#operations-{tag}-{id}") };
        operation.click(".opblock-summary-control").await;
        operation.click(".try-out__btn").await;
        operation
    }

    /// Returns a selector for elements in this section.
    fn at(&self, css: &str) -> String {
        format!("{} {css}", self.id)
    }

    async fn click(&self, css: &str) {
        self.browser.click(&self.at(css)).await;
    }

    /// Executes the operation with an optional request body. Returns the status and the body that the page shows.
    async fn execute(&self, body: Option<Value>) -> (String, Value) {
        if let Some(body) = body {
            self.browser.type_into(&self.at(".body-param__text"), &body.to_string()).await;
        }
        self.click(".execute").await;
        let answer = self.at(".live-responses-table tbody");
        let status =
            self.browser.wait_for_text(&format!("{answer} .response-col_status"), |text| !text.is_empty()).await;
        let body = self
            .browser
            .wait_for_text(&format!("{answer} .response-col_description pre"), |text| text.contains('}'))
            .await;
        (status, serde_json::from_str(&body).unwrap())
    }
}

impl Browser {
    /// Enters credentials in Swagger UI's dialogue "Authorize".
    async fn authorize(&self, email: &str, password: &str) {
        self.click(".auth-wrapper .authorize").await;
        self.type_into(".modal-ux [name=username]", email).await;
        self.type_into(".modal-ux [name=password]", password).await;
        self.click(".modal-ux .auth-btn-wrapper .authorize").await;
        self.click(".modal-ux .btn-done").await;
    }
}

#[tokio::test]
#[ignore = "needs Chromium and its chromedriver"]
async fn a_user_registers_and_activates_with_swagger_ui() {
    let service = Service::start().await;
    let browser = Browser::open(&service.url_of("/docs")).await;
    browser.wait_for_text(".title", |text| text.starts_with("Sixty")).await;

    let register = Operation::open(&browser, "Registration", "registerUser").await;
    let (status, user) = register.execute(Some(json!({ "email": ADA, "password": PASSWORD }))).await;
    assert_eq!((&*status, &user["status"]), ("201", &json!("pending")));

    browser.authorize(ADA, PASSWORD).await;

    let activate = Operation::open(&browser, "Registration", "activateUser").await;
    let code = service.wait_for_code(ADA, 1).await;
    let (status, activated) = activate.execute(Some(json!({ "code": code }))).await;
    assert_eq!((&*status, &activated["status"]), ("200", &json!("active")));

    let current_user = Operation::open(&browser, "Account", "getCurrentUser").await;
    let (status, account) = current_user.execute(None).await;
    assert_eq!((&*status, account), ("200", activated));

    browser.assert_no_foreign_requests().await;
    assert_eq!(browser.console_warnings().await, Vec::<String>::new());
}

#[tokio::test]
#[ignore = "needs Chromium and its chromedriver"]
async fn authorize_accepts_passwords_in_every_script() {
    let service = Service::start().await;
    let browser = Browser::open(&service.url_of("/docs")).await;
    for (email, password) in [
        ("olga@example.com", "пароль-длинный"),
        ("jörg@example.com", "pässwört-lang"),
        ("mary@example.com", "パスワード: 鍵"),
        (ADA, PASSWORD),
    ] {
        assert_eq!(service.register(email, password).await.status, 201, "{password}");
        // A fresh page has no credentials.
        browser.goto(&service.url_of("/docs")).await;
        browser.authorize(email, password).await;
        let current_user = Operation::open(&browser, "Account", "getCurrentUser").await;
        let (status, user) = current_user.execute(None).await;
        assert_eq!((&*status, &user["email"]), ("200", &json!(email)), "{password}: {user}");
    }
    assert_eq!(browser.console_warnings().await, Vec::<String>::new());
}

/// With the browser's login box, the page would get no response.
#[tokio::test]
#[ignore = "needs Chromium and its chromedriver"]
async fn wrong_credentials_are_shown_as_an_error() {
    let service = Service::start().await;
    service.register_pending(ADA).await;
    let browser = Browser::open(&service.url_of("/docs")).await;
    for password in ["not her password", "неверный пароль", "fälsches Passwort"] {
        browser.goto(&service.url_of("/docs")).await;
        browser.authorize(ADA, password).await;
        let current_user = Operation::open(&browser, "Account", "getCurrentUser").await;
        let (status, problem) = current_user.execute(None).await;
        assert!(status.starts_with("401"), "{password}: {status}");
        assert_eq!(problem["type"], "/problems/unauthenticated", "{password}");
    }
    // Without credentials, too.
    browser.goto(&service.url_of("/docs")).await;
    let (status, problem) = Operation::open(&browser, "Account", "getCurrentUser").await.execute(None).await;
    assert!(status.starts_with("401") && problem["type"] == "/problems/unauthenticated", "{status}: {problem}");
}

#[tokio::test]
#[ignore = "needs Chromium and its chromedriver"]
async fn escape_closes_the_dialogue_for_credentials() {
    let service = Service::start().await;
    let browser = Browser::open(&service.url_of("/docs")).await;
    browser.click(".auth-wrapper .authorize").await;
    browser.type_into(".modal-ux [name=username]", ADA).await;
    browser.press(Key::Escape).await;
    eventually("closed dialogue", async || (!browser.is_visible(".modal-ux").await).then_some(())).await;
    assert_eq!(browser.console_warnings().await, Vec::<String>::new());
}

#[tokio::test]
#[ignore = "needs Chromium and its chromedriver"]
async fn the_docs_page_fits_a_phone() {
    let service = Service::start().await;
    let browser = Browser::open(&service.url_of("/docs")).await;
    browser.set_window_size(PHONE).await;
    browser.goto(&service.url_of("/docs")).await;
    let register = Operation::open(&browser, "Registration", "registerUser").await;
    browser.wait_for_visible(&register.at(".responses-table")).await;
    assert_eq!(browser.page_width().await, 390);
    let right = "return document.querySelector(arguments[0]).getBoundingClientRect().right";
    let right = browser.driver.execute(right, vec![register.at(".responses-table").into()]).await.unwrap();
    assert!(right.json().as_f64().unwrap() <= 390.0, "the table of responses is cut off: {right:?}");
}
