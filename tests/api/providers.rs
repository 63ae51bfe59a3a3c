//! Sending mails through Postmark, Brevo, SendGrid and Resend, over a socket to a mock that answers as they do.

use mail_mock::{ApiKeys, MockOptions};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::observability::ServeProcess;
use crate::support::{PASSWORD, Service, code_in, eventually, start_mail_mock};

const ADA: &str = "ada@example.com";

/// Each dialect with the flag of its key.
const PROVIDERS: [(&str, &str); 4] = [
    ("postmark", "--postmark-server-token"),
    ("brevo", "--brevo-api-key"),
    ("sendgrid", "--sendgrid-api-key"),
    ("resend", "--resend-api-key"),
];

/// Starts a service that sends by the dialect. Its mock accepts every key.
async fn serve((dialect, key): (&str, &str)) -> ServeProcess {
    ServeProcess::start(&["--mail-dialect", dialect, key, "secret"]).await
}

/// Runs a test with all providers at once.
async fn with_each<F: Future<Output = ()>>(test: impl Fn((&'static str, &'static str)) -> F) {
    let [postmark, brevo, sendgrid, resend] = PROVIDERS.map(test);
    tokio::join!(postmark, brevo, sendgrid, resend);
}

/// Returns the log lines with this message.
fn lines(process: &ServeProcess, message: &str) -> Vec<Value> {
    let log = process.running.stderr();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["message"].as_str().is_some_and(|text| text.starts_with(message))).collect()
}

