//! Redis: live codes, rate limits of client networks, and the event stream.
//!
//! - `connection.rs`: one server, Sentinel, or a cluster.
//! - `codes.rs`: the live codes and their wrong guesses.
//! - `limits/`: the rate limits of client networks. A request is served even when Redis is down.
//! - `events.rs`: the stream that other programs read.
//! - `pauses.rs`: the nodes of a cluster that are not called for a moment.
//! - `eviction.rs`: whether Redis deletes keys because it is full.

pub mod codes;
mod connection;
pub mod events;
mod eviction;
mod inspection;
pub mod limits;
mod lua;
mod pauses;
mod reason;
mod redis_url;
mod server_check;

use std::future::Future;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool_redis::redis::{self, Cmd, FromRedisValue, RedisResult, ScriptInvocation};
use futures_util::future::join_all;
use secrecy::{ExposeSecret, SecretString};
use tracing::{Instrument as _, Span};

use self::connection::{Connection, Node, Nodes};
pub use self::inspection::Inspection;
use super::PoolState;
use super::fault::Fault;
use super::url::InvalidUrl;
use crate::accounts::ports::StoreError;
use crate::backoff::Backoff;
use crate::telemetry::spans;

const STORE: &str = "Redis";

/// The pauses between the repetitions of a call that a server refuses during a failover.
const REFUSAL_BACKOFF: Backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(200));

#[derive(Debug, Clone)]
pub struct RedisConfig {
    /// The URL of one server, of a cluster or of Sentinel.
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
    pub fn new(config: &RedisConfig) -> Result<Self, InvalidUrl> {
        let servers = redis_url::parse(config.url.expose_secret())?;
        let nodes = Nodes::new(servers, config.max_connections, config.timeout);
        // The message of the driver may contain a part of the URL.
        let nodes = nodes.map_err(|error| InvalidUrl(format!("cannot be used: {}", error.category())))?;
        Ok(Self { nodes, timeout: config.timeout, prefix: config.prefix.clone() })
    }

    /// Returns `None` for a cluster: it has no pool, since one connection to each node serves all calls.
    pub fn pool_state(&self) -> Option<PoolState> {
        self.nodes.pool_state()
    }

    /// Checks within `limit` that Redis, or each master of a cluster, answers and accepts changes.
    pub async fn check(&self, limit: Duration) -> Result<(), Fault> {
        let redis = Self { timeout: limit.min(self.timeout), ..self.clone() };
        let masters = self.nodes.cluster().map(|cluster| cluster.masters()).unwrap_or_default();
        if masters.is_empty() {
            return redis.check_write(&self.key("check:ready")).await;
        }
        let checks = masters.iter().map(|slots| {
            let tag =
                (0..).find(|tag: &u32| slots.contains(&hash_slot(&tag.to_string()))).expect("each slot has a tag");
            let key = self.key(&format!("check:{{{tag}}}"));
            let redis = &redis;
            async move { redis.check_write(&key).await }
        });
        let faults: Vec<Fault> = join_all(checks).await.into_iter().filter_map(Result::err).collect();
        match faults.first() {
            None => Ok(()),
            Some(fault) => Err(reason::of_masters(fault, faults.len(), masters.len())),
        }
    }

    async fn check_write(&self, key: &str) -> Result<(), Fault> {
        self.command(redis::cmd("SET").arg(key).arg(1).arg("PX").arg(1000)).await
    }

    async fn command<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Fault> {
        self.attempt(|mut connection| async move { command.query_async(&mut connection).await }).await
    }

    /// Returns a key for checks of this service.
    fn key(&self, name: &str) -> String {
        format!("{}:{name}", self.prefix)
    }

    /// Runs a Lua script, and loads the script first if Redis does not have it.
    #[track_caller]
    fn run<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> impl Future<Output = Result<T, StoreError>> {
        let span = spans::store("redis", Location::caller());
        let response = async move {
            let run = |mut connection| async move { script.invoke_async(&mut connection).await };
            self.attempt(run).await.map_err(|fault| {
                spans::record_failure(&Span::current());
                StoreError::from(fault)
            })
        };
        response.instrument(span)
    }

