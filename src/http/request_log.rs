//! One log line and two metrics for every request.
//!
//! Labels hold the path template, never the path: a client can put anything into a path, including secrets.

use std::time::Duration;

use metrics::{Counter, counter, histogram};
use poem::http::{Method, StatusCode};
use tracing::{debug, info};

use super::path::Path;

/// The label of requests whose method or path the service does not have.
const UNKNOWN: &str = "-";

/// The label of a method. Unknown methods share one label: a client could otherwise create any number of metrics.
pub fn method_label(method: &Method) -> &'static str {
    const LABELS: [&str; 7] = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"];
    LABELS.into_iter().find(|label| *label == method.as_str()).unwrap_or(UNKNOWN)
}

/// The label of a path: its template.
pub fn route_label(path: Option<&Path>) -> &str {
    path.map_or(UNKNOWN, Path::template)
}

/// Sets the counters of responses with status 500 to zero. Prometheus sees an increase only after a first value.
pub fn register_metrics(paths: &[Path]) {
    for path in paths {
        for method in path.methods() {
            requests_total(method_label(method), path.template(), StatusCode::INTERNAL_SERVER_ERROR).increment(0);
        }
    }
}

/// Logs and counts a request.
pub fn record(method: &'static str, path: Option<&Path>, status: StatusCode, duration: Duration) {
    let route = route_label(path);
    histogram!("sixty_http_request_duration_seconds", "method" => method, "route" => route.to_owned()).record(duration);
    requests_total(method, route, status).increment(1);
    let (status, ms) = (status.as_u16(), duration.as_millis() as u64);
    if path.is_some_and(Path::is_probe) {
        debug!(status, ms, "{method} {route} {status} in {ms} ms");
    } else {
        info!(status, ms, "{method} {route} {status} in {ms} ms");
    }
}

fn requests_total(method: &'static str, route: &str, status: StatusCode) -> Counter {
    let status = status.as_str().to_owned();
    counter!("sixty_http_requests_total", "method" => method, "route" => route.to_owned(), "status" => status)
}
