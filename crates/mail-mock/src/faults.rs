//! Faults to order: a provider that is slow, that fails, or that takes a mail and never says so.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use poem::http::{HeaderValue, StatusCode, header};
use poem::web::Data;
use poem::{Body, Response, handler};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{MailMock, wire};

/// What goes wrong on the two send routes, in this order: wait, fail, drop. The other routes always work.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Share of requests, 0 to 1, that are answered with `status`; nothing of them is stored.
    pub fail_rate: f64,
    /// HTTP status of a failure, 400 to 599.
    pub status: u16,
    /// Wait before anything else happens, in milliseconds, at most ten minutes. Who hangs up meanwhile has sent nothing.
    pub latency_ms: u64,
    /// Share of the requests that did not fail, 0 to 1, whose mail is taken while the connection is cut without an answer.
    pub drop_rate: f64,
}

impl Default for Faults {
    fn default() -> Self {
        Faults { fail_rate: 0.0, status: 500, latency_ms: 0, drop_rate: 0.0 }
    }
}

/// How many requests the faults in force have hit since they were ordered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Hits {
    pub delayed: u64,
    pub failed: u64,
    pub dropped: u64,
}

/// A fault that cannot be ordered; the message names the field.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("{field} {rule}")]
pub struct FaultsError {
    /// The field's name.
    pub field: &'static str,
    /// What it must be.
    pub rule: &'static str,
}

impl Faults {
    /// Whether every field is within its limits.
    ///
    /// # Errors
    ///
    /// The first field that is not.
    pub fn check(&self) -> Result<(), FaultsError> {
        let share = |value| (0.0..=1.0).contains(&value);
        for (field, holds, rule) in [
            ("fail_rate", share(self.fail_rate), "must be between 0 and 1"),
            ("drop_rate", share(self.drop_rate), "must be between 0 and 1"),
            ("status", (400..=599).contains(&self.status), "must be between 400 and 599"),
            // No client waits longer.
            ("latency_ms", self.latency_ms <= 600_000, "must be at most 600000"),
        ] {
            if !holds {
                return Err(FaultsError { field, rule });
            }
        }
        Ok(())
    }
}

/// What a dialect made of a request: its answer, and whether a mail was taken.
pub(super) struct Outcome {
    pub response: Response,
    pub taken: bool,
}

impl MailMock {
    /// Lets `take` handle a send request, unless a fault in force prevents it.
    pub(super) async fn under_faults(&self, take: impl FnOnce() -> Outcome) -> Response {
        let faults = self.state().faults;
        if faults.latency_ms > 0 {
            self.change(|state| state.hits.delayed += 1);
            tokio::time::sleep(Duration::from_millis(faults.latency_ms)).await;
        }
        if self.chance(faults.fail_rate) {
            self.change(|state| state.hits.failed += 1);
            return failure(faults.status);
        }
        let outcome = take();
        // A refused mail was not taken, so there is nothing to be silent about.
        if outcome.taken && self.chance(faults.drop_rate) {
            self.change(|state| state.hits.dropped += 1);
            return cut();
        }
        outcome.response
    }
}

fn failure(status: u16) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = wire::error(status, "fault");
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// An answer that closes the connection instead of being sent.
///
/// hyper writes the head into a buffer, polls the body before it flushes that, and gives the connection up when the body
/// fails: so the client sees a closed connection and not one byte (proved in the tests, since nothing promises it).
fn cut() -> Response {
    let broken = stream::once(async { Err::<Bytes, _>(io::Error::other("cut by order, see /api/faults")) });
    Response::builder().body(Body::from_bytes_stream(broken))
}

/// `GET /api/faults`
#[handler]
pub(super) fn show(mock: Data<&MailMock>) -> Response {
    wire::json(StatusCode::OK, &mock.state().faults)
}

/// `PUT /api/faults`: replaces the faults; what is left out returns to its default.
#[handler]
pub(super) async fn replace(body: Body, mock: Data<&MailMock>) -> Response {
    let bytes = match wire::read(body).await {
        Ok(bytes) => bytes,
        Err(response) => return response,
    };
    // By way of a map, since serde would take an array for a struct, too: `[1]` would make everything fail.
    let object = serde_json::from_slice::<Map<String, Value>>(&bytes);
    let faults = match object.and_then(|object| serde_json::from_value::<Faults>(Value::Object(object))) {
        Ok(faults) => faults,
        Err(error) => return wire::bad_request(&error.to_string()),
    };
    if let Err(error) = faults.check() {
        return wire::bad_request(&error.to_string());
    }
    mock.change(|state| {
        state.faults = faults;
        state.hits = Hits::default();
    });
    wire::json(StatusCode::OK, &faults)
}
