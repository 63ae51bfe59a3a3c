//! `DELETE /v1/users/me`: users delete themselves.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{PASSWORD, Service};

const ADA: &str = "ada@example.com";

#[tokio::test]
async fn deleting_a_pending_registration_deletes_its_code_and_unsent_mail() {
    let service = Service::start().await;
    let id = service.register_pending(ADA).await;
    service.wait_for_code(ADA, 1).await;
    service.wait_for_empty_outbox().await;
    let deleted = service.delete(ADA, PASSWORD).await;
    assert_eq!((deleted.status.as_u16(), &deleted.body), (204, &Value::Null));
    assert_eq!(service.me(ADA, PASSWORD).await.outcome(), (401, "unauthenticated"));
    assert_eq!(service.delete(ADA, PASSWORD).await.outcome(), (401, "unauthenticated"));
    let code_exists: bool = service.redis(&["EXISTS", &service.redis_key("code", &id)]).await;
    assert!(!code_exists);
    assert_eq!(
        service.register(ADA, PASSWORD).await.outcome(),
        (429, "too-many-codes"),
        "the wait between code mails must outlive the registration"
    );

    service.age_grants(Duration::from_secs(60)).await;
    service.set_mail_faults(json!({ "fail_rate": 1 })).await;
    service.register_pending(ADA).await;
    assert_eq!(service.delete(ADA, PASSWORD).await.status, 204);
    assert_eq!(service.outbox_len().await, 0, "the outbox still holds the deleted registration's mail");
}

#[tokio::test]
async fn an_account_and_a_pending_registration_of_its_address_each_delete_only_themselves() {
    let service = Service::start().await;
    let account = service.register_active(ADA).await;
    service.age_grants(Duration::from_secs(60)).await;
    assert_eq!(service.register(ADA, "another password").await.status, 201);
    assert_eq!(service.delete(ADA, "wrong password").await.outcome(), (401, "unauthenticated"));
    assert_eq!(service.delete(ADA, "another password").await.status, 204);
    assert_eq!(service.me(ADA, "another password").await.status, 401);
    assert_eq!(service.me(ADA, PASSWORD).await.body["id"], account.as_str());

    service.age_grants(Duration::from_secs(120)).await;
    assert_eq!(service.register(ADA, "another password").await.status, 201);
    assert_eq!(service.delete(ADA, PASSWORD).await.status, 204);
    assert_eq!(service.me(ADA, PASSWORD).await.status, 401);
    assert_eq!(service.me(ADA, "another password").await.body["status"], "pending");
}

#[tokio::test]
async fn a_disabled_account_cannot_delete_itself() {
    let service = Service::start().await;
    service.register_active(ADA).await;
    sqlx::query("UPDATE users SET status = 'disabled'").execute(&service.db).await.unwrap();
    assert_eq!(service.delete(ADA, PASSWORD).await.outcome(), (403, "account-disabled"));
    assert_eq!(service.delete(ADA, "wrong password").await.outcome(), (401, "unauthenticated"));
    let users: i64 = sqlx::query_scalar("SELECT count(*) FROM users").fetch_one(&service.db).await.unwrap();
    assert_eq!(users, 1);
}
