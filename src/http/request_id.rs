//! Request ids (`X-Request-Id`) and the trace context of a request (`traceparent`, W3C Trace Context).

use poem::Request;
use tracing::Span;

use crate::rng::Rng;
use crate::telemetry::spans;
use crate::telemetry::trace::TraceContext;

pub const REQUEST_ID: &str = "x-request-id";
const TRACEPARENT: &str = "traceparent";

/// The ids under which a request is logged.
pub struct RequestIds {
    /// Continues the client's trace, or starts a new one.
    pub trace: TraceContext,
    pub request_id: String,
}

impl RequestIds {
    /// Takes the ids from the request's headers, and generates those that are absent or invalid.
    ///
    /// If the client sent neither header, the request id is the trace id: one id then finds all log lines.
    ///
    /// The trace is that of the request's exported span, if spans are exported.
    pub fn of(request: &Request, exported: &Span, rng: &Rng) -> Self {
        let client_trace = client_trace(request);
        let trace = spans::context(exported)
            .unwrap_or_else(|| client_trace.map_or_else(|| TraceContext::begin(rng), |parent| parent.child(rng)));
        let request_id = client_request_id(request).unwrap_or_else(|| match client_trace {
            // One trace can contain many requests, so the trace id would not be unique.
            Some(_) => rng.uuid().simple().to_string(),
            None => trace.id(),
        });
        Self { trace, request_id }
    }
}

/// The client's trace context, if the request has exactly one valid `traceparent`.
pub fn client_trace(request: &Request) -> Option<TraceContext> {
    let mut values = request.headers().get_all(TRACEPARENT).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok().and_then(TraceContext::parse),
        _ => None,
    }
}

/// The client's request id, if it is safe to log: 1 to 128 of the characters `A-Z a-z 0-9 - _ .`
fn client_request_id(request: &Request) -> Option<String> {
    let id = request.header(REQUEST_ID)?;
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    ((1..=128).contains(&id.len()) && id.bytes().all(is_safe)).then(|| id.to_owned())
}
