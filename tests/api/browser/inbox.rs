//! The inbox page: mails appear without a reload, codes count down, and mails cannot run scripts.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use thirtyfour::Key;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::{Browser, MOMENT};
use crate::process::{Running, sixty};
use crate::support::{PASSWORD, Service, eventually};

const ADA: &str = "ada@example.com";
const GRACE: &str = "grace@example.com";

/// Returns the number in a text such as "57 seconds left".
fn seconds(text: &str) -> Option<u64> {
    text.strip_suffix(" seconds left").or(text.strip_suffix(" second left"))?.parse().ok()
}

impl Browser {
    async fn seconds_left(&self) -> u64 {
        seconds(&self.wait_for_text("#left", |text| seconds(text).is_some()).await).unwrap()
    }
}

/// Sends a mail to the mock provider with an idempotency key.
async fn send_mail(service: &Service, key: &str, mail: Value) {
    let request = service.http.post(format!("{}/api/v1/send", service.mail_url)).header("Idempotency-Key", key);
    assert!(request.json(&mail).send().await.unwrap().status().is_success());
}

fn mail(subject: &str, text: &str, html: &str) -> Value {
    let from = json!({ "Email": "app@example.org" });
    json!({ "From": from, "To": [{ "Email": ADA }], "Subject": subject, "Text": text, "HTML": html })
}

#[tokio::test]
#[ignore = "needs Chromium and its chromedriver"]
async fn a_mail_appears_without_reload_and_its_code_activates() {
    let service = Service::start().await;
    let browser = Browser::open(&service.mail_url).await;
    let hint = browser.wait_for_text("#try", |text| !text.is_empty()).await;
    assert!(hint.starts_with("curl http://127.0.0.1:8000/v1/users "), "{hint}");
    browser.js("window.loaded = 'once'").await;

    service.register_pending(ADA).await;
    let code = browser.wait_for_text("#digits", |text| !text.is_empty()).await;
    let left = browser.seconds_left().await;
    assert!((50..=60).contains(&left), "{left}");
    assert_eq!(browser.wait_for_text("#mails .chip b", |_| true).await, code);
    let announcement = browser.wait_for_text("#news", |text| !text.is_empty()).await;
    let spelled = code.chars().map(String::from).collect::<Vec<_>>().join(", ");
    assert_eq!(announcement, format!("New mail to {ADA}: Your Sixty code. Code {spelled}."));
    assert_eq!(service.activate(ADA, PASSWORD, &code).await.status, 200);

    // The newest mail is first in the list and open. It has no code.
    browser.wait_for_text("#mails li:first-child .subject", |text| text == "Your Sixty account is active").await;
    browser.wait_for_text("#subject", |text| text == "Your Sixty account is active").await;
    assert!(!browser.is_visible("#code").await);
    assert!(!browser.is_visible("#mails li:first-child .chip").await);
    assert_eq!(browser.js("return window.loaded").await, "once");
    browser.assert_no_foreign_requests().await;
    assert_eq!(browser.console_warnings().await, Vec::<String>::new());
}

#[tokio::test]
#[ignore = "needs Chromium and its chromedriver"]
async fn a_code_counts_down_until_it_expires() {
    let service = Service::start_with(&["--code-ttl=4s"]).await;
    let browser = Browser::open(&service.mail_url).await;
    service.register_pending(ADA).await;
    let mut seen = vec![];
    eventually("text \"expired\"", async || {
        let text = browser.wait_for_visible("#left").await.text().await.unwrap();
        if seen.last() != Some(&text) {
            seen.push(text.clone());
        }
        (text == "expired").then_some(())
    })
    .await;
    let counted: Vec<u64> = seen.iter().filter_map(|text| seconds(text)).collect();
    assert!(counted.len() >= 2 && counted.is_sorted_by(|a, b| a > b) && counted[0] <= 4, "{seen:?}");
    assert_eq!(browser.wait_for_text("#mails .left", |_| true).await, "expired");
    let code = browser.wait_for_text("#digits", |_| true).await;
    assert_eq!(service.activate(ADA, PASSWORD, &code).await.outcome(), (410, "code-expired"));
}

