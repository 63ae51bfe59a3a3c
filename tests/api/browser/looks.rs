//! Layout on a phone and dark color scheme: the inbox page and the mails.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use sixty::domain::code::Code;
use sixty::domain::email::Email;
use sixty::domain::locale::Locale;
use sixty::language::Brand;
use sixty::mail::mails::Mails;

use super::{Browser, PHONE, is_dark};
use crate::support::{PASSWORD, Service};

const ADA: &str = "ada@example.com";

impl Browser {
    /// Returns the computed background color of an element.
    async fn background_color(&self, css: &str) -> String {
        self.wait_for_visible(css).await.css_value("background-color").await.unwrap()
    }
}

#[tokio::test]
#[ignore = "needs Chromium and its chromedriver"]
async fn the_inbox_fits_a_phone() {
    let service = Service::start().await;
    let browser = Browser::open(&service.mail_url).await;
    browser.set_window_size(PHONE).await;
    let assert_fits_phone = async |view: &str| assert_eq!(browser.page_width().await, 390, "{view}");

    browser.wait_for_text("#try", |text| !text.is_empty()).await;
    assert_fits_phone("empty").await;
    browser.click("#faults summary").await;
    browser.wait_for_visible("[data-fault=drop] .state").await;
    assert_fits_phone("the faults").await;
    browser.click("#faults summary").await;

    let long = format!("{}@{}.example.com", "l".repeat(64), "d".repeat(60));
    service.register_pending(&long).await;
    browser.wait_for_visible("#mails .chip").await;
    assert_fits_phone("the list").await;
    assert!(!browser.is_visible("#mail").await, "a phone must show either the list or the mail");
    browser.click("#mails a").await;
    browser.wait_for_visible("#digits").await;
    assert!(!browser.is_visible("#mails").await, "a phone must show either the list or the mail");
    assert_fits_phone("a mail").await;
    browser.click("#as-text").await;
    browser.wait_for_visible("#text").await;
    assert_fits_phone("its text").await;
    browser.click("#back").await;
    browser.wait_for_visible("#mails").await;
    let right =
        "return Math.max(...[...document.querySelectorAll('body *')].map(e => e.getBoundingClientRect().right))";
    assert!(browser.js(right).await.as_f64().unwrap() <= 390.0, "an element is cut off");
}

#[tokio::test]
#[ignore = "needs Chromium and its chromedriver"]
async fn the_inbox_and_its_mails_follow_the_color_scheme() {
    let service = Service::start().await;
    service.register_pending(ADA).await;
    let browser = Browser::open(&service.mail_url).await;
    browser.wait_for_visible("#digits").await;
    for (scheme, dark) in [("light", false), ("dark", true)] {
        browser.set_color_scheme(scheme).await;
        for part in ["body", "header", "nav", "#code", "#faults", "iframe"] {
            assert_eq!(is_dark(&browser.background_color(part).await), dark, "{scheme} {part}");
        }
        assert_eq!(is_dark(&browser.wait_for_visible("#digits").await.css_value("color").await.unwrap()), !dark);
        browser.wait_for_visible("#html").await.enter_frame().await.unwrap();
        assert_eq!(is_dark(&browser.background_color("body").await), dark, "{scheme}: the mail");
        browser.driver.enter_default_frame().await.unwrap();
    }
}

#[tokio::test]
#[ignore = "needs Chromium and its chromedriver"]
async fn every_mail_fits_a_phone_in_both_color_schemes() {
    let service = Service::start().await;
    service.register_active(ADA).await;
    let changed = service.request(reqwest::Method::PUT, "/v1/users/me/password").basic_auth(ADA, Some(PASSWORD));
    let changed = changed.json(&json!({ "password": "another password" })).send().await.unwrap();
    assert_eq!(changed.status(), 204);
    service.wait_for_mail(ADA, 3).await;
    service.age_grants(Duration::from_secs(60)).await;
    service.register(ADA, PASSWORD).await;
    service.wait_for_mail(ADA, 4).await;
    let mails = service.mails(ADA).await;

    let browser = Browser::open(&service.mail_url).await;
    browser.set_window_size(PHONE).await;
    for mail in mails {
        let subject = mail["Subject"].as_str().unwrap().to_owned();
        let html = service.mail_json(&mail).await["HTML"].as_str().unwrap().to_owned();
        // A page of its own, as in a mail program.
        browser.goto(&format!("data:text/html;base64,{}", STANDARD.encode(html.as_bytes()))).await;
        assert_eq!(browser.page_width().await, 390, "{subject}");
        for (scheme, dark) in [("light", false), ("dark", true)] {
            browser.set_color_scheme(scheme).await;
            assert_eq!(is_dark(&browser.background_color("body").await), dark, "{subject}: {scheme}");
            let text_color = browser.wait_for_visible("h1").await.css_value("color").await.unwrap();
            assert_eq!(is_dark(&text_color), !dark, "{subject}: {scheme}");
        }
    }
}

#[tokio::test]
#[ignore = "needs Chromium and its chromedriver"]
async fn a_code_of_every_length_fits_the_narrowest_phone() {
    let email = Email::parse(ADA).unwrap();
    let link = "https://sixty.example/not-me/x".parse().unwrap();
    let mails = Mails::new(&Brand::default(), Locale::English, None).unwrap();
    let browser = Browser::open("data:text/html,").await;
    for length in 4..=10 {
        let code = Code::parse(&"0123456789"[..length]).unwrap();
        let mail = mails.code(None, &email, &code, Duration::from_secs(60), &link);
        browser.goto(&format!("data:text/html;base64,{}", STANDARD.encode(mail.html.as_bytes()))).await;
        for width in [320, 360] {
            browser.set_window_size((width, 640)).await;
            let fits = "const box = document.querySelector('.code');
                const text = document.createRange();
                text.selectNodeContents(box);
                const { left, right } = box.getBoundingClientRect();
                const lines = [...text.getClientRects()];
                return lines.length === 1 && lines[0].left >= left && lines[0].right <= right
                    && document.documentElement.scrollWidth === innerWidth";
            assert_eq!(browser.js(fits).await, true, "{length} digits, {width} pixels");
        }
    }
}