#[tokio::test]
async fn an_accepted_mail_carries_a_valid_code_and_is_logged_with_the_ids_of_the_provider() {
    with_each(async |provider| {
        let process = serve(provider).await;
        let service = &process.service;
        service.register_pending(ADA).await;
        let code = service.wait_for_code(ADA, 1).await;
        let mail = service.mail_json(&service.mails(ADA).await[0]).await;
        assert_eq!(mail["From"], json!({ "Name": "Sixty", "Address": "no-reply@sixty.example" }), "{provider:?}");
        assert_eq!(mail["To"], json!([{ "Name": "", "Address": ADA }]));
        assert!(mail["HTML"].as_str().unwrap().contains(&code) && !mail["Subject"].as_str().unwrap().is_empty());
        assert_eq!(mail["Headers"], json!({ "Auto-Submitted": "auto-generated" }));
        assert_eq!(service.activate(ADA, PASSWORD, &code).await.status, 200);
        service.wait_for_empty_outbox().await;
        let accepted =
            eventually("log line", async || lines(&process, "a mail was accepted by the provider").into_iter().next())
                .await;
        let text = |field: &str| accepted[field].as_str().unwrap();
        assert_eq!((text("provider"), &accepted["fallback"]), (provider.0, &json!(false)), "{accepted}");
        assert!(!["", "unknown"].contains(&text("message_id")), "{accepted}");
        assert_eq!(text("message_id").contains("@smtp-relay."), provider.0 == "brevo", "{accepted}");
        assert!(text("idempotency_key").parse::<uuid::Uuid>().is_ok(), "{accepted}");
        assert!(!process.running.stderr().contains(ADA));
        assert_eq!(process.metric(r#"sixty_mails_accepted_total{provider="first"}"#).await, 2.0);
    })
    .await;
}

#[tokio::test]
async fn a_refused_recipient_is_given_up_and_others_get_their_mails() {
    with_each(async |provider| {
        let process = serve(provider).await;
        let service = &process.service;
        service.register_pending("ada@refused.example").await;
        service.wait_for_empty_outbox().await;
        assert_eq!(process.metric(r#"sixty_mail_attempts_total{outcome="given_up"}"#).await, 1.0, "{provider:?}");
        assert_eq!(lines(&process, "a mail was given up").len(), 1, "{provider:?}");
        service.register_pending(ADA).await;
        service.wait_for_code(ADA, 1).await;
        assert_eq!(process.metric(r#"sixty_mail_account_refused{provider="first"}"#).await, 0.0);
    })
    .await;
}

#[tokio::test]
async fn a_mail_waits_while_the_provider_refuses_the_key() {
    with_each(async |(dialect, key)| {
        let stop = CancellationToken::new();
        let secret = || Some("secret".into());
        let keys = ApiKeys { postmark: secret(), brevo: secret(), sendgrid: secret(), resend: secret() };
        let mail_url = start_mail_mock(MockOptions { keys, ..MockOptions::default() }, stop.clone()).await;
        let mut service =
            Service::start_with(&["--mail-url", &mail_url, "--mail-dialect", dialect, key, "wrong"]).await;
        service.mail_url = mail_url;
        service.register_pending(ADA).await;
        eventually("three attempts", async || {
            let attempts = "SELECT coalesce(max(attempts), 0) FROM outbox";
            let attempts: i32 = sqlx::query_scalar(attempts).fetch_one(&service.db).await.unwrap();
            assert_eq!(service.outbox_len().await, 1, "{dialect}: the mail must not be given up");
            (attempts >= 3).then_some(())
        })
        .await;
        assert!(service.mails(ADA).await.is_empty(), "{dialect}");
        stop.cancel();
    })
    .await;
}

#[tokio::test]
async fn a_mail_waits_as_long_as_the_limit_of_the_provider() {
    with_each(async |provider| {
        let process = serve(provider).await;
        let service = &process.service;
        // The mock answers with `Retry-After: 1`.
        service.set_mail_faults(json!({ "fail_rate": 1, "status": 429 })).await;
        service.register_pending(ADA).await;
        eventually("refusal", async || (!lines(&process, "a mail was not accepted").is_empty()).then_some(())).await;
        service.set_mail_faults(json!({})).await;
        service.wait_for_code(ADA, 1).await;
        for line in lines(&process, "a mail was not accepted") {
            let delay: humantime::Duration =
                line["delay"].as_str().unwrap().parse().unwrap_or_else(|_| panic!("{line}"));
            assert!(line["reason"] == "answered 429" && delay.as_secs() >= 1, "{line}");
        }
        assert_eq!(process.metric(r#"sixty_mail_account_refused{provider="first"}"#).await, 0.0);
    })
    .await;
}

#[tokio::test]
async fn a_mail_arrives_once_after_an_outage() {
    with_each(async |provider| {
        let process = serve(provider).await;
        let service = &process.service;
        service.set_mail_faults(json!({ "fail_rate": 1, "status": 500 })).await;
        service.register_pending(ADA).await;
        eventually("two attempts", async || (lines(&process, "a mail was not accepted").len() >= 2).then_some(()))
            .await;
        assert!(lines(&process, "a mail was not accepted").iter().all(|line| line["reason"] == "answered 500"));
        service.set_mail_faults(json!({})).await;
        service.wait_for_empty_outbox().await;
        assert_eq!(service.mails(ADA).await.len(), 1, "{provider:?}");
    })
    .await;
}

/// The provider accepts a mail, and its response is lost. With idempotency keys there is one mail, otherwise copies with one
/// code.
#[tokio::test]
async fn a_lost_response_causes_copies_only_at_providers_without_idempotency_keys() {
    with_each(async |provider| {
        let process = serve(provider).await;
        let service = &process.service;
        service.set_mail_faults(json!({ "drop_rate": 1 })).await;
        service.register_pending(ADA).await;
        service.wait_for_mail_attempt().await;
        eventually("lost response", async || (!lines(&process, "a mail was not accepted").is_empty()).then_some(()))
            .await;
        service.set_mail_faults(json!({})).await;
        service.wait_for_empty_outbox().await;
        let mut codes = vec![];
        for mail in service.mails(ADA).await {
            codes.push(code_in(&service.mail_text(&mail).await).unwrap());
        }
        assert_eq!(codes.len() == 1, ["brevo", "resend"].contains(&provider.0), "{provider:?}: {}", codes.len());
        assert!(codes.iter().all(|code| *code == codes[0]), "{provider:?}");
        assert_eq!(service.activate(ADA, PASSWORD, &codes[0]).await.status, 200);
    })
    .await;
}
