//! Best-effort calls to Redis, for limits that a request can be served without.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deadpool_redis::redis::{FromRedisValue, ScriptInvocation};
use metrics::counter;
use tokio::time::Instant;
use tracing::{info, warn};

use super::Redis;

/// How long calls are skipped after a failure. Then one request probes Redis, and the others go on skipping.
const PAUSE: Duration = Duration::from_secs(5);

/// A Redis client that returns `None` instead of an error.
///
/// It is a circuit breaker, so that a Redis that is down delays one request every few seconds, and not every request.
#[derive(Clone)]
pub(super) struct FailOpen {
    redis: Redis,
    /// The time of the next probe. `None` while Redis responds.
    paused_until: Arc<Mutex<Option<Instant>>>,
}

impl FailOpen {
    pub(super) fn new(redis: Redis) -> Self {
        // Optional Redis calls get half the timeout.
        let timeout = redis.timeout / 2;
        Self { redis: Redis { timeout, ..redis }, paused_until: Arc::default() }
    }

    pub(super) fn prefix(&self) -> &str {
        &self.redis.prefix
    }

    /// Runs a Lua script. `None`: Redis did not respond, or the call was skipped.
    pub(super) async fn run<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Option<T> {
        if !self.may_call() {
            return skipped();
        }
        match self.redis.run(script).await {
            Ok(value) => {
                if self.pause_until(None).is_some() {
                    info!("Redis responds again: the limits of client networks apply");
                }
                Some(value)
            }
            Err(error) => {
                if self.pause_until(Some(Instant::now() + PAUSE)).is_none() {
                    warn!(%error, "the limits of client networks do not apply until Redis responds");
                }
                skipped()
            }
        }
    }

    /// Returns whether to call Redis now. When a pause is over, the first caller starts the next pause and probes.
    fn may_call(&self) -> bool {
        let mut paused_until = self.paused_until.lock().unwrap_or_else(PoisonError::into_inner);
        match *paused_until {
            None => true,
            Some(until) if Instant::now() < until => false,
            Some(_) => {
                *paused_until = Some(Instant::now() + PAUSE);
                true
            }
        }
    }

    /// Sets the end of the pause (`None`: no pause), and returns the previous one.
    fn pause_until(&self, until: Option<Instant>) -> Option<Instant> {
        std::mem::replace(&mut *self.paused_until.lock().unwrap_or_else(PoisonError::into_inner), until)
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

    use super::super::RedisConfig;
    use super::*;

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
                assert_eq!(redis.run::<u8>(&script.prepare_invoke()).await, None);
            }
        };
        tokio::select! {
            () = calls => {}
            () = connections => {}
        }
        // When the pause is over, one of many concurrent requests probes.
        *redis.paused_until.lock().unwrap() = Some(Instant::now());
        let probes = futures_util::future::join_all((0..50).map(|_| async { redis.may_call() })).await;
        assert_eq!(probes.into_iter().filter(|probes| *probes).count(), 1);
    }
}
