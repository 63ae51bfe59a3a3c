//! The link "this was not me": a page, a button, and what the button does.

use std::time::Duration;

use reqwest::{Method, Response};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::support::{self, Answer, PASSWORD, Service};

const ADA: &str = "ada@example.com";

async fn ask(service: &Service, method: Method, link: &str) -> Response {
    let response = service.http.request(method, link).send().await.unwrap();
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert_eq!(response.headers()["referrer-policy"], "no-referrer");
    response
}

/// The page's status and headline.
async fn page(response: Response) -> (u16, String) {
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
    let (status, text) = (response.status().as_u16(), response.text().await.unwrap());
    assert!(!text.contains("src=") && !text.contains("href="), "the page needs nothing from elsewhere");
    let (_, headline) = text.split_once("<h1>").unwrap();
    (status, headline.split_once("</h1>").unwrap().0.to_owned())
}

async fn press(service: &Service, link: &str) -> (u16, String) {
    page(ask(service, Method::POST, link).await).await
}

fn deleted() -> (u16, String) {
    (200, "The registration is deleted".to_owned())
}

fn over() -> (u16, String) {
    (410, "This link works no more".to_owned())
}

async fn short_codes(service: &Service) -> i32 {
    let short = "SELECT cardinality(short_granted_at) FROM addresses";
    sqlx::query_scalar(short).fetch_one(&service.db).await.unwrap()
}

#[tokio::test]
async fn the_button_deletes_the_registration_and_the_owner_registers_at_once() {
    let service = Service::start().await;
    let stranger = service.register_pending(ADA).await;
    let code = service.wait_for_code(ADA, 1).await;
    let link = service.wait_for_not_me_link(ADA, 1).await;
    service.wait_for_empty_outbox().await;

    // Whoever looks at mails before people do may follow the link as often as they like.
    for method in [Method::GET, Method::HEAD, Method::GET] {
        let shown = ask(&service, method, &link).await;
        assert_eq!(shown.status(), 200);
    }
    let (status, headline) = page(ask(&service, Method::GET, &link).await).await;
    assert_eq!((status, headline.as_str()), (200, "Was it not you?"));
    assert_eq!(service.me(ADA, PASSWORD).await.body["id"], stranger.as_str());
    assert_eq!(service.register(ADA, "the owner's password").await.outcome(), (429, "too-many-codes"));

    assert_eq!(press(&service, &link).await, deleted());
    assert_eq!(service.me(ADA, PASSWORD).await.status, 401);
    assert_eq!(service.activate(ADA, PASSWORD, &code).await.status, 401);
    let live: bool = service.redis(&["EXISTS", &service.redis_key("code", &stranger)]).await;
    assert!(!live);

    // At once, with a wait that doubles all the same and no short code given back.
    assert_eq!(service.register(ADA, "the owner's password").await.status, 201);
    let wait = service.register(ADA, "the owner's password").await.body["retry_after"].as_u64().unwrap();
    assert!((110..=120).contains(&wait), "{wait}");
    assert_eq!(short_codes(&service).await, 2);

    // It worked once: what the owner has registered since is not theirs to delete who have the old mail.
    assert_eq!(press(&service, &link).await, over());
    let code = service.wait_for_code(ADA, 2).await;
    assert_eq!(service.activate(ADA, "the owner's password", &code).await.status, 200);
}

#[tokio::test]
async fn an_owner_who_has_an_account_deletes_only_what_shadows_it() {
    let service = Service::start().await;
    let account = service.register_pending(ADA).await;
    let own = service.wait_for_not_me_link(ADA, 1).await;
    let code = service.wait_for_code(ADA, 1).await;
    assert_eq!(service.activate(ADA, PASSWORD, &code).await.status, 200);
    service.wait_for_mail(ADA, 2).await;
    assert_eq!(press(&service, &own).await, over(), "an account is never deleted so");
    sqlx::query("UPDATE users SET status = 'disabled'").execute(&service.db).await.unwrap();
    assert_eq!(press(&service, &own).await, over());
    sqlx::query("UPDATE users SET status = 'active'").execute(&service.db).await.unwrap();

    service.age_grants(Duration::from_secs(60)).await;
    let shadow = service.register(ADA, "another password").await.body["id"].as_str().unwrap().to_owned();
    let link = service.wait_for_not_me_link(ADA, 3).await;
    service.wait_for_empty_outbox().await;
    assert_eq!(press(&service, &link).await, deleted());
    let decoy: bool = service.redis(&["EXISTS", &service.redis_key("code", &shadow)]).await;
    assert!(!decoy);
    assert_eq!(service.me(ADA, "another password").await.status, 401);
    assert_eq!(service.me(ADA, PASSWORD).await.body["id"], account.as_str());
}

