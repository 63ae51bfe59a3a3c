//! Forgetting registrations that nobody activated.

use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::ports::Users;

/// Purges until told to stop. Several processes may do so at once.
pub async fn run<U: Users>(users: Arc<U>, pending_ttl: Duration, stop: CancellationToken) {
    // Often enough that nothing lives much longer than it should, and seldom enough to cost nothing.
    let pause = (pending_ttl / 24).clamp(Duration::from_secs(1), Duration::from_secs(60 * 60));
    let purge_for_ever = async {
        let mut reachable = true;
        loop {
            match users.purge(pending_ttl).await {
                Ok(purged) => {
                    reachable = true;
                    if purged > 0 {
                        info!(purged, "registrations that nobody activated were deleted");
                        counter!("sixty_purged_total").increment(purged);
                    }
                }
                Err(error) if reachable => {
                    warn!(%error, "old registrations cannot be deleted; trying on");
                    reachable = false;
                }
                Err(_) => {}
            }
            tokio::time::sleep(pause).await;
        }
    };
    // Nothing is lost by stopping in the middle: what is left is deleted the next time.
    tokio::select! {
        () = stop.cancelled() => {}
        () = purge_for_ever => {}
    }
}
