//! `/livez`: this process answers. `/readyz`: so does what it depends on.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use poem::{IntoResponse, Response};
use tokio_util::sync::CancellationToken;

use super::problem::Problem;

type Check = Box<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// What must be there before requests make sense.
#[derive(Clone)]
pub struct Health {
    checks: Arc<Vec<(&'static str, Check)>>,
    stopping: CancellationToken,
}

impl Health {
    /// The mail provider is none of the checks: when it is down, registering still works.
    pub fn new(checks: Vec<(&'static str, Check)>, stopping: CancellationToken) -> Self {
        Self { checks: Arc::new(checks), stopping }
    }

    /// 200, or 503 naming everything that is missing.
    pub async fn ready(&self) -> Response {
        if self.stopping.is_cancelled() {
            return Problem::unavailable("The service is stopping.", Duration::from_secs(1)).into_response();
        }
        let answers = join_all(self.checks.iter().map(async |(name, check)| (*name, check().await))).await;
        let mut missing = String::new();
        for (name, answer) in answers {
            if let Err(reason) = answer {
                let separator = if missing.is_empty() { "Not ready: " } else { "; " };
                write!(missing, "{separator}{name} ({reason})").expect("writing to a string does not fail");
            }
        }
        if missing.is_empty() {
            Response::builder().content_type("application/json").body("{\"status\":\"ready\"}\n")
        } else {
            Problem::unavailable(missing, Duration::from_secs(1)).into_response()
        }
    }

    pub fn live() -> Response {
        Response::builder().content_type("application/json").body("{\"status\":\"live\"}\n")
    }
}
