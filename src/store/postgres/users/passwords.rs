//! Password hashes: a changed password, and the same password hashed by another scheme or at another cost.

use super::{PgUsers, traceparent};
use crate::domain::user::UserId;
use crate::passwords::{ForeignHash, PasswordHash};
use crate::telemetry::trace::TraceContext;

impl PgUsers {
    pub(super) async fn try_rehash(
        &self,
        id: UserId,
        old: &PasswordHash,
        new: &PasswordHash,
    ) -> Result<bool, sqlx::Error> {
        let mut transaction = self.postgres.begin().await?;
        // The address first: from here on no request can register a row with the old parameters.
        let costs = sqlx::query!(
            "
            UPDATE addresses SET hash_cost = $3 FROM users
            WHERE users.id = $1 AND addresses.address = users.address AND addresses.hash_cost = $2
            ",
            id.0,
            old.params.cost.to_string(),
            new.params.cost.to_string(),
        )
        .execute(&mut *transaction)
        .await?;
        // The password stays the same, so a reset code that was made for it stays valid.
        sqlx::query!(
            "
            UPDATE password_resets SET password_digest = sha256(convert_to($3, 'UTF8'))
            WHERE user_id = $1 AND password_digest = sha256(convert_to($2, 'UTF8'))
            ",
            id.0,
            old.to_phc(),
            new.to_phc(),
        )
        .execute(&mut *transaction)
        .await?;
        let hashes = sqlx::query!(
            "
            UPDATE users SET password_hash = $3
            WHERE id = $1 AND password_hash = $2 AND status || '' <> 'pending'
                AND NOT EXISTS (
                    SELECT FROM users AS shadow
                    WHERE shadow.address = users.address AND shadow.status || '' = 'pending'
                )
            ",
            id.0,
            old.to_phc(),
            new.to_phc(),
        )
        .execute(&mut *transaction)
        .await?;
        let rehashed = costs.rows_affected() == 1 && hashes.rows_affected() == 1;
        if rehashed {
            transaction.commit().await?;
        } else {
            transaction.rollback().await?;
        }
        Ok(rehashed)
    }

    /// The trigger `users_forget_foreign_hash` ends the foreign hash. A reset code that was made for the password stays valid.
    pub(super) async fn try_replace_foreign(
        &self,
        id: UserId,
        foreign: &ForeignHash,
        new: &PasswordHash,
    ) -> Result<bool, sqlx::Error> {
        let replaced = sqlx::query!(
            "
            WITH before AS (
                SELECT id, password_hash FROM users WHERE id = $1 AND foreign_hash = $2
            ), moved AS (
                UPDATE password_resets SET password_digest = sha256(convert_to($3, 'UTF8')) FROM before
                WHERE user_id = before.id AND password_digest = sha256(convert_to(before.password_hash, 'UTF8'))
            )
            UPDATE users SET password_hash = $3 WHERE id = $1 AND foreign_hash = $2 AND status || '' = 'active'
            ",
            id.0,
            foreign.as_str(),
            new.to_phc(),
        );
        Ok(replaced.execute(&mut *self.acquire().await?).await?.rows_affected() == 1)
    }

    pub(super) async fn try_change_password(
        &self,
        id: UserId,
        old: &PasswordHash,
        new: &PasswordHash,
        trace: Option<TraceContext>,
    ) -> Result<bool, sqlx::Error> {
        // An unsent mail about an earlier change is queued again, so that the owner is informed of the latest change.
        let change = sqlx::query!(
            "
            WITH changed AS (
                UPDATE users SET password_hash = $3
                WHERE id = $1 AND password_hash = $2 AND status || '' = 'active'
                RETURNING id, address, email, status, role
            ), queued_reset AS (
                DELETE FROM outbox USING changed WHERE kind = 'reset_code' AND outbox.address = changed.address
            ), told AS (
                INSERT INTO events (type, user_id, email, status, role)
                SELECT 'user.password_changed', id, email, status, role FROM changed
            )
            INSERT INTO outbox (user_id, kind, nonce, digits, traceparent)
            SELECT id, 'password_changed', decode(repeat('00', 16), 'hex'), 4, $4 FROM changed
            ON CONFLICT (user_id, kind) WHERE kind <> 'code' DO UPDATE SET
                id = DEFAULT, idempotency_key = DEFAULT, created_at = DEFAULT, attempts = DEFAULT, unsent = DEFAULT,
                due_at = DEFAULT, lease = DEFAULT, traceparent = EXCLUDED.traceparent
            ",
            id.0,
            old.to_phc(),
            new.to_phc(),
            traceparent(trace),
        );
        Ok(change.execute(&mut *self.acquire().await?).await?.rows_affected() == 1)
    }
}
