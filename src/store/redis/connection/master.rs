//! The pool of connections to one master.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use deadpool::managed::{self, Metrics, QueueMode, RecycleError, RecycleResult};
use deadpool_redis::Runtime;
use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType};
use deadpool_redis::redis::{AsyncConnectionConfig, Client, ConnectionInfo, RedisError, RedisResult};
use futures_util::future::select_ok;

use super::tcp_settings;
use crate::store::PING_AFTER;
use crate::store::redis::redis_url::Sentinels;

pub(super) type Pool = managed::Pool<Manager>;
pub(super) type Connection = managed::Object<Manager>;

pub(super) fn pool(manager: Manager, max_connections: usize) -> Pool {
    let pool = Pool::builder(manager).max_size(max_connections).runtime(Runtime::Tokio1).queue_mode(QueueMode::Lifo);
    pool.build().expect("the builder has a runtime for its timeouts")
}

/// When a connection last turned out to be bad. Clones share it.
///
/// After a failover the connections of a pool lead to a server that is gone, hangs, or is a replica now, and answers a PING
/// all the same. So no connection is used again that was in use before the failure.
#[derive(Debug, Clone, Default)]
pub(super) struct LatestFailure(Arc<Mutex<Option<Instant>>>);

impl LatestFailure {
    /// Records the failure of a call that began at `begun`. One that began before the latest failure says nothing new.
    pub(super) fn record(&self, begun: Instant) {
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if latest.is_none_or(|latest| begun > latest) {
            *latest = Some(Instant::now());
        }
    }

    fn is_after(&self, use_: Instant) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|failure| failure >= use_)
    }
}

/// Opens the connections of the pool.
///
/// Rejected alternative: the managers of deadpool-redis. They do not drop a connection that is older than a failure, and the
/// one for Sentinel asks its hosts one after the other, which takes longer than a call if the first one has vanished.
pub(in crate::store::redis) struct Manager {
    master: Master,
    timeouts: AsyncConnectionConfig,
    pub(super) failure: LatestFailure,
}

enum Master {
    Known(Box<Client>),
    /// One client for each Sentinel. It remembers its connection.
    NamedBy(Vec<tokio::sync::Mutex<SentinelClient>>),
}

impl Manager {
    pub(super) fn of_server(server: ConnectionInfo, timeout: Duration) -> RedisResult<Self> {
        Ok(Self::new(Master::Known(Box::new(Client::open(server)?)), timeout))
    }

    pub(super) fn of_sentinels(sentinels: Sentinels, timeout: Duration) -> RedisResult<Self> {
        let Sentinels { hosts, service, master, tls } = sentinels;
        let clients = hosts.into_iter().map(|host| {
            let node = SentinelNodeConnectionInfo::default()
                .set_redis_connection_info(master.clone())
                .set_tcp_settings(tcp_settings());
            let node = match tls {
                Some(mode) => node.set_tls_mode(mode),
                None => node,
            };
            let host = host.set_tcp_settings(tcp_settings());
            SentinelClient::build(vec![host], &service, Some(node), SentinelServerType::Master)
                .map(tokio::sync::Mutex::new)
        });
        Ok(Self::new(Master::NamedBy(clients.collect::<RedisResult<_>>()?), timeout))
    }

    fn new(master: Master, timeout: Duration) -> Self {
        let timeouts =
            AsyncConnectionConfig::new().set_connection_timeout(Some(timeout)).set_response_timeout(Some(timeout));
        Self { master, timeouts, failure: LatestFailure::default() }
    }

    /// Returns the master. All Sentinels are asked at once, and the first one wins that names a server whose role is that of
    /// a master.
    async fn client(&self) -> RedisResult<Client> {
        match &self.master {
            Master::Known(client) => Ok(Client::clone(client)),
            Master::NamedBy(clients) => {
                let asked =
                    clients.iter().map(|client| Box::pin(async { client.lock().await.async_get_client().await }));
                Ok(select_ok(asked).await?.0)
            }
        }
    }

    pub(super) async fn master(&self) -> RedisResult<ConnectionInfo> {
        Ok(self.client().await?.get_connection_info().clone())
    }
}

impl managed::Manager for Manager {
    type Type = MultiplexedConnection;
    type Error = RedisError;

    async fn create(&self) -> RedisResult<MultiplexedConnection> {
        self.client().await?.get_multiplexed_async_connection_with_config(&self.timeouts).await
    }

    async fn recycle(&self, connection: &mut MultiplexedConnection, metrics: &Metrics) -> RecycleResult<RedisError> {
        let last_use = metrics.recycled.unwrap_or(metrics.created);
        if self.failure.is_after(last_use) {
            return Err(RecycleError::message("older than a failure"));
        }
        if last_use.elapsed() < PING_AFTER {
            return Ok(());
        }
        Ok(deadpool_redis::redis::cmd("PING").exec_async(connection).await?)
    }
}
