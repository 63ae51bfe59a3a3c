//! Deletes pending registrations that were not activated in time, expired links, old counts of mailboxes, and addresses
//! without a user that no rule needs any more.

use std::time::Duration;

use super::PgUsers;
use crate::accounts::ports::StoreError;

/// Maximum number of rows that one statement deletes, so that it holds its locks for a short time.
const BATCH: u64 = 1000;

impl PgUsers {
    pub(super) async fn purge_all(&self, pending_ttl: Duration) -> Result<u64, StoreError> {
        let mut purged = 0;
        loop {
            let addresses = self.postgres.bounded(self.purge_batch(pending_ttl)).await?;
            let batch = addresses.len() as u64;
            purged += batch;
            if batch > 0 {
                self.retire_addresses(&addresses).await;
            }
            if batch < BATCH {
                break;
            }
        }
        self.search_addresses_without_users().await?;
        self.forget_addresses().await?;
        self.postgres.bounded(self.purge_links()).await?;
        while self.postgres.bounded(self.purge_mailboxes()).await? == BATCH {}
        Ok(purged)
    }

    /// Deletes a batch of pending rows whose address was granted no code mail for `pending_ttl`. Returns the
    /// addresses of the deleted rows; fewer than [`BATCH`] if none are left.
    ///
    /// The statement locks the address before it trusts `granted_at`. A bare `DELETE … USING addresses` would wait for a
    /// locked row of `users` and then recheck that row alone: it would delete a registration that was just granted a mail.
    /// The lock makes PostgreSQL recheck the address, and makes the next grant wait. `SKIP LOCKED` skips an address that
    /// is being granted a mail now. The `DELETE` itself rechecks that the row is still pending.
    async fn purge_batch(&self, pending_ttl: Duration) -> Result<Vec<String>, sqlx::Error> {
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
            BATCH as i64,
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
