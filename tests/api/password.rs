//! `PUT /v1/users/me/password`: changing the password of an account.

use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::support::{Answer, PASSWORD, Service, concurrently, eventually};

const ADA: &str = "ada@example.com";
const NEW: &str = "staple battery horse";

impl Service {
    fn password_change_request(&self, email: &str, old: &str, new: &str) -> RequestBuilder {
        let request = self.request(Method::PUT, "/v1/users/me/password");
        request.basic_auth(email, Some(old)).json(&json!({ "password": new }))
    }

    async fn change_password(&self, email: &str, old: &str, new: &str) -> Answer {
        Answer::of(self.password_change_request(email, old, new)).await
    }

    /// Returns the number of "password changed" mails to the address.
    async fn count_password_changed_mails(&self, email: &str) -> usize {
        let mails = self.mails(email).await;
        mails.iter().filter(|mail| mail["Subject"] == "Your Sixty password was changed").count()
    }
}

#[tokio::test]
async fn the_new_password_replaces_the_old_one_and_the_owner_gets_a_mail() {
    let service = Service::start().await;
    service.register_active(ADA).await;
    let changed = service.change_password(" ADA@Example.com", PASSWORD, "cafe\u{301} noir 9").await;
    assert_eq!(
        (changed.status.as_u16(), &changed.body, changed.header("cache-control")),
        (204, &Value::Null, "no-store")
    );
    assert_eq!(service.me(ADA, PASSWORD).await.outcome(), (401, "unauthenticated"));
    assert_eq!(service.me(ADA, "caf\u{e9} noir 9").await.body["status"], "active");

    eventually("the mail about the change", async || {
        (service.count_password_changed_mails(ADA).await == 1).then_some(())
    })
    .await;
    let newest = service.mails(ADA).await[0].clone();
    let text = service.mail_text(&newest).await;
    assert!(text.starts_with("Your Sixty password was changed\n") && !text.contains("noir"), "{text}");
    service.wait_for_empty_outbox().await;
    // The mail about the change carries no code, so the wait for the next code is the same as before.
    assert_eq!(service.register(ADA, PASSWORD).await.outcome(), (429, "too-many-codes"));
}

#[tokio::test]
async fn the_password_policy_of_registrations_applies_to_changes() {
    let service = Service::start().await;
    service.register_active("ada.lovelace@engine.example").await;
    for (new, detail) in [
        ("short", "must have at least 8 characters"),
        ("PassWord", "is one of the most common passwords: attackers try it first"),
        ("AdaLovelace1815", "consists of parts of the e-mail address: attackers try it first"),
    ] {
        let refused = service.change_password("ADA.lovelace@Engine.example", PASSWORD, new).await;
        assert_eq!(refused.outcome(), (422, "invalid-field"));
        assert_eq!(refused.body["errors"], json!([{ "pointer": "/password", "detail": detail }]));
    }
    for body in [json!({}), json!({ "password": null }), json!({ "password": NEW, "old": PASSWORD }), json!([])] {
        let request = service.request(Method::PUT, "/v1/users/me/password");
        let request = request.basic_auth("ada.lovelace@engine.example", Some(PASSWORD)).json(&body);
        assert_eq!(Answer::of(request).await.outcome(), (422, "invalid-field"), "{body}");
    }
    assert_eq!(service.me("ada.lovelace@engine.example", PASSWORD).await.status, 200);
    assert_eq!(service.count_password_changed_mails("ada.lovelace@engine.example").await, 0);
}

#[tokio::test]
async fn only_an_active_account_can_change_its_password() {
    let service = Service::start().await;
    service.register_pending(ADA).await;
    assert_eq!(service.change_password(ADA, PASSWORD, NEW).await.outcome(), (409, "not-active"));
    assert_eq!(service.change_password(ADA, "wrong password", NEW).await.outcome(), (401, "unauthenticated"));
    assert_eq!(service.change_password("eve@example.com", PASSWORD, NEW).await.outcome(), (401, "unauthenticated"));
    let code = service.wait_for_code(ADA, 1).await;
    assert_eq!(service.activate(ADA, PASSWORD, &code).await.status, 200);
    sqlx::query("UPDATE users SET status = 'disabled'").execute(&service.db).await.unwrap();
    assert_eq!(service.change_password(ADA, PASSWORD, NEW).await.outcome(), (403, "account-disabled"));
    assert_eq!(service.change_password(ADA, "wrong password", NEW).await.outcome(), (401, "unauthenticated"));
    service.wait_for_empty_outbox().await;
    assert_eq!(service.count_password_changed_mails(ADA).await, 0);
}

#[tokio::test]
async fn one_of_eight_concurrent_changes_succeeds() {
    let service = Service::start().await;
    service.register_active(ADA).await;
    let changes =
        concurrently(8, |n| Answer::of(service.password_change_request(ADA, PASSWORD, &format!("battery number {n}"))))
            .await;
    let winners: Vec<usize> = (0..8).filter(|n| changes[*n].status == 204).collect();
    assert_eq!(winners.len(), 1, "{changes:?}");
    for loser in changes.iter().filter(|change| change.status != 204) {
        assert_eq!(loser.outcome(), (401, "unauthenticated"));
    }
    assert_eq!(service.me(ADA, &format!("battery number {}", winners[0])).await.status, 200);
}

#[tokio::test]
async fn a_later_registration_of_the_address_keeps_its_password_and_id() {
    let service = Service::start().await;
    let account = service.register_active(ADA).await;
    service.age_grants(Duration::from_secs(60)).await;
    let later_id = service.register(ADA, "another password").await.body["id"].clone();
    assert_eq!(service.change_password(ADA, "another password", NEW).await.outcome(), (409, "not-active"));
    assert_eq!(service.change_password(ADA, PASSWORD, NEW).await.status, 204);
    assert_eq!(service.me(ADA, NEW).await.body["id"], account.as_str());
    assert_eq!(service.me(ADA, "another password").await.body["id"], later_id);
}

#[tokio::test]
async fn a_change_succeeds_in_the_request_that_rehashes_the_old_password() {
    let service = Service::start().await;
    service.register_active(ADA).await;
    let stronger = service.replica(&["--argon2-memory-kib=16"]).await;
    assert_eq!(stronger.change_password(ADA, PASSWORD, NEW).await.status, 204);
    assert_eq!(service.me(ADA, NEW).await.status, 200);
    assert_eq!(service.me(ADA, PASSWORD).await.status, 401);
}

#[tokio::test]
async fn two_changes_while_the_provider_fails_send_one_mail() {
    let service = Service::start().await;
    service.register_active(ADA).await;
    service.wait_for_empty_outbox().await;
    service.set_mail_faults(json!({ "fail_rate": 1 })).await;
    assert_eq!(service.change_password(ADA, PASSWORD, NEW).await.status, 204);
    assert_eq!(service.change_password(ADA, NEW, PASSWORD).await.status, 204);
    assert_eq!(service.outbox_len().await, 1);
    service.set_mail_faults(json!({})).await;
    service.wait_for_empty_outbox().await;
    assert_eq!(service.count_password_changed_mails(ADA).await, 1);
}
