//! Redis: the pool and its limits.

pub mod codes;

use std::future::Future;
use std::time::Duration;

use deadpool_redis::redis::{self, AsyncConnectionConfig, RedisResult};
use deadpool_redis::{Connection, Manager, Pool, PoolError, Runtime};
use secrecy::{ExposeSecret, SecretString};

use crate::accounts::ports::StoreError;

const STORE: &str = "Redis";

#[derive(Debug, Clone)]
pub struct RedisConfig {
    pub url: SecretString,
    pub max_connections: usize,
    /// For one call, the wait for a connection included.
    pub timeout: Duration,
    /// What every key begins with.
    pub prefix: String,
}

/// A pool that connects when it is first asked, and the bound on every call.
#[derive(Clone)]
pub struct Redis {
    pool: Pool,
    timeout: Duration,
    prefix: String,
}

impl Redis {
    /// # Errors
    /// When the URL is none of Redis's.
    pub fn new(config: &RedisConfig) -> RedisResult<Self> {
        let limits = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(config.timeout))
            .set_response_timeout(Some(config.timeout));
        let manager = Manager::new_with_config(config.url.expose_secret(), limits)?;
        let pool = Pool::builder(manager)
            .max_size(config.max_connections)
            .wait_timeout(Some(config.timeout))
            .create_timeout(Some(config.timeout))
            .recycle_timeout(Some(config.timeout))
            .runtime(Runtime::Tokio1)
            .build()
            .expect("a runtime for the timeouts is given");
        Ok(Self { pool, timeout: config.timeout, prefix: config.prefix.clone() })
    }

    pub async fn ping(&self) -> Result<(), StoreError> {
        self.call(async |mut redis| redis::cmd("PING").query_async(&mut redis).await).await
    }

    /// Waits for connection and answer together no longer than the configuration says. The pool tries its idle connections
    /// one after the other, so that bounds on its steps alone would add up.
    async fn call<T, F>(&self, call: impl FnOnce(Connection) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let answered = async {
            let connection = self.pool.get().await.map_err(|error| match error {
                PoolError::Backend(error) => kind(&error),
                other => other.to_string(),
            })?;
            call(connection).await.map_err(|error| kind(&error))
        };
        let answer = tokio::time::timeout(self.timeout, answered).await;
        let answer = answer.unwrap_or_else(|_| Err(format!("no answer in {:?}", self.timeout)));
        answer.map_err(|reason| StoreError::Unavailable { store: STORE, reason })
    }
}

/// What went wrong, without the server's own words: they may repeat arguments.
fn kind(error: &redis::RedisError) -> String {
    match error.code() {
        Some(code) => format!("{} ({code})", error.category()),
        None => error.category().to_owned(),
    }
}
