//! Background task that keeps the distribution of the accounts' hash costs up to date.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::ports::Users;
use crate::backoff::Backoff;
use crate::passwords::{CostDistribution, CostDraw};

/// Costs change by rehashes only, so the distribution changes slowly.
const REFRESH_INTERVAL: Duration = Duration::from_secs(60);
const RETRY_BACKOFF: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));

/// Loads the distribution, with retries until the first success.
pub async fn load<U: Users>(users: Arc<U>, costs: CostDraw) {
    let mut backoff = RETRY_BACKOFF;
    let mut reachable = true;
    while let Err(error) = refresh(&*users, &costs).await {
        if reachable {
            warn!(%error, "cannot read the hash costs of the accounts; the service is not ready until it can");
            reachable = false;
        }
        tokio::time::sleep(backoff.next_pause()).await;
    }
}

/// Loads the distribution periodically until `stop` is cancelled. If PostgreSQL does not respond, the old one stays.
pub async fn run<U: Users>(users: Arc<U>, costs: CostDraw, stop: CancellationToken) {
    let refresh_repeatedly = async {
        let mut reachable = true;
        loop {
            tokio::time::sleep(REFRESH_INTERVAL).await;
            match refresh(&*users, &costs).await {
                Ok(()) if !reachable => {
                    info!("the hash costs of the accounts can be read again");
                    reachable = true;
                }
                Ok(()) => {}
                Err(error) if reachable => {
                    warn!(%error, "cannot read the hash costs of the accounts; the last ones stay in use");
                    reachable = false;
                }
                Err(_) => {}
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = refresh_repeatedly => {}
    }
}

async fn refresh(users: &impl Users, costs: &CostDraw) -> Result<(), super::errors::StoreError> {
    costs.set(CostDistribution::new(users.hash_costs().await?));
    Ok(())
}
