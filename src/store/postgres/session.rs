//! Connections that stay out of the driver's pool between two calls.
//!
//! The driver pings every connection that returns to its pool: each statement would cost two round trips. So a connection
//! whose statement has ended goes to the call that has waited longest, or is kept here; the next call takes the one that was
//! used last. It goes back to the pool every few seconds, because the pool replaces old connections.
//!
//! Calls do not wait for the pool themselves. A call that gets another one's connection would abandon what it has begun there:
//! many calls at once would leave many half-opened connections to the server.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use sqlx::pool::PoolConnection;
use sqlx::{Connection as _, PgConnection, PgPool};
use tokio::sync::oneshot;

/// How long a connection stays out of the pool.
const KEPT_FOR: Duration = Duration::from_secs(5);

/// The kept connections of one pool. Clones share them.
#[derive(Clone, Default)]
pub(super) struct KeptConnections(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    /// The connection that was used last is at the end.
    idle: Vec<Idle>,
    /// The calls that wait for a connection, in their order. While there are any, no connection is idle.
    waiting: VecDeque<oneshot::Sender<Result<Idle, sqlx::Error>>>,
    /// The tasks that get connections of the pool: one for each call that waits, but no more than the pool has connections.
    acquiring: usize,
}

struct Idle {
    connection: PoolConnection<sqlx::Postgres>,
    left_pool: Instant,
    last_use: Instant,
}

/// A connection of the pool during one call.
pub(super) struct Session {
    /// `None` only while this is dropped.
    connection: Option<Idle>,
    kept: KeptConnections,
}

impl KeptConnections {
    /// Returns the kept connection that was used last. If there is none, waits for that of another call or of the pool.
    pub async fn take(&self, pool: &PgPool) -> Result<Session, sqlx::Error> {
        let given = {
            let mut kept = self.lock();
            if let Some(idle) = kept.idle.pop() {
                return Ok(self.session(idle));
            }
            let (sender, given) = oneshot::channel();
            kept.forget_ended_calls();
            kept.waiting.push_back(sender);
            if kept.acquiring < kept.waiting.len().min(pool.options().get_max_connections() as usize) {
                kept.acquiring += 1;
                tokio::spawn(self.clone().acquire_for_waiting(pool.clone()));
            }
            given
        };
        match tokio::time::timeout(pool.options().get_acquire_timeout(), given).await {
            Ok(Ok(idle)) => Ok(self.session(idle?)),
            Ok(Err(_)) => Err(sqlx::Error::PoolClosed),
            Err(_) => Err(sqlx::Error::PoolTimedOut),
        }
    }

    /// Gets connections of the pool while more calls wait than such tasks run.
    async fn acquire_for_waiting(self, pool: PgPool) {
        loop {
            match pool.acquire().await {
                Ok(connection) => drop(self.of_pool(connection)),
                // The calls that wait have timeouts of their own.
                Err(sqlx::Error::PoolTimedOut) => {}
                Err(error) => self.lock().fail_first(error),
            }
            let mut kept = self.lock();
            kept.forget_ended_calls();
            if kept.waiting.len() < kept.acquiring {
                kept.acquiring -= 1;
                return;
            }
        }
    }

    fn of_pool(&self, connection: PoolConnection<sqlx::Postgres>) -> Session {
        let now = Instant::now();
        self.session(Idle { connection, left_pool: now, last_use: now })
    }

    fn session(&self, idle: Idle) -> Session {
        Session { connection: Some(idle), kept: self.clone() }
    }

    /// Returns the number of kept connections.
    pub fn count(&self) -> usize {
        self.lock().idle.len()
    }

    /// Returns all kept connections to the pool.
    #[cfg(feature = "testing")]
    pub fn return_all(&self) {
        let idle = std::mem::take(&mut self.lock().idle);
        drop(idle);
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Returned connections remove such calls too, but during an outage none returns.
    fn forget_ended_calls(&mut self) {
        self.waiting.retain(|waiting| !waiting.is_closed());
    }

    fn fail_first(&mut self, error: sqlx::Error) {
        let mut failure = Err(error);
        while let Some(waiting) = self.waiting.pop_front() {
            match waiting.send(failure) {
                Ok(()) => return,
                Err(unwanted) => failure = unwanted,
            }
        }
    }

    /// Gives a connection to the call that has waited longest, or keeps it.
    fn give(&mut self, idle: Idle) {
        let mut given = Ok(idle);
        while let Some(waiting) = self.waiting.pop_front() {
            match waiting.send(given) {
                Ok(()) => return,
                // That call was cancelled.
                Err(unwanted) => given = unwanted,
            }
        }
        self.idle.extend(given);
    }
}

impl Drop for Kept {
    /// Closes the connections without a farewell, because a bad one could block it, and this may be outside of a runtime.
    fn drop(&mut self) {
        for Idle { connection, .. } in self.idle.drain(..) {
            drop(connection.detach());
        }
    }
}

impl Session {
    /// Returns how long ago the connection was used.
    pub fn idle_for(&self) -> Duration {
        self.inner().last_use.elapsed()
    }

    /// Returns when the connection left the pool.
    pub fn left_pool(&self) -> Instant {
        self.inner().left_pool
    }

    /// Returns the connection, which goes to the pool after its use.
    pub fn into_pool_connection(mut self) -> PoolConnection<sqlx::Postgres> {
        self.connection.take().expect("a session has a connection until it is dropped").connection
    }

    fn inner(&self) -> &Idle {
        self.connection.as_ref().expect("a session has a connection until it is dropped")
    }
}

impl Deref for Session {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.inner().connection
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection.as_mut().expect("a session has a connection until it is dropped").connection
    }
}

impl Drop for Session {
    /// Hands the connection to the next call, or to the pool.
    fn drop(&mut self) {
        let Some(mut idle) = self.connection.take() else { return };
        // A statement that was not awaited to its end has a response to come: the pool waits for that. This asks the driver,
        // and does no input or output if there is none.
        let is_ready = matches!(idle.connection.flush().now_or_never(), Some(Ok(())));
        if !is_ready || idle.left_pool.elapsed() >= KEPT_FOR {
            return;
        }
        idle.last_use = Instant::now();
        self.kept.lock().give(idle);
    }
}
