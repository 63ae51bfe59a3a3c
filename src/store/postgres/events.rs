//! Events that wait to be relayed, and the lock by which one process at a time relays them.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::types::time::OffsetDateTime;
use sqlx::{ConnectOptions as _, PgConnection};
use uuid::Uuid;

use super::Postgres;
use crate::accounts::ports::StoreError;
use crate::domain::user::UserId;

/// Any number that no other program locks in this database; it spells "sixty ev".
const LOCK: i64 = i64::from_be_bytes(*b"sixty ev");

/// PostgreSQL ends a session that asks nothing for so long, and its lock with it: that of a process that was stopped, or
/// of a machine that is gone without a word. Who is killed loses it at once, with the connection.
pub const SILENCE: Duration = Duration::from_secs(10);

/// Something that happened to a user.
#[derive(Debug)]
pub struct Event {
    /// By which it is forgotten.
    pub sequence: i64,
    pub id: Uuid,
    pub kind: String,
    pub user: UserId,
    /// As typed. None of a user who was deleted.
    pub email: Option<String>,
    /// After the change; of a user who was deleted, before it.
    pub status: String,
    pub role: String,
    pub at: OffsetDateTime,
}

/// A connection of its own: a session holds the lock, and both end together.
pub struct EventQueue {
    postgres: Postgres,
    session: PgConnection,
}

impl EventQueue {
    pub async fn connect(postgres: &Postgres) -> Result<Self, StoreError> {
        let options = PgConnectOptions::clone(&postgres.pool.connect_options());
        let session = async {
            let mut session = options.connect().await?;
            // Not at the start of the session, where a pooler may swallow it.
            let silence = SILENCE.as_millis().to_string();
            sqlx::query!("SELECT set_config('idle_session_timeout', $1, false)", silence)
                .fetch_one(&mut session)
                .await?;
            Ok(session)
        };
        let session = postgres.bounded(session).await?;
        Ok(Self { postgres: postgres.clone(), session })
    }

    /// Whether this session has the lock now. Once it has, it keeps it until it ends.
    pub async fn lock(&mut self) -> Result<bool, StoreError> {
        let lock = sqlx::query_scalar!(r#"SELECT pg_try_advisory_lock($1) AS "locked!""#, LOCK);
        self.postgres.bounded(lock.fetch_one(&mut self.session)).await
    }

    /// The age of the oldest that waits; zero if none does.
    pub async fn lag(postgres: &Postgres) -> Result<Duration, StoreError> {
        let lag = sqlx::query_scalar!(
            r#"
            SELECT extract(epoch FROM clock_timestamp() - created_at)::float8 AS "lag!"
            FROM events ORDER BY sequence LIMIT 1
            "#
        );
        let lag = postgres.bounded(lag.fetch_optional(postgres.pool())).await?;
        Ok(lag.and_then(|lag| Duration::try_from_secs_f64(lag).ok()).unwrap_or_default())
    }

    /// Forgets those that were relayed, and returns at most so many others, each user's in their order. Those that are
    /// committed later are returned later, whatever their number.
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
        let rows = self.postgres.bounded(next.fetch_all(&mut self.session)).await?;
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
