//! Connections that stay out of the driver's pool between two calls.
//!
//! The driver pings every connection that returns to its pool: each statement would cost two round trips. So a connection
//! whose statement has ended goes to the call that has waited longest, or is kept here; the next call takes the one that was
//! used last. It goes back to the pool every few seconds, because the pool replaces old connections.

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
    waiting: VecDeque<oneshot::Sender<Idle>>,
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
        let returned = {
            let mut kept = self.lock();
            if let Some(idle) = kept.idle.pop() {
                return Ok(self.session(idle));
            }
            kept.wait()
        };
        let may_grow = pool.size() < pool.options().get_max_connections();
        let mut acquired = Box::pin(pool.acquire());
        tokio::select! {
            biased;
            Ok(idle) = returned => {
                // Otherwise each call would begin to open a connection, and none would be opened.
                if may_grow {
                    let kept = self.clone();
                    tokio::spawn(async move { acquired.await.map(|connection| drop(kept.of_pool(connection))) });
                }
                Ok(self.session(idle))
            }
            connection = &mut acquired => Ok(self.of_pool(connection?)),
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
    fn wait(&mut self) -> oneshot::Receiver<Idle> {
        let (sender, returned) = oneshot::channel();
        // Returned connections remove the calls that have ended, but during an outage none returns.
        self.waiting.retain(|waiting| !waiting.is_closed());
        self.waiting.push_back(sender);
        returned
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
        let mut kept = self.kept.lock();
        while let Some(waiting) = kept.waiting.pop_front() {
            match waiting.send(idle) {
                Ok(()) => return,
                // That call has got one of the pool, or was cancelled.
                Err(unwanted) => idle = unwanted,
            }
        }
        kept.idle.push(idle);
    }
}
