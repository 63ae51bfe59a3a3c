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

/// Returns the checks behind `/readyz`. `migrated` becomes true when all migrations are applied.
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

async fn check_postgres(postgres: Postgres, migrated: bool) -> Result<(), String> {
    if migrated {
        return within_timeout(postgres.ping()).await;
    }
    within_timeout(postgres.answers()).await?;
    Err("migrations are not applied yet".to_owned())
}

async fn check_redis(redis: Redis) -> Result<(), String> {
    within_timeout(redis.ping()).await
}

async fn within_timeout<E>(call: impl Future<Output = Result<(), E>>) -> Result<(), String> {
    match tokio::time::timeout(CHECK_TIMEOUT, call).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err("does not answer".to_owned()),
        Err(_) => Err("no answer in time".to_owned()),
    }
}
