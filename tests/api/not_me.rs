//! The "not me" link of a mail: a GET shows a page with a button, and the button deletes the pending registration.

use std::time::Duration;

use reqwest::{Method, Response};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::support::{self, Answer, PASSWORD, Service};

const ADA: &str = "ada@example.com";

/// Requests the link and checks that the response is not cached and that the browser sends no referrer.
async fn request_link(service: &Service, method: Method, link: &str) -> Response {
    let response = service.http.request(method, link).send().await.unwrap();
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert_eq!(response.headers()["referrer-policy"], "no-referrer");
    response
}

/// Returns the status and the headline of an HTML page.
async fn read_page(response: Response) -> (u16, String) {
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
    let (status, text) = (response.status().as_u16(), response.text().await.unwrap());
    assert!(!text.contains("src=") && !text.contains("href="), "the page loads a resource or has a link: {text}");
    let (_, headline) = text.split_once("<h1>").unwrap();
    (status, headline.split_once("</h1>").unwrap().0.to_owned())
}

/// Sends the form of the page, as the button does. Returns the status and the headline of the next page.
async fn press_button(service: &Service, link: &str) -> (u16, String) {
    read_page(request_link(service, Method::POST, link).await).await
}

/// The page after a press that deleted the registration.
fn deletion_page() -> (u16, String) {
    (200, "The registration is deleted".to_owned())
}

/// The page for a link that is used, expired or unknown.
fn expired_page() -> (u16, String) {
    (410, "This link works no more".to_owned())
}

/// Returns the number of short codes that were granted to the only address in the database.
async fn count_short_code_grants(service: &Service) -> i32 {
    let count = "SELECT cardinality(short_granted_at) FROM addresses";
    sqlx::query_scalar(count).fetch_one(&service.db).await.unwrap()
}

#[tokio::test]
async fn the_button_deletes_the_registration_and_the_owner_can_register_at_once() {
    let service = Service::start().await;
    let strangers_id = service.register_pending(ADA).await;
    let code = service.wait_for_code(ADA, 1).await;
    let link = service.wait_for_not_me_link(ADA, 1).await;
    service.wait_for_empty_outbox().await;

    // Link scanners request the link before the owner does. GET and HEAD change nothing.
    for method in [Method::GET, Method::HEAD, Method::GET] {
        let response = request_link(&service, method, &link).await;
        assert_eq!(response.status(), 200);
    }
    let (status, headline) = read_page(request_link(&service, Method::GET, &link).await).await;
    assert_eq!((status, headline.as_str()), (200, "Was it not you?"));
    assert_eq!(service.me(ADA, PASSWORD).await.body["id"], strangers_id.as_str());
    assert_eq!(service.register(ADA, "the owner's password").await.outcome(), (429, "too-many-codes"));

    assert_eq!(press_button(&service, &link).await, deletion_page());
    assert_eq!(service.me(ADA, PASSWORD).await.status, 401);
    assert_eq!(service.activate(ADA, PASSWORD, &code).await.status, 401);
    let has_code: bool = service.redis(&["EXISTS", &service.redis_key("code", &strangers_id)]).await;
    assert!(!has_code);

    // The owner registers without a wait. The next wait still doubles, and the deleted short code still counts.
    assert_eq!(service.register(ADA, "the owner's password").await.status, 201);
    let wait = service.register(ADA, "the owner's password").await.body["retry_after"].as_u64().unwrap();
    assert!((110..=120).contains(&wait), "{wait}");
    assert_eq!(count_short_code_grants(&service).await, 2);

    // The used link does not delete the owner's new registration.
    assert_eq!(press_button(&service, &link).await, expired_page());
    let code = service.wait_for_code(ADA, 2).await;
    assert_eq!(service.activate(ADA, "the owner's password", &code).await.status, 200);
}

#[tokio::test]
async fn a_link_deletes_a_registration_of_an_accounts_address_but_not_the_account() {
    let service = Service::start().await;
    let account = service.register_pending(ADA).await;
    let accounts_link = service.wait_for_not_me_link(ADA, 1).await;
    let code = service.wait_for_code(ADA, 1).await;
    assert_eq!(service.activate(ADA, PASSWORD, &code).await.status, 200);
    service.wait_for_mail(ADA, 2).await;
    assert_eq!(
        press_button(&service, &accounts_link).await,
        expired_page(),
        "the link must not delete an active account"
    );
    sqlx::query("UPDATE users SET status = 'disabled'").execute(&service.db).await.unwrap();
    assert_eq!(press_button(&service, &accounts_link).await, expired_page());
    sqlx::query("UPDATE users SET status = 'active'").execute(&service.db).await.unwrap();

    service.age_grants(Duration::from_secs(60)).await;
    let second = service.register(ADA, "another password").await;
    let second_id = second.body["id"].as_str().unwrap();
    let link = service.wait_for_not_me_link(ADA, 3).await;
    service.wait_for_empty_outbox().await;
    assert_eq!(press_button(&service, &link).await, deletion_page());
    let has_decoy: bool = service.redis(&["EXISTS", &service.redis_key("code", second_id)]).await;
    assert!(!has_decoy);
    assert_eq!(service.me(ADA, "another password").await.status, 401);
    assert_eq!(service.me(ADA, PASSWORD).await.body["id"], account.as_str());
}

