//! The connection pool. A new pool replaces it when one of its connections turns out to be bad.
//!
//! When a server vanishes, is demoted or restarts, every connection to it is bad, and each would fail a call of its own. So
//! no connection is used again that is older than a failure. This also frees the places of stuck connections: the driver
//! pings a connection when it returns to its pool, without a deadline, and the kernel gives up a dead one after 15 minutes.
//!
//! If the URL names several hosts, each new pool leads to the one that accepts changes then.

use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use futures_util::future::select_ok;
use sqlx::pool::MaybePoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, PgPool, Transaction};
use tokio::sync::{Mutex, Notify, watch};
use tracing::info;

use super::reason::{connecting_fault, fault, read_only, silent};
use super::session::{KeptConnections, Session};
use crate::backoff::Backoff;
use crate::store::fault::Fault;
use crate::store::{PING_AFTER, PoolState};

/// How long a host has to answer before the next one is asked too.
const HEAD_START: Duration = Duration::from_millis(100);
/// After waiting for so long, a call has the hosts probed: the one of its pool may not accept changes any more.
const PROBE_AFTER: Duration = Duration::from_millis(500);
const PROBE_BACKOFF: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_millis(500));
/// After a replacement, further ones are logged only when this time has passed.
const LOG_INTERVAL: Duration = Duration::from_secs(5);

/// The pool that calls use now. Clones share it.
#[derive(Clone)]
pub(super) struct CurrentPool(Arc<Shared>);

/// Hides the hosts, the user and the password.
impl fmt::Debug for CurrentPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CurrentPool").finish_non_exhaustive()
    }
}

struct Shared {
    options: PgPoolOptions,
    hosts: Vec<PgConnectOptions>,
    /// How long a connection has to answer a ping.
    ping_timeout: Duration,
    /// How long one of several hosts has to answer.
    host_timeout: Duration,
    current: watch::Sender<Current>,
    /// Held by the task that probes the hosts.
    probing: Arc<Mutex<()>>,
}

