//! Activating: the right code once, three wrong ones, and none after the minute.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, PASSWORD, Service, code_in, concurrently, eventually, wrong_code};

const ADA: &str = "ada@example.com";

#[tokio::test]
async fn the_owner_is_told_by_mail_and_nobody_else_is() {
    let service = Service::start().await;
    service.register_active(ADA).await;
    let newest = service.mails(ADA).await[0].clone();
    assert_eq!(newest["Subject"], "Your Sixty account is active");
    let text = service.mail_text(&newest).await;
    assert!(text.starts_with("Your account is active\n") && code_in(&text).is_none(), "{text}");
    service.wait_for_empty_outbox().await;
    // A notice is no code: nothing of it lives in Redis, and no link of it deletes the account.
    let links: i64 = sqlx::query_scalar("SELECT count(*) FROM not_me_links").fetch_one(&service.db).await.unwrap();
    assert_eq!((links, text.contains("/not-me/")), (1, false), "that of the code's mail");

    // Whoever guesses at a decoy activates nothing, and is told nothing.
    service.age_grants(Duration::from_secs(60)).await;
    assert_eq!(service.register(ADA, "another password").await.status, 201);
    service.wait_for_mail(ADA, 3).await;
    let guess = service.activate(ADA, "another password", "0000").await;
    assert_eq!(guess.outcome(), (422, "incorrect-code"));
    service.wait_for_empty_outbox().await;
    let subjects: Vec<_> = service.mails(ADA).await.iter().map(|mail| mail["Subject"].clone()).collect();
    assert_eq!(subjects, ["You already have a Sixty account", "Your Sixty account is active", "Your Sixty code"]);
}

#[tokio::test]
async fn a_provider_that_is_down_delays_the_notice_and_not_the_activation() {
    let service = Service::start().await;
    service.register_pending(ADA).await;
    let code = service.wait_for_code(ADA, 1).await;
    service.wait_for_empty_outbox().await;
    service.set_mail_faults(json!({ "fail_rate": 1 })).await;
    assert_eq!(service.activate(ADA, PASSWORD, &code).await.status, 200);
    service.wait_for_mail_attempt().await;
    assert_eq!(service.mails(ADA).await.len(), 1);
    service.set_mail_faults(json!({})).await;
    service.wait_for_mail(ADA, 2).await;
}

#[tokio::test]
async fn the_mailed_code_activates_the_account_once() {
    let service = Service::start().await;
    let id = service.register_pending(ADA).await;
    let code = service.wait_for_code(ADA, 1).await;
    let active = service.activate(ADA, PASSWORD, &code).await;
    assert_eq!(active.status, 200);
    assert_eq!((&active.body["id"], &active.body["status"]), (&json!(id), &json!("active")));
    assert!(active.body["activated_at"].is_string());
    assert_eq!(service.activate(ADA, PASSWORD, &code).await.outcome(), (409, "already-active"));
    assert_eq!(service.me(ADA, PASSWORD).await.body, active.body);
    service.wait_for_empty_outbox().await;
    let left: bool = service.redis(&["EXISTS", &service.redis_key("code", &id)]).await;
    assert!(!left, "a used code is gone");
}

#[tokio::test]
async fn wrong_guesses_count_down_and_destroy_the_code() {
    let service = Service::start().await;
    service.register_pending(ADA).await;
    let code = service.wait_for_code(ADA, 1).await;
    for left in [2, 1, 0] {
        let guess = service.activate(ADA, PASSWORD, &wrong_code(&code)).await;
        assert_eq!(guess.outcome(), (422, "incorrect-code"));
        assert_eq!(guess.body["attempts_remaining"], left);
        assert_eq!(guess.pointers(), ["/code"]);
    }
    let late = service.activate(ADA, PASSWORD, &code).await;
    assert_eq!(late.outcome(), (410, "code-expired"));
    assert_eq!(late.body["detail"], "The code was destroyed by three wrong guesses; ask for another.");
    assert_eq!(service.me(ADA, PASSWORD).await.body["status"], "pending");
}

#[tokio::test]
async fn before_its_mail_is_sent_there_is_no_code() {
    let service = Service::start().await;
    service.set_mail_faults(json!({ "fail_rate": 1, "status": 503 })).await;
    service.register_pending(ADA).await;
    eventually("a failed attempt", async || {
        let retry = "SELECT attempts > 0 AND lease IS NULL FROM outbox";
        sqlx::query_scalar::<_, bool>(retry).fetch_one(&service.db).await.unwrap().then_some(())
    })
    .await;
    service.set_mail_faults(json!({ "fail_rate": 1, "latency_ms": 0, "status": 500 })).await;
    // Between attempts: one under way makes the code live, since its mail may arrive before its answer.
    let early = eventually("no attempt under way", async || {
        let early = service.activate(ADA, PASSWORD, "0000").await;
        (early.outcome() == (410, "code-expired")).then_some(early)
    })
    .await;
    assert_eq!(early.body["detail"], "No code is live: the mail is still on its way, or was sent long ago.");
}

