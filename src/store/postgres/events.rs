//! Queue of events that are not relayed yet, and the advisory lock that lets one process at a time relay them.

use std::fmt;
use std::time::Duration;

use sqlx::PgConnection;
use sqlx::types::time::OffsetDateTime;
use uuid::Uuid;

use super::{Postgres, advisory_lock, store_error};
use crate::accounts::ports::StoreError;
use crate::domain::user::UserId;

/// Idle timeout of the session that holds the lock. PostgreSQL then ends the session and frees the lock.
///
/// It matters for a process that froze and for a machine that vanished. A killed process frees its lock at once, because its
/// connection closes.
pub const SILENCE: Duration = Duration::from_secs(4);

/// An event about a user.
pub struct Event {
    /// The event is deleted by this number after it was relayed.
    pub sequence: i64,
    pub id: Uuid,
    pub kind: String,
    pub user: UserId,
    /// The address as typed; `None` in `user.deleted`.
    pub email: Option<String>,
    /// The status after the change; in `user.deleted`, the status before it.
    pub status: String,
    pub role: String,
    pub at: OffsetDateTime,
}

/// Hides the address.
impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").field("id", &self.id).field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// The event queue, on its own connection: PostgreSQL ties the advisory lock to the session.
pub struct EventQueue {
    postgres: Postgres,
    session: PgConnection,
}

impl EventQueue {
    pub async fn connect(postgres: &Postgres) -> Result<Self, StoreError> {
        let session = async {
            let (_, mut session) = postgres.pool.connect().await?;
            // Not as a startup parameter, because a connection pooler may drop it.
            let silence = SILENCE.as_millis().to_string();
            sqlx::query!("SELECT set_config('idle_session_timeout', $1, false)", silence)
                .fetch_one(&mut session)
                .await
                .map_err(store_error)?;
            Ok::<_, StoreError>(session)
        };
        let session = postgres.within_timeout(session).await?;
        Ok(Self { postgres: postgres.clone(), session })
    }

    /// Tries to take the lock. Returns whether this session holds it; a session keeps its lock until it ends.
    pub async fn lock(&mut self) -> Result<bool, StoreError> {
        let lock = advisory_lock::try_lock(&mut self.session, advisory_lock::EVENTS);
        self.postgres.bounded_outside(lock).await
    }

    /// Returns the age of the oldest event that is not relayed yet; zero if there is none.
    pub async fn lag(postgres: &Postgres) -> Result<Duration, StoreError> {
        let lag = sqlx::query_scalar!(
            r#"
            SELECT extract(epoch FROM clock_timestamp() - created_at)::float8 AS "lag!"
            FROM events ORDER BY sequence LIMIT 1
            "#
        );
        let lag = postgres.bounded(async { lag.fetch_optional(&mut *postgres.acquire().await?).await }).await?;
        Ok(lag.and_then(|lag| Duration::try_from_secs_f64(lag).ok()).unwrap_or_default())
    }

    /// Deletes the relayed events and returns at most `most` others. The events of one user come in their order.
    ///
    /// An event that is committed later is returned later, even if its sequence number is lower.
    pub async fn next(&mut self, relayed: &[i64], most: u32) -> Result<Vec<Event>, StoreError> {
        let next = sqlx::query!(
            r#"
            WITH relayed AS (DELETE FROM events WHERE sequence = ANY ($1))
            SELECT sequence, id, type AS kind, user_id, email, status, role, created_at
            FROM events WHERE sequence <> ALL ($1) ORDER BY sequence LIMIT $2
            "#,
            relayed,
            i64::from(most),
        );
        let rows = self.postgres.bounded_outside(next.fetch_all(&mut self.session)).await?;
        let event = rows.into_iter().map(|row| Event {
            sequence: row.sequence,
            id: row.id,
            kind: row.kind,
            user: UserId(row.user_id),
            email: row.email,
            status: row.status,
            role: row.role,
            at: row.created_at,
        });
        Ok(event.collect())
    }
}