#[tokio::test]
#[ignore = "needs Chromium and its chromedriver"]
async fn a_resent_mail_restarts_the_countdown() {
    let service = Service::start().await;
    let browser = Browser::open(&service.mail_url).await;
    let code = || mail("Your code", "It is 0042.", r#"<p>within <time datetime="PT30S">30 seconds</time>"#);
    send_mail(&service, "k", code()).await;
    eventually("countdown at 26 seconds or less", async || (browser.seconds_left().await <= 26).then_some(())).await;
    send_mail(&service, "k", code()).await;
    eventually("countdown above 26 seconds", async || (browser.seconds_left().await > 26).then_some(())).await;
    browser.wait_for_text("#status", |text| text == "1 mail").await;
}

/// Returns HTML that tries to run scripts, to leave the page and to send requests. The test detects each of these.
fn hostile(canary: &str) -> String {
    format!(
        r#"<!doctype html><base href="{canary}/base/"><meta http-equiv="refresh" content="0; url={canary}/refresh">
        <link rel="stylesheet" href="{canary}/style"><link rel="preconnect" href="{canary}"><link rel="prefetch" href="{canary}/prefetch">
        <style>@import "{canary}/import"; body {{ background: url({canary}/background) }}
        @font-face {{ font-family: f; src: url({canary}/font) }} p {{ font-family: f }}</style>
        <p id="there">Hello</p><script>parent.hit = top.hit = 1; document.title = "hit"; location = "{canary}/location"</script>
        <script src="{canary}/script"></script><img src="{canary}/image" onerror="top.hit = 1">
        <svg onload="top.hit = 1"><script>top.hit = 1</script></svg><iframe src="{canary}/frame"></iframe>
        <iframe srcdoc="<script>top.hit = 1</script>"></iframe><object data="{canary}/object"></object>
        <video src="{canary}/video" autoplay></video><form action="{canary}/form"><button>Send</button></form>
        <a id="script" href="javascript:top.hit=1">Script</a> <a id="top" target="_top" href="{canary}/top">Top</a>"#
    )
}

const CONNECTED: &str = "connected";

/// Starts a server that records connections and requests. Returns the records and the server's URL.
async fn canary() -> (Arc<Mutex<Vec<String>>>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (records, url) = (Arc::default(), format!("http://{}", listener.local_addr().unwrap()));
    let recorded = Arc::clone(&records);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let recorded: Arc<Mutex<Vec<String>>> = Arc::clone(&recorded);
            recorded.lock().unwrap().push(CONNECTED.to_owned());
            tokio::spawn(async move {
                let mut request = [0; 100];
                while let Ok(read @ 1..) = stream.read(&mut request).await {
                    recorded.lock().unwrap().push(String::from_utf8_lossy(&request[..read]).into_owned());
                    // chromedriver waits for a response after it has followed a link.
                    let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
                }
            });
        }
    });
    (records, url)
}

#[tokio::test]
#[ignore = "needs Chromium and its chromedriver"]
async fn a_hostile_mail_runs_no_script_and_sends_no_request() {
    let service = Service::start().await;
    let (records, url) = canary().await;
    let html = hostile(&url);
    let new_records = async || {
        tokio::time::sleep(MOMENT).await;
        std::mem::take(&mut *records.lock().unwrap())
    };
    let subject = "<img src=x onerror=\"top.hit=1\"> <script>top.hit=1</script>";
    send_mail(&service, "k", mail(subject, &format!("{html} code 0042"), &html)).await;

    let browser = Browser::open(&service.mail_url).await;
    browser.wait_for_text("#subject", |text| text == subject).await;
    let frame = browser.wait_for_visible("#html").await;
    let granted = frame.attr("sandbox").await.unwrap();
    assert_eq!(granted.as_deref(), Some("allow-popups allow-popups-to-escape-sandbox"));
    frame.enter_frame().await.unwrap();
    browser.wait_for_visible("#there").await;
    assert_eq!(new_records().await, Vec::<String>::new());
    for link in ["#script", "#top", "form button"] {
        // Chromium may refuse the click. The test checks only the effects.
        let _ = browser.wait_for_visible(link).await.click().await;
    }
    // Chromium connects to a link's server as soon as the user presses the link, which is allowed.
    assert!(new_records().await.iter().all(|record| record == CONNECTED), "a click sent a request");
    browser.driver.enter_default_frame().await.unwrap();
    browser.click("#as-text").await;
    browser.wait_for_text("#text", |text| text.contains("onerror")).await;
    assert_eq!(browser.js("return typeof window.hit").await, "undefined");
    assert_eq!(browser.driver.title().await.unwrap(), "Inbox (1)");
    assert_eq!(browser.driver.windows().await.unwrap().len(), 1, "no tab was opened");

    // The mail has no more rights in a window of its own.
    let newest: Value = service
        .http
        .get(format!("{}/api/v1/message/latest", service.mail_url))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    browser.goto(&format!("{}/view/{}.html", service.mail_url, newest["ID"].as_str().unwrap())).await;
    browser.wait_for_visible("#there").await;
    assert_eq!(new_records().await, Vec::<String>::new());
    assert_ne!(browser.driver.title().await.unwrap(), "hit");
}

