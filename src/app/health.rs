//! The readiness checks of PostgreSQL and Redis.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::http::health::{Check, Health};
use crate::store::postgres::Postgres;
use crate::store::redis::Redis;

/// Timeout of a check of one store.
pub(super) const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// A running check. The error is the reason why the store is not ready.
type RunningCheck = BoxFuture<'static, Result<(), String>>;

/// Returns the checks behind `/readyz`. `migrated` becomes true when all migrations are applied and the data for logins is
/// loaded.
pub(super) fn store_checks(
    postgres: Postgres,
    redis: Redis,
    migrated: watch::Receiver<bool>,
    stop: CancellationToken,
) -> Health {
    let check_postgres = move || -> RunningCheck { Box::pin(check_postgres(postgres.clone(), *migrated.borrow())) };
    let check_redis = move || -> RunningCheck { Box::pin(check_redis(redis.clone())) };
    let checks = vec![
        Check { name: "postgresql", required: true, run: Box::new(check_postgres) },
        // Registration and login need no Redis, so the process must keep its place behind a load balancer.
        Check { name: "redis", required: false, run: Box::new(check_redis) },
    ];
    Health::new(checks, stop)
}

/// The summary of a fault, without the reason: `/readyz` is public.
async fn check_postgres(postgres: Postgres, migrated: bool) -> Result<(), String> {
    postgres.check(CHECK_TIMEOUT).await.map_err(|fault| fault.summary.to_owned())?;
    if migrated { Ok(()) } else { Err("is not ready for logins yet".to_owned()) }
}

async fn check_redis(redis: Redis) -> Result<(), String> {
    redis.check(CHECK_TIMEOUT).await.map_err(|fault| fault.summary.to_owned())
}
