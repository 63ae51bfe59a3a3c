//! Connections to Redis: a pool for one master, or one shared connection for a cluster.
//!
//! - `connection/master.rs`: the pool. Its server is the one of the URL, or the master that Sentinel names.
//! - `connection/cluster.rs`: the shared connection, and what replaces it.

mod cluster;
mod master;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use deadpool_redis::redis::aio::ConnectionLike;
use deadpool_redis::redis::cluster_async::ClusterConnection;
use deadpool_redis::redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use deadpool_redis::redis::{Cmd, ConnectionAddr, ConnectionInfo, Pipeline, RedisFuture, RedisResult, Value};
use deadpool_redis::{PoolError, TimeoutType, Timeouts};

pub(super) use self::cluster::{Cluster, Node};
use self::master::{LatestFailure, Manager, Pool};
use super::redis_url::Servers;
use super::{CallError, reason, silent, was_late};
use crate::store::PoolState;
use crate::store::fault::Fault;

/// When the kernel probes a silent connection, and when it gives one up whose data stay unacknowledged. Calls do not wait for
/// that.
fn tcp_settings() -> TcpSettings {
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(15)).with_interval(Duration::from_secs(5));
    TcpSettings::default().set_nodelay(true).set_keepalive(keepalive).set_user_timeout(Duration::from_secs(15))
}

/// The servers that calls go to.
#[derive(Clone)]
pub(super) struct Nodes(Arc<Inner>);

struct Inner {
    /// `None`: the URL names a cluster.
    master: Option<(Pool, LatestFailure)>,
    /// Also set when the server of the URL has turned out to be a node of a cluster.
    cluster: OnceLock<Arc<Cluster>>,
    servers: Vec<ConnectionInfo>,
    timeout: Duration,
}

pub(super) enum Connection {
    Master(master::Connection),
    Cluster(ClusterConnection),
}

impl Nodes {
    pub(super) fn new(servers: Servers, max_connections: usize, timeout: Duration) -> RedisResult<Self> {
        let (servers, manager) = match servers {
            Servers::One(server) => {
                let server = server.set_tcp_settings(tcp_settings());
                (vec![server.clone()], Some(Manager::of_server(server, timeout)?))
            }
            Servers::Sentinel(sentinels) => (vec![], Some(Manager::of_sentinels(sentinels, timeout)?)),
            Servers::Cluster(nodes) => {
                (nodes.into_iter().map(|node| node.set_tcp_settings(tcp_settings())).collect(), None)
            }
        };
        let nodes = Inner {
            master: manager.map(|manager| {
                let failure = manager.failure.clone();
                (master::pool(manager, max_connections), failure)
            }),
            cluster: OnceLock::new(),
            servers,
            timeout,
        };
        let nodes = Self(Arc::new(nodes));
        if nodes.0.master.is_none() {
            nodes.turn_into_cluster();
        }
        Ok(nodes)
    }

    /// Treats the server of the URL as a node of a cluster from now on.
    pub(super) fn turn_into_cluster(&self) {
        self.0.cluster.get_or_init(|| Arc::new(Cluster::new(self.0.servers.clone(), self.0.timeout)));
    }

    /// Returns whether the server of the URL can be a node of a cluster. Sentinel names no clusters.
    pub(super) fn may_be_cluster(&self) -> bool {
        self.0.servers.iter().any(|server| !matches!(server.addr(), ConnectionAddr::Unix(_)))
    }

    pub(super) fn cluster(&self) -> Option<&Arc<Cluster>> {
        self.0.cluster.get()
    }

    fn pool(&self) -> Option<&(Pool, LatestFailure)> {
        self.0.master.as_ref().filter(|_| self.cluster().is_none())
    }

    /// Returns the servers of the URL, or the master that Sentinel names.
    pub(super) async fn servers(&self) -> Result<Vec<ConnectionInfo>, Fault> {
        match &self.0.master {
            Some((pool, _)) if self.0.servers.is_empty() => {
                Ok(vec![pool.manager().master().await.map_err(|error| reason::fault(&error))?])
            }
            _ => Ok(self.0.servers.clone()),
        }
    }

    pub(super) async fn connection(&self) -> Result<Connection, PoolError> {
        Ok(match (self.cluster(), &self.0.master) {
            (None, Some((pool, _))) => Connection::Master(pool.get().await?),
            (Some(cluster), _) => Connection::Cluster(cluster.connection().await?),
            (None, None) => unreachable!("there is a pool or a cluster"),
        })
    }

    /// Returns a connection for a best-effort call: a wait for the pool is not a failure of Redis.
    pub(super) async fn connection_within(&self, timeout: Duration) -> Result<Connection, CallError> {
        let begun = Instant::now();
        let connecting = async {
            match self.pool() {
                Some((pool, _)) => {
                    // Shorter than the whole, so that a wait for the pool is told from a Redis that does not respond.
                    let wait = Timeouts { wait: Some(timeout * 3 / 4), create: Some(timeout), recycle: Some(timeout) };
                    pool.timeout_get(&wait).await.map(Connection::Master)
                }
                None => self.connection().await,
            }
        };
        let connection = match tokio::time::timeout(timeout, connecting).await {
            Ok(connection) => connection,
            Err(_) if was_late(begun, timeout) => return Err(CallError::NoConnection),
            Err(_) => return Err(CallError::Failed(silent(timeout))),
        };
        connection.map_err(|error| match error {
            PoolError::Timeout(TimeoutType::Wait) => CallError::NoConnection,
            PoolError::Timeout(_) => CallError::Failed(silent(timeout)),
            other => CallError::Failed(reason::pool_fault(&other)),
        })
    }

    /// Records the fault of a call that began at `begun`. It may put the other connections in doubt.
    pub(super) fn record(&self, fault: &Fault, begun: Instant) {
        match (self.cluster(), self.pool()) {
            (Some(cluster), _) if reason::is_of_cluster(fault.summary) => cluster.replace_connection(begun),
            (None, Some(_)) if fault.summary == reason::MOVED && self.may_be_cluster() => self.turn_into_cluster(),
            (None, Some((_, failure))) if reason::is_of_connection(fault.summary) => failure.record(begun),
            _ => {}
        }
    }

    pub(super) fn pool_state(&self) -> Option<PoolState> {
        let (pool, _) = self.pool()?;
        let status = pool.status();
        let used = status.size.saturating_sub(status.available);
        Some(PoolState { idle: status.available, used, max: status.max_size })
    }
}

impl Connection {
    fn inner(&mut self) -> &mut (dyn ConnectionLike + Send) {
        match self {
            Self::Master(connection) => &mut **connection,
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
            Self::Master(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::redis::redis_url;

    fn moved() -> Fault {
        let moved = deadpool_redis::redis::parse_redis_value(b"-MOVED 1234 192.0.2.1:6379\r\n").unwrap();
        reason::fault(&moved.extract_error().unwrap_err())
    }

    #[tokio::test]
    async fn a_server_that_names_another_node_is_one_of_a_cluster() {
        for (url, is_cluster) in [("redis://127.0.0.1:1", true), ("unix:///s", false), ("redis+sentinel://a", false)] {
            let nodes = Nodes::new(redis_url::parse(url).unwrap(), 1, Duration::from_secs(1)).unwrap();
            assert!(nodes.cluster().is_none());
            nodes.record(&moved(), Instant::now());
            assert_eq!(nodes.cluster().is_some(), is_cluster, "{url}");
        }
    }
}
