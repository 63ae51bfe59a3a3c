//! Redis: live codes, rate limits of client networks, and the event stream.
//!
//! - `connection.rs`: one server or a cluster.
//! - `codes.rs`: the live codes and their wrong guesses.
//! - `limits/`: the rate limits of client networks. A request is served even when Redis is down.
//! - `events.rs`: the stream that other programs read.
//! - `eviction.rs`: whether Redis deletes keys because it is full.

pub mod codes;
mod connection;
pub mod events;
mod eviction;
pub mod limits;
mod lua;

use std::future::Future;
use std::panic::Location;
use std::time::{Duration, Instant};

use deadpool_redis::PoolError;
use deadpool_redis::redis::{self, FromRedisValue, RedisResult, ScriptInvocation};
use secrecy::{ExposeSecret, SecretString};
use tracing::{Instrument as _, Span};

use self::connection::{Connection, Nodes};
use super::PoolState;
use crate::accounts::ports::StoreError;
use crate::telemetry::spans;

const STORE: &str = "Redis";

#[derive(Debug, Clone)]
pub struct RedisConfig {
    /// The URL of one server; or the URLs of some nodes of a cluster, separated by commas.
    pub url: SecretString,
    pub max_connections: usize,
    /// The timeout of one call, including the wait for a connection.
    pub timeout: Duration,
    /// The prefix of every key.
    pub prefix: String,
}

/// A client of Redis. It connects at the first call, and every call has a timeout.
#[derive(Clone)]
pub struct Redis {
    nodes: Nodes,
    timeout: Duration,
    prefix: String,
}

impl Redis {
    /// # Errors
    /// When the URL is not one of Redis.
    pub fn new(config: &RedisConfig) -> RedisResult<Self> {
        let urls: Vec<&str> = config.url.expose_secret().split(',').map(str::trim).collect();
        let nodes = match urls[..] {
            [url] => Nodes::one(url, config.max_connections, config.timeout)?,
            _ => Nodes::cluster(urls, config.timeout)?,
        };
        Ok(Self { nodes, timeout: config.timeout, prefix: config.prefix.clone() })
    }

    /// Returns `None` for a cluster: it has no pool, since one connection to each node serves all calls.
    pub fn pool_state(&self) -> Option<PoolState> {
        self.nodes.pool_state()
    }

    pub async fn ping(&self) -> Result<(), StoreError> {
        self.call(async |mut connection| redis::cmd("PING").query_async(&mut connection).await).await
    }

    /// Runs a Lua script, and loads the script first if Redis does not have it.
    #[track_caller]
    fn run<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> impl Future<Output = Result<T, StoreError>> {
        self.call(async |mut connection| script.invoke_async(&mut connection).await)
    }

    /// Runs a Lua script, and tells a Redis that failed from a call that got no connection.
    async fn try_run<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T, CallError> {
        let mut connection = self.nodes.connection_within(self.timeout).await?;
        let begun = Instant::now();
        match tokio::time::timeout(self.timeout, script.invoke_async(&mut connection)).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(CallError::Failed(error_category(&error))),
            Err(_) if was_late(begun, self.timeout) => Err(CallError::NoConnection),
            Err(_) => Err(CallError::Failed(format!("no response within {:?}", self.timeout))),
        }
    }

    fn is_cluster(&self) -> bool {
        matches!(self.nodes, Nodes::Cluster(_))
    }

    /// Bounds the whole call by one timeout: waiting for a connection, and waiting for the response.
    ///
    /// Timeouts of single steps would add up, because the pool tests its idle connections one after the other.
    #[track_caller]
    fn call<T, F>(&self, call: impl FnOnce(Connection) -> F) -> impl Future<Output = Result<T, StoreError>>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let span = spans::store("redis", Location::caller());
        let response = async {
            let connection = self.nodes.connection().await.map_err(|error| match error {
                PoolError::Backend(error) => error_category(&error),
                other => other.to_string(),
            })?;
            call(connection).await.map_err(|error| error_category(&error))
        };
        let response = async {
            let response = tokio::time::timeout(self.timeout, response).await;
            response.unwrap_or_else(|_| Err(format!("no answer in {:?}", self.timeout))).map_err(|reason| {
                spans::record_failure(&Span::current());
                StoreError::Unavailable { store: STORE, reason }
            })
        };
        response.instrument(span)
    }
}

/// Why a best-effort call has no result.
#[derive(Debug)]
enum CallError {
    /// This process had no connection or no time for the call. That says nothing about Redis.
    NoConnection,
    /// Redis refused, failed, or did not respond in time.
    Failed(String),
}

/// Returns whether a timer fired so late that this process was too busy to notice a response.
fn was_late(begun: Instant, timeout: Duration) -> bool {
    begun.elapsed() > timeout * 3 / 2
}

/// Describes an error without the server's message, which may repeat arguments of the command.
fn error_category(error: &redis::RedisError) -> String {
    match error.code() {
        Some(code) => format!("{} ({code})", error.category()),
        None => error.category().to_owned(),
    }
}
