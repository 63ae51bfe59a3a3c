//! Health probes. `/livez`: the process responds. `/readyz`: its dependencies respond too, and it is not stopping.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use poem::{IntoResponse, Response};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::problem::Problem;
use crate::backoff::Backoff;

/// A health check. The error says why it failed, for logs and for `/readyz`.
type Check = Box<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// The health checks of the dependencies, and whether the service is stopping. Cheap to clone.
#[derive(Clone)]
pub struct Health {
    checks: Arc<Vec<(&'static str, Check)>>,
    stopping: CancellationToken,
}

/// The pauses between two runs of the checks at start, while a check fails.
const CHECK_BACKOFF: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
/// Failed checks are not logged this early after the start: connecting and checking migrations takes a moment.
const QUIET_PERIOD: Duration = Duration::from_secs(1);

impl Health {
    /// Creates health checks with their names. `stopping` is cancelled when the service must stop.
    ///
    /// The mail provider needs no check: registration works without it, because mails wait in the outbox.
    pub fn new(checks: Vec<(&'static str, Check)>, stopping: CancellationToken) -> Self {
        Self { checks: Arc::new(checks), stopping }
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// Runs all checks. Returns the name of each, with the reason if it failed.
    pub async fn run_checks(&self) -> Vec<(&'static str, Option<String>)> {
        join_all(self.checks.iter().map(async |(name, check)| (*name, check().await.err()))).await
    }

    /// The response to `/readyz`: 200, or 503 with the names of all failed checks.
    pub async fn ready(&self) -> Response {
        if self.is_stopping() {
            return Problem::unavailable("The service is stopping.", Duration::from_secs(1)).into_response();
        }
        match failures(&self.run_checks().await) {
            None => Response::builder().content_type("application/json").body("{\"status\":\"ready\"}\n"),
            Some(failures) => {
                Problem::unavailable(format!("Not ready: {failures}"), Duration::from_secs(1)).into_response()
            }
        }
    }

    /// The response to `/livez`: always 200.
    pub fn live() -> Response {
        Response::builder().content_type("application/json").body("{\"status\":\"live\"}\n")
    }

    /// Runs the checks until all pass or the service stops. Logs the failed checks whenever they change.
    pub async fn log_until_ready(self) {
        let (start, mut logged, mut backoff) = (Instant::now(), String::new(), CHECK_BACKOFF);
        while let Some(failures) = failures(&self.run_checks().await) {
            if failures != logged && start.elapsed() > QUIET_PERIOD {
                warn!("not ready, waiting for {failures}");
                logged = failures;
            }
            tokio::select! {
                () = self.stopping.cancelled() => return,
                () = tokio::time::sleep(backoff.next_pause()) => {}
            }
        }
        info!("ready");
    }
}

/// Lists the failed checks with their reasons. `None` if all checks passed.
fn failures(results: &[(&'static str, Option<String>)]) -> Option<String> {
    let failed = results.iter().filter_map(|(name, reason)| Some(format!("{name} ({})", reason.as_ref()?)));
    let failed: Vec<String> = failed.collect();
    (!failed.is_empty()).then(|| failed.join("; "))
}
