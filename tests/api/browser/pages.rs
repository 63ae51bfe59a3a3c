//! The pages that answers and mails lead to.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::Value;

use super::{Browser, PHONE, is_dark};
use crate::support::{Answer, PASSWORD, Service};

const ADA: &str = "ada@example.com";

/// Every problem that the document names, whatever operation answers with it.
fn problems() -> BTreeSet<String> {
    fn look(value: &Value, names: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => members.values().for_each(|value| look(value, names)),
            Value::Array(items) => items.iter().for_each(|value| look(value, names)),
            Value::String(text) => names.extend(text.strip_prefix("/problems/").map(str::to_owned)),
            _ => {}
        }
    }
    let mut names = BTreeSet::new();
    look(&serde_json::from_str(&sixty::app::document().json()).unwrap(), &mut names);
    names.remove("");
    names
}

#[tokio::test]
#[ignore = "needs Chromium and its chromedriver"]
async fn every_problem_has_a_page_that_says_what_happened_and_what_to_do() {
    let service = Service::start().await;
    let browser = Browser::open(&service.url_of("/docs")).await;
    browser.window(PHONE).await;
    browser.complaints().await;
    let names = problems();
    assert!(names.len() >= 17 && names.contains("code-expired"), "{names:?}");
    for name in names {
        let path = format!("/problems/{name}");
        let told = Answer::of(service.request(Method::GET, &path)).await;
        assert_eq!((told.status.as_u16(), told.header("content-type")), (200, "application/json"), "{name}");
        let member = |name: &str| told.body[name].as_str().unwrap().to_owned();

        browser.goto(&service.url_of(&path)).await;
        assert_eq!(browser.text("h1", |_| true).await, member("title"));
        let text = browser.see("main").await.text().await.unwrap();
        let advice = member("advice").split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(&advice) && text.contains(&told.body["status"].to_string()), "{name}: {text}");
        assert!(advice.len() > 20, "{name}: {advice}");
        assert_eq!(browser.width().await, 390, "{name}");
        assert_eq!(browser.complaints().await, Vec::<String>::new(), "{name}");
    }
    browser.click("main a").await;
    browser.text(".title", |text| text.starts_with("Sixty")).await;
    browser.stayed_at_home().await;
}

#[tokio::test]
#[ignore = "needs Chromium and its chromedriver"]
async fn only_the_button_says_that_it_was_not_me() {
    let service = Service::start().await;
    service.register_pending(ADA).await;
    let link = service.wait_for_not_me_link(ADA, 1).await;
    service.wait_for_empty_outbox().await;

    let browser = Browser::open(&link).await;
    browser.text("h1", |text| text == "Was it not you?").await;
    browser.window(PHONE).await;
    assert_eq!(browser.width().await, 390);
    for (scheme, dark) in [("light", false), ("dark", true)] {
        browser.scheme(scheme).await;
        let ground = browser.see("body").await.css_value("background-color").await.unwrap();
        assert_eq!(is_dark(&ground), dark, "{scheme}");
    }
    // Opened twice, as by somebody who comes back to it.
    browser.driver.refresh().await.unwrap();
    browser.see("button").await;
    assert_eq!(service.me(ADA, PASSWORD).await.status, 200, "looking changes nothing");

    browser.click("button").await;
    browser.text("h1", |text| text == "The registration is deleted").await;
    assert_eq!(service.me(ADA, PASSWORD).await.status, 401);
    assert!(!browser.is_seen("button").await, "nothing is left to press");
    browser.stayed_at_home().await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}
