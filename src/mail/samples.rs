//! What the tests of the dialects share.

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use uuid::Uuid;

use super::dialect::{Answer, Dialect, Refusal, Verdict};
use super::provider::FromHeader;
use super::rendering::RenderedMail;

pub fn mail() -> RenderedMail {
    RenderedMail { to: "ada@example.com".into(), subject: "S".into(), text: "T".into(), html: "<p>T".into() }
}

/// Returns the headers and the body of the request that sends [`mail`].
pub fn written(dialect: &impl Dialect) -> (HeaderMap, Value) {
    let from = FromHeader { email: "no-reply@sixty.example".into(), name: "Sixty".into() };
    let request = reqwest::Client::new().post("http://mail.example");
    let request = dialect.write(request, &from, &mail(), Uuid::nil()).build().unwrap();
    let body = serde_json::from_slice(request.body().unwrap().as_bytes().unwrap()).unwrap();
    (request.headers().clone(), body)
}

/// Returns the verdict on a response with these headers.
pub fn verdict(dialect: &impl Dialect, status: u16, headers: &[(&'static str, &str)], body: &str) -> Verdict {
    let status = StatusCode::from_u16(status).unwrap();
    let headers = headers_of(headers);
    dialect.verdict(&Answer { status, headers: &headers, body: body.as_bytes() })
}

pub fn headers_of(headers: &[(&'static str, &str)]) -> HeaderMap {
    let parsed = headers
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a header value")));
    parsed.collect()
}

pub fn accepted(id: &str) -> Verdict {
    Verdict::Accepted { message_id: Some(id.to_owned()) }
}

pub fn refused(about: Refusal, status: u16) -> Verdict {
    Verdict::Refused { about, status: StatusCode::from_u16(status).unwrap() }
}
