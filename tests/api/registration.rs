//! `POST /v1/users`: registering an address, the responses, the stored rows and the refusals.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, PASSWORD, Service, concurrently};

#[tokio::test]
async fn a_registration_returns_a_pending_user() {
    let service = Service::start().await;
    let answer = service.register(" Ada@Example.com ", PASSWORD).await;
    assert_eq!(answer.status, 201);
    assert_eq!(answer.header("location"), "/v1/users/me");
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("cache-control"), "no-store");
    insta::assert_json_snapshot!(answer.body, { ".id" => "[uuid]", ".created_at" => "[time]" }, @r#"
    {
      "id": "[uuid]",
      "email": "Ada@Example.com",
      "status": "pending",
      "role": "user",
      "created_at": "[time]",
      "activated_at": null,
      "locale": null
    }
    "#);
    let id: uuid::Uuid = answer.body["id"].as_str().unwrap().parse().unwrap();
    assert_eq!(id.get_version_num(), 7);
    assert!(answer.body["created_at"].as_str().unwrap().ends_with('Z'), "{answer:?}");
    assert_eq!(service.me("ADA@example.COM", PASSWORD).await.body, answer.body);
    let hash: String = sqlx::query_scalar("SELECT password_hash FROM users").fetch_one(&service.db).await.unwrap();
    assert!(hash.starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{hash}");
}

#[tokio::test]
async fn the_mail_has_the_code_in_its_text_and_says_that_it_expires_within_a_minute() {
    let service = Service::start().await;
    service.register_pending("ada@example.com").await;
    let code = service.wait_for_code("ada@example.com", 1).await;
    assert_eq!(code.len(), 4);
    let mails = service.mails("ada@example.com").await;
    assert_eq!(mails.len(), 1);
    assert!(!mails[0]["Subject"].as_str().unwrap().contains(&code));
    assert!(mails[0]["Snippet"].as_str().unwrap().contains("within one minute"));
}

#[tokio::test]
async fn all_spellings_of_an_address_share_one_wait() {
    let service = Service::start().await;
    service.register_pending("ada@bücher.example").await;
    let again = service.register("ADA@xn--bcher-kva.example", "another password").await;
    assert_eq!(again.outcome(), (429, "too-many-codes"));
    let wait = again.body["retry_after"].as_u64().unwrap();
    assert!((50..=60).contains(&wait), "{wait}");
    // The refused registration changed nothing: only the first password is accepted.
    assert_eq!(service.me("ada@bücher.example", PASSWORD).await.status, 200);
    assert_eq!(service.me("ada@bücher.example", "another password").await.status, 401);
}

#[tokio::test]
async fn a_registration_after_the_wait_replaces_the_pending_registration() {
    let service = Service::start().await;
    let first = service.register_pending("ada@example.com").await;
    let old_code = service.wait_for_code("ada@example.com", 1).await;
    service.age_grants(Duration::from_secs(60)).await;
    let second = service.register("ada@example.com", "another password").await;
    assert_eq!(second.status, 201);
    assert_ne!(second.body["id"], first.as_str());
    assert_eq!(service.me("ada@example.com", PASSWORD).await.status, 401);
    let code = service.wait_for_code("ada@example.com", 2).await;
    if old_code != code {
        let old = service.activate("ada@example.com", "another password", &old_code).await;
        assert_eq!(old.outcome(), (422, "incorrect-code"));
    }
    assert_eq!(service.activate("ada@example.com", "another password", &code).await.status, 200);
}

#[tokio::test]
async fn one_of_six_concurrent_registrations_of_an_address_succeeds() {
    let service = Service::start().await;
    let answers = concurrently(6, |n| {
        let body = json!({ "email": "ada@example.com", "password": format!("correct horse {n}") });
        Answer::of(service.request(Method::POST, "/v1/users").json(&body))
    })
    .await;
    let mut outcomes: Vec<_> = answers.iter().map(Answer::outcome).collect();
    outcomes.sort_unstable();
    assert_eq!(outcomes[0], (201, ""));
    assert!(outcomes[1..].iter().all(|outcome| *outcome == (429, "too-many-codes")), "{outcomes:?}");
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM users").fetch_one(&service.db).await.unwrap();
    assert_eq!(rows, 1);
    service.wait_for_empty_outbox().await;
    assert_eq!(service.mails("ada@example.com").await.len(), 1);
}

#[tokio::test]
async fn registering_the_address_of_an_account_looks_like_a_new_registration() {
    let service = Service::start().await;
    let account = service.register_active("ada@example.com").await;
    let new = service.register("new@example.com", "another password").await;
    service.age_grants(Duration::from_secs(60)).await;
    let of_account = service.register("ada@example.com", "another password").await;
    assert_eq!(of_account.status, new.status);
    let keys = |answer: &Answer| answer.body.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&of_account), keys(&new));
    assert_ne!(of_account.body["id"], account.as_str());

    // The owner gets a mail without a code. Redis holds a decoy: every guess is wrong and counts as usual.
    service.wait_for_empty_outbox().await;
    let mails = service.mails("ada@example.com").await;
    assert_eq!(mails[0]["Subject"], "You already have an account at Sixty");
    for left in [2, 1, 0] {
        let guess = service.activate("ada@example.com", "another password", "0000").await;
        assert_eq!((guess.outcome(), &guess.body["attempts_remaining"]), ((422, "incorrect-code"), &json!(left)));
    }
    assert_eq!(service.activate("ada@example.com", "another password", "0000").await.outcome(), (410, "code-expired"));
    assert_eq!(service.me("ada@example.com", PASSWORD).await.body["id"], account.as_str());
    assert_eq!(service.me("ada@example.com", "another password").await.body["status"], "pending");
}

