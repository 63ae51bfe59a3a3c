//! Common parts of the HTTP routes: request headers, bounded request bodies, JSON responses and errors.

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;
use poem::http::StatusCode;
use poem::{Body, Request, Response};
use serde::{Deserialize, Deserializer, Serialize};

use super::content::Mailbox;

/// Maximum size of a request body in bytes.
pub(super) const BODY_LIMIT: usize = 1024 * 1024;

/// Number of bytes that are read of an oversized body before the response.
///
/// An immediate response would close the connection while the client still writes. The client would then report a broken
/// pipe instead of the 413.
const DRAIN_LIMIT: usize = 16 * BODY_LIMIT;

/// Returns the `Idempotency-Key` header, unless it is empty.
pub(super) fn idempotency_key(request: &Request) -> Option<String> {
    request.header("Idempotency-Key").filter(|key| !key.is_empty()).map(str::to_owned)
}

/// Returns the `traceparent` header, unless it is longer than 128 bytes.
pub(super) fn traceparent(request: &Request) -> Option<String> {
    request.header("traceparent").filter(|trace| trace.len() <= 128).map(str::to_owned)
}

/// Reads a request body. Returns the error response if the body is too large or incomplete.
pub(super) async fn read(body: Body) -> Result<Bytes, Response> {
    let mut kept = BytesMut::new();
    let mut seen = 0;
    let mut chunks = std::pin::pin!(body.into_bytes_stream());
    while let Some(chunk) = chunks.try_next().await.map_err(|_| bad_request("the request body is incomplete"))? {
        seen += chunk.len();
        if seen <= BODY_LIMIT {
            kept.extend_from_slice(&chunk);
        } else if seen > DRAIN_LIMIT {
            break;
        }
    }
    if seen > BODY_LIMIT {
        return Err(error(StatusCode::PAYLOAD_TOO_LARGE, "the request body is larger than 1 MiB"));
    }
    Ok(kept.freeze())
}

/// Returns a JSON response that clients must not cache: the inbox and the faults change at any time.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let body = Body::from_json(value).expect("response types serialize without errors");
    Response::builder()
        .status(status)
        .content_type("application/json")
        .header("Cache-Control", "no-store")
        .header("X-Content-Type-Options", "nosniff")
        .body(body)
}

/// Returns an error response in Mailpit's form.
pub(super) fn error(status: StatusCode, message: &str) -> Response {
    json(status, &serde_json::json!({ "Error": message }))
}

pub(super) fn bad_request(message: &str) -> Response {
    error(StatusCode::BAD_REQUEST, message)
}

/// Deserializes `null` like an absent field, as providers do. Clients that serialize an empty option depend on this.
pub(super) fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A mailbox in a request of Mailpit's or Mailjet's API.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct RequestMailbox {
    #[serde(deserialize_with = "null_is_default")]
    pub email: String,
    #[serde(deserialize_with = "null_is_default")]
    pub name: String,
}

impl RequestMailbox {
    /// Mailboxes at `refused.example` stand for those that a provider refuses.
    pub fn has_valid_email(&self) -> bool {
        mailbox_syntax::CanonicalAddress::parse(&self.email).is_ok() && !self.email.ends_with("@refused.example")
    }
}

/// A mailbox in a request of Brevo's or SendGrid's API.
#[derive(Deserialize)]
pub(super) struct LowerCaseMailbox {
    #[serde(default, deserialize_with = "null_is_default")]
    email: String,
    #[serde(default, deserialize_with = "null_is_default")]
    name: String,
}

impl From<LowerCaseMailbox> for RequestMailbox {
    fn from(LowerCaseMailbox { email, name }: LowerCaseMailbox) -> Self {
        Self { email, name }
    }
}

impl From<RequestMailbox> for Mailbox {
    fn from(mailbox: RequestMailbox) -> Self {
        Self { name: mailbox.name, address: mailbox.email }
    }
}
