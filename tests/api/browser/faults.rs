//! The inbox's controls for what goes wrong.

use serde_json::{Value, json};

use super::Browser;
use crate::support::{Service, eventually};

const ADA: &str = "ada@example.com";

async fn in_force(service: &Service, wanted: Value) {
    eventually(&format!("{wanted}"), async || {
        let answer = service.http.get(format!("{}/api/faults", service.mail_url)).send().await.unwrap();
        (answer.json::<Value>().await.unwrap() == wanted).then_some(())
    })
    .await;
}

fn none() -> Value {
    json!({ "fail_rate": 0.0, "status": 500, "latency_ms": 0, "drop_rate": 0.0 })
}

#[tokio::test]
#[ignore = "needs Chromium and its chromedriver"]
async fn each_is_ordered_told_of_and_cleared() {
    let service = Service::start().await;
    let browser = Browser::open(&service.mail_url).await;
    browser.text("#armed", |text| text == "none in force").await;
    browser.click("#faults summary").await;

    // Refused mails stay in the outbox.
    browser.write("[data-fault=fail] [name=status]", "429").await;
    browser.click("[data-fault=fail] [type=submit]").await;
    in_force(&service, json!({ "fail_rate": 1.0, "status": 429, "latency_ms": 0, "drop_rate": 0.0 })).await;
    browser.text("#armed", |text| text == "100 % refused with 429").await;
    browser.text("#fail-state", |text| text == "In force: 0 refused so far").await;
    service.register_pending(ADA).await;
    browser.text("#fail-state", |text| text == "In force: 1 refused so far").await;
    browser.text("#status", |text| text == "0 mails").await;

    // One more leaves the first in force; then the first ends, and the mail arrives, later.
    browser.write("[data-fault=latency] [name=ms]", "300").await;
    browser.click("[data-fault=latency] [type=submit]").await;
    in_force(&service, json!({ "fail_rate": 1.0, "status": 429, "latency_ms": 300, "drop_rate": 0.0 })).await;
    browser.text("#armed", |text| text == "100 % refused with 429 · 300 ms of delay").await;
    browser.click("[data-fault=fail] .clear").await;
    browser.text("#armed", |text| text == "300 ms of delay").await;
    browser.text("#status", |text| text == "1 mail").await;
    browser.text("#latency-state", |text| text.ends_with(" delayed so far") && !text.contains(": 0 ")).await;
    browser.click("[data-fault=latency] .clear").await;
    browser.text("#armed", |text| text == "none in force").await;

    // A dropped answer: the mail is there, and is sent again all the same.
    browser.click("[data-fault=drop] [type=submit]").await;
    browser.text("#armed", |text| text == "100 % of answers dropped").await;
    service.register_pending("grace@example.com").await;
    browser.text("#status", |text| text == "2 mails").await;
    browser.text("#drop-state", |text| text.ends_with(" dropped so far") && !text.contains(": 0 ")).await;
    browser.click("[data-fault=drop] .clear").await;
    browser.text("#drop-state", |text| text == "Off").await;
    service.wait_for_empty_outbox().await;
    // The status is left as it was; it matters to nobody.
    in_force(&service, json!({ "fail_rate": 0.0, "status": 429, "latency_ms": 0, "drop_rate": 0.0 })).await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

#[tokio::test]
#[ignore = "needs Chromium and its chromedriver"]
async fn what_somebody_else_orders_is_shown_and_what_is_wrong_is_not_ordered() {
    let service = Service::start().await;
    let browser = Browser::open(&service.mail_url).await;
    browser.click("#faults summary").await;
    service.set_mail_faults(json!({ "fail_rate": 0.3, "status": 502 })).await;
    browser.text("#armed", |text| text == "30 % refused with 502").await;
    let field = browser.see("[data-fault=fail] [name=share]").await;
    assert_eq!(field.value().await.unwrap().as_deref(), Some("30"));
    service.set_mail_faults(json!({})).await;
    browser.text("#armed", |text| text == "none in force").await;

    browser.write("[data-fault=fail] [name=share]", "101").await;
    browser.click("[data-fault=fail] [type=submit]").await;
    // The browser asks for another number, and sends nothing.
    assert_eq!(browser.js("return document.querySelector('[data-fault=fail] :invalid').name").await, "share");
    browser.text("#fail-state", |text| text == "Off").await;
    in_force(&service, none()).await;
}
