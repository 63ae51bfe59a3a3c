//! `POST /v1/users/me/verification-code`: requesting another code.

use std::time::Duration;

use serde_json::json;

use crate::support::{PASSWORD, Service};

const ADA: &str = "ada@example.com";

#[tokio::test]
async fn a_resent_code_replaces_the_first_code() {
    let service = Service::start().await;
    service.register_pending(ADA).await;
    let first = service.wait_for_code(ADA, 1).await;
    let early = service.resend(ADA, PASSWORD).await;
    assert_eq!(early.outcome(), (429, "too-many-codes"));
    // A mail that was sent late moves the end of the wait.
    assert!((1..120).contains(&early.body["retry_after"].as_u64().unwrap()), "{early:?}");

    service.age_grants(Duration::from_secs(120)).await;
    let resent = service.resend(ADA, PASSWORD).await;
    assert_eq!((resent.status.as_u16(), &resent.body), (202, &json!({ "retry_after": 120 })));
    let second = service.wait_for_code(ADA, 2).await;
    if first != second {
        assert_eq!(service.activate(ADA, PASSWORD, &first).await.outcome(), (422, "incorrect-code"));
    }
    assert_eq!(service.activate(ADA, PASSWORD, &second).await.status, 200);
    service.age_grants(Duration::from_secs(120)).await;
    assert_eq!(service.resend(ADA, PASSWORD).await.outcome(), (409, "already-active"));
}

#[tokio::test]
async fn a_new_code_can_be_activated_after_three_wrong_guesses() {
    let service = Service::start().await;
    service.register_pending(ADA).await;
    let code = service.wait_for_code(ADA, 1).await;
    for _ in 0..3 {
        service.activate(ADA, PASSWORD, &crate::support::wrong_code(&code)).await;
    }
    service.age_grants(Duration::from_secs(60)).await;
    assert_eq!(service.resend(ADA, PASSWORD).await.status, 202);
    let code = service.wait_for_code(ADA, 2).await;
    assert_eq!(service.activate(ADA, PASSWORD, &code).await.status, 200);
}

#[tokio::test]
async fn an_address_gets_10_digit_codes_once_its_short_codes_are_used_up() {
    let service = Service::start_with(&["--short-codes-per-year=1"]).await;
    service.register_pending(ADA).await;
    assert_eq!(service.wait_for_code(ADA, 1).await.len(), 4);
    service.age_grants(Duration::from_secs(60)).await;
    service.resend(ADA, PASSWORD).await;
    let code = service.wait_for_code(ADA, 2).await;
    assert_eq!(code.len(), 10);
    assert_eq!(service.activate(ADA, PASSWORD, &code).await.status, 200);
}
