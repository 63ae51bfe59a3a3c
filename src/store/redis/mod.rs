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
    /// For each of: a free connection, a new one, an answer.
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

    /// Waits for the call no longer than the configuration says, whatever the connection does.
    async fn call<T, F>(&self, call: impl FnOnce(Connection) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let unavailable = |reason: String| StoreError::Unavailable { store: STORE, reason };
        let connection = self.pool.get().await.map_err(|error| match error {
            PoolError::Backend(error) => unavailable(kind(&error)),
            other => unavailable(other.to_string()),
        })?;
        match tokio::time::timeout(self.timeout, call(connection)).await {
            Ok(answer) => answer.map_err(|error| unavailable(kind(&error))),
            Err(_) => Err(unavailable(format!("no answer in {:?}", self.timeout))),
        }
    }
}

/// What went wrong, without the server's own words: they may repeat arguments.
fn kind(error: &redis::RedisError) -> String {
    match error.code() {
        Some(code) => format!("{} ({code})", error.category()),
        None => error.category().to_owned(),
    }
}