#[tokio::test]
#[ignore = "needs Chromium and its chromedriver"]
async fn a_link_in_a_mail_opens_a_new_tab() {
    let service = Service::start().await;
    service.register_pending(ADA).await;
    let browser = Browser::open(&service.mail_url).await;
    browser.wait_for_visible("#html").await.enter_frame().await.unwrap();
    browser.click("main a").await;
    let tab = eventually("second tab", async || browser.driver.windows().await.unwrap().get(1).cloned()).await;
    browser.driver.switch_to_window(tab).await.unwrap();
    browser.wait_for_text("h1", |text| text == "Was it not you?").await;
    assert_eq!(browser.js("return window.opener").await, Value::Null);
}

#[tokio::test]
#[ignore = "needs Chromium and its chromedriver"]
async fn the_keyboard_alone_reaches_a_mail_and_its_code() {
    let service = Service::start().await;
    service.register_pending(ADA).await;
    service.wait_for_code(ADA, 1).await;
    service.register_pending(GRACE).await;
    let code = service.wait_for_code(GRACE, 1).await;
    service.register_pending("mary@example.com").await;
    let browser = Browser::open(&service.mail_url).await;
    browser.wait_for_text("#status", |text| text == "3 mails").await;

    let focused = async || browser.js("return document.activeElement.closest('[id]')?.id ?? ''").await;
    let mut passed = vec![];
    while !focused().await.as_str().unwrap().starts_with("mail-") {
        browser.press(Key::Tab).await;
        let outline = "const style = getComputedStyle(document.activeElement);
            return [style.outlineStyle, parseFloat(style.outlineWidth)]";
        let outline = browser.js(outline).await;
        assert!(outline[0] != "none" && outline[1].as_f64().unwrap() >= 2.0, "{} {outline}", focused().await);
        passed.push(focused().await);
        assert!(passed.len() < 10, "{passed:?}");
    }
    assert!(passed.contains(&json!("faults")) && passed.contains(&json!("empty")), "{passed:?}");

    browser.press(Key::Down).await;
    browser.press(Key::Enter).await;
    browser.wait_for_text("#to", |text| text == GRACE).await;
    assert_eq!(focused().await, "mail", "opening a mail must move the focus to it");
    assert_eq!(browser.wait_for_text("#digits", |text| !text.is_empty()).await, code);
    let spelled = browser.wait_for_visible("#digits").await.attr("aria-label").await.unwrap().unwrap();
    assert_eq!(spelled.replace(", ", ""), code);
    browser.press(Key::Escape).await;
    browser.wait_for_text("#to", |text| text == "mary@example.com").await;
}

#[tokio::test]
#[ignore = "needs Chromium and its chromedriver"]
async fn the_page_reconnects_after_a_restart_of_its_server() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let addr = format!("--mail-mock-addr={port}");
    let url = format!("http://{port}");
    let start = async || {
        let mut mock = Running::start(&mut sixty(&["mail-mock", &addr]));
        mock.until("line with the URL", async |mock| mock.stdout().contains("listens").then_some(())).await;
        mock
    };
    let http = reqwest::Client::new();
    let send = async |subject: &str| {
        let request = http.post(format!("{url}/api/v1/send")).json(&mail(subject, "Hello", ""));
        assert!(request.send().await.unwrap().status().is_success());
    };

    let mut mock = start().await;
    let browser = Browser::open(&url).await;
    send("before").await;
    browser.wait_for_text("#subject", |text| text == "before").await;
    mock.end(nix::sys::signal::Signal::SIGKILL).await;
    browser.wait_for_text("#status", |text| text.starts_with("The mail server does not answer")).await;
    let _mock = start().await;
    browser.wait_for_text("#status", |text| text == "0 mails").await;
    send("after").await;
    browser.wait_for_text("#subject", |text| text == "after").await;
}
