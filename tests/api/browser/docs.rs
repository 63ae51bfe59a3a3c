//! `/docs`, as who tries the API out clicks through it.

use serde_json::{Value, json};

use super::{Browser, PHONE};
use crate::support::{PASSWORD, Service};

const ADA: &str = "ada@example.com";

/// An operation's place in the page, opened so that it can be tried.
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

    fn at(&self, css: &str) -> String {
        format!("{} {css}", self.id)
    }

    async fn click(&self, css: &str) {
        self.browser.click(&self.at(css)).await;
    }

    /// Sends it, with a body if it takes one, and reads the status and the body that the page shows.
    async fn execute(&self, body: Option<Value>) -> (String, Value) {
        if let Some(body) = body {
            self.browser.write(&self.at(".body-param__text"), &body.to_string()).await;
        }
        self.click(".execute").await;
        let answer = self.at(".live-responses-table tbody");
        let status = self.browser.text(&format!("{answer} .response-col_status"), |text| !text.is_empty()).await;
        let body =
            self.browser.text(&format!("{answer} .response-col_description pre"), |text| text.contains('}')).await;
        (status, serde_json::from_str(&body).unwrap())
    }
}

#[tokio::test]
#[ignore = "needs Chromium and its chromedriver"]
async fn the_whole_way_to_an_account_is_clicked_through() {
    let service = Service::start().await;
    let browser = Browser::open(&service.url_of("/docs")).await;
    browser.text(".title", |text| text.starts_with("Sixty")).await;

    let register = Operation::open(&browser, "Registration", "registerUser").await;
    let (status, user) = register.execute(Some(json!({ "email": ADA, "password": PASSWORD }))).await;
    assert_eq!((&*status, &user["status"]), ("201", &json!("pending")));

    browser.click(".auth-wrapper .authorize").await;
    browser.write(".modal-ux [name=username]", ADA).await;
    browser.write(".modal-ux [name=password]", PASSWORD).await;
    browser.click(".modal-ux .auth-btn-wrapper .authorize").await;
    browser.click(".modal-ux .btn-done").await;

    let activate = Operation::open(&browser, "Registration", "activateUser").await;
    let code = service.wait_for_code(ADA, 1).await;
    let (status, activated) = activate.execute(Some(json!({ "code": code }))).await;
    assert_eq!((&*status, &activated["status"]), ("200", &json!("active")));

    let look = Operation::open(&browser, "Account", "getCurrentUser").await;
    let (status, myself) = look.execute(None).await;
    assert_eq!((&*status, myself), ("200", activated));

    browser.stayed_at_home().await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

#[tokio::test]
#[ignore = "needs Chromium and its chromedriver"]
async fn the_documentation_fits_a_phone() {
    let service = Service::start().await;
    let browser = Browser::open(&service.url_of("/docs")).await;
    browser.window(PHONE).await;
    browser.goto(&service.url_of("/docs")).await;
    let register = Operation::open(&browser, "Registration", "registerUser").await;
    browser.see(&register.at(".responses-table")).await;
    assert_eq!(browser.width().await, 390);
    let right = "return document.querySelector(arguments[0]).getBoundingClientRect().right";
    let right = browser.driver.execute(right, vec![register.at(".responses-table").into()]).await.unwrap();
    assert!(right.json().as_f64().unwrap() <= 390.0, "nothing is cut off: {right:?}");
}