#[derive(Clone)]
struct Current {
    pool: PgPool,
    /// Connections of the pool that stay out of it between two calls.
    kept: KeptConnections,
    made: Instant,
    /// The number of the host that accepts changes. `None`: the hosts are probed before the pool is used.
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
                        let ping = ping(connection, ping_timeout).await;
                        if ping.is_err()
                            && let (Some(shared), Some(opened)) =
                                (shared.upgrade(), Instant::now().checked_sub(use_.age))
                        {
                            shared.replace(opened);
                        }
                        // An error closes the connection without a farewell, which could block.
                        ping.map(|()| true)
                    })
                });
            let current = Current {
                pool: options.clone().connect_lazy_with(hosts[0].clone()),
                kept: KeptConnections::default(),
                made: Instant::now(),
                host: (hosts.len() == 1).then_some(0),
            };
            let host_timeout = options.get_acquire_timeout() / 2;
            Shared {
                options,
                hosts,
                ping_timeout,
                host_timeout,
                current: watch::Sender::new(current),
                probing: Arc::default(),
            }
        }))
    }

    /// Returns the pool as it is now, after all kept connections have returned to it.
    #[cfg(feature = "testing")]
    pub fn with_kept(&self) -> PgPool {
        let current = self.0.current.borrow();
        current.kept.return_all();
        current.pool.clone()
    }

    pub fn state(&self) -> PoolState {
        let Current { pool, kept, .. } = &*self.0.current.borrow();
        let (open, idle) = (pool.size() as usize, pool.num_idle() + kept.count());
        PoolState { idle, used: open.saturating_sub(idle), max: pool.options().get_max_connections() as usize }
    }

    pub async fn begin(&self) -> Result<Transaction<'static, sqlx::Postgres>, sqlx::Error> {
        let connection = self.acquire().await?.into_pool_connection();
        Transaction::begin(MaybePoolConnection::PoolConnection(connection), None).await
    }

    /// Waits for a connection. When another pool replaces this one, waits there: no place of the old one may ever be free.
    pub async fn acquire(&self) -> Result<Session, sqlx::Error> {
        let mut changes = self.0.current.subscribe();
        let deadline = tokio::time::Instant::now() + self.0.options.get_acquire_timeout();
        loop {
            let current = changes.borrow_and_update().clone();
            if current.host.is_none() {
                self.start_probe();
                tokio::select! {
                    () = tokio::time::sleep_until(deadline) => return Err(sqlx::Error::PoolTimedOut),
                    _ = tokio::time::timeout(PROBE_AFTER, changes.changed()) => continue,
                }
            }
            let mut result = pin!(self.session(current));
            loop {
                tokio::select! {
                    biased;
                    result = &mut result => return result,
                    Ok(()) = changes.changed() => break,
                    // A pool without an open connection shows no failure: it goes on connecting to a host that refuses or
                    // hangs.
                    () = tokio::time::sleep(PROBE_AFTER), if self.0.hosts.len() > 1 => self.start_probe(),
                }
            }
        }
    }

    async fn session(&self, Current { pool, kept, .. }: Current) -> Result<Session, sqlx::Error> {
        loop {
            let mut session = kept.take(&pool).await?;
            if session.idle_for() < PING_AFTER || ping(&mut session, self.0.ping_timeout).await.is_ok() {
                return Ok(session);
            }
            // Replaces this pool. The connection is closed without a farewell, which could block.
            self.0.replace(session.left_pool());
            drop(session.into_pool_connection().detach());
        }
    }

    /// Starts a task that finds the host that accepts changes and replaces the pool if it is another one, unless such a task
    /// runs. A task of its own: the callers' timeouts must not end it.
    fn start_probe(&self) {
        let Ok(turn) = Arc::clone(&self.0.probing).try_lock_owned() else { return };
        let pool = self.clone();
        tokio::spawn(async move {
            let (_turn, mut backoff) = (turn, PROBE_BACKOFF);
            loop {
                let probed = pool.connect().await;
                let current = pool.0.current.borrow().host;
                match probed {
                    Ok((host, _)) if current == Some(host) => break,
                    Ok((host, _)) => break drop(pool.0.current.send_replace(pool.0.pool_of(host, true))),
                    Err(_) if current.is_some() => break,
                    Err(_) => tokio::time::sleep(backoff.next_pause()).await,
                }
            }
        });
    }

    /// Returns how to connect; of several hosts, to the one that accepts changes.
    pub async fn connect_options(&self) -> Result<&PgConnectOptions, Fault> {
        match &self.0.hosts[..] {
            [host] => Ok(host),
            hosts => Ok(&hosts[self.connect().await?.0]),
        }
    }

    /// Connects to a host outside the pool; of several ones, to the first that answers and accepts changes. Returns its
    /// number.
    pub async fn connect(&self) -> Result<(usize, PgConnection), Fault> {
        let hosts = &self.0.hosts[..];
        if let [host] = hosts {
            return Ok((0, host.connect().await.map_err(|error| connecting_fault(&error))?));
        }
        let failed: Vec<Notify> = hosts.iter().map(|_| Notify::new()).collect();
        let attempts = hosts.iter().enumerate().map(|(number, host)| {
            let failed = &failed;
            Box::pin(async move {
                if let Some(before) = number.checked_sub(1) {
                    let _ = tokio::time::timeout(HEAD_START * number as u32, failed[before].notified()).await;
                }
                let attempt = tokio::time::timeout(self.0.host_timeout, connect_to_writable(host));
                let result = attempt.await.unwrap_or_else(|_| Err(silent(self.0.host_timeout)));
                failed[number].notify_one();
                result.map(|connection| (number, connection))
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
        self.current.send_if_modified(|current| {
            let age = current.made.elapsed();
            let is_replaced = used >= current.made && current.host.is_some();
            if is_replaced {
                if age >= LOG_INTERVAL {
                    info!("a connection to PostgreSQL failed; the open ones are not used again");
                }
                *current = self.pool_of(0, self.hosts.len() == 1);
            }
            is_replaced
        });
    }

    fn pool_of(&self, host: usize, is_chosen: bool) -> Current {
        let pool = self.options.clone().connect_lazy_with(self.hosts[host].clone());
        let kept = KeptConnections::default();
        Current { pool, kept, made: Instant::now(), host: is_chosen.then_some(host) }
    }
}

/// Pings a connection before its next use.
async fn ping(connection: &mut PgConnection, timeout: Duration) -> Result<(), sqlx::Error> {
    tokio::time::timeout(timeout, connection.ping()).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

/// Connects to a host that accepts changes.
async fn connect_to_writable(host: &PgConnectOptions) -> Result<PgConnection, Fault> {
    let mut connection = host.connect().await.map_err(|error| connecting_fault(&error))?;
    let is_read_only = sqlx::query_scalar("SELECT current_setting('transaction_read_only')::bool");
    match is_read_only.fetch_one(&mut connection).await {
        Ok(false) => Ok(connection),
        Ok(true) => Err(read_only()),
        Err(error) => Err(fault(&error)),
    }
}