#[tokio::test]
async fn with_existing_account_reveal_an_account_answers_409_email_taken() {
    let service = Service::start_with(&["--existing-account=reveal"]).await;
    let account = service.register_active("ada@example.com").await;
    let assert_taken = async || {
        let answer = service.register("ADA@example.com", "another password").await;
        assert_eq!(answer.outcome(), (409, "email-taken"));
        let rows = "SELECT count(*) FROM users WHERE address = 'ada@example.com'";
        assert_eq!(sqlx::query_scalar::<_, i64>(rows).fetch_one(&service.db).await.unwrap(), 1);
    };
    // During the wait, after the wait, and when an admin has disabled the account.
    assert_taken().await;
    service.age_grants(Duration::from_secs(60)).await;
    assert_taken().await;
    sqlx::query("UPDATE users SET status = 'disabled'").execute(&service.db).await.unwrap();
    assert_taken().await;
    sqlx::query("UPDATE users SET status = 'active'").execute(&service.db).await.unwrap();
    assert_eq!(service.me("ada@example.com", PASSWORD).await.body["id"], account.as_str());
    assert_eq!(service.mails("ada@example.com").await.len(), 2, "one mail with the code and one about the activation");

    // A pending registration is not revealed.
    service.register_pending("new@example.com").await;
    // A late mail extends the wait.
    service.wait_for_empty_outbox().await;
    service.age_grants(Duration::from_secs(60)).await;
    assert_eq!(service.register("new@example.com", "another password").await.status, 201);
}

#[tokio::test]
async fn the_error_names_every_invalid_field_but_no_submitted_value() {
    let service = Service::start().await;
    let answer = service.register("secret-address", "secret").await;
    assert_eq!(answer.outcome(), (422, "invalid-field"));
    insta::assert_json_snapshot!(answer.body["errors"], @r#"
    [
      {
        "pointer": "/email",
        "detail": "must have an @ between a mailbox and a domain"
      },
      {
        "pointer": "/password",
        "detail": "must have at least 8 characters"
      }
    ]
    "#);
    assert!(!answer.body.to_string().contains("secret"));
}

#[tokio::test]
async fn invalid_addresses_are_rejected() {
    let service = Service::start().await;
    let octets_255 = format!("{}@{}.{}.{}.example", "a".repeat(64), "b".repeat(60), "c".repeat(60), "d".repeat(60));
    assert_eq!(octets_255.len(), 255);
    for email in [
        "",
        "ada",
        "ada@localhost",
        "ada@-example.com",
        "ada@example.com\r\nBcc: eve@example.com",
        "a:da@example.com",
        "ad\0a@example.com",
        octets_255.as_str(),
    ] {
        let answer = service.register(email, PASSWORD).await;
        assert_eq!(answer.outcome(), (422, "invalid-field"), "{email:?}");
        assert_eq!(answer.pointers(), ["/email"], "{email:?}");
    }
}

#[tokio::test]
async fn passwords_may_be_any_unicode_text_of_8_to_128_characters() {
    let service = Service::start().await;
    let rejected = ["k7#qZp2", &"x".repeat(129), &"🦀".repeat(7), "correct\0horse", "Password1", "ada@example.com"];
    for password in rejected {
        let answer = service.register("ada@example.com", password).await;
        assert_eq!(answer.outcome(), (422, "invalid-field"), "{password:?}");
        assert_eq!(answer.pointers(), ["/password"], "{password:?}");
    }
    // A password that was registered in Unicode form NFD is accepted in NFC.
    let accepted = [
        ("a@example.com", "k7#qZp2x".to_owned(), "k7#qZp2x".to_owned()),
        ("b@example.com", "x7".repeat(64), "x7".repeat(64)),
        ("c@example.com", "🦀".repeat(8), "🦀".repeat(8)),
        ("d@example.com", "cafe\u{301} noir: 9".to_owned(), "caf\u{e9} noir: 9".to_owned()),
        ("e@example.com", "e\u{301}".repeat(128), "\u{e9}".repeat(128)),
    ];
    for (email, chosen, presented) in accepted {
        assert_eq!(service.register(email, &chosen).await.status, 201, "{chosen:?}");
        assert_eq!(service.me(email, &presented).await.status, 200, "{presented:?}");
    }
}

#[tokio::test]
async fn password_and_code_lengths_follow_the_settings() {
    let service = Service::start_with(&["--password-min-length=15", "--code-digits=6"]).await;
    let document: Value = service.http.get(service.url_of("/openapi.json")).send().await.unwrap().json().await.unwrap();
    let schemas = &document["components"]["schemas"];
    assert_eq!(schemas["RegisterUser"]["properties"]["password"]["minLength"], 15);
    assert_eq!(schemas["ActivateUser"]["properties"]["code"]["pattern"], "^[^!-,:-~]{3,}$");

    let short = service.register("ada@example.com", "correct horse!").await;
    assert_eq!((short.outcome(), short.pointers()), ((422, "invalid-field"), vec!["/password"]));
    assert!(short.body.to_string().contains("at least 15 characters"));
    service.register_pending("ada@example.com").await;
    let code = service.wait_for_code("ada@example.com", 1).await;
    assert_eq!(code.len(), 6, "{code}");
    let guess = service.activate("ada@example.com", PASSWORD, &code[..4]).await;
    assert_eq!((guess.outcome(), guess.pointers()), ((422, "invalid-field"), vec!["/code"]));
    assert_eq!(service.activate("ada@example.com", PASSWORD, &code).await.status, 200);
}
