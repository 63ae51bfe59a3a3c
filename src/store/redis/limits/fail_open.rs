//! Best-effort calls to Redis, for limits that a request can be served without.

use std::panic::Location;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deadpool_redis::redis::{FromRedisValue, ScriptInvocation};
use metrics::counter;
use tracing::{Instrument as _, error, info, warn};

use crate::store::fault::{Cure, Fault};
use crate::store::redis::pauses::Pauses;
use crate::store::redis::{CallError, Redis};
use crate::telemetry::spans;

/// How long calls are skipped after a failure. Then one request probes Redis, and the others go on skipping.
const PAUSE: Duration = Duration::from_secs(5);

/// A Redis client that returns `None` instead of an error.
///
/// It is a circuit breaker, so that a Redis that is down delays one request every few seconds, and not every request. It has
/// one state for each master of a cluster, so that a node that hangs affects only its own keys.
#[derive(Clone)]
pub(super) struct FailOpen {
    redis: Redis,
    pauses: Arc<Pauses>,
    latest_fault: Arc<Mutex<Option<Fault>>>,
    /// Whether faults are logged and counted.
    is_logged: bool,
}

impl FailOpen {
    pub(super) fn new(redis: Redis) -> Self {
        // Optional Redis calls get half the timeout.
        let timeout = redis.timeout / 2;
        Self {
            redis: Redis { timeout, ..redis },
            pauses: Arc::new(Pauses::new(PAUSE)),
            latest_fault: Arc::default(),
            is_logged: true,
        }
    }

    /// Creates a client for a check, which reports its faults by itself.
    pub(super) fn unlogged(redis: Redis) -> Self {
        Self { is_logged: false, ..Self::new(redis) }
    }

    /// Returns why a call had no result, if one had none.
    pub(super) fn latest_fault(&self) -> Option<Fault> {
        self.latest_fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn prefix(&self) -> &str {
        &self.redis.prefix
    }

    /// Runs a Lua script whose keys are in the slot of `key`. `None`: Redis did not respond, or the call was skipped.
    ///
    /// Only Redis itself starts a pause. A request that waits too long for a connection of the pool skips this call alone.
    #[track_caller]
    pub(super) fn run<T: FromRedisValue>(
        &self,
        key: &str,
        script: &ScriptInvocation<'_>,
    ) -> impl Future<Output = Option<T>> {
        let caller = Location::caller();
        async move { self.run_for(caller, key, script).await }
    }

    async fn run_for<T: FromRedisValue>(
        &self,
        caller: &'static Location<'static>,
        key: &str,
        script: &ScriptInvocation<'_>,
    ) -> Option<T> {
        let node = self.redis.node_of(key);
        if !self.pauses.may_call(node.as_ref()) {
            return skipped();
        }
        let span = spans::store("redis", caller);
        match self.redis.try_run(script).instrument(span.clone()).await {
            Ok(value) => {
                if self.pauses.end(node) {
                    info!("Redis responds again; the limits of client networks apply");
                }
                Some(value)
            }
            Err(CallError::NoConnection) => skipped(),
            Err(CallError::Failed(fault)) => {
                spans::record_failure(&span);
                if self.pauses.begin(node) && self.is_logged {
                    log(&fault);
                }
                *self.latest_fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
                skipped()
            }
        }
    }
}

fn log(Fault { summary, reason, cure, .. }: &Fault) {
    if *cure == Cure::Defect {
        error!(%reason, "Redis {summary}; each process limits client networks by itself until Redis does");
    } else {
        warn!(%reason, "Redis {summary}; each process limits client networks by itself until Redis does");
    }
}

fn skipped<T>() -> Option<T> {
    counter!("sixty_limits_skipped_total").increment(1);
    None
}

#[cfg(test)]
mod tests {
    use deadpool_redis::redis::Script;
    use tokio::net::TcpListener;

    use super::*;
    use crate::store::redis::RedisConfig;

    #[tokio::test]
    async fn a_redis_that_does_not_respond_is_called_once_per_pause() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = RedisConfig {
            url: format!("redis://{}", silent.local_addr().unwrap()).into(),
            max_connections: 100,
            timeout: Duration::from_millis(200),
            prefix: String::new(),
        };
        let redis = FailOpen::new(Redis::new(&config).unwrap());
        let script = Script::new("return 1");
        let connections = async {
            let mut connections = vec![];
            while let Ok((connection, _)) = silent.accept().await {
                connections.push(connection);
                assert_eq!(connections.len(), 1, "a call was made during the pause");
            }
        };
        let calls = async {
            for _ in 0..50 {
                assert_eq!(redis.run::<u8>("key", &script.prepare_invoke()).await, None);
            }
        };
        tokio::select! {
            () = calls => {}
            () = connections => {}
        }
    }
}
