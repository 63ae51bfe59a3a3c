//! Activation: the right code works once, within 60 seconds, and before the third wrong guess.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, PASSWORD, Service, code_in, concurrently, eventually, wrong_code};

const ADA: &str = "ada@example.com";

#[tokio::test]
async fn activation_mails_a_notice_to_the_owner_and_a_decoy_guess_mails_nothing() {
    let service = Service::start().await;
    service.register_active(ADA).await;
    let newest = service.mails(ADA).await[0].clone();
    assert_eq!(newest["Subject"], "Your Sixty account is active");
    let text = service.mail_text(&newest).await;
    assert!(text.starts_with("Your Sixty account is active\n") && code_in(&text).is_none(), "{text}");
    service.wait_for_empty_outbox().await;
    // The notice contains no "not me" link: a link in it must not delete an active account.
    let links: i64 = sqlx::query_scalar("SELECT count(*) FROM not_me_links").fetch_one(&service.db).await.unwrap();
    assert_eq!((links, text.contains("/not-me/")), (1, false), "the only link belongs to the code mail");

    // A guess at the code of a decoy registration activates nothing and sends no notice.
    service.age_grants(Duration::from_secs(60)).await;
    assert_eq!(service.register(ADA, "another password").await.status, 201);
    service.wait_for_mail(ADA, 3).await;
    let guess = service.activate(ADA, "another password", "0000").await;
    assert_eq!(guess.outcome(), (422, "incorrect-code"));
    service.wait_for_empty_outbox().await;
    let subjects: Vec<_> = service.mails(ADA).await.iter().map(|mail| mail["Subject"].clone()).collect();
    assert_eq!(subjects, ["You already have an account at Sixty", "Your Sixty account is active", "Your Sixty code"]);
}

#[tokio::test]
async fn a_failing_mail_provider_delays_the_notice_but_not_the_activation() {
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
    let code_exists: bool = service.redis(&["EXISTS", &service.redis_key("code", &id)]).await;
    assert!(!code_exists, "Redis still holds the used code");
}

#[tokio::test]
async fn a_third_wrong_guess_destroys_the_code() {
    let service = Service::start().await;
    service.register_pending(ADA).await;
    let code = service.wait_for_code(ADA, 1).await;
    for attempts_remaining in [2, 1, 0] {
        let guess = service.activate(ADA, PASSWORD, &wrong_code(&code)).await;
        assert_eq!(guess.outcome(), (422, "incorrect-code"));
        assert_eq!(guess.body["attempts_remaining"], attempts_remaining);
        assert_eq!(guess.pointers(), ["/code"]);
    }
    let late = service.activate(ADA, PASSWORD, &code).await;
    assert_eq!(late.outcome(), (410, "code-expired"));
    assert_eq!(late.body["detail"], "The code was destroyed by three wrong guesses; ask for another.");
    assert_eq!(service.me(ADA, PASSWORD).await.body["status"], "pending");
}

#[tokio::test]
async fn no_code_is_live_between_failed_attempts_to_send_its_mail() {
    let service = Service::start().await;
    service.set_mail_faults(json!({ "fail_rate": 1, "status": 503 })).await;
    service.register_pending(ADA).await;
    eventually("a failed attempt", async || {
        let retry = "SELECT attempts > 0 AND lease IS NULL FROM outbox";
        sqlx::query_scalar::<_, bool>(retry).fetch_one(&service.db).await.unwrap().then_some(())
    })
    .await;
    service.set_mail_faults(json!({ "fail_rate": 1, "latency_ms": 0, "status": 500 })).await;
    // The code is live during an attempt, because the mail can arrive before the provider's answer. So poll until no
    // attempt is in progress.
    let early = eventually("a guess between two attempts", async || {
        let early = service.activate(ADA, PASSWORD, "0000").await;
        (early.outcome() == (410, "code-expired")).then_some(early)
    })
    .await;
    assert_eq!(early.body["detail"], "No code is live yet: the mail is still on its way.");
}