#[tokio::test]
async fn a_link_ends_with_its_registration_and_after_a_day() {
    let service = Service::start().await;
    service.register_pending(ADA).await;
    let replaced = service.wait_for_not_me_link(ADA, 1).await;
    service.age_grants(Duration::from_secs(60)).await;
    let id = service.register_pending(ADA).await;
    let link = service.wait_for_not_me_link(ADA, 2).await;
    assert_ne!(link, replaced);
    assert_eq!(press(&service, &replaced).await, over());
    service.age_grants(Duration::from_secs(24 * 60 * 60)).await;
    assert_eq!(press(&service, &link).await, over());
    assert_eq!(service.me(ADA, PASSWORD).await.body["id"], id.as_str(), "nothing has changed");
}

#[tokio::test]
async fn every_mail_of_a_registration_has_a_link_that_works_and_a_retry_has_the_same() {
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
    assert_eq!(press(&service, &first).await, deleted());
    assert_eq!(press(&service, &second).await, over());
}

#[tokio::test]
async fn links_that_are_none_and_other_methods_change_nothing() {
    let service = Service::start().await;
    service.register_pending(ADA).await;
    let link = service.wait_for_not_me_link(ADA, 1).await;
    for (path, status) in [("a".repeat(32), 410), ("a".repeat(31), 404), ("z".repeat(32), 404), ("%00".to_owned(), 404)]
    {
        let link = service.url_of(&format!("/not-me/{path}"));
        assert_eq!(press(&service, &link).await.0, status, "{path}");
        let shown = if status == 410 { 200 } else { 404 };
        assert_eq!(page(ask(&service, Method::GET, &link).await).await.0, shown, "{path}");
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
async fn of_eight_presses_at_once_one_deletes() {
    let service = Service::start().await;
    service.register_pending(ADA).await;
    let link = service.wait_for_not_me_link(ADA, 1).await;
    let presses = futures_util::future::join_all((0..8).map(|_| press(&service, &link))).await;
    assert_eq!(presses.iter().filter(|outcome| **outcome == deleted()).count(), 1, "{presses:?}");
    assert_eq!(presses.iter().filter(|outcome| **outcome == over()).count(), 7, "{presses:?}");
}

#[tokio::test]
async fn what_is_stored_does_not_make_a_link() {
    let service = Service::start().await;
    service.register_pending(ADA).await;
    let link = service.wait_for_not_me_link(ADA, 1).await;
    let (_, letters) = link.rsplit_once('/').unwrap();
    assert!(letters.len() == 32 && letters.bytes().all(|byte| byte.is_ascii_lowercase()), "{letters}");
    let stored = "SELECT encode(token_hash, 'hex') FROM not_me_links";
    let stored: String = sqlx::query_scalar(stored).fetch_one(&service.db).await.unwrap();
    let octets: String =
        letters.bytes().map(|letter| char::from_digit(u32::from(letter - b'a'), 16).unwrap()).collect();
    assert!(!stored.contains(&octets));
    let half = stored[..32].bytes().map(|digit| char::from(b'a' + char::from(digit).to_digit(16).unwrap() as u8));
    assert_eq!(press(&service, &service.url_of(&format!("/not-me/{}", String::from_iter(half)))).await, over());
}

#[tokio::test]
async fn mails_lead_to_where_people_reach_the_api() {
    let service = Service::start_with(&["--public-url=https://sixty.example/accounts/"]).await;
    service.register_pending(ADA).await;
    let mail = service.wait_for_mail(ADA, 1).await;
    assert!(mail.lines().last().unwrap().starts_with("https://sixty.example/accounts/not-me/"), "{mail}");
}

#[tokio::test]
async fn without_postgresql_the_page_is_shown_and_the_button_asks_for_patience() {
    let nowhere = ["--redis-url=redis://127.0.0.1:1/0", "--database-url=postgres://x@127.0.0.1:1/x"];
    let limits = ["--mail-url=http://127.0.0.1:1", "--database-timeout=300ms"];
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    let alone = support::run_service(&[nowhere, limits].concat(), stop).await;
    let link = format!("{alone}/not-me/{}", "a".repeat(32));
    let http = reqwest::Client::new();
    assert_eq!(page(http.get(&link).send().await.unwrap()).await.0, 200);
    let answer = http.post(&link).send().await.unwrap();
    assert_eq!(answer.headers()["retry-after"], "1");
    assert_eq!(page(answer).await, (503, "That could not be done just now".to_owned()));
}
