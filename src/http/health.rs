//! Health probes. `/livez`: the process responds. `/readyz`: the dependencies that it requires respond too, and it is not
//! stopping.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use poem::{IntoResponse, Request, Response};
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::problem::Problem;
use crate::backoff::Backoff;

/// Runs a health check. The error says why it failed, for logs and for `/readyz`.
type RunCheck = Box<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// The health check of a dependency.
pub struct Check {
    pub name: &'static str,
    /// Whether the service is not ready while the check fails. Otherwise the service is ready but degraded.
    pub required: bool,
    pub run: RunCheck,
}

/// The result of a health check.
pub struct CheckResult {
    pub name: &'static str,
    pub required: bool,
    /// Why the check failed. `None` if the dependency responds.
    pub failure: Option<String>,
}

/// The health checks of the dependencies, and whether the service is stopping. Cheap to clone.
#[derive(Clone)]
pub struct Health {
    checks: Arc<Vec<Check>>,
    stopping: CancellationToken,
}

/// The pauses between two runs of the checks at start, while a check fails.
const CHECK_BACKOFF: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
/// Failed checks are not logged this early after the start: connecting and checking migrations takes a moment.
const QUIET_PERIOD: Duration = Duration::from_secs(1);

impl Health {
    /// Creates health checks. `stopping` is cancelled when the service must stop.
    ///
    /// The mail provider needs no check: registration works without it, because mails wait in the outbox.
    pub fn new(checks: Vec<Check>, stopping: CancellationToken) -> Self {
        Self { checks: Arc::new(checks), stopping }
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// Runs all checks.
    pub async fn run_checks(&self) -> Vec<CheckResult> {
        let run = async |check: &Check| {
            let failure = (check.run)().await.err();
            CheckResult { name: check.name, required: check.required, failure }
        };
        join_all(self.checks.iter().map(run)).await
    }

    /// The response to `/readyz`: 200, or 503 with the names of all failed checks.
    ///
    /// A failed check that is not required makes the response 200 with its name in `degraded`. The query parameter
    /// `require` lists checks that this request requires.
    pub async fn ready(&self, request: &Request) -> Response {
        let unavailable = |detail: String| Problem::unavailable(detail, Duration::from_secs(1)).into_response();
        if self.is_stopping() {
            return unavailable("The service is stopping.".to_owned());
        }
        let query = request.uri().query().unwrap_or_default();
        let parameters = url::form_urlencoded::parse(query.as_bytes());
        let required = parameters.filter(|(name, _)| name == "require").map(|(_, names)| names.into_owned());
        let required = required.collect::<Vec<_>>().join(",");
        let required: Vec<&str> = required.split(',').filter(|name| !name.is_empty()).collect();
        // A misspelled name must not pass for a strict check.
        if required.iter().any(|name| !self.checks.iter().any(|check| check.name == *name)) {
            let known: Vec<_> = self.checks.iter().map(|check| check.name).collect();
            return unavailable(format!("The parameter require must be one of: {}.", known.join(", ")));
        }
        let mut results = self.run_checks().await;
        for result in &mut results {
            result.required |= required.contains(&result.name);
        }
        if is_ready(&results) {
            let degraded: Vec<_> = results.iter().filter(|result| result.failure.is_some()).collect();
            let mut body = json!({ "status": "ready" });
            if !degraded.is_empty() {
                body["degraded"] = degraded.iter().map(|result| result.name).collect();
            }
            Response::builder().content_type("application/json").body(format!("{body}\n"))
        } else {
            unavailable(format!("Not ready: {}", failures(&results).unwrap_or_default()))
        }
    }

    /// The response to `/livez`: always 200.
    pub fn live() -> Response {
        Response::builder().content_type("application/json").body("{\"status\":\"live\"}\n")
    }

    /// Runs the checks until all pass or the service stops. Logs when the service becomes ready, and the failed checks
    /// whenever they change.
    pub async fn log_until_ready(self) {
        let (start, mut logged, mut backoff) = (Instant::now(), String::new(), CHECK_BACKOFF);
        let mut was_ready = false;
        loop {
            let results = self.run_checks().await;
            let Some(failures) = failures(&results) else { break };
            let ready = is_ready(&results);
            if (ready, &failures) != (was_ready, &logged) && start.elapsed() > QUIET_PERIOD {
                if ready {
                    warn!("ready without {failures}; what needs it is refused until it answers");
                } else {
                    warn!("not ready, waiting for {failures}");
                }
                (was_ready, logged) = (ready, failures);
            }
            tokio::select! {
                () = self.stopping.cancelled() => return,
                () = tokio::time::sleep(backoff.next_pause()) => {}
            }
        }
        info!("ready");
    }
}

/// Whether all required checks passed.
pub fn is_ready(results: &[CheckResult]) -> bool {
    results.iter().all(|result| result.failure.is_none() || !result.required)
}

/// Lists the failed checks with their reasons. `None` if all checks passed.
fn failures(results: &[CheckResult]) -> Option<String> {
    let failed = results.iter().filter_map(|result| Some(format!("{} ({})", result.name, result.failure.as_ref()?)));
    let failed: Vec<String> = failed.collect();
    (!failed.is_empty()).then(|| failed.join("; "))
}
