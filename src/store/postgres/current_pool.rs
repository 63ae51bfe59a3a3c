//! The connection pool. A new pool replaces it when one of its connections turns out to be bad.
//!
//! When a server vanishes, is demoted or restarts, every connection to it is bad, and each would fail a call of its own. So
//! no connection is used again that is older than a failure. This also frees the places of stuck connections: the driver
//! pings a connection when it returns to its pool, without a deadline, and the kernel gives up a dead one after 15 minutes.
//!
//! If the URL names several hosts, each new pool leads to the one that accepts changes then.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use futures_util::future::select_ok;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, PgPool, Transaction};
use tokio::sync::{Mutex, watch};
use tracing::info;

use super::reason::{connecting_fault, fault, read_only};
use crate::backoff::Backoff;
use crate::store::fault::Fault;

/// A connection that was used within this time is not pinged before its next use. Under load this saves a quarter of all
/// round trips.
const PING_AFTER: Duration = Duration::from_millis(100);
/// How long a host has to answer before the next one is asked too.
const HEAD_START: Duration = Duration::from_millis(100);
const CHOICE_BACKOFF: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_millis(500));

/// The pool that calls use now. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct CurrentPool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    options: PgPoolOptions,
    hosts: Vec<PgConnectOptions>,
    current: watch::Sender<Current>,
    /// One task at a time chooses a host.
    choosing: Mutex<()>,
}

#[derive(Debug, Clone)]
struct Current {
    pool: PgPool,
    made: Instant,
    /// Whether the pool leads to the host that accepts changes. A pool that does not is never used.
    is_chosen: bool,
}

impl CurrentPool {
    /// The pool connects at its first use. `ping_timeout` bounds the ping of an idle connection before its next use.
    ///
    /// # Panics
    /// If there is no host.
    pub fn new(options: PgPoolOptions, hosts: Vec<PgConnectOptions>, ping_timeout: Duration) -> Self {
        Self(Arc::new_cyclic(|shared: &Weak<Shared>| {
            let shared = shared.clone();
            let options = options
                // The driver would ping every connection, without a deadline.
                .test_before_acquire(false)
                .before_acquire(move |connection, use_| {
                    let shared = shared.clone();
                    Box::pin(async move {
                        if use_.idle_for < PING_AFTER {
                            return Ok(true);
                        }
                        match tokio::time::timeout(ping_timeout, connection.ping()).await {
                            Ok(Ok(())) => Ok(true),
                            failed => {
                                let opened = Instant::now().checked_sub(use_.age);
                                if let (Some(shared), Some(opened)) = (shared.upgrade(), opened) {
                                    shared.replace(opened);
                                }
                                // An error closes the connection without a farewell, which could block.
                                Err(failed.map_or(sqlx::Error::PoolTimedOut, |ping| ping.expect_err("the ping failed")))
                            }
                        }
                    })
                });
            let current = Current {
                pool: options.clone().connect_lazy_with(hosts[0].clone()),
                made: Instant::now(),
                is_chosen: hosts.len() == 1,
            };
            Shared { options, hosts, current: watch::Sender::new(current), choosing: Mutex::default() }
        }))
    }

    /// Returns the pool as it is now, to look at.
    pub fn get(&self) -> PgPool {
        self.0.current.borrow().pool.clone()
    }

    pub async fn acquire(&self) -> Result<PoolConnection<sqlx::Postgres>, sqlx::Error> {
        self.of_current(async |pool| pool.acquire().await).await
    }

    pub async fn begin(&self) -> Result<Transaction<'static, sqlx::Postgres>, sqlx::Error> {
        self.of_current(async |pool| pool.begin().await).await
    }

    /// Waits for something of the pool. When another pool replaces it, waits there: no place of the old one may ever be free.
    async fn of_current<T>(&self, wait: impl AsyncFn(PgPool) -> Result<T, sqlx::Error>) -> Result<T, sqlx::Error> {
        let mut changes = self.0.current.subscribe();
        loop {
            let current = changes.borrow_and_update().clone();
            if !current.is_chosen {
                self.choose().await?;
                continue;
            }
            tokio::select! {
                biased;
                result = wait(current.pool) => return result,
                Ok(()) = changes.changed() => {}
            }
        }
    }

    /// Returns how to connect; of several hosts, to the one that accepts changes.
    pub async fn connect_options(&self) -> Result<&PgConnectOptions, Fault> {
        match &self.0.hosts[..] {
            [host] => Ok(host),
            _ => Ok(self.connect().await?.0),
        }
    }

    /// Replaces the pool by one that leads to a host that accepts changes. Waits for one as long as for a connection.
    async fn choose(&self) -> Result<(), sqlx::Error> {
        let choice = async {
            let _choosing = self.0.choosing.lock().await;
            let mut backoff = CHOICE_BACKOFF;
            while !self.0.current.borrow().is_chosen {
                match self.connect().await {
                    Ok((host, _)) => drop(self.0.current.send_replace(self.0.pool_of(host, true))),
                    Err(_) => tokio::time::sleep(backoff.next_pause()).await,
                }
            }
        };
        let limit = self.0.options.get_acquire_timeout();
        tokio::time::timeout(limit, choice).await.map_err(|_| sqlx::Error::PoolTimedOut)
    }

    /// Connects to a host outside the pool; of several ones, to the first that answers and accepts changes.
    pub async fn connect(&self) -> Result<(&PgConnectOptions, PgConnection), Fault> {
        if let [host] = &self.0.hosts[..] {
            return Ok((host, host.connect().await.map_err(|error| connecting_fault(&error))?));
        }
        let attempts = (0..).zip(&self.0.hosts).map(|(place, host)| {
            Box::pin(async move {
                tokio::time::sleep(HEAD_START * place).await;
                let mut connection = host.connect().await.map_err(|error| connecting_fault(&error))?;
                let is_read_only = sqlx::query_scalar("SELECT current_setting('transaction_read_only')::bool");
                match is_read_only.fetch_one(&mut connection).await {
                    Ok(false) => Ok((host, connection)),
                    Ok(true) => Err(read_only()),
                    Err(error) => Err(fault(&error)),
                }
            })
        });
        Ok(select_ok(attempts).await?.0)
    }

    /// Replaces the pool, because a connection failed that was in use at `used`. Does nothing if the pool is newer.
    pub fn replace(&self, used: Instant) {
        self.0.replace(used);
    }
}

impl Shared {
    fn replace(&self, used: Instant) {
        let is_replaced = self.current.send_if_modified(|current| {
            let is_older = used >= current.made && current.is_chosen;
            if is_older {
                *current = self.pool_of(&self.hosts[0], self.hosts.len() == 1);
            }
            is_older
        });
        if is_replaced {
            info!("a connection to PostgreSQL failed; the open ones are not used again");
        }
    }

    fn pool_of(&self, host: &PgConnectOptions, is_chosen: bool) -> Current {
        let pool = self.options.clone().connect_lazy_with(host.clone());
        Current { pool, made: Instant::now(), is_chosen }
    }
}
