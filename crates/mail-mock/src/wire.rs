//! What every route does with bytes: read a bounded body, answer JSON, answer an error.

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;
use poem::http::StatusCode;
use poem::{Body, Response};
use serde::{Deserialize, Deserializer, Serialize};

/// The largest request body that is taken.
pub(super) const BODY_LIMIT: usize = 1024 * 1024;

/// How much of a body that is too large is read and thrown away.
///
/// Answering at once would close the connection under a client that is still writing, which then reports a broken pipe
/// instead of the 413.
const DRAIN_LIMIT: usize = 16 * BODY_LIMIT;

/// The body, or the answer to one that is too large or breaks off.
pub(super) async fn read(body: Body) -> Result<Bytes, Response> {
    let mut kept = BytesMut::new();
    let mut seen = 0;
    let mut chunks = std::pin::pin!(body.into_bytes_stream());
    while let Some(chunk) = chunks.try_next().await.map_err(|_| bad_request("the body broke off"))? {
        seen += chunk.len();
        if seen <= BODY_LIMIT {
            kept.extend_from_slice(&chunk);
        } else if seen > DRAIN_LIMIT {
            break;
        }
    }
    if seen > BODY_LIMIT {
        return Err(error(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than 1 MiB"));
    }
    Ok(kept.freeze())
}

/// A JSON answer. Inbox and faults change at any time, so none may be cached.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let body = Body::from_json(value).expect("answers have string keys and no failing serializer");
    Response::builder()
        .status(status)
        .content_type("application/json")
        .header("Cache-Control", "no-store")
        .header("X-Content-Type-Options", "nosniff")
        .body(body)
}

/// An error in Mailpit's form.
pub(super) fn error(status: StatusCode, message: &str) -> Response {
    json(status, &serde_json::json!({ "Error": message }))
}

pub(super) fn bad_request(message: &str) -> Response {
    error(StatusCode::BAD_REQUEST, message)
}

/// Reads `null` as an absent field, as both providers do; clients that serialize an empty option rely on it.
pub(super) fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A mailbox as both dialects write it in a request.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Person {
    #[serde(deserialize_with = "null_is_default")]
    pub email: String,
    #[serde(deserialize_with = "null_is_default")]
    pub name: String,
}

impl Person {
    pub fn has_valid_email(&self) -> bool {
        let options = email_address::Options::default().without_display_text();
        email_address::EmailAddress::parse_with_options(&self.email, options).is_ok()
    }
}

impl From<Person> for super::inbox::Mailbox {
    fn from(person: Person) -> Self {
        Self { name: person.name, address: person.email }
    }
}