/// Waits for the expiry of the key in a real Redis. The test moves no clock.
#[tokio::test]
async fn a_code_expires_after_sixty_seconds() {
    let service = Service::start_with(&["--code-storage=plain"]).await;
    let id = service.register_pending(ADA).await;
    let code = service.wait_for_code(ADA, 1).await;
    service.wait_for_empty_outbox().await;
    let started = Instant::now();
    let key = service.redis_key("code", &id);
    let entry: std::collections::HashMap<String, String> = service.redis(&["HGETALL", &key]).await;
    assert_eq!(entry["code"], code);
    let ttl: i64 = service.redis(&["PTTL", &key]).await;
    assert!((55_000..=60_000).contains(&ttl), "{ttl}");

    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    while service.redis::<i64>(&["PTTL", &key]).await > 1_500 {
        seconds.tick().await;
    }
    // A wrong guess shows that the code is still live and does not use it up.
    let last = service.activate(ADA, PASSWORD, &wrong_code(&code)).await;
    assert_eq!(last.outcome(), (422, "incorrect-code"));
    eventually("the code to expire", async || (!service.redis::<bool>(&["EXISTS", &key]).await).then_some(())).await;
    assert!((55..=65).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
    let late = service.activate(ADA, PASSWORD, &code).await;
    assert_eq!(late.outcome(), (410, "code-expired"));
    assert_eq!(late.body["detail"], "The code has expired; ask for another.");
}

#[tokio::test]
async fn redis_stores_a_mac_instead_of_the_code_by_default() {
    let service = Service::start().await;
    let id = service.register_pending(ADA).await;
    let code = service.wait_for_code(ADA, 1).await;
    let entry: std::collections::HashMap<String, String> =
        service.redis(&["HGETALL", &service.redis_key("code", &id)]).await;
    let mut fields: Vec<_> = entry.keys().collect();
    fields.sort();
    assert_eq!(fields, ["grant", "mac"]);
    assert!(entry.values().all(|value| *value != code));
    assert_eq!(service.activate(ADA, PASSWORD, &code).await.status, 200);
}

#[tokio::test]
async fn malformed_codes_are_refused_and_do_not_count_as_guesses() {
    let service = Service::start().await;
    service.register_pending(ADA).await;
    let code = service.wait_for_code(ADA, 1).await;
    let bodies =
        [json!("12a4"), json!("123"), json!("12345"), json!("123456789"), json!("١٢٣"), json!(1234), Value::Null];
    for code in bodies {
        let request = service.request(Method::POST, "/v1/users/me/activation").basic_auth(ADA, Some(PASSWORD));
        let answer = Answer::of(request.json(&json!({ "code": code }))).await;
        assert_eq!((answer.outcome(), answer.pointers()), ((422, "invalid-field"), vec!["/code"]), "{code}");
    }
    assert_eq!(service.activate(ADA, PASSWORD, &code).await.status, 200);
}

#[tokio::test]
async fn a_code_activates_the_account_with_separators_and_in_any_script() {
    let service = Service::start().await;
    let persian =
        |code: &str| code.chars().map(|c| char::from_u32(0x06F0 + c.to_digit(10).unwrap()).unwrap()).collect();
    let pasted: [fn(&str) -> String; 3] =
        [|code| format!("\u{feff}{code}\n"), |code| format!("{}\u{a0}-{}.", &code[..2], &code[2..]), persian];
    for (n, paste) in pasted.into_iter().enumerate() {
        let email = format!("ada{n}@example.com");
        service.register_pending(&email).await;
        let code = service.wait_for_code(&email, 1).await;
        let answer = service.activate(&email, PASSWORD, &paste(&code)).await;
        assert_eq!((answer.status.as_u16(), &answer.body["status"]), (200, &json!("active")), "{n}");
    }
}

#[tokio::test]
async fn one_of_eight_concurrent_activations_succeeds() {
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
async fn three_of_twenty_concurrent_wrong_guesses_are_checked() {
    let service = Service::start().await;
    service.register_pending(ADA).await;
    let code = service.wait_for_code(ADA, 1).await;
    service.wait_for_empty_outbox().await;
    let replica = service.replica(&[]).await;
    let answers = concurrently(20, |n| {
        let target = if n % 2 == 0 { &service } else { &replica };
        let request = target.request(Method::POST, "/v1/users/me/activation").basic_auth(ADA, Some(PASSWORD));
        Answer::of(request.json(&json!({ "code": wrong_code(&code) })))
    })
    .await;
    let mut attempts_remaining: Vec<_> =
        answers.iter().filter_map(|answer| answer.body["attempts_remaining"].as_u64()).collect();
    attempts_remaining.sort_unstable();
    assert_eq!(attempts_remaining, [0, 1, 2]);
    assert_eq!(answers.iter().filter(|answer| answer.outcome() == (410, "code-expired")).count(), 17);
    assert_eq!(service.activate(ADA, PASSWORD, &code).await.outcome(), (410, "code-expired"));
}

/// A second registration of the address replaces the pending one. Whichever request commits first, only the password
/// whose registration received the code may become active.
#[tokio::test]
async fn an_activation_that_races_a_registration_activates_only_the_password_of_its_code() {
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
