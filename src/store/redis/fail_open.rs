//! Asking Redis for what the service can do without.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deadpool_redis::redis::RedisResult;
use metrics::counter;
use tokio::time::Instant;
use tracing::{info, warn};

use super::{Connection, Redis};

/// For how long nobody asks after a failure. Then one request tries, and the others go on without.
const PAUSE: Duration = Duration::from_secs(5);

/// A Redis whose failure is no error: the answer is missing, and the service goes on. So it must not wait for it either;
/// it does so once, not with every request.
#[derive(Clone)]
pub(super) struct FailOpen {
    redis: Redis,
    /// When to try again; none while Redis answers.
    paused: Arc<Mutex<Option<Instant>>>,
}

impl FailOpen {
    pub(super) fn new(redis: Redis) -> Self {
        // What can be done without is waited for less long.
        let timeout = redis.timeout / 2;
        Self { redis: Redis { timeout, ..redis }, paused: Arc::default() }
    }

    pub(super) fn prefix(&self) -> &str {
        &self.redis.prefix
    }

    pub(super) async fn ask<T, F>(&self, call: impl FnOnce(Connection) -> F) -> Option<T>
    where
        F: Future<Output = RedisResult<T>>,
    {
        if !self.may_ask() {
            return skipped();
        }
        match self.redis.call(call).await {
            Ok(answer) => {
                if self.set(None).is_some() {
                    info!("Redis answers again: the limits of client networks hold");
                }
                Some(answer)
            }
            Err(error) => {
                if self.set(Some(Instant::now() + PAUSE)).is_none() {
                    warn!(%error, "the limits of client networks do not hold until Redis answers");
                }
                skipped()
            }
        }
    }

    fn may_ask(&self) -> bool {
        let mut paused = self.paused.lock().unwrap_or_else(PoisonError::into_inner);
        match *paused {
            None => true,
            Some(until) if Instant::now() < until => false,
            Some(_) => {
                *paused = Some(Instant::now() + PAUSE);
                true
            }
        }
    }

    fn set(&self, until: Option<Instant>) -> Option<Instant> {
        std::mem::replace(&mut *self.paused.lock().unwrap_or_else(PoisonError::into_inner), until)
    }
}

fn skipped<T>() -> Option<T> {
    counter!("sixty_limits_skipped_total").increment(1);
    None
}

#[cfg(test)]
mod tests {
    use deadpool_redis::redis;
    use tokio::net::TcpListener;

    use super::super::RedisConfig;
    use super::*;

    #[tokio::test]
    async fn who_does_not_answer_is_waited_for_once() {
        let deaf = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = RedisConfig {
            url: format!("redis://{}", deaf.local_addr().unwrap()).into(),
            max_connections: 100,
            timeout: Duration::from_millis(200),
            prefix: String::new(),
        };
        let redis = FailOpen::new(Redis::new(&config).unwrap());
        let ask = async || redis.ask(async |mut redis| redis::cmd("PING").query_async::<()>(&mut redis).await).await;
        let connections = async {
            let mut connections = vec![];
            while let Ok((connection, _)) = deaf.accept().await {
                connections.push(connection);
                assert_eq!(connections.len(), 1, "somebody asked during the pause");
            }
        };
        let asked = async {
            for _ in 0..50 {
                assert_eq!(ask().await, None);
            }
        };
        tokio::select! {
            () = asked => {}
            () = connections => {}
        }
        // The pause is over, and one of many at once tries.
        *redis.paused.lock().unwrap() = Some(Instant::now());
        let tried = futures_util::future::join_all((0..50).map(|_| async { redis.may_ask() })).await;
        assert_eq!(tried.into_iter().filter(|tried| *tried).count(), 1);
    }
}
