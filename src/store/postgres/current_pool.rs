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
/// After waiting for so long, a call asks whether its host still is the one that accepts changes.
const DOUBT_AFTER: Duration = Duration::from_millis(500);
const CHOICE_BACKOFF: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_millis(500));

/// The pool that calls use now. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct CurrentPool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    options: PgPoolOptions,
    hosts: Vec<PgConnectOptions>,
    current: watch::Sender<Current>,
    /// One task at a time chooses a host. The time of the latest attempt.
    choosing: Mutex<Option<Instant>>,
}

#[derive(Debug, Clone)]
struct Current {
    pool: PgPool,
    made: Instant,
    /// The number of the host that accepts changes. `None`: it must be chosen before the pool is used.
    host: Option<usize>,
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
                host: (hosts.len() == 1).then_some(0),
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
            if current.host.is_none() {
                self.choose().await?;
                continue;
            }
            tokio::select! {
                biased;
                result = wait(current.pool) => return result,
                Ok(()) = changes.changed() => {}
                () = self.doubt(), if self.0.hosts.len() > 1 => {}
            }
        }
    }

    /// Returns how to connect; of several hosts, to the one that accepts changes.
    pub async fn connect_options(&self) -> Result<&PgConnectOptions, Fault> {
        match &self.0.hosts[..] {
            [host] => Ok(host),
            hosts => Ok(&hosts[self.connect().await?.0]),
        }
    }

    /// Replaces the pool by one that leads to a host that accepts changes. Waits for one as long as for a connection.
    async fn choose(&self) -> Result<(), sqlx::Error> {
        let choice = async {
            let _choosing = self.0.choosing.lock().await;
            let mut backoff = CHOICE_BACKOFF;
            while self.0.current.borrow().host.is_none() {
                match self.connect().await {
                    Ok((host, _)) => self.0.lead_to(host),
                    Err(_) => tokio::time::sleep(backoff.next_pause()).await,
                }
            }
        };
        let limit = self.0.options.get_acquire_timeout();
        tokio::time::timeout(limit, choice).await.map_err(|_| sqlx::Error::PoolTimedOut)
    }

    /// Asks again and again which host accepts changes, and replaces the pool if it is another one. Never ends.
    ///
    /// A pool without an open connection shows no failure: it goes on connecting to a host that refuses or hangs.
    async fn doubt(&self) {
        loop {
            tokio::time::sleep(DOUBT_AFTER).await;
            let mut choosing = self.0.choosing.lock().await;
            if choosing.is_some_and(|latest| latest.elapsed() < DOUBT_AFTER) {
                continue;
            }
            if let Ok((host, _)) = self.connect().await
                && self.0.current.borrow().host != Some(host)
            {
                self.0.lead_to(host);
            }
            *choosing = Some(Instant::now());
        }
    }

    /// Connects to a host outside the pool; of several ones, to the first that answers and accepts changes. Returns its
    /// number.
    pub async fn connect(&self) -> Result<(usize, PgConnection), Fault> {
        if let [host] = &self.0.hosts[..] {
            return Ok((0, host.connect().await.map_err(|error| connecting_fault(&error))?));
        }
        let attempts = self.0.hosts.iter().enumerate().map(|(number, host)| {
            Box::pin(async move {
                tokio::time::sleep(HEAD_START * number as u32).await;
                let mut connection = host.connect().await.map_err(|error| connecting_fault(&error))?;
                let is_read_only = sqlx::query_scalar("SELECT current_setting('transaction_read_only')::bool");
                match is_read_only.fetch_one(&mut connection).await {
                    Ok(false) => Ok((number, connection)),
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
            let is_older = used >= current.made && current.host.is_some();
            if is_older {
                *current = self.pool_of(0, self.hosts.len() == 1);
            }
            is_older
        });
        if is_replaced {
            info!("a connection to PostgreSQL failed; the open ones are not used again");
        }
    }

    fn lead_to(&self, host: usize) {
        self.current.send_replace(self.pool_of(host, true));
    }

    fn pool_of(&self, host: usize, is_chosen: bool) -> Current {
        let pool = self.options.clone().connect_lazy_with(self.hosts[host].clone());
        Current { pool, made: Instant::now(), host: is_chosen.then_some(host) }
    }
}
