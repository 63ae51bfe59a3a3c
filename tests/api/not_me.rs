//! The "not me" link of a mail: a GET shows a page with a button, and the button deletes the pending registration.

use std::time::{Duration, SystemTime};

use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::json;
use sixty::domain::code::CodeSecret;
use sixty::domain::not_me::NotMeToken;
use sixty::http::not_me_form::{FIELD, NotMeForm};
use tokio_util::sync::CancellationToken;

use crate::support::{self, Answer, PASSWORD, Service, concurrently, eventually};

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
    assert!(!text.contains("src="), "the page loads a resource: {text}");
    // `Referrer-Policy: no-referrer` keeps the token out of the request that this link makes.
    assert_eq!(text.matches("href=").count(), text.matches("href=\"../docs\"").count(), "{text}");
    let (_, headline) = text.split_once("<h1>").unwrap();
    (status, headline.split_once("</h1>").unwrap().0.to_owned())
}

/// The page before the press.
fn question_page() -> (u16, String) {
    (200, "Was it not you?".to_owned())
}

/// Returns the field of the form in a page.
fn form_field(page: &str) -> String {
    let (_, field) = page.split_once(&format!(r#"<input type="hidden" name="{FIELD}" value=""#)).expect("a form");
    field.split_once('"').unwrap().0.to_owned()
}

/// Returns the field of the form in a page that was shown `age` ago, so that a test need not wait after it loads the page.
#[expect(clippy::disallowed_methods, reason = "the page has the time of the service's machine, which is this one")]
fn field_of_age(link: &str, age: Duration) -> String {
    let form = NotMeForm::new(CodeSecret::new(vec![0; 32]).unwrap());
    let token = NotMeToken::parse(link.rsplit_once('/').unwrap().1).unwrap_or(NotMeToken::new([0; 16]));
    form.field(&token.letters(), SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap() - age)
}

fn form_request(http: &Client, link: &str, field: &str) -> RequestBuilder {
    let form = http.post(link).header("content-type", "application/x-www-form-urlencoded");
    form.body(format!("{FIELD}={field}"))
}

/// Sends the form of a page, as the button does.
async fn send_form(service: &Service, link: &str, field: &str) -> Response {
    let response = form_request(&service.http, link, field).send().await.unwrap();
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert_eq!(response.headers()["referrer-policy"], "no-referrer");
    response
}

/// Presses the button of a page that was shown a minute ago. Returns the status and the headline of the next page.
pub async fn press_button(service: &Service, link: &str) -> (u16, String) {
    read_page(send_form(service, link, &field_of_age(link, Duration::from_secs(60))).await).await
}

/// Presses the button, which must delete the registration. Returns the ticket in the header, which the page shows too.
async fn press_button_for_ticket(service: &Service, link: &str) -> String {
    let response = send_form(service, link, &field_of_age(link, Duration::from_secs(60))).await;
    let ticket = response.headers()["registration-ticket"].to_str().unwrap().to_owned();
    assert!(ticket.len() == 32 && ticket.bytes().all(|byte| (b'a'..=b'p').contains(&byte)), "{ticket}");
    assert_eq!(response.status(), 200);
    let text = response.text().await.unwrap();
    assert!(text.contains(&format!(">{ticket}</code>")) && text.contains("Registration-Ticket"), "{text}");
    ticket
}

impl Service {
    async fn register_by_ticket(&self, email: &str, password: &str, ticket: &str) -> Answer {
        let body = json!({ "email": email, "password": password });
        Answer::of(self.request(Method::POST, "/v1/users").header("Registration-Ticket", ticket).json(&body)).await
    }
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
async fn the_button_deletes_the_registration_and_its_ticket_lets_the_owner_register_at_once() {
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
    assert_eq!(read_page(request_link(&service, Method::GET, &link).await).await, question_page());
    assert_eq!(service.me(ADA, PASSWORD).await.body["id"], strangers_id.as_str());
    assert_eq!(service.register(ADA, "the owner's password").await.outcome(), (429, "too-many-codes"));

    let ticket = press_button_for_ticket(&service, &link).await;
    assert_eq!(service.me(ADA, PASSWORD).await.status, 401);
    let activation = service.activate(ADA, PASSWORD, &code).await;
    assert_eq!(activation.outcome(), (410, "code-expired"));
    let detail = "The registration was deleted: the link \"This was not me\" in its mail was used. Register again.";
    assert_eq!(
        (&activation.body["detail"], &service.me(ADA, PASSWORD).await.body["detail"]),
        (&json!(detail), &json!(detail))
    );
    assert_eq!(service.activate(ADA, "not the password", &code).await.outcome(), (401, "unauthenticated"));
    let has_code: bool = service.redis(&["EXISTS", &service.redis_key("code", &strangers_id)]).await;
    assert!(!has_code);

    // The wait stays for everybody but the owner. The next wait still doubles, and the deleted short code still counts.
    assert_eq!(service.register(ADA, "the owner's password").await.outcome(), (429, "too-many-codes"));
    assert_eq!(service.register_by_ticket(ADA, "the owner's password", &ticket).await.status, 201);
    let wait = service.register(ADA, "the owner's password").await.body["retry_after"].as_u64().unwrap();
    assert!((110..=120).contains(&wait), "{wait}");
    assert_eq!(count_short_code_grants(&service).await, 2);

    // The used link does not delete the owner's new registration.
    assert_eq!(press_button(&service, &link).await, expired_page());
    let code = service.wait_for_code(ADA, 2).await;
    assert_eq!(service.activate(ADA, "the owner's password", &code).await.status, 200);
}

/// Programs that check the links in mails request the page and press its button at once.
#[tokio::test]
async fn a_press_without_the_page_or_at_once_shows_the_page_and_changes_nothing() {
    let service = Service::start().await;
    let replica = service.replica(&[]).await;
    let id = service.register_pending(ADA).await;
    let link = service.wait_for_not_me_link(ADA, 1).await;
    service.wait_for_empty_outbox().await;
    let other_link = service.url_of(&format!("/not-me/{}", "b".repeat(32)));
    let minute = Duration::from_secs(60);

    let without_body = request_link(&service, Method::POST, &link).await;
    assert_eq!(read_page(without_body).await, question_page());
    let json = service.http.post(&link).json(&json!({ FIELD: field_of_age(&link, minute) })).send().await.unwrap();
    assert_eq!(read_page(json).await, question_page());
    let hours = Duration::from_secs(5 * 60 * 60);
    for field in [String::new(), "1".to_owned(), field_of_age(&other_link, minute), field_of_age(&link, hours)] {
        let page = send_form(&service, &link, &field).await.text().await.unwrap();
        assert!(page.contains("<h1>Was it not you?</h1>") && page.contains("press the button again"), "{page}");
    }
    let path = link.strip_prefix(&service.url).unwrap();
    let page = replica.request(Method::GET, path).send().await.unwrap().text().await.unwrap();
    assert!(!page.contains("again"), "{page}");
    assert_eq!(read_page(send_form(&service, &link, &form_field(&page)).await).await, question_page());
    assert_eq!(service.me(ADA, PASSWORD).await.body["id"], id.as_str());

    // The page of a press that was too late has a new form. All replicas accept it after two seconds.
    let again = send_form(&service, &link, &field_of_age(&link, hours)).await.text().await.unwrap();
    let field = form_field(&again);
    eventually("press that deletes the registration", async || {
        let page = read_page(send_form(&replica, &replica.url_of(path), &field).await).await;
        assert!([question_page(), deletion_page()].contains(&page), "{page:?}");
        (page == deletion_page()).then_some(())
    })
    .await;
    assert_eq!(service.me(ADA, PASSWORD).await.status, 401);
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
    let failed_page = (503, "That could not be done just now".to_owned());
    let press = async |field: String| form_request(&http, &link, &field).send().await.unwrap();
    let answer = press(field_of_age(&link, Duration::from_secs(60))).await;
    assert_eq!(answer.headers()["retry-after"], "1");
    let page = answer.text().await.unwrap();
    assert!(page.contains("<h1>That could not be done just now</h1>"), "{page}");
    // The button of this page works at once.
    assert_eq!(read_page(press(form_field(&page)).await).await, failed_page);
}

#[tokio::test]
async fn a_ticket_works_once_for_its_address_and_for_15_minutes() {
    let service = Service::start().await;
    service.register_pending("eve@example.com").await;
    service.register_pending(ADA).await;
    let link = service.wait_for_not_me_link(ADA, 1).await;
    service.wait_for_empty_outbox().await;
    let ticket = press_button_for_ticket(&service, &link).await;
    // A ticket of another address and an unknown ticket are like no ticket.
    let refused = (429, "too-many-codes");
    assert_eq!(service.register_by_ticket("eve@example.com", "another password", &ticket).await.outcome(), refused);
    assert_eq!(service.register_by_ticket(ADA, PASSWORD, &"a".repeat(32)).await.outcome(), refused);
    assert_eq!(service.register_by_ticket("bob@example.com", PASSWORD, &ticket).await.status, 201);
    // The canonical form of the address counts.
    assert_eq!(service.register_by_ticket("ADA@Example.com", PASSWORD, &ticket).await.status, 201);
    assert_eq!(service.register_by_ticket(ADA, PASSWORD, &ticket).await.outcome(), refused);

    let link = service.wait_for_not_me_link(ADA, 2).await;
    let ticket = press_button_for_ticket(&service, &link).await;
    let longer_than_a_ticket = "UPDATE addresses SET wait = interval '1 hour'";
    sqlx::query(longer_than_a_ticket).execute(&service.db).await.unwrap();
    service.age_grants(Duration::from_secs(15 * 60)).await;
    assert_eq!(service.register_by_ticket(ADA, PASSWORD, &ticket).await.outcome(), refused);
}

#[tokio::test]
async fn a_malformed_ticket_is_named_together_with_every_invalid_field() {
    let service = Service::start().await;
    for malformed in ["", "a", &"q".repeat(32), &"A".repeat(32), &"a".repeat(33)] {
        let answer = service.register_by_ticket(ADA, PASSWORD, malformed).await;
        assert_eq!(answer.outcome(), (422, "invalid-field"));
        assert_eq!(answer.body["errors"][0]["parameter"], "Registration-Ticket", "{answer:?}");
    }
    let answer = service.register_by_ticket("no address", "short", "a").await;
    assert_eq!(answer.outcome(), (422, "invalid-field"));
    let errors = answer.body["errors"].as_array().unwrap();
    let named: Vec<_> = errors.iter().map(|error| error["pointer"].as_str().unwrap_or("the ticket")).collect();
    assert_eq!(named, ["the ticket", "/email", "/password"]);
    let ticket = "a".repeat(32);
    let twice = service.request(Method::POST, "/v1/users").header("Registration-Ticket", &ticket);
    let twice = twice.header("Registration-Ticket", &ticket).json(&json!({ "email": ADA, "password": PASSWORD }));
    assert_eq!(Answer::of(twice).await.outcome(), (422, "invalid-field"));
    let registered: i64 = sqlx::query_scalar("SELECT count(*) FROM addresses").fetch_one(&service.db).await.unwrap();
    assert_eq!(registered, 0);
}

#[tokio::test]
async fn one_of_eight_concurrent_uses_of_a_ticket_registers() {
    let service = Service::start().await;
    let replica = service.replica(&[]).await;
    service.register_pending(ADA).await;
    let link = service.wait_for_not_me_link(ADA, 1).await;
    service.wait_for_empty_outbox().await;
    let ticket = press_button_for_ticket(&service, &link).await;
    let answers = concurrently(8, |n| {
        let process = if n % 2 == 0 { &service } else { &replica };
        let body = json!({ "email": ADA, "password": PASSWORD });
        let request = process.request(Method::POST, "/v1/users").header("Registration-Ticket", &ticket);
        Answer::of(request.json(&body))
    })
    .await;
    let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 429, 429, 429, 429, 429, 429, 429]);
}

#[tokio::test]
async fn the_stored_ticket_hash_is_not_the_ticket() {
    let service = Service::start().await;
    service.register_pending(ADA).await;
    let link = service.wait_for_not_me_link(ADA, 1).await;
    let ticket = press_button_for_ticket(&service, &link).await;
    let rows: String = sqlx::query_scalar("SELECT a::text FROM addresses AS a").fetch_one(&service.db).await.unwrap();
    let ticket_hex: String =
        ticket.bytes().map(|letter| char::from_digit(u32::from(letter - b'a'), 16).unwrap()).collect();
    assert!(!rows.contains(&ticket) && !rows.contains(&ticket_hex), "{rows}");
}

/// Twelve networks register the address as soon as they can: all the time, and in the moment of each press.
async fn strangers_race(service: &Service) -> usize {
    let answers = concurrently(12, |n| {
        let body = json!({ "email": ADA, "password": format!("stranger's password {n}") });
        let request = service.request(Method::POST, "/v1/users").json(&body);
        Answer::of(request.header("X-Forwarded-For", format!("192.0.2.{n}")))
    })
    .await;
    answers.iter().filter(|answer| answer.status == 201).count()
}

/// The strangers' networks obey no limit but the wait of the address, so that the test shows the wait alone.
#[tokio::test]
async fn strangers_in_twelve_networks_get_no_more_codes_than_the_pacing_allows_and_the_owner_gets_in() {
    let flags = ["--client-limits=true", "--trusted-proxies=127.0.0.1", "--client-codes-per-hour=10000"];
    let slow_redis = ["--redis-timeout=20s", "--mail-lease=2m"];
    let service = Service::start_with(&[&flags[..], &slow_redis].concat()).await;
    let day = Duration::from_secs(24 * 60 * 60);
    let (mut elapsed, mut codes) = (Duration::ZERO, 0);
    while elapsed < day {
        assert_eq!(strangers_race(&service).await, 1, "after {codes} codes");
        codes += 1;
        let link = service.wait_for_not_me_link(ADA, codes).await;
        service.wait_for_empty_outbox().await;
        press_button_for_ticket(&service, &link).await;
        assert_eq!(strangers_race(&service).await, 0, "the press must not end the wait for strangers");
        let wait = "SELECT extract(epoch FROM wait)::float8 FROM addresses";
        let wait: f64 = sqlx::query_scalar(wait).fetch_one(&service.db).await.unwrap();
        let wait = Duration::from_secs_f64(wait);
        service.age_grants(wait).await;
        elapsed += wait;
    }
    assert_eq!(codes, 13, "the first day of pacing grants 13 codes");

    // The owner presses and registers with the ticket, while all strangers race.
    assert_eq!(strangers_race(&service).await, 1);
    let link = service.wait_for_not_me_link(ADA, codes + 1).await;
    service.wait_for_empty_outbox().await;
    let ticket = press_button_for_ticket(&service, &link).await;
    let (registered, strangers) =
        tokio::join!(service.register_by_ticket(ADA, "the owner's password", &ticket), strangers_race(&service));
    assert_eq!((registered.status.as_u16(), strangers), (201, 0));
    let code = service.wait_for_code(ADA, codes + 2).await;
    assert_eq!(strangers_race(&service).await, 0);
    assert_eq!(service.activate(ADA, "the owner's password", &code).await.status, 200);
}

/// The wait ends between the press and the owner's registration, and a stranger is faster.
#[tokio::test]
async fn a_ticket_replaces_the_registration_of_a_faster_stranger() {
    let service = Service::start().await;
    service.register_pending(ADA).await;
    let link = service.wait_for_not_me_link(ADA, 1).await;
    service.wait_for_empty_outbox().await;
    let ticket = press_button_for_ticket(&service, &link).await;
    service.age_grants(Duration::from_secs(60)).await;
    service.register_pending(ADA).await;
    // Otherwise the owner's registration could delete this mail before it is sent.
    service.wait_for_mail(ADA, 2).await;
    assert_eq!(service.register_by_ticket(ADA, "the owner's password", &ticket).await.status, 201);
    assert_eq!(service.me(ADA, PASSWORD).await.status, 401);
    let code = service.wait_for_code(ADA, 3).await;
    assert_eq!(service.activate(ADA, "the owner's password", &code).await.status, 200);
}

/// A stranger who uses up the quota of the mailbox must not keep the owner out.
#[tokio::test]
async fn the_code_of_a_registration_with_a_ticket_is_sent_although_the_mailbox_is_over_its_quota() {
    let service = Service::start_with(&["--mailbox-codes-per-hour=1"]).await;
    service.register_pending(ADA).await;
    let link = service.wait_for_not_me_link(ADA, 1).await;
    service.wait_for_empty_outbox().await;
    let ticket = press_button_for_ticket(&service, &link).await;
    assert_eq!(service.register_by_ticket(ADA, "the owner's password", &ticket).await.status, 201);
    let code = service.wait_for_code(ADA, 2).await;
    service.wait_for_empty_outbox().await;
    // An unknown ticket does not lift the quota, nor does a resend.
    service.age_grants(Duration::from_secs(120)).await;
    assert_eq!(service.resend(ADA, "the owner's password").await.status, 202);
    service.wait_for_empty_outbox().await;
    service.age_grants(Duration::from_secs(240)).await;
    assert_eq!(service.register_by_ticket(ADA, PASSWORD, &"a".repeat(32)).await.status, 201);
    service.wait_for_empty_outbox().await;
    assert_eq!(service.mails(ADA).await.len(), 2);
    assert_ne!(service.activate(ADA, "the owner's password", &code).await.status, 200);
}

#[tokio::test]
async fn pages_of_allowed_origins_may_send_the_ticket() {
    let service = Service::start_with(&["--cors-origins=https://app.example"]).await;
    let preflight = service
        .request(Method::OPTIONS, "/v1/users")
        .header("Origin", "https://app.example")
        .header("Access-Control-Request-Method", "POST")
        .header("Access-Control-Request-Headers", "content-type,registration-ticket");
    let answer = Answer::of(preflight).await;
    assert!(answer.header("access-control-allow-headers").contains("Registration-Ticket"));
    let body = json!({ "email": ADA, "password": PASSWORD });
    let registration = service.request(Method::POST, "/v1/users").header("Origin", "https://app.example").json(&body);
    let answer = Answer::of(registration).await;
    assert!(answer.header("access-control-expose-headers").contains("Registration-Ticket"));
}
