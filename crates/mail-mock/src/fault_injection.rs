//! Fault injection on the send routes, and the routes that show and replace the faults.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use poem::http::{HeaderValue, StatusCode, header};
use poem::web::Data;
use poem::{Body, Response, handler};
use serde_json::{Map, Value};

use super::faults::{FaultCounts, Faults};
use super::mock::MailMock;
use super::wire;

/// The result of a send request: its response, and whether a mail was accepted.
pub(super) struct SendOutcome {
    pub response: Response,
    pub accepted: bool,
}

impl MailMock {
    /// Applies the current faults to a send request that `accept` handles.
    pub(super) async fn with_faults(&self, accept: impl FnOnce() -> SendOutcome) -> Response {
        let faults = self.state().faults;
        if faults.latency_ms > 0 {
            self.change(|state| state.fault_counts.delayed += 1);
            tokio::time::sleep(Duration::from_millis(faults.latency_ms)).await;
        }
        if self.chance(faults.fail_rate) {
            self.change(|state| state.fault_counts.failed += 1);
            return failure(faults.status);
        }
        let outcome = accept();
        // Dropping the response makes sense for an accepted mail only.
        if outcome.accepted && self.chance(faults.drop_rate) {
            self.change(|state| state.fault_counts.dropped += 1);
            return dropped_response();
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

/// Returns a response whose body fails, which makes hyper close the connection without sending a byte.
///
/// hyper buffers the head and polls the body before it flushes the buffer. hyper does not document this; a test checks it.
fn dropped_response() -> Response {
    let failing_body = stream::once(async { Err::<Bytes, _>(io::Error::other("drop_rate fault, see /api/faults")) });
    Response::builder().body(Body::from_bytes_stream(failing_body))
}

/// `GET /api/faults`
#[handler]
pub(super) fn show(mock: Data<&MailMock>) -> Response {
    wire::json(StatusCode::OK, &mock.state().faults)
}

/// `PUT /api/faults`: replaces all faults. Absent fields get their default.
#[handler]
pub(super) async fn replace(body: Body, mock: Data<&MailMock>) -> Response {
    let bytes = match wire::read(body).await {
        Ok(bytes) => bytes,
        Err(response) => return response,
    };
    // Parse an object first: serde would also deserialize the array `[1]` into the struct.
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
        state.fault_counts = FaultCounts::default();
    });
    wire::json(StatusCode::OK, &faults)
}
