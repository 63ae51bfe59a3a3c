//! The spans that OTLP exports: requests, password hashes, calls to stores, and mails.
//!
//! The log ignores them, and without a collector nothing enables them, so that they cost nothing. Their fields hold no
//! address, code, password, body or path: collectors store spans as long as logs.
//!
//! Names follow the semantic conventions of OpenTelemetry where they have one.

use std::panic::Location;

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, TraceContextExt as _, TraceFlags, TraceState};
use tracing::field::Empty;
use tracing::{Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::trace::TraceContext;

/// The `tracing` target of these spans.
pub(super) const TARGET: &str = "exported";

/// Returns the span of a request, as a child of the client's span.
pub fn request(method: &'static str, route: &str, parent: Option<TraceContext>) -> Span {
    let span = info_span!(
        target: TARGET, parent: None, "request",
        otel.name = format!("{method} {route}"), otel.kind = "server", otel.status_code = Empty,
        http.request.method = method, http.route = route, http.response.status_code = Empty,
    );
    with_parent(span, parent)
}

/// Returns the span of one attempt to send a mail, as a child of the request that queued the mail.
pub fn mail(attempt: u32, parent: Option<TraceContext>) -> Span {
    let span = info_span!(
        target: TARGET, parent: None, "mail", otel.kind = "consumer", otel.status_code = Empty,
        attempt = i64::from(attempt), outcome = Empty,
    );
    with_parent(span, parent)
}

/// Returns the span of one request to the mail provider.
pub fn provider(host: Option<&str>) -> Span {
    child(|| {
        info_span!(
            target: TARGET, "provider",
            otel.name = "POST mail provider", otel.kind = "client", otel.status_code = Empty,
            http.request.method = "POST", server.address = host, http.response.status_code = Empty,
        )
    })
}

/// Returns the span of a password hash, including the wait for a thread.
pub fn hash() -> Span {
    child(|| info_span!(target: TARGET, "hash", otel.name = "hash password"))
}

/// Returns the span of a call to a store. `caller` is the place in the source that makes the call.
pub fn store(system: &'static str, caller: &'static Location<'static>) -> Span {
    child(|| {
        let file = caller.file().rsplit('/').next().unwrap_or_default();
        info_span!(
            target: TARGET, "store",
            otel.name = format!("{system} {}", file.trim_end_matches(".rs")), otel.kind = "client",
            otel.status_code = Empty, db.system.name = system,
            code.file.path = caller.file(), code.line.number = i64::from(caller.line()),
        )
    })
}

/// Marks the span as failed.
pub fn record_failure(span: &Span) {
    span.record("otel.status_code", "ERROR");
}

/// Records the status of an HTTP response. Failures of the server mark the span as failed.
pub fn record_status(span: &Span, status: u16, is_failure: bool) {
    span.record("http.response.status_code", i64::from(status));
    if is_failure {
        record_failure(span);
    }
}

/// Returns the position of an exported span in its trace. `None` if no spans are exported.
pub fn context(span: &Span) -> Option<TraceContext> {
    if span.is_disabled() {
        return None;
    }
    let context = span.context();
    let context = context.span().span_context().clone();
    let flags = context.trace_flags().to_u8();
    context.is_valid().then(|| TraceContext::new(context.trace_id().to_bytes(), context.span_id().to_bytes(), flags))
}

fn with_parent(span: Span, parent: Option<TraceContext>) -> Span {
    if let Some(parent) = parent
        && !span.is_disabled()
    {
        let (trace, parent, flags) = parent.parts();
        let remote = SpanContext::new(trace.into(), parent.into(), TraceFlags::new(flags), true, TraceState::NONE);
        // The span was not started yet, so its parent can be set.
        let _ = span.set_parent(Context::new().with_remote_span_context(remote));
    }
    span
}

/// Returns a span within the current trace, or no span outside a trace: the polls of background jobs are no traces.
fn child(span: impl FnOnce() -> Span) -> Span {
    if Context::map_current(|context| context.has_active_span()) { span() } else { Span::none() }
}
