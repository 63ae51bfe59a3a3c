//! On a phone and in the dark: the inbox, its mails, and the service's own pages.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::{Browser, PHONE, is_dark};
use crate::support::{PASSWORD, Service};

const ADA: &str = "ada@example.com";

impl Browser {
    /// The computed color of what is behind the text.
    async fn ground(&self, css: &str) -> String {
        self.see(css).await.css_value("background-color").await.unwrap()
    }
}

#[tokio::test]
#[ignore = "needs Chromium and its chromedriver"]
async fn a_phone_is_wide_enough_for_all_of_the_inbox() {
    let service = Service::start().await;
    let browser = Browser::open(&service.mail_url).await;
    browser.window(PHONE).await;
    let narrow = async |what: &str| assert_eq!(browser.width().await, 390, "{what}");

    browser.text("#try", |text| !text.is_empty()).await;
    narrow("empty").await;
    browser.click("#faults summary").await;
    browser.see("[data-fault=drop] .state").await;
    narrow("the faults").await;
    browser.click("#faults summary").await;

    let long = format!("{}@{}.example.com", "l".repeat(64), "d".repeat(60));
    service.register_pending(&long).await;
    browser.see("#mails .chip").await;
    narrow("the list").await;
    assert!(!browser.is_seen("#mail").await, "the list or the mail");
    browser.click("#mails a").await;
    browser.see("#digits").await;
    assert!(!browser.is_seen("#mails").await, "the list or the mail");
    narrow("a mail").await;
    browser.click("#as-text").await;
    browser.see("#text").await;
    narrow("its text").await;
    browser.click("#back").await;
    browser.see("#mails").await;
    let right =
        "return Math.max(...[...document.querySelectorAll('body *')].map(e => e.getBoundingClientRect().right))";
    assert!(browser.js(right).await.as_f64().unwrap() <= 390.0, "nothing is cut off");
}

#[tokio::test]
#[ignore = "needs Chromium and its chromedriver"]
async fn the_inbox_and_its_mails_are_dark_for_whom_likes_it_dark() {
    let service = Service::start().await;
    service.register_pending(ADA).await;
    let browser = Browser::open(&service.mail_url).await;
    browser.see("#digits").await;
    for (scheme, dark) in [("light", false), ("dark", true)] {
        browser.scheme(scheme).await;
        for part in ["body", "header", "nav", "#code", "#faults", "iframe"] {
            assert_eq!(is_dark(&browser.ground(part).await), dark, "{scheme} {part}");
        }
        assert_eq!(is_dark(&browser.see("#digits").await.css_value("color").await.unwrap()), !dark);
        browser.see("#html").await.enter_frame().await.unwrap();
        assert_eq!(is_dark(&browser.ground("body").await), dark, "{scheme}: the mail");
        browser.driver.enter_default_frame().await.unwrap();
    }
}

#[tokio::test]
#[ignore = "needs Chromium and its chromedriver"]
async fn every_mail_fits_a_phone_in_light_and_dark() {
    let service = Service::start().await;
    service.register_active(ADA).await;
    let changed = service.request(reqwest::Method::PUT, "/v1/users/me/password").basic_auth(ADA, Some(PASSWORD));
    let changed = changed.json(&json!({ "password": "another password" })).send().await.unwrap();
    assert_eq!(changed.status(), 204);
    service.wait_for_mail(ADA, 3).await;
    service.age_grants(std::time::Duration::from_secs(60)).await;
    service.register(ADA, PASSWORD).await;
    service.wait_for_mail(ADA, 4).await;
    let mails = service.mails(ADA).await;
    let code = regex::Regex::new(r">\d{4}</p>").unwrap();

    let browser = Browser::open(&service.mail_url).await;
    browser.window(PHONE).await;
    for mail in mails {
        let subject = mail["Subject"].as_str().unwrap().to_owned();
        let html = service.mail_json(&mail).await["HTML"].as_str().unwrap().to_owned();
        // The longest code that there is.
        let html = code.replace(&html, ">0123456789</p>");
        // As a mail program shows it: by itself.
        browser.goto(&format!("data:text/html;base64,{}", STANDARD.encode(html.as_bytes()))).await;
        assert_eq!(browser.width().await, 390, "{subject}");
        for (scheme, dark) in [("light", false), ("dark", true)] {
            browser.scheme(scheme).await;
            assert_eq!(is_dark(&browser.ground("body").await), dark, "{subject}: {scheme}");
            let ink = browser.see("h1").await.css_value("color").await.unwrap();
            assert_eq!(is_dark(&ink), !dark, "{subject}: {scheme}");
        }
    }
}
