//! The stages of a graceful shutdown.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Share of the grace period after which the mail worker releases its leases. The rest is for that statement.
const RELEASE_AFTER: f64 = 0.8;

/// Tokens for the stages of a shutdown.
#[derive(Default)]
pub(super) struct Shutdown {
    /// Cancelled after the shutdown delay: the API accepts no further connections, and the jobs start nothing new.
    pub closing: CancellationToken,
    /// Cancelled near the end of the grace period: the worker releases its leases, so that other processes can send the
    /// mails at once.
    pub release_leases: CancellationToken,
}

impl Shutdown {
    /// Waits until `stop` is cancelled, then goes through the stages. Returns when the grace period is over.
    ///
    /// `/readyz` answers 503 as soon as `stop` is cancelled.
    pub async fn run(self, stop: CancellationToken, delay: Duration, grace: Duration) {
        stop.cancelled().await;
        if !delay.is_zero() {
            info!(?delay, "stopping: not ready, but still serving requests during the shutdown delay");
            tokio::time::sleep(delay).await;
        }
        self.closing.cancel();
        info!("stopping: finishing open requests and mails");
        let until_release = grace.mul_f64(RELEASE_AFTER);
        tokio::time::sleep(until_release).await;
        self.release_leases.cancel();
        tokio::time::sleep(grace - until_release).await;
        warn!(?grace, "the shutdown grace is over; aborting the remaining requests and mails");
    }
}
