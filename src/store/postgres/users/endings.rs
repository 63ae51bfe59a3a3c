//! How a pending registration ends without becoming an account: disowned by the address's owner, or purged.

use std::time::Duration;

use super::PgUsers;
use crate::domain::not_me::NotMeHash;
use crate::domain::user::UserId;

/// Rows that one purging statement deletes at the most: it should hold its locks for a moment only.
pub(super) const BATCH: u64 = 1000;

impl PgUsers {
    pub(super) async fn try_report_not_me(&self, link: &NotMeHash) -> Result<Option<UserId>, sqlx::Error> {
        let mut transaction = self.pool().begin().await?;
        let registered = sqlx::query!(
            "
            SELECT users.id, address FROM not_me_links JOIN users ON users.id = user_id
            WHERE token_hash = $1 AND expires_at > now() AND status = 'pending'
            ",
            &link.0[..],
        )
        .fetch_optional(&mut *transaction)
        .await?;
        let Some(of) = registered else {
            return Ok(None);
        };
        // First the address, then the user: the order in which registering locks them. The wait itself stays as long as it
        // is, because the next one is twice as long; it is only made to have begun earlier.
        sqlx::query!(
            "UPDATE addresses SET granted_at = least(granted_at, now() - wait) WHERE address = $1",
            of.address
        )
        .execute(&mut *transaction)
        .await?;
        // Its links go with it, so of two uses at once one finds a row to delete; and a row that was just activated stays.
        let deleted = sqlx::query!(
            "
            WITH deleted AS (
                DELETE FROM users WHERE id = $1 AND status = 'pending' RETURNING id, status, role
            )
            INSERT INTO events (type, user_id, status, role) SELECT 'user.deleted', id, status, role FROM deleted
            ",
            of.id
        )
        .execute(&mut *transaction)
        .await?;
        if deleted.rows_affected() == 0 {
            transaction.rollback().await?;
            return Ok(None);
        }
        transaction.commit().await?;
        Ok(Some(UserId(of.id)))
    }

    /// Deletes pending rows whose address was granted nothing for so long. Returns how many; fewer than [`BATCH`] if no
    /// more are left.
    ///
    /// The address is locked and only then believed. A bare `DELETE … USING addresses` waits for a row of `users` that
    /// somebody holds and then looks again at that row alone: it would delete a registration that was granted a mail in
    /// the meantime. The lock makes PostgreSQL look again at the address, and makes the next grant wait; an address that
    /// is being granted something now is passed over. A row that was just activated is no longer pending, which the
    /// `DELETE` itself looks at again.
    pub(super) async fn purge_batch(&self, pending_ttl: Duration) -> Result<u64, sqlx::Error> {
        let purge = sqlx::query!(
            "
            WITH stale AS MATERIALIZED (
                SELECT addresses.address
                FROM users JOIN addresses ON addresses.address = users.address
                WHERE users.status = 'pending' AND granted_at <= now() - make_interval(secs => $1)
                LIMIT $2 FOR UPDATE OF addresses SKIP LOCKED
            ), purged AS (
                DELETE FROM users USING stale WHERE users.address = stale.address AND users.status = 'pending'
                RETURNING users.id, status, role
            )
            INSERT INTO events (type, user_id, status, role) SELECT 'user.deleted', id, status, role FROM purged
            ",
            pending_ttl.as_secs_f64(),
            BATCH as i64,
        );
        Ok(purge.execute(self.pool()).await?.rows_affected())
    }

    pub(super) async fn purge_links(&self) -> Result<(), sqlx::Error> {
        sqlx::query!("DELETE FROM not_me_links WHERE expires_at <= now()").execute(self.pool()).await.map(drop)
    }
}
