//! Sending mails through Mailjet's Send API v3.1, with `--mail-dialect=mailjet`.

use mail_mock::{MailjetCredentials, MockOptions};
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::{PASSWORD, Service, eventually, start_mail_mock};

const ADA: &str = "ada@example.com";

/// Starts a service that authenticates to Mailjet with the given API secret. The mock provider accepts only `secret`.
async fn service_with_mailjet_secret(api_secret: &str) -> (Service, DropGuard) {
    let stop = CancellationToken::new();
    let accepted = MailjetCredentials { key: "key".into(), secret: "secret".into() };
    let mail_url =
        start_mail_mock(MockOptions { mailjet: Some(accepted), ..MockOptions::default() }, stop.clone()).await;
    let api_secret = format!("--mailjet-api-secret={api_secret}");
    let flags = ["--mail-url", &mail_url, "--mail-dialect=mailjet", "--mailjet-api-key=key", &api_secret];
    let mut service = Service::start_with(&flags).await;
    service.mail_url = mail_url;
    (service, stop.drop_guard())
}

#[tokio::test]
async fn a_mail_sent_through_mailjet_carries_a_valid_code() {
    let (service, _mock) = service_with_mailjet_secret("secret").await;
    service.register_pending(ADA).await;
    let code = service.wait_for_code(ADA, 1).await;
    let mail = service.mail_json(&service.mails(ADA).await[0]).await;
    assert_eq!(mail["From"], json!({ "Name": "Sixty", "Address": "no-reply@sixty.example" }));
    assert_eq!(mail["To"], json!([{ "Name": "", "Address": ADA }]));
    assert_eq!(mail["Subject"], "Your Sixty code");
    assert!(mail["HTML"].as_str().unwrap().contains(&code));
    assert_eq!(mail["Headers"], json!({ "Auto-Submitted": "auto-generated" }));
    assert_eq!(service.activate(ADA, PASSWORD, &code).await.status, 200);
}

#[tokio::test]
async fn a_mail_that_mailjet_failed_to_accept_is_retried() {
    let (service, _mock) = service_with_mailjet_secret("secret").await;
    for faults in [json!({ "fail_rate": 1, "status": 429 }), json!({ "drop_rate": 1 })] {
        service.set_mail_faults(faults.clone()).await;
        let email = format!("{}@example.com", faults.as_object().unwrap().keys().next().unwrap());
        service.register_pending(&email).await;
        service.wait_for_mail_attempt().await;
        service.set_mail_faults(json!({})).await;
        service.wait_for_empty_outbox().await;
        let mails: Vec<Value> = service.mails(&email).await;
        assert_eq!(mails.len(), 1, "{faults}");
    }
}

#[tokio::test]
async fn a_mail_waits_while_mailjet_rejects_the_api_secret() {
    let (service, _mock) = service_with_mailjet_secret("wrong").await;
    service.register_pending(ADA).await;
    let attempts = "SELECT coalesce(max(attempts), 0) FROM outbox";
    eventually("three attempts", async || {
        let attempts: i32 = sqlx::query_scalar(attempts).fetch_one(&service.db).await.unwrap();
        assert_eq!(service.outbox_len().await, 1, "the mail must not be given up");
        (attempts >= 3).then_some(())
    })
    .await;
    assert!(service.mails(ADA).await.is_empty());
}
