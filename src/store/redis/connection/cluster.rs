//! One connection to a cluster, which all calls share. It holds one to each node.
//!
//! The driver follows the cluster while its nodes answer. If one hangs, the driver sends every call for its keys to it, even
//! when a replica has been elected in its place; if none answers, it asks again without a pause. So after a failure the
//! connection is replaced by a new one, made from any node that answers, until all masters answer.
//!
//! Rejected alternative: the `cluster` module of deadpool-redis. Its manager takes no response timeout, so a call to a frozen
//! node hangs. It tests connections by `PING`, which the driver sends to all masters: one frozen node would fail the calls
//! for every user.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use deadpool_redis::redis::cluster::ClusterClientBuilder;
use deadpool_redis::redis::cluster_async::ClusterConnection;
use deadpool_redis::redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo};
use deadpool_redis::redis::{self, ConnectionAddr, ConnectionInfo, RedisResult, Value};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use tracing::info;

use super::tcp_settings;
use crate::backoff::Backoff;

/// The pause between two replacements while a master does not answer.
const REPLACEMENT_BACKOFF: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));

pub(in crate::store::redis) struct Cluster {
    /// The nodes of the URL.
    named: Vec<ConnectionInfo>,
    timeout: Duration,
    state: Mutex<State>,
}

struct State {
    link: Link,
    shards: Arc<[Shard]>,
    is_replacing: bool,
}

enum Link {
    None,
    /// All callers share the attempt.
    Connecting(Shared<BoxFuture<'static, RedisResult<ClusterConnection>>>),
    Connected(ClusterConnection, Instant),
}

/// A range of hash slots, and its nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store::redis) struct Shard {
    first_slot: u16,
    last_slot: u16,
    /// The master comes first.
    nodes: Vec<Node>,
}

/// Host and port.
pub(in crate::store::redis) type Node = (String, u16);

