//! Background task that deletes registrations that were never activated.

use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::ports::Users;

/// Purges periodically until `stop` is cancelled. Several processes may run this at the same time.
pub async fn run<U: Users>(users: Arc<U>, pending_ttl: Duration, stop: CancellationToken) {
    // A purge is cheap, but need not run often: 24 times per `pending_ttl`, at least hourly, at most once a second.
    let pause = (pending_ttl / 24).clamp(Duration::from_secs(1), Duration::from_secs(60 * 60));
    let purge_repeatedly = async {
        let mut reachable = true;
        loop {
            match users.purge(pending_ttl).await {
                Ok(purged) => {
                    reachable = true;
                    if purged > 0 {
                        info!(purged, "deleted registrations that were not activated in time");
                        counter!("sixty_purged_total").increment(purged);
                    }
                }
                Err(error) if reachable => {
                    warn!(%error, "cannot delete expired registrations; will keep trying");
                    reachable = false;
                }
                Err(_) => {}
            }
            tokio::time::sleep(pause).await;
        }
    };
    // Cancelling a purge loses nothing: the next purge deletes the remaining rows.
    tokio::select! {
        () = stop.cancelled() => {}
        () = purge_repeatedly => {}
    }
}
