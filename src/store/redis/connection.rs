//! Connections to Redis: a pool for one server, or one shared connection for a cluster.
//!
//! Rejected alternative for clusters: the `cluster` module of deadpool-redis. Its manager takes no response timeout, so a
//! call to a frozen node hangs, and redis-rs never notices that a replica has replaced the node. The manager also tests
//! connections by `PING`, which redis-rs sends to all primaries: one frozen node would fail the calls for every user.

use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool_redis::redis::aio::ConnectionLike;
use deadpool_redis::redis::cluster::{ClusterClient, ClusterClientBuilder};
use deadpool_redis::redis::cluster_async::ClusterConnection;
use deadpool_redis::redis::{AsyncConnectionConfig, Cmd, ConnectionInfo, Pipeline, RedisFuture, RedisResult, Value};
use deadpool_redis::{Manager, Pool, PoolError, Runtime, TimeoutType, Timeouts};
use tokio::sync::OnceCell;

use super::{CallError, reason, silent, was_late};
use crate::store::PoolState;

#[derive(Clone)]
pub(super) enum Nodes {
    One(Pool),
    Cluster(Arc<Cluster>),
}

/// A cluster and the connection that all calls share. The connection holds one to each node, and reopens lost ones.
pub(super) struct Cluster {
    client: ClusterClient,
    connection: OnceCell<ClusterConnection>,
}

pub(super) enum Connection {
    One(deadpool_redis::Connection),
    Cluster(ClusterConnection),
}

impl Nodes {
    pub(super) fn one(server: ConnectionInfo, max_connections: usize, timeout: Duration) -> RedisResult<Self> {
        let timeouts =
            AsyncConnectionConfig::new().set_connection_timeout(Some(timeout)).set_response_timeout(Some(timeout));
        let pool = Pool::builder(Manager::new_with_config(server, timeouts)?).max_size(max_connections);
        Ok(Self::One(pool.runtime(Runtime::Tokio1).build().expect("the builder has a runtime for its timeouts")))
    }

    pub(super) fn cluster(nodes: Vec<ConnectionInfo>, timeout: Duration) -> RedisResult<Self> {
        // The driver refreshes its topology when a node times out, so its timeout must end before the caller's.
        let node_timeout = timeout / 3;
        let client =
            ClusterClientBuilder::new(nodes).connection_timeout(node_timeout).response_timeout(node_timeout).build()?;
        Ok(Self::Cluster(Arc::new(Cluster { client, connection: OnceCell::new() })))
    }

    pub(super) async fn connection(&self) -> Result<Connection, PoolError> {
        Ok(match self {
            Self::One(pool) => Connection::One(pool.get().await?),
            Self::Cluster(cluster) => {
                let cluster = Arc::clone(cluster);
                // A task of its own: the first caller's timeout must not cancel the connecting that all callers share.
                let connected = tokio::spawn(async move {
                    cluster.connection.get_or_try_init(|| cluster.client.get_async_connection()).await.cloned()
                });
                Connection::Cluster(connected.await.expect("connecting does not panic")?)
            }
        })
    }

    /// Returns a connection for a best-effort call: a wait for the pool is not a failure of Redis.
    pub(super) async fn connection_within(&self, timeout: Duration) -> Result<Connection, CallError> {
        let begun = Instant::now();
        let connecting = async {
            match self {
                Self::One(pool) => {
                    // Shorter than the whole, so that a wait for the pool is told from a Redis that does not respond.
                    let wait = Timeouts { wait: Some(timeout * 3 / 4), create: Some(timeout), recycle: Some(timeout) };
                    pool.timeout_get(&wait).await.map(Connection::One)
                }
                Self::Cluster(_) => self.connection().await,
            }
        };
        let connection = match tokio::time::timeout(timeout, connecting).await {
            Ok(connection) => connection,
            Err(_) if was_late(begun, timeout) => return Err(CallError::NoConnection),
            Err(_) => return Err(CallError::Failed(silent(timeout))),
        };
        connection.map_err(|error| match error {
            PoolError::Timeout(TimeoutType::Wait) => CallError::NoConnection,
            other => CallError::Failed(reason::pool_fault(&other)),
        })
    }

    pub(super) fn pool_state(&self) -> Option<PoolState> {
        let Self::One(pool) = self else {
            return None;
        };
        let status = pool.status();
        let used = status.size.saturating_sub(status.available);
        Some(PoolState { idle: status.available, used, max: status.max_size })
    }
}

impl Connection {
    fn inner(&mut self) -> &mut (dyn ConnectionLike + Send) {
        match self {
            Self::One(connection) => connection,
            Self::Cluster(connection) => connection,
        }
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        self.inner().req_packed_command(cmd)
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        cmd: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        self.inner().req_packed_commands(cmd, offset, count)
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::One(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}