impl Cluster {
    pub(super) fn new(named: Vec<ConnectionInfo>, timeout: Duration) -> Self {
        let state = State { link: Link::None, shards: Arc::default(), is_replacing: false };
        Self { named, timeout, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn connection(self: &Arc<Self>) -> RedisResult<ClusterConnection> {
        let connecting = {
            let mut state = self.state();
            match &state.link {
                Link::Connected(connection, _) => return Ok(connection.clone()),
                Link::Connecting(connecting) => connecting.clone(),
                Link::None => {
                    let cluster = Arc::clone(self);
                    // A task of its own: the first caller's timeout must not cancel the attempt of all callers.
                    let connecting = tokio::spawn(async move { cluster.connect().await });
                    let connecting = async { connecting.await.expect("connecting does not panic") }.boxed().shared();
                    state.link = Link::Connecting(connecting.clone());
                    connecting
                }
            }
        };
        connecting.await
    }

    /// Opens a connection that replaces the current one. If no node answers, there is none.
    async fn connect(&self) -> RedisResult<ClusterConnection> {
        let opened = self.open().await;
        let mut state = self.state();
        match opened {
            Ok((connection, shards)) => {
                state.link = Link::Connected(connection.clone(), Instant::now());
                state.shards = shards;
                Ok(connection)
            }
            Err(error) => {
                state.link = Link::None;
                Err(error)
            }
        }
    }

    async fn open(&self) -> RedisResult<(ClusterConnection, Arc<[Shard]>)> {
        // A call that times out ends before the driver would send it again: it may have been executed. A call whose
        // connection broke is sent again.
        let overall = self.timeout / 2;
        let client = ClusterClientBuilder::new(self.nodes())
            .connection_timeout(overall)
            .response_timeout(overall + overall / 10)
            .overall_response_timeout(Some(overall))
            // The driver's own pauses, of a second and more, are longer than a call. More retries would hide the reason of a
            // refusal behind a timeout.
            .retries(4)
            .min_retry_wait(10)
            .max_retry_wait(100)
            .tcp_settings(tcp_settings())
            .build()?;
        let mut connection = client.get_async_connection().await?;
        let slots: Value = redis::cmd("CLUSTER").arg("SLOTS").query_async(&mut connection).await?;
        Ok((connection, parse_slots(&slots).into()))
    }

    /// Returns the nodes of the URL, and those that the cluster has named since.
    fn nodes(&self) -> Vec<ConnectionInfo> {
        let mut nodes = self.named.clone();
        let shards = Arc::clone(&self.state().shards);
        for (host, port) in shards.iter().flat_map(|shard| &shard.nodes) {
            let address = match self.named[0].addr() {
                ConnectionAddr::TcpTls { insecure, tls_params, .. } => ConnectionAddr::TcpTls {
                    host: host.clone(),
                    port: *port,
                    insecure: *insecure,
                    tls_params: tls_params.clone(),
                },
                _ => ConnectionAddr::Tcp(host.clone(), *port),
            };
            if nodes.iter().all(|node| *node.addr() != address) {
                nodes.push(self.named[0].clone().set_addr(address));
            }
        }
        nodes
    }

    /// Replaces the connection because a call failed that began at `begun`. Does nothing if the connection is newer, or is
    /// being replaced.
    pub(super) fn replace_connection(self: &Arc<Self>, begun: Instant) {
        let mut state = self.state();
        let is_current = matches!(state.link, Link::Connected(_, made) if begun >= made);
        if is_current && !std::mem::replace(&mut state.is_replacing, true) {
            let cluster = Arc::clone(self);
            tokio::spawn(async move {
                info!("a call to the Redis Cluster failed; the connection is replaced until all masters answer");
                cluster.replace_until_masters_answer().await;
                cluster.state().is_replacing = false;
            });
        }
    }

    async fn replace_until_masters_answer(&self) {
        let mut backoff = REPLACEMENT_BACKOFF;
        // If no node answers, the next call connects.
        while let Ok(connection) = self.connect().await {
            if self.do_masters_answer(connection).await {
                return;
            }
            tokio::time::sleep(backoff.next_pause()).await;
        }
    }

    async fn do_masters_answer(&self, mut connection: ClusterConnection) -> bool {
        // Without a policy for the responses: the driver would leave out the masters to which it has no connection.
        let all = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
        let is_error = |answer: &Value| matches!(answer, Value::ServerError(_));
        match connection.route_command(redis::cmd("PING"), all).await {
            Ok(Value::Map(answers)) => {
                answers.len() >= self.masters().len() && !answers.iter().any(|(_, answer)| is_error(answer))
            }
            _ => false,
        }
    }

    /// Returns the largest range of slots of each master, as it was when the connection was made.
    pub(in crate::store::redis) fn masters(&self) -> Vec<RangeInclusive<u16>> {
        let shards = Arc::clone(&self.state().shards);
        let mut masters = HashMap::new();
        for shard in &*shards {
            let slots = shard.first_slot..=shard.last_slot;
            let largest = masters.entry(shard.nodes.first()).or_insert_with(|| slots.clone());
            if slots.len() > largest.len() {
                *largest = slots;
            }
        }
        masters.into_values().collect()
    }

    /// Returns the master of a hash slot, as it was when the connection was made.
    pub(in crate::store::redis) fn master_of(&self, slot: u16) -> Option<Node> {
        let shards = Arc::clone(&self.state().shards);
        let shard = shards.iter().find(|shard| (shard.first_slot..=shard.last_slot).contains(&slot))?;
        shard.nodes.first().cloned()
    }
}

/// Parses the response to `CLUSTER SLOTS`. An unknown or empty host is left out.
fn parse_slots(slots: &Value) -> Vec<Shard> {
    let Value::Array(ranges) = slots else { return vec![] };
    let node = |node: &Value| {
        let Value::Array(parts) = node else { return None };
        let host: String = redis::from_redis_value_ref(parts.first()?).ok()?;
        let port: u16 = redis::from_redis_value_ref(parts.get(1)?).ok()?;
        (!["", "?"].contains(&&*host)).then_some((host, port))
    };
    let shard = |range: &Value| {
        let Value::Array(parts) = range else { return None };
        let slot = |place: usize| redis::from_redis_value_ref(parts.get(place)?).ok();
        Some(Shard { first_slot: slot(0)?, last_slot: slot(1)?, nodes: parts[2..].iter().filter_map(node).collect() })
    };
    ranges.iter().filter_map(shard).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_read_from_cluster_slots() {
        let node = |host: &str, port: i64| {
            let id = Value::BulkString(b"id".to_vec());
            Value::Array(vec![Value::BulkString(host.into()), Value::Int(port), id])
        };
        let range = |first, last, nodes: Vec<Value>| {
            Value::Array([Value::Int(first), Value::Int(last)].into_iter().chain(nodes).collect())
        };
        let slots = Value::Array(vec![
            range(0, 5460, vec![node("10.0.0.1", 7000), node("10.0.0.4", 7003), node("", 7006)]),
            range(5461, 5461, vec![node("redis-2", 7001)]),
            Value::Nil,
        ]);
        let nodes = |nodes: &[(&str, u16)]| nodes.iter().map(|(host, port)| ((*host).to_owned(), *port)).collect();
        let expected = [
            Shard { first_slot: 0, last_slot: 5460, nodes: nodes(&[("10.0.0.1", 7000), ("10.0.0.4", 7003)]) },
            Shard { first_slot: 5461, last_slot: 5461, nodes: nodes(&[("redis-2", 7001)]) },
        ];
        assert_eq!(parse_slots(&slots), expected);
        assert_eq!(parse_slots(&Value::Okay), []);
    }
}
