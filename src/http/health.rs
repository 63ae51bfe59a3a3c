//! `/livez`: this process answers. `/readyz`: so does what it depends on, and it was not told to stop.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use poem::{IntoResponse, Response};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::problem::Problem;
use crate::backoff::Backoff;

type Check = Box<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// What must be there before requests make sense.
#[derive(Clone)]
pub struct Health {
    checks: Arc<Vec<(&'static str, Check)>>,
    stopping: CancellationToken,
}

/// The pauses between checks at the start, while a dependency is missing.
const CHECK_BACKOFF: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
/// What is missing for less long at the start is not worth a word: connecting and looking at migrations takes a moment.
const PATIENCE: Duration = Duration::from_secs(1);

impl Health {
    /// The mail provider is none of the checks: when it is down, registering still works.
    pub fn new(checks: Vec<(&'static str, Check)>, stopping: CancellationToken) -> Self {
        Self { checks: Arc::new(checks), stopping }
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// Of each check its name, and why it failed if it did.
    pub async fn missing(&self) -> Vec<(&'static str, Option<String>)> {
        join_all(self.checks.iter().map(async |(name, check)| (*name, check().await.err()))).await
    }

    /// 200, or 503 naming everything that is missing.
    pub async fn ready(&self) -> Response {
        if self.is_stopping() {
            return Problem::unavailable("The service is stopping.", Duration::from_secs(1)).into_response();
        }
        match listed(&self.missing().await) {
            None => Response::builder().content_type("application/json").body("{\"status\":\"ready\"}\n"),
            Some(missing) => {
                Problem::unavailable(format!("Not ready: {missing}"), Duration::from_secs(1)).into_response()
            }
        }
    }

    pub fn live() -> Response {
        Response::builder().content_type("application/json").body("{\"status\":\"live\"}\n")
    }

    /// Writes to the log what is still missing, whenever that changes, until nothing is for the first time.
    pub async fn announce(self) {
        let (begun, mut told, mut backoff) = (Instant::now(), String::new(), CHECK_BACKOFF);
        while let Some(missing) = listed(&self.missing().await) {
            if missing != told && begun.elapsed() > PATIENCE {
                warn!("waiting for {missing}");
                told = missing;
            }
            tokio::select! {
                () = self.stopping.cancelled() => return,
                () = tokio::time::sleep(backoff.next_pause()) => {}
            }
        }
        info!("ready");
    }
}

/// `None`: nothing is missing.
fn listed(missing: &[(&'static str, Option<String>)]) -> Option<String> {
    let missing = missing.iter().filter_map(|(name, why)| Some(format!("{name} ({})", why.as_ref()?)));
    let missing: Vec<String> = missing.collect();
    (!missing.is_empty()).then(|| missing.join("; "))
}
