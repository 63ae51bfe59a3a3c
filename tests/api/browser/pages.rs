//! The pages that problem types and mails link to.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::Value;

use super::{Browser, PHONE, is_dark};
use crate::support::{Answer, PASSWORD, Service, eventually};

const ADA: &str = "ada@example.com";

/// Returns the names of all problem types in the OpenAPI document.
fn problem_types() -> BTreeSet<String> {
    fn collect(value: &Value, names: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => members.values().for_each(|value| collect(value, names)),
            Value::Array(items) => items.iter().for_each(|value| collect(value, names)),
            Value::String(text) => names.extend(text.strip_prefix("/problems/").map(str::to_owned)),
            _ => {}
        }
    }
    let mut names = BTreeSet::new();
    collect(&serde_json::from_str(&sixty::app::document().json()).unwrap(), &mut names);
    names.remove("");
    names
}

#[tokio::test]
#[ignore = "needs Chromium and its chromedriver"]
async fn every_problem_type_has_a_page_with_explanation_and_advice() {
    let service = Service::start().await;
    let browser = Browser::open(&service.url_of("/docs")).await;
    browser.set_window_size(PHONE).await;
    browser.console_warnings().await;
    let names = problem_types();
    assert!(names.len() >= 17 && names.contains("code-expired"), "{names:?}");
    for name in names {
        let path = format!("/problems/{name}");
        let answer = Answer::of(service.request(Method::GET, &path)).await;
        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "application/json"), "{name}");
        let member = |name: &str| answer.body[name].as_str().unwrap().to_owned();

        browser.goto(&service.url_of(&path)).await;
        assert_eq!(browser.wait_for_text("h1", |_| true).await, member("title"));
        let text = browser.wait_for_visible("main").await.text().await.unwrap();
        let advice = member("advice").split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(&advice) && text.contains(&answer.body["status"].to_string()), "{name}: {text}");
        assert!(advice.len() > 20, "{name}: {advice}");
        assert_eq!(browser.page_width().await, 390, "{name}");
        assert_eq!(browser.console_warnings().await, Vec::<String>::new(), "{name}");
    }
    browser.click("main a").await;
    browser.wait_for_text(".title", |text| text.starts_with("Sixty")).await;
    browser.assert_no_foreign_requests().await;
}

#[tokio::test]
#[ignore = "needs Chromium and its chromedriver"]
async fn only_the_button_of_the_not_me_page_deletes_the_registration() {
    let service = Service::start().await;
    service.register_pending(ADA).await;
    let link = service.wait_for_not_me_link(ADA, 1).await;
    service.wait_for_empty_outbox().await;

    let browser = Browser::open(&link).await;
    browser.wait_for_text("h1", |text| text == "Was it not you?").await;
    browser.set_window_size(PHONE).await;
    assert_eq!(browser.page_width().await, 390);
    for (scheme, dark) in [("light", false), ("dark", true)] {
        browser.set_color_scheme(scheme).await;
        let background = browser.wait_for_visible("body").await.css_value("background-color").await.unwrap();
        assert_eq!(is_dark(&background), dark, "{scheme}");
    }
    // Opens the page a second time, because a user may come back to it.
    browser.driver.refresh().await.unwrap();
    browser.wait_for_visible("button").await;
    assert_eq!(service.me(ADA, PASSWORD).await.status, 200, "opening the page must not delete the registration");

    // A press within two seconds shows the page again. A person presses once more.
    eventually("page after the press", async || {
        browser.click("button").await;
        (browser.wait_for_text("h1", |_| true).await == "The registration is deleted").then_some(())
    })
    .await;
    assert_eq!(service.me(ADA, PASSWORD).await.status, 401);
    assert!(!browser.is_visible("button").await, "the button is still visible");
    browser.assert_no_foreign_requests().await;
    assert_eq!(browser.console_warnings().await, Vec::<String>::new());
}