#[tokio::test]
async fn a_link_expires_after_a_day_or_when_its_registration_is_replaced() {
    let service = Service::start().await;
    service.register_pending(ADA).await;
    let replaced = service.wait_for_not_me_link(ADA, 1).await;
    service.age_grants(Duration::from_secs(60)).await;
    let id = service.register_pending(ADA).await;
    let link = service.wait_for_not_me_link(ADA, 2).await;
    assert_ne!(link, replaced);
    assert_eq!(press_button(&service, &replaced).await, expired_page());
    service.age_grants(Duration::from_secs(24 * 60 * 60)).await;
    assert_eq!(press_button(&service, &link).await, expired_page());
    assert_eq!(
        service.me(ADA, PASSWORD).await.body["id"],
        id.as_str(),
        "the expired link must not delete the registration"
    );
}

#[tokio::test]
async fn every_mail_of_a_registration_has_a_valid_link_and_a_retry_repeats_the_link() {
    let service = Service::start().await;
    service.set_mail_faults(json!({ "drop_rate": 1 })).await;
    service.register_pending(ADA).await;
    let first = service.wait_for_not_me_link(ADA, 1).await;
    service.set_mail_faults(json!({})).await;
    service.wait_for_empty_outbox().await;
    let links = "SELECT count(*) FROM not_me_links";
    assert_eq!(sqlx::query_scalar::<_, i64>(links).fetch_one(&service.db).await.unwrap(), 1);
    service.age_grants(Duration::from_secs(60)).await;
    assert_eq!(service.resend(ADA, PASSWORD).await.status, 202);
    let second = service.wait_for_not_me_link(ADA, 2).await;
    assert_eq!(press_button(&service, &first).await, deletion_page());
    assert_eq!(press_button(&service, &second).await, expired_page());
}

#[tokio::test]
async fn malformed_links_and_other_methods_change_nothing() {
    let service = Service::start().await;
    service.register_pending(ADA).await;
    let link = service.wait_for_not_me_link(ADA, 1).await;
    for (path, status) in [("a".repeat(32), 410), ("a".repeat(31), 404), ("z".repeat(32), 404), ("%00".to_owned(), 404)]
    {
        let link = service.url_of(&format!("/not-me/{path}"));
        assert_eq!(press_button(&service, &link).await.0, status, "{path}");
        let get_status = if status == 410 { 200 } else { 404 };
        assert_eq!(read_page(request_link(&service, Method::GET, &link).await).await.0, get_status, "{path}");
    }
    for method in [Method::DELETE, Method::PUT, Method::TRACE] {
        let answer = Answer::of(service.http.request(method, &link)).await;
        assert_eq!(
            (answer.outcome(), answer.header("allow")),
            ((405, "method-not-allowed"), "GET, HEAD, OPTIONS, POST")
        );
        assert_eq!((answer.header("cache-control"), answer.header("referrer-policy")), ("no-store", "no-referrer"));
    }
    assert_eq!(service.me(ADA, PASSWORD).await.status, 200);
}

#[tokio::test]
async fn one_of_eight_concurrent_presses_deletes_the_registration() {
    let service = Service::start().await;
    service.register_pending(ADA).await;
    let link = service.wait_for_not_me_link(ADA, 1).await;
    let presses = futures_util::future::join_all((0..8).map(|_| press_button(&service, &link))).await;
    assert_eq!(presses.iter().filter(|outcome| **outcome == deletion_page()).count(), 1, "{presses:?}");
    assert_eq!(presses.iter().filter(|outcome| **outcome == expired_page()).count(), 7, "{presses:?}");
}

#[tokio::test]
async fn the_stored_token_hash_cannot_be_used_as_a_link() {
    let service = Service::start().await;
    service.register_pending(ADA).await;
    let link = service.wait_for_not_me_link(ADA, 1).await;
    let (_, token) = link.rsplit_once('/').unwrap();
    assert!(token.len() == 32 && token.bytes().all(|byte| byte.is_ascii_lowercase()), "{token}");
    let select = "SELECT encode(token_hash, 'hex') FROM not_me_links";
    let stored_hash: String = sqlx::query_scalar(select).fetch_one(&service.db).await.unwrap();
    // A link token writes each hexadecimal digit as a letter from `a` to `p`.
    let token_hex: String =
        token.bytes().map(|letter| char::from_digit(u32::from(letter - b'a'), 16).unwrap()).collect();
    assert!(!stored_hash.contains(&token_hex));
    let hash_as_token =
        stored_hash[..32].bytes().map(|digit| char::from(b'a' + char::from(digit).to_digit(16).unwrap() as u8));
    assert_eq!(
        press_button(&service, &service.url_of(&format!("/not-me/{}", String::from_iter(hash_as_token)))).await,
        expired_page()
    );
}

#[tokio::test]
async fn links_in_mails_start_with_the_public_url() {
    let service = Service::start_with(&["--public-url=https://sixty.example/accounts/"]).await;
    service.register_pending(ADA).await;
    let mail = service.wait_for_mail(ADA, 1).await;
    assert!(mail.lines().last().unwrap().starts_with("https://sixty.example/accounts/not-me/"), "{mail}");
}

#[tokio::test]
async fn without_postgresql_the_page_is_served_and_the_button_answers_503() {
    let unreachable_stores = ["--redis-url=redis://127.0.0.1:1/0", "--database-url=postgres://x@127.0.0.1:1/x"];
    let other_flags = ["--mail-url=http://127.0.0.1:1", "--database-timeout=300ms"];
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    let url = support::run_service(&[unreachable_stores, other_flags].concat(), stop).await;
    let link = format!("{url}/not-me/{}", "a".repeat(32));
    let http = reqwest::Client::new();
    assert_eq!(read_page(http.get(&link).send().await.unwrap()).await.0, 200);
    let answer = http.post(&link).send().await.unwrap();
    assert_eq!(answer.headers()["retry-after"], "1");
    assert_eq!(read_page(answer).await, (503, "That could not be done just now".to_owned()));
}
