//! What the inbox page shows, told as soon as it changes.
//!
//! The page asks what is there beyond the version that it knows, and the answer waits until there is something. That is
//! one idle connection a page, no request a second; and where the mock was started anew, its version is another one.

use std::sync::PoisonError;
use std::time::Duration;

use poem::http::StatusCode;
use poem::web::Data;
use poem::{Request, Response, handler};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::faults::{Faults, Hits};
use super::inbox::Mail;
use super::mailpit::{DEFAULT_LIMIT, Summary, summary};
use super::{MailMock, wire};

/// The longest wait for a change: shorter than what closes idle connections on the way here.
const PATIENCE: Duration = Duration::from_secs(25);

#[derive(Default, Deserialize)]
#[serde(default)]
struct Params {
    /// The version that the page shows.
    after: String,
    limit: String,
}

#[derive(Serialize)]
struct View<'a> {
    /// Of all that follows.
    version: String,
    /// Where the API is that uses this provider, if that is known.
    api_url: Option<&'a str>,
    faults: Faults,
    hits: Hits,
    total: usize,
    messages: Vec<Row<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Row<'a> {
    #[serde(flatten)]
    summary: Summary<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<LiveCode<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct LiveCode<'a> {
    digits: &'a str,
    lifetime_ms: u128,
    /// By the mock's clock, since the browser's may differ.
    left_ms: u128,
}

/// `GET /api/inbox?after&limit`: at once if the page has another version than `after`, otherwise when it has, or after
/// [`PATIENCE`].
#[handler]
pub(super) async fn inbox(request: &Request, mock: Data<&MailMock>) -> Response {
    let params: Params = request.params().unwrap_or_default();
    let mut changes = mock.shared.changes.subscribe();
    let changed = changes.wait_for(|count| mock.version(*count) != params.after);
    // Whichever it was: what there is now is the answer.
    let _ = tokio::time::timeout(PATIENCE, changed).await;

    // The count comes first: what changes after it is told next time.
    let version = mock.version(*mock.shared.changes.borrow());
    let (mails, faults, hits) = {
        let state = mock.state();
        (state.inbox.mails(), state.faults, state.hits)
    };
    let limit = params.limit.parse().unwrap_or(DEFAULT_LIMIT);
    let now = Instant::now();
    let messages = mails.iter().take(limit).map(|mail| row(mail, now)).collect();
    let api_url = mock.shared.api_url.as_deref();
    wire::json(StatusCode::OK, &View { version, api_url, faults, hits, total: mails.len(), messages })
}

fn row(mail: &Mail, now: Instant) -> Row<'_> {
    let code = mail.code.as_ref().map(|code| {
        let accepted = *mail.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        let left_ms = code.left(now.saturating_duration_since(accepted)).as_millis();
        LiveCode { digits: &code.digits, lifetime_ms: code.lifetime.as_millis(), left_ms }
    });
    Row { summary: summary(mail), code }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use poem::http::Method;
    use serde_json::{Value, json};

    use super::*;
    use crate::tests::{call, mail_to, mock, order, read, send};

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
    async fn whoever_knows_what_is_there_is_answered_when_it_changes() {
        let mock = mock();
        let mut version = view(&mock, &Value::Null).await["version"].take();
        let ask = |version: &Value| {
            let (mock, version) = (mock.clone(), version.clone());
            async move { view(&mock, &version).await }
        };
        for change in ["a mail", "its repetition", "a fault", "its hit", "the fault's end", "an empty inbox"] {
            let mut waiting = std::pin::pin!(ask(&version));
            assert!(waiting.as_mut().now_or_never().is_none(), "nothing has changed before {change}");
            match change {
                "a mail" | "its repetition" => drop(send(&mock, &mail_to("a@example.org"), "k").await),
                "a fault" => drop(order(&mock, json!({"fail_rate": 1})).await),
                "its hit" => drop(send(&mock, &mail_to("b@example.org"), "").await),
                "the fault's end" => drop(order(&mock, json!({})).await),
                _ => drop(call(&mock, Method::DELETE, "/api/v1/messages", &[], ()).await),
            }
            let mut changed = waiting.as_mut().now_or_never().unwrap_or_else(|| panic!("not told of {change}"));
            assert_ne!(changed["version"], version, "{change}");
            version = changed["version"].take();
        }
        let other = MailMock::new(crate::Options::default(), 2);
        assert!(view(&other, &version).now_or_never().is_some(), "another mock is news");
    }

    #[tokio::test]
    async fn a_code_is_told_with_what_it_has_left_and_a_repetition_gives_it_all_of_it_again() {
        let mock = mock();
        send(&mock, &mail_to("b@example.org"), "").await;
        send(&mock, &code_mail("a@example.org"), "k").await;
        let told = view(&mock, &Value::Null).await;
        assert_eq!(told["total"], 2);
        assert_eq!(told["messages"][1]["Code"], Value::Null);
        let code = &told["messages"][0]["Code"];
        assert_eq!((&code["Digits"], &code["LifetimeMs"]), (&json!("0042"), &json!(30_000)));
        assert!((25_000..=30_000).contains(&code["LeftMs"].as_u64().unwrap()), "{code}");

        // As if it had been accepted twenty seconds ago.
        *mock.find("latest").unwrap().accepted.lock().unwrap() -= Duration::from_secs(20);
        let left = async || view(&mock, &Value::Null).await["messages"][0]["Code"]["LeftMs"].as_u64().unwrap();
        assert!(left().await <= 10_000);
        send(&mock, &code_mail("a@example.org"), "k").await;
        assert!(left().await > 25_000);
    }

    #[tokio::test]
    async fn what_faults_have_hit_is_counted_until_others_are_ordered() {
        let mock = mock();
        order(&mock, json!({"fail_rate": 1, "latency_ms": 1})).await;
        for _ in 0..2 {
            send(&mock, &mail_to("a@example.org"), "").await;
        }
        assert_eq!(view(&mock, &Value::Null).await["hits"], json!({"delayed": 2, "failed": 2, "dropped": 0}));
        order(&mock, json!({"drop_rate": 1})).await;
        call(&mock, Method::POST, "/api/v1/send", &[], mail_to("a@example.org").to_string()).await;
        assert_eq!(view(&mock, &Value::Null).await["hits"], json!({"delayed": 0, "failed": 0, "dropped": 1}));
    }
}
