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
mod inspection;
pub mod limits;
mod lua;
mod reason;
mod redis_url;
mod server_check;

use std::future::Future;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool_redis::redis::{self, ConnectionInfo, FromRedisValue, RedisResult, ScriptInvocation};
use secrecy::{ExposeSecret, SecretString};
use tracing::{Instrument as _, Span};

use self::connection::{Connection, Nodes};
pub use self::inspection::Inspection;
use self::redis_url::Servers;
use super::PoolState;
use super::fault::Fault;
use super::url::InvalidUrl;
use crate::accounts::ports::StoreError;
use crate::telemetry::spans;

const STORE: &str = "Redis";

#[derive(Debug, Clone)]
pub struct RedisConfig {
    /// The URL of one server; or the URLs of some nodes of a cluster, with commas between them.
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
    /// The servers that the URL names.
    servers: Arc<[ConnectionInfo]>,
    timeout: Duration,
    prefix: String,
}

impl Redis {
    /// # Errors
    /// When the URL is not one of Redis.
    pub fn new(config: &RedisConfig) -> Result<Self, InvalidUrl> {
        let (servers, nodes) = match redis_url::parse(config.url.expose_secret())? {
            Servers::One(server) => {
                (vec![ConnectionInfo::clone(&server)], Nodes::one(*server, config.max_connections, config.timeout))
            }
            Servers::Cluster(nodes) => (nodes.clone(), Nodes::cluster(nodes, config.timeout)),
        };
        // The message of the driver may contain a part of the URL.
        let nodes = nodes.map_err(|error| InvalidUrl(format!("cannot be used: {}", error.category())))?;
        Ok(Self { nodes, servers: servers.into(), timeout: config.timeout, prefix: config.prefix.clone() })
    }

    /// Returns `None` for a cluster: it has no pool, since one connection to each node serves all calls.
    pub fn pool_state(&self) -> Option<PoolState> {
        self.nodes.pool_state()
    }

    /// Checks within `limit` that Redis answers and accepts changes.
    pub async fn check(&self, limit: Duration) -> Result<(), Fault> {
        let redis = Self { timeout: limit.min(self.timeout), ..self.clone() };
        let write = async |mut connection| {
            redis::cmd("SET")
                .arg(redis.key("check:ready"))
                .arg(1)
                .arg("PX")
                .arg(1000)
                .query_async(&mut connection)
                .await
        };
        let checked: Result<(), Fault> = redis.attempt(write).await;
        checked
    }

    /// Returns a key for checks of this service.
    fn key(&self, name: &str) -> String {
        format!("{}:{name}", self.prefix)
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
            Ok(Err(error)) => Err(CallError::Failed(reason::fault(&error))),
            Err(_) if was_late(begun, self.timeout) => Err(CallError::NoConnection),
            Err(_) => Err(CallError::Failed(silent(self.timeout))),
        }
    }

    fn is_cluster(&self) -> bool {
        matches!(self.nodes, Nodes::Cluster(_))
    }

    #[track_caller]
    fn call<T, F>(&self, call: impl FnOnce(Connection) -> F) -> impl Future<Output = Result<T, StoreError>>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let span = spans::store("redis", Location::caller());
        let response = async {
            self.attempt(call).await.map_err(|fault| {
                spans::record_failure(&Span::current());
                StoreError::from(fault)
            })
        };
        response.instrument(span)
    }

    /// Bounds the whole call by one timeout: waiting for a connection, and waiting for the response.
    ///
    /// Timeouts of single steps would add up, because the pool tests its idle connections one after the other.
    async fn attempt<T, F>(&self, call: impl FnOnce(Connection) -> F) -> Result<T, Fault>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let response = async {
            let connection = self.nodes.connection().await.map_err(|error| reason::pool_fault(&error))?;
            call(connection).await.map_err(|error| reason::fault(&error))
        };
        tokio::time::timeout(self.timeout, response).await.unwrap_or_else(|_| Err(silent(self.timeout)))
    }
}

/// Why a best-effort call has no result.
#[derive(Debug)]
enum CallError {
    /// This process had no connection or no time for the call. That says nothing about Redis.
    NoConnection,
    /// Redis refused, failed, or did not respond in time.
    Failed(Fault),
}

/// Returns whether a timer fired so late that this process was too busy to notice a response.
fn was_late(begun: Instant, timeout: Duration) -> bool {
    begun.elapsed() > timeout * 3 / 2
}

fn silent(within: Duration) -> Fault {
    Fault::silent(STORE, "REDIS_URL", within)
}
