//! Deletes pending registrations that were not activated in time, expired links, and old counts of mailboxes, of password
//! resets, and of addresses without a user.

use std::time::Duration;

use sqlx::PgConnection;

use super::PgUsers;
use crate::accounts::ports::StoreError;
use crate::store::postgres::{advisory_lock, store_error};

/// Maximum number of rows that one statement deletes, so that it holds its locks for a short time.
const BATCH: u64 = 1000;

/// How fast pending registrations are deleted. Each deletion is an event, and a full stream drops old events unread.
#[derive(Debug, Clone, Copy)]
pub(super) struct PurgePace {
    batch: u64,
    pause: Duration,
}

impl PurgePace {
    pub(super) const UNLIMITED: Self = Self { batch: BATCH, pause: Duration::ZERO };

    /// Returns the pace that fills the event stream once an hour.
    fn for_stream(max_len: u64) -> Self {
        let batch = (max_len / 100).clamp(1, BATCH);
        Self { batch, pause: Duration::from_secs(60 * 60).mul_f64(batch as f64 / max_len as f64) }
    }
}

impl PgUsers {
    /// Deletes pending registrations so slowly that consumers of the event stream have an hour to read it.
    pub fn with_events_maxlen(mut self, max_len: u64) -> Self {
        self.purge_pace = PurgePace::for_stream(max_len);
        self
    }

    pub(super) async fn purge_all(&self, pending_ttl: Duration) -> Result<u64, StoreError> {
        self.search_addresses_without_users().await?;
        self.forget_addresses().await?;
        self.postgres.bounded(self.purge_links()).await?;
        self.postgres.bounded(self.purge_address_changes()).await?;
        while self.postgres.bounded(self.purge_mailboxes()).await? == BATCH {}
        while self.postgres.bounded(self.purge_resets(BATCH)).await? == BATCH {}
        // Last, because it may take hours.
        let PurgePace { batch: most, pause } = self.purge_pace;
        let (mut purged, mut turn) = (0, None);
        loop {
            let addresses = match self.postgres.bounded(self.purge_batch(pending_ttl, most)).await {
                // The next purge reports an error that lasts.
                Err(_) if purged > 0 => return Ok(purged),
                addresses => addresses?,
            };
            let batch = addresses.len() as u64;
            purged += batch;
            if batch > 0 {
                self.retire_addresses(&addresses).await;
            }
            if batch < most {
                return Ok(purged);
            }
            if !pause.is_zero() {
                // Every process deletes one batch at each purge, and one process goes on.
                turn = self.take_purge_turn(turn).await.unwrap_or(None);
                if turn.is_none() {
                    return Ok(purged);
                }
                tokio::time::sleep(pause).await;
            }
        }
    }

    /// Returns the session that holds the lock of the purge, or `None` if another process holds it. The lock ends with its
    /// session.
    async fn take_purge_turn(&self, turn: Option<PgConnection>) -> Result<Option<PgConnection>, StoreError> {
        let mut session = match turn {
            Some(session) => session,
            None => self.postgres.within_timeout(self.connect_for_purge()).await?,
        };
        // A session may take its lock several times.
        let lock = advisory_lock::try_lock(&mut session, advisory_lock::PURGE);
        Ok(self.postgres.bounded_outside(lock).await?.then_some(session))
    }

    async fn connect_for_purge(&self) -> Result<PgConnection, StoreError> {
        let (_, mut session) = self.postgres.pool.connect().await?;
        // The pause between two batches may be longer than the server's limit.
        sqlx::raw_sql("SET idle_session_timeout = 0").execute(&mut session).await.map_err(store_error)?;
        Ok(session)
    }

    /// Deletes at most `most` pending rows whose address was granted no code mail for `pending_ttl`. Returns the addresses of
    /// the deleted rows; fewer than `most` if none are left.
    ///
    /// The statement locks the address before it trusts `granted_at`. A bare `DELETE … USING addresses` would wait for a
    /// locked row of `users` and then recheck that row alone: it would delete a registration that was just granted a mail.
    /// The lock makes PostgreSQL recheck the address, and makes the next grant wait. `SKIP LOCKED` skips an address that
    /// is being granted a mail now. The `DELETE` itself rechecks that the row is still pending.
    async fn purge_batch(&self, pending_ttl: Duration, most: u64) -> Result<Vec<String>, sqlx::Error> {
        let purge = sqlx::query_scalar!(
            r#"
            WITH stale AS MATERIALIZED (
                SELECT addresses.address
                FROM users JOIN addresses ON addresses.address = users.address
                WHERE users.status = 'pending' AND granted_at <= now() - make_interval(secs => $1)
                LIMIT $2 FOR UPDATE OF addresses SKIP LOCKED
            ), purged AS (
                DELETE FROM users USING stale
                WHERE users.address = stale.address AND users.status || '' = 'pending'
                RETURNING users.id, users.address, status, role
            ), told AS (
                INSERT INTO events (type, user_id, status, role) SELECT 'user.deleted', id, status, role FROM purged
            )
            SELECT address AS "address!" FROM purged
            "#,
            pending_ttl.as_secs_f64(),
            most as i64,
        );
        purge.fetch_all(&mut *self.acquire().await?).await
    }

    /// Deletes a batch of mailboxes that were sent no code mail for 24 hours, so that no quota counts their mails. Returns the
    /// number of deleted rows.
    ///
    /// The outer condition is checked again after a wait for a row that is being counted.
    async fn purge_mailboxes(&self) -> Result<u64, sqlx::Error> {
        let purge = sqlx::query!(
            "
            WITH stale AS MATERIALIZED (
                SELECT mac FROM mailboxes WHERE last_mailed_at <= now() - interval '1 day' LIMIT $1
            )
            DELETE FROM mailboxes USING stale
            WHERE mailboxes.mac = stale.mac AND last_mailed_at <= now() - interval '1 day'
            ",
            BATCH as i64,
        );
        Ok(purge.execute(&mut *self.acquire().await?).await?.rows_affected())
    }

    async fn purge_links(&self) -> Result<(), sqlx::Error> {
        sqlx::query!("DELETE FROM not_me_links WHERE expires_at <= now()").execute(&mut *self.acquire().await?).await?;
        sqlx::query!("DELETE FROM disowned WHERE expires_at <= now()")
            .execute(&mut *self.acquire().await?)
            .await
            .map(drop)
    }
}
