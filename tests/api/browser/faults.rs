//! The controls in the inbox page that make the mock mail provider fail.

use serde_json::{Value, json};

use super::Browser;
use crate::support::{Service, eventually};

const ADA: &str = "ada@example.com";

/// Waits until the mock provider has these faults.
async fn wait_for_faults(service: &Service, wanted: Value) {
    eventually(&format!("faults {wanted}"), async || {
        let answer = service.http.get(format!("{}/api/faults", service.mail_url)).send().await.unwrap();
        (answer.json::<Value>().await.unwrap() == wanted).then_some(())
    })
    .await;
}

fn no_faults() -> Value {
    json!({ "fail_rate": 0.0, "status": 500, "latency_ms": 0, "drop_rate": 0.0 })
}

#[tokio::test]
#[ignore = "needs Chromium and its chromedriver"]
async fn each_fault_is_set_displayed_and_cleared() {
    let service = Service::start().await;
    let browser = Browser::open(&service.mail_url).await;
    browser.wait_for_text("#armed", |text| text == "none in force").await;
    browser.click("#faults summary").await;

    // First fault: the provider refuses all mails, which stay in the outbox.
    browser.type_into("[data-fault=fail] [name=status]", "429").await;
    browser.click("[data-fault=fail] [type=submit]").await;
    wait_for_faults(&service, json!({ "fail_rate": 1.0, "status": 429, "latency_ms": 0, "drop_rate": 0.0 })).await;
    browser.wait_for_text("#armed", |text| text == "100 % refused with 429").await;
    browser.wait_for_text("#fail-state", |text| text == "In force: 0 refused so far").await;
    service.register_pending(ADA).await;
    browser.wait_for_text("#fail-state", |text| text == "In force: 1 refused so far").await;
    browser.wait_for_text("#status", |text| text == "0 mails").await;

    // Second fault: a delay, in addition to the first. When the first fault ends, the mail arrives after the delay.
    browser.type_into("[data-fault=latency] [name=ms]", "300").await;
    browser.click("[data-fault=latency] [type=submit]").await;
    wait_for_faults(&service, json!({ "fail_rate": 1.0, "status": 429, "latency_ms": 300, "drop_rate": 0.0 })).await;
    browser.wait_for_text("#armed", |text| text == "100 % refused with 429 · 300 ms of delay").await;
    browser.click("[data-fault=fail] .clear").await;
    browser.wait_for_text("#armed", |text| text == "300 ms of delay").await;
    browser.wait_for_text("#status", |text| text == "1 mail").await;
    browser.wait_for_text("#latency-state", |text| text.ends_with(" delayed so far") && !text.contains(": 0 ")).await;
    browser.click("[data-fault=latency] .clear").await;
    browser.wait_for_text("#armed", |text| text == "none in force").await;

    // Third fault: the provider accepts the mail and drops the response, so the service sends the mail again.
    browser.click("[data-fault=drop] [type=submit]").await;
    browser.wait_for_text("#armed", |text| text == "100 % of answers dropped").await;
    service.register_pending("grace@example.com").await;
    browser.wait_for_text("#status", |text| text == "2 mails").await;
    browser.wait_for_text("#drop-state", |text| text.ends_with(" dropped so far") && !text.contains(": 0 ")).await;
    browser.click("[data-fault=drop] .clear").await;
    browser.wait_for_text("#drop-state", |text| text == "Off").await;
    service.wait_for_empty_outbox().await;
    // Clearing a fault does not reset the status code, which has no effect without the fault.
    wait_for_faults(&service, json!({ "fail_rate": 0.0, "status": 429, "latency_ms": 0, "drop_rate": 0.0 })).await;
    assert_eq!(browser.console_warnings().await, Vec::<String>::new());
}

#[tokio::test]
#[ignore = "needs Chromium and its chromedriver"]
async fn faults_set_by_the_api_are_displayed_and_invalid_faults_are_not_set() {
    let service = Service::start().await;
    let browser = Browser::open(&service.mail_url).await;
    browser.click("#faults summary").await;
    service.set_mail_faults(json!({ "fail_rate": 0.3, "status": 502 })).await;
    browser.wait_for_text("#armed", |text| text == "30 % refused with 502").await;
    let field = browser.wait_for_visible("[data-fault=fail] [name=share]").await;
    assert_eq!(field.value().await.unwrap().as_deref(), Some("30"));
    service.set_mail_faults(json!({})).await;
    browser.wait_for_text("#armed", |text| text == "none in force").await;

    browser.type_into("[data-fault=fail] [name=share]", "101").await;
    browser.click("[data-fault=fail] [type=submit]").await;
    // The browser's validation rejects the number, so the page sends nothing.
    assert_eq!(browser.js("return document.querySelector('[data-fault=fail] :invalid').name").await, "share");
    browser.wait_for_text("#fail-state", |text| text == "Off").await;
    wait_for_faults(&service, no_faults()).await;
}
