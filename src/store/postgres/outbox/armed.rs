//! Records that the code of a mail is in Redis: see [`Claim::armed`]. `Outbox::link` does it for registrations.

use super::{Claim, Outbox};
use crate::accounts::ports::StoreError;
use crate::domain::code::ResetId;
use crate::domain::user::UserId;

impl Outbox {
    /// Records that the code of a change of address is in Redis: see [`Claim::armed`]. Returns `false` if the lease was lost.
    pub async fn arm(&self, claim: &Claim) -> Result<bool, StoreError> {
        let arm =
            sqlx::query!("UPDATE outbox SET armed_id = id WHERE id = $1 AND lease = $2", claim.grant.0, claim.lease);
        let armed = self.postgres.bounded(async { arm.execute(&mut *self.postgres.acquire().await?).await }).await?;
        Ok(armed.rows_affected() == 1)
    }

    /// Binds the code of a reset mail to its account and to the password that the account has now. Records that the code is in
    /// Redis: see [`Claim::armed`]. Releases the lease, so that any process can send the mail.
    ///
    /// Returns `false` if the mail is not wanted any more: the lease was lost, a later request replaced it, or the account is
    /// no longer active.
    pub async fn bind_reset(&self, claim: &Claim, id: ResetId, account: UserId) -> Result<bool, StoreError> {
        let bind = sqlx::query_scalar!(
            r#"
            WITH bound AS (
                UPDATE password_resets AS r
                SET outbox_id = outbox.id, user_id = account.id,
                    password_digest = sha256(convert_to(account.password_hash, 'UTF8'))
                FROM outbox, users AS account
                WHERE r.id = $3 AND outbox.id = $1 AND outbox.lease = $2 AND account.id = $4
                    AND account.status || '' = 'active' AND r.outbox_id IS DISTINCT FROM outbox.id
                RETURNING outbox.id
            ), armed AS (
                UPDATE outbox SET armed_id = outbox.id, lease = NULL, attempts = 0, unsent = true, due_at = now()
                FROM bound WHERE outbox.id = bound.id AND outbox.lease = $2
                RETURNING outbox.id
            )
            SELECT count(*) AS "armed!" FROM armed
            "#,
            claim.grant.0,
            claim.lease,
            &id.0[..],
            account.0,
        );
        Ok(self.postgres.bounded(async { bind.fetch_one(&mut *self.postgres.acquire().await?).await }).await? == 1)
    }

    /// Whether the code of a reset mail may still be used: no later request has replaced it, it was not used, and the account
    /// is active and has kept its password.
    pub async fn is_reset_bound(&self, claim: &Claim, id: ResetId, account: UserId) -> Result<bool, StoreError> {
        let find = sqlx::query_scalar!(
            r#"
            SELECT EXISTS (
                SELECT FROM password_resets AS r JOIN users AS account ON account.id = r.user_id
                WHERE r.id = $2 AND r.outbox_id = $1 AND account.id = $3 AND account.status || '' = 'active'
                    AND r.password_digest = sha256(convert_to(account.password_hash, 'UTF8'))
            ) AS "is_bound!"
            "#,
            claim.grant.0,
            &id.0[..],
            account.0,
        );
        self.postgres.bounded(async { find.fetch_one(&mut *self.postgres.acquire().await?).await }).await
    }
}
