//! Redis: the pool and its limits.

pub mod codes;
pub mod events;
mod fail_open;
pub mod failures;
mod flood;
mod keyed_semaphore;
pub mod limits;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use deadpool_redis::redis::aio::ConnectionLike;
use deadpool_redis::redis::cluster::{ClusterClient, ClusterClientBuilder};
use deadpool_redis::redis::cluster_async::ClusterConnection;
use deadpool_redis::redis::{self, AsyncConnectionConfig, Cmd, Pipeline, RedisFuture, RedisResult, Value};
use deadpool_redis::{Manager, Pool, PoolError, Runtime};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::OnceCell;

use super::PoolState;
use crate::accounts::ports::StoreError;

const STORE: &str = "Redis";

#[derive(Debug, Clone)]
pub struct RedisConfig {
    /// One server; or some nodes of a cluster, separated by commas.
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
    nodes: Nodes,
    timeout: Duration,
    prefix: String,
}

#[derive(Clone)]
enum Nodes {
    One(Pool),
    Cluster(Arc<Cluster>),
}

/// One connection serves all calls: it holds one to each node, and makes lost ones anew by itself.
struct Cluster {
    client: ClusterClient,
    connection: OnceCell<ClusterConnection>,
}

enum Connection {
    One(deadpool_redis::Connection),
    Cluster(ClusterConnection),
}

impl Redis {
    /// # Errors
    /// When the URL is none of Redis's.
    pub fn new(config: &RedisConfig) -> RedisResult<Self> {
        let urls: Vec<&str> = config.url.expose_secret().split(',').map(str::trim).collect();
        let nodes = if let [url] = urls[..] {
            let limits = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(config.timeout))
                .set_response_timeout(Some(config.timeout));
            let pool = Pool::builder(Manager::new_with_config(url, limits)?).max_size(config.max_connections);
            Nodes::One(pool.runtime(Runtime::Tokio1).build().expect("a runtime for the timeouts is given"))
        } else {
            // The driver must give up on a dead node before a caller gives up on the driver, or it never learns.
            let patience = config.timeout / 3;
            let client =
                ClusterClientBuilder::new(urls).connection_timeout(patience).response_timeout(patience).build()?;
            Nodes::Cluster(Arc::new(Cluster { client, connection: OnceCell::new() }))
        };
        Ok(Self { nodes, timeout: config.timeout, prefix: config.prefix.clone() })
    }

    async fn connection(&self) -> Result<Connection, PoolError> {
        Ok(match &self.nodes {
            Nodes::One(pool) => Connection::One(pool.get().await?),
            Nodes::Cluster(cluster) => {
                let cluster = Arc::clone(cluster);
                // In a task of its own: the first caller's patience must not cut short what all others wait for.
                let connected = tokio::spawn(async move {
                    cluster.connection.get_or_try_init(|| cluster.client.get_async_connection()).await.cloned()
                });
                Connection::Cluster(connected.await.expect("connecting does not panic")?)
            }
        })
    }

    /// `None`: a cluster, where one connection to a node serves all.
    pub fn pool_state(&self) -> Option<PoolState> {
        let Nodes::One(pool) = &self.nodes else {
            return None;
        };
        let status = pool.status();
        let used = status.size.saturating_sub(status.available);
        Some(PoolState { idle: status.available, used, max: status.max_size })
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
            let connection = self.connection().await.map_err(|error| match error {
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

/// What went wrong, without the server's own words: they may repeat arguments.
fn kind(error: &redis::RedisError) -> String {
    match error.code() {
        Some(code) => format!("{} ({code})", error.category()),
        None => error.category().to_owned(),
    }
}