/// The promise of the service's name, with the native expiry of a real Redis and no clock moved.
#[tokio::test]
async fn a_code_dies_after_sixty_seconds() {
    let service = Service::start_with(&["--code-storage=plain"]).await;
    let id = service.register_pending(ADA).await;
    let code = service.wait_for_code(ADA, 1).await;
    service.wait_for_empty_outbox().await;
    let armed = Instant::now();
    let key = service.redis_key("code", &id);
    let shown: std::collections::HashMap<String, String> = service.redis(&["HGETALL", &key]).await;
    assert_eq!(shown["code"], code);
    let ttl: i64 = service.redis(&["PTTL", &key]).await;
    assert!((55_000..=60_000).contains(&ttl), "{ttl}");

    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    while service.redis::<i64>(&["PTTL", &key]).await > 1_500 {
        seconds.tick().await;
    }
    // A miss, so that the code is not used up: it is alive to the end.
    let last = service.activate(ADA, PASSWORD, &wrong_code(&code)).await;
    assert_eq!(last.outcome(), (422, "incorrect-code"));
    eventually("the code's end", async || (!service.redis::<bool>(&["EXISTS", &key]).await).then_some(())).await;
    assert!((55..=65).contains(&armed.elapsed().as_secs()), "{:?}", armed.elapsed());
    let late = service.activate(ADA, PASSWORD, &code).await;
    assert_eq!(late.outcome(), (410, "code-expired"));
    assert_eq!(late.body["detail"], "The code has expired; ask for another.");
}

#[tokio::test]
async fn with_macs_redis_shows_no_code() {
    let service = Service::start().await;
    let id = service.register_pending(ADA).await;
    let code = service.wait_for_code(ADA, 1).await;
    let shown: std::collections::HashMap<String, String> =
        service.redis(&["HGETALL", &service.redis_key("code", &id)]).await;
    let mut fields: Vec<_> = shown.keys().collect();
    fields.sort();
    assert_eq!(fields, ["grant", "mac"]);
    assert!(shown.values().all(|value| *value != code));
    assert_eq!(service.activate(ADA, PASSWORD, &code).await.status, 200);
}

#[tokio::test]
async fn codes_that_are_none_are_refused_and_cost_no_guess() {
    let service = Service::start().await;
    service.register_pending(ADA).await;
    let code = service.wait_for_code(ADA, 1).await;
    let bodies =
        [json!("12a4"), json!("123"), json!("12345"), json!("123456789"), json!("١٢٣٤"), json!(1234), Value::Null];
    for code in bodies {
        let request = service.request(Method::POST, "/v1/users/me/activation").basic_auth(ADA, Some(PASSWORD));
        let answer = Answer::of(request.json(&json!({ "code": code }))).await;
        assert_eq!((answer.outcome(), answer.pointers()), ((422, "invalid-field"), vec!["/code"]), "{code}");
    }
    assert_eq!(service.activate(ADA, PASSWORD, &code).await.status, 200);
}

#[tokio::test]
async fn of_eight_activations_at_once_one_succeeds() {
    let service = Service::start().await;
    service.register_pending(ADA).await;
    let code = service.wait_for_code(ADA, 1).await;
    let answers = concurrently(8, |_| {
        let request = service.request(Method::POST, "/v1/users/me/activation").basic_auth(ADA, Some(PASSWORD));
        Answer::of(request.json(&json!({ "code": code })))
    })
    .await;
    let mut outcomes: Vec<_> = answers.iter().map(Answer::outcome).collect();
    outcomes.sort_unstable();
    assert_eq!(outcomes[0], (200, ""));
    assert!(outcomes[1..].iter().all(|outcome| *outcome == (409, "already-active")), "{outcomes:?}");
}

#[tokio::test]
async fn of_twenty_guesses_at_once_three_are_answered() {
    let service = Service::start().await;
    service.register_pending(ADA).await;
    let code = service.wait_for_code(ADA, 1).await;
    service.wait_for_empty_outbox().await;
    let replica = service.replica(&[]).await;
    let answers = concurrently(20, |n| {
        let to = if n % 2 == 0 { &service } else { &replica };
        let request = to.request(Method::POST, "/v1/users/me/activation").basic_auth(ADA, Some(PASSWORD));
        Answer::of(request.json(&json!({ "code": wrong_code(&code) })))
    })
    .await;
    let mut left: Vec<_> = answers.iter().filter_map(|answer| answer.body["attempts_remaining"].as_u64()).collect();
    left.sort_unstable();
    assert_eq!(left, [0, 1, 2]);
    assert_eq!(answers.iter().filter(|answer| answer.outcome() == (410, "code-expired")).count(), 17);
    assert_eq!(service.activate(ADA, PASSWORD, &code).await.outcome(), (410, "code-expired"));
}

/// Whoever wins, the active row's password is the one whose code was given.
#[tokio::test]
async fn an_activation_racing_a_registration_never_activates_the_others_password() {
    let service = Service::start().await;
    for round in 0..12 {
        let email = format!("ada{round}@example.com");
        service.register_pending(&email).await;
        let code = service.wait_for_code(&email, 1).await;
        service.age_grants(Duration::from_secs(60)).await;
        let answers = concurrently(2, |n| {
            Answer::of(if n == 0 {
                let request = service.request(Method::POST, "/v1/users/me/activation");
                request.basic_auth(&email, Some(PASSWORD)).json(&json!({ "code": code }))
            } else {
                let body = json!({ "email": email, "password": "another password" });
                service.request(Method::POST, "/v1/users").json(&body)
            })
        })
        .await;
        assert_eq!(answers[1].status, 201);
        let other = service.me(&email, "another password").await;
        assert_eq!((other.status.as_u16(), &other.body["status"]), (200, &json!("pending")));
        match answers[0].outcome() {
            (200, _) => assert_eq!(service.me(&email, PASSWORD).await.body["status"], "active"),
            (401, "unauthenticated") | (410, "code-expired") => {
                assert_eq!(service.me(&email, PASSWORD).await.status, 401);
            }
            outcome => panic!("{outcome:?}"),
        }
    }
}
