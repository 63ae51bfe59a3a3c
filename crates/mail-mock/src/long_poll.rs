//! Long polling of the inbox page.
//!
//! The page sends the version that it shows. The mock delays its response until the version differs. A page thus needs one
//! idle connection instead of a request a second. After a restart of the mock, every version differs.

use std::sync::PoisonError;
use std::time::Duration;

use poem::http::StatusCode;
use poem::web::Data;
use poem::{Request, Response, handler};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::faults::{FaultCounts, Faults};
use super::inbox::Mail;
use super::mailpit::{DEFAULT_LIMIT, MailSummary, summary};
use super::mock::MailMock;
use super::wire;

/// The longest wait for a change. Shorter than the usual idle timeout of proxies.
const MAX_WAIT: Duration = Duration::from_secs(25);

#[derive(Default, Deserialize)]
#[serde(default)]
struct PollParams {
    /// The version that the page shows now.
    after: String,
    limit: String,
}

#[derive(Serialize)]
struct InboxView<'a> {
    /// Version of all other fields.
    version: String,
    /// URL of the API whose mails the mock receives, if known.
    api_url: Option<&'a str>,
    faults: Faults,
    hits: FaultCounts,
    total: usize,
    messages: Vec<ListedMail<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ListedMail<'a> {
    #[serde(flatten)]
    summary: MailSummary<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<ListedCode<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ListedCode<'a> {
    digits: &'a str,
    lifetime_ms: u128,
    /// Remaining lifetime by the mock's clock; the browser's clock may differ.
    left_ms: u128,
}

/// `GET /api/inbox?after&limit`: responds as soon as the version differs from `after`, or after [`MAX_WAIT`].
#[handler]
pub(super) async fn inbox(request: &Request, mock: Data<&MailMock>) -> Response {
    let params: PollParams = request.params().unwrap_or_default();
    let mut changes = mock.changes();
    let changed = changes.wait_for(|count| mock.version(*count) != params.after);
    // Respond with the current state in both cases.
    let _ = tokio::time::timeout(MAX_WAIT, changed).await;

    // Read the version before the state: a later change makes the next poll respond at once.
    let version = mock.version(*changes.borrow());
    let (mails, faults, hits) = {
        let state = mock.state();
        (state.inbox.mails(), state.faults, state.fault_counts)
    };
    let limit = params.limit.parse().unwrap_or(DEFAULT_LIMIT);
    let now = Instant::now();
    let messages = mails.iter().take(limit).map(|mail| listed(mail, now)).collect();
    let api_url = mock.api_url();
    wire::json(StatusCode::OK, &InboxView { version, api_url, faults, hits, total: mails.len(), messages })
}

fn listed(mail: &Mail, now: Instant) -> ListedMail<'_> {
    let code = mail.code.as_ref().map(|code| {
        let accepted = *mail.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        let left_ms = code.remaining(now.saturating_duration_since(accepted)).as_millis();
        ListedCode { digits: &code.digits, lifetime_ms: code.lifetime.as_millis(), left_ms }
    });
    ListedMail { summary: summary(mail), code }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use poem::http::Method;
    use serde_json::{Value, json};

    use super::*;
    use crate::tests::{call, mail_to, mock, read, send_mail, set_faults};

    fn code_mail(address: &str) -> Value {
        let mut mail = mail_to(address);
        mail["Text"] = "Your code is 0042".into();
        mail["HTML"] = r#"<time datetime="PT30S">half a minute</time>"#.into();
        mail
    }

    async fn view(mock: &MailMock, after: &Value) -> Value {
        read(mock, &format!("/api/inbox?after={}", after.as_str().unwrap_or_default())).await.1
    }

    #[tokio::test]
    async fn a_poll_responds_when_the_inbox_or_the_faults_change() {
        let mock = mock();
        let mut version = view(&mock, &Value::Null).await["version"].take();
        let poll = |version: &Value| {
            let (mock, version) = (mock.clone(), version.clone());
            async move { view(&mock, &version).await }
        };
        for change in ["a mail", "a repeated mail", "a new fault", "an injected fault", "no faults", "an empty inbox"] {
            let mut waiting = std::pin::pin!(poll(&version));
            assert!(waiting.as_mut().now_or_never().is_none(), "response before {change}");
            match change {
                "a mail" | "a repeated mail" => drop(send_mail(&mock, &mail_to("a@example.org"), "k").await),
                "a new fault" => drop(set_faults(&mock, json!({"fail_rate": 1})).await),
                "an injected fault" => drop(send_mail(&mock, &mail_to("b@example.org"), "").await),
                "no faults" => drop(set_faults(&mock, json!({})).await),
                _ => drop(call(&mock, Method::DELETE, "/api/v1/messages", &[], ()).await),
            }
            let mut changed = waiting.as_mut().now_or_never().unwrap_or_else(|| panic!("no response after {change}"));
            assert_ne!(changed["version"], version, "{change}");
            version = changed["version"].take();
        }
        let other = MailMock::new(crate::MockOptions::default(), 2);
        assert!(view(&other, &version).now_or_never().is_some(), "another instance has another version");
    }

    #[tokio::test]
    async fn a_repeated_mail_renews_the_remaining_lifetime_of_its_code() {
        let mock = mock();
        send_mail(&mock, &mail_to("b@example.org"), "").await;
        send_mail(&mock, &code_mail("a@example.org"), "k").await;
        let response = view(&mock, &Value::Null).await;
        assert_eq!(response["total"], 2);
        assert_eq!(response["messages"][1]["Code"], Value::Null);
        let code = &response["messages"][0]["Code"];
        assert_eq!((&code["Digits"], &code["LifetimeMs"]), (&json!("0042"), &json!(30_000)));
        assert!((25_000..=30_000).contains(&code["LeftMs"].as_u64().unwrap()), "{code}");

        // Simulate that the mail was accepted 20 seconds ago.
        *mock.find("latest").unwrap().accepted.lock().unwrap() -= Duration::from_secs(20);
        let remaining = async || view(&mock, &Value::Null).await["messages"][0]["Code"]["LeftMs"].as_u64().unwrap();
        assert!(remaining().await <= 10_000);
        send_mail(&mock, &code_mail("a@example.org"), "k").await;
        assert!(remaining().await > 25_000);
    }

    #[tokio::test]
    async fn injected_faults_are_counted_until_the_faults_change() {
        let mock = mock();
        set_faults(&mock, json!({"fail_rate": 1, "latency_ms": 1})).await;
        for _ in 0..2 {
            send_mail(&mock, &mail_to("a@example.org"), "").await;
        }
        assert_eq!(view(&mock, &Value::Null).await["hits"], json!({"delayed": 2, "failed": 2, "dropped": 0}));
        set_faults(&mock, json!({"drop_rate": 1})).await;
        call(&mock, Method::POST, "/api/v1/send", &[], mail_to("a@example.org").to_string()).await;
        assert_eq!(view(&mock, &Value::Null).await["hits"], json!({"delayed": 0, "failed": 0, "dropped": 1}));
    }
}