    /// Runs Lua scripts over one connection, without waiting for each other's responses. `None`: the script must be run alone,
    /// which finds out what is wrong, or loads it. So no script fails because of another one.
    async fn run_together<T: FromRedisValue>(
        &self,
        scripts: &[Arc<ScriptInvocation<'static>>],
    ) -> Vec<Result<Option<T>, StoreError>> {
        if let [alone] = scripts {
            return vec![self.run(alone).await.map(Some)];
        }
        let mut pipeline = redis::pipe();
        for script in scripts {
            pipeline.invoke_script(script);
        }
        let pipeline = &*pipeline.ignore_errors();
        let run = |mut connection| async move { pipeline.query_async(&mut connection).await };
        let begun = Instant::now();
        let results: Result<Vec<RedisResult<T>>, Fault> = self.attempt(run).await;
        match results {
            Ok(results) => results.into_iter().map(|result| Ok(result.ok())).collect(),
            // A connection that closed, perhaps.
            Err(_) if begun.elapsed() < self.timeout / 2 => scripts.iter().map(|_| Ok(None)).collect(),
            // Alone, each would wait as long again.
            Err(fault) => scripts.iter().map(|_| Err(fault.clone().into())).collect(),
        }
    }

    /// Runs a Lua script, and tells a Redis that failed from a call that got no connection.
    async fn try_run<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T, CallError> {
        let begun = Instant::now();
        let result = self.try_run_once(script).await;
        let Err(CallError::Failed(fault)) = &result else {
            return result;
        };
        self.nodes.record(fault, begun);
        if reason::is_refusal(fault.summary) && begun.elapsed() < self.timeout / 2 {
            self.try_run_once(script).await
        } else {
            result
        }
    }

    async fn try_run_once<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T, CallError> {
        let mut connection = self.nodes.connection_within(self.timeout).await?;
        let begun = Instant::now();
        match tokio::time::timeout(self.timeout, script.invoke_async(&mut connection)).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(CallError::Failed(reason::fault(&error))),
            Err(_) if was_late(begun, self.timeout) => Err(CallError::NoConnection),
            Err(_) => Err(CallError::Failed(silent(self.timeout))),
        }
    }

    /// Returns the node of a cluster that has a key.
    fn node_of(&self, key: &str) -> Option<Node> {
        self.nodes.cluster()?.master_of(hash_slot(key))
    }

    fn is_cluster(&self) -> bool {
        self.nodes.cluster().is_some()
    }

    /// Makes a call, and repeats it while the server refuses it because it is no master, or not yet: it has done nothing.
    ///
    /// One timeout bounds the whole: waiting for a connection, waiting for the response, and the repetitions. Timeouts of
    /// single steps would add up, because the pool tests its idle connections one after the other.
    async fn attempt<T, F>(&self, call: impl Fn(Connection) -> F) -> Result<T, Fault>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let (mut refusal, mut is_connected, mut backoff) = (None, false, REFUSAL_BACKOFF);
        let repeated = async {
            loop {
                let begun = Instant::now();
                let result = match self.nodes.connection().await {
                    Ok(connection) => {
                        is_connected = true;
                        call(connection).await.map_err(|error| reason::fault(&error))
                    }
                    Err(error) => Err(reason::pool_fault(&error)),
                };
                let Err(fault) = &result else {
                    return result;
                };
                self.nodes.record(fault, begun);
                if !reason::is_refusal(fault.summary) {
                    return result;
                }
                refusal = Some(fault.clone());
                tokio::time::sleep(backoff.next_pause()).await;
            }
        };
        let begun = Instant::now();
        tokio::time::timeout(self.timeout, repeated).await.unwrap_or_else(|_| {
            let fault = refusal.unwrap_or_else(|| silent(self.timeout));
            // A call that waited for a free connection, or in a busy process, says nothing about the connections.
            if is_connected && !was_late(begun, self.timeout) {
                self.nodes.record(&fault, begun);
            }
            Err(fault)
        })
    }
}

/// Returns the hash slot of a key (Redis Cluster specification, "Hash tags").
fn hash_slot(key: &str) -> u16 {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or(key, |(tag, _)| tag);
    crc16::State::<crc16::XMODEM>::calculate(tag.as_bytes()) % 16384
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

#[cfg(test)]
mod tests {
    use super::hash_slot;

    #[test]
    fn a_hash_slot_is_that_of_the_hash_tag() {
        // As CLUSTER KEYSLOT returns them.
        assert_eq!(hash_slot("foo"), 12182);
        assert_eq!(hash_slot("sixty:limit:{foo}:codes"), 12182);
    }
}
