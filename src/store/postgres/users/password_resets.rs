//! Password resets: grants of reset mails by address, and the change of the password that a code was made for.
//!
//! Lock order: the reset, then the user, then the outbox.

use std::time::Duration;

use super::super::{broken, store_error};
use super::{PgUsers, UserRow, traceparent};
use crate::accounts::errors::RequestResetError;
use crate::accounts::ports::{StoreError, StoredUser};
use crate::domain::code::{Nonce, ResetId};
use crate::domain::email::Address;
use crate::domain::pacing::Pacing;
use crate::domain::user::UserId;
use crate::passwords::PasswordHash;
use crate::telemetry::trace::TraceContext;

impl PgUsers {
    /// Sets the waits between reset mails, and the length of their codes.
    pub fn with_reset_pacing(self, reset_pacing: Pacing) -> Self {
        Self { reset_pacing, ..self }
    }

    /// Grants a reset mail if the wait of the address is over, and queues it. This is the rule of `domain/pacing.rs` as one
    /// atomic upsert, by PostgreSQL's clock, like the grants of registrations. An earlier code is no longer bound to an
    /// account after it.
    pub(super) async fn try_request_reset(
        &self,
        id: ResetId,
        address: &Address,
        nonce: Nonce,
        trace: Option<TraceContext>,
    ) -> Result<Duration, RequestResetError> {
        let pacing = &self.reset_pacing;
        let granted = sqlx::query_scalar!(
            r#"
            WITH granted AS (
                INSERT INTO password_resets AS r (id, granted_at, wait) VALUES ($1, now(), make_interval(secs => $2))
                ON CONFLICT (id) DO UPDATE SET
                    granted_at = now(),
                    wait = CASE
                        WHEN now() >= r.granted_at + make_interval(secs => $4) THEN make_interval(secs => $2)
                        ELSE least(r.wait * 2, make_interval(secs => $3))
                    END,
                    outbox_id = NULL, user_id = NULL, password_digest = NULL
                WHERE now() >= r.granted_at + r.wait
                RETURNING wait
            ), queued AS (
                INSERT INTO outbox (kind, address, nonce, digits, traceparent)
                SELECT 'reset_code', $5, $6, $7, $8 FROM granted
                ON CONFLICT (address) WHERE kind = 'reset_code' DO UPDATE SET
                    id = DEFAULT, nonce = EXCLUDED.nonce, digits = EXCLUDED.digits, idempotency_key = DEFAULT,
                    created_at = DEFAULT, attempts = DEFAULT, unsent = DEFAULT, due_at = DEFAULT, lease = DEFAULT,
                    traceparent = EXCLUDED.traceparent
            )
            SELECT extract(epoch FROM wait)::float8 AS "wait!" FROM granted
            "#,
            &id.0[..],
            pacing.first_wait.as_secs_f64(),
            pacing.longest_wait.as_secs_f64(),
            pacing.quiet.as_secs_f64(),
            address.as_str(),
            &nonce.0[..],
            pacing.short_length.digits() as i16,
            traceparent(trace),
        )
        .fetch_optional(&mut *self.acquire().await?)
        .await?;
        if let Some(wait) = granted {
            return Ok(Duration::from_secs_f64(wait));
        }
        let left = sqlx::query_scalar!(
            r#"SELECT extract(epoch FROM granted_at + wait - now())::float8 AS "left!" FROM password_resets WHERE id = $1"#,
            &id.0[..],
        )
        .fetch_optional(&mut *self.acquire().await?)
        .await?;
        let left = left.and_then(|left| Duration::try_from_secs_f64(left).ok()).unwrap_or_default();
        // The wait may have ended since the grant was refused.
        Err(RequestResetError::TooSoon { left: left.max(Duration::from_millis(1)) })
    }

    pub(super) async fn try_find_reset_account(&self, id: ResetId) -> Result<Option<StoredUser>, StoreError> {
        let row = sqlx::query!(
            "
            SELECT users.id, email, status, role, created_at, activated_at, locale, password_hash
            FROM password_resets JOIN users ON users.id = password_resets.user_id
            WHERE password_resets.id = $1 AND status || '' = 'active'
                AND password_digest = sha256(convert_to(password_hash, 'UTF8'))
            ",
            &id.0[..],
        )
        .fetch_optional(&mut *self.acquire().await.map_err(store_error)?)
        .await
        .map_err(store_error)?;
        let Some(row) = row else {
            return Ok(None);
        };
        let hash = PasswordHash::from_phc(&row.password_hash).map_err(broken)?;
        let user = UserRow {
            id: row.id,
            email: row.email,
            status: row.status,
            role: row.role,
            created_at: row.created_at,
            activated_at: row.activated_at,
            locale: row.locale,
        };
        Ok(Some(StoredUser { user: user.try_into()?, hash }))
    }

    /// Changes the password and uses up the code with one statement. Of two simultaneous calls one finds the code used.
    pub(super) async fn try_reset_password(
        &self,
        id: ResetId,
        user: UserId,
        old: &PasswordHash,
        new: &PasswordHash,
        trace: Option<TraceContext>,
    ) -> Result<bool, sqlx::Error> {
        let reset = sqlx::query_scalar!(
            r#"
            WITH used AS (
                UPDATE password_resets SET user_id = NULL, password_digest = NULL
                WHERE id = $1 AND user_id = $2 AND password_digest = sha256(convert_to($3, 'UTF8'))
                RETURNING $2::uuid AS user_id
            ), changed AS (
                UPDATE users SET password_hash = $4 FROM used
                WHERE users.id = used.user_id AND password_hash = $3 AND status || '' = 'active'
                RETURNING users.id, address, email, status, role
            ), queued_code AS (
                DELETE FROM outbox USING changed WHERE kind = 'reset_code' AND outbox.address = changed.address
            ), told AS (
                INSERT INTO events (type, user_id, email, status, role)
                SELECT 'user.password_reset', id, email, status, role FROM changed
            ), notice AS (
                INSERT INTO outbox (user_id, kind, nonce, digits, traceparent)
                SELECT id, 'password_reset', decode(repeat('00', 16), 'hex'), 4, $5 FROM changed
                ON CONFLICT (user_id, kind) WHERE kind <> 'code' DO UPDATE SET
                    id = DEFAULT, idempotency_key = DEFAULT, created_at = DEFAULT, attempts = DEFAULT, unsent = DEFAULT,
                    due_at = DEFAULT, lease = DEFAULT, traceparent = EXCLUDED.traceparent
            )
            SELECT count(*) AS "changed!" FROM changed
            "#,
            &id.0[..],
            user.0,
            old.to_phc(),
            new.to_phc(),
            traceparent(trace),
        );
        Ok(reset.fetch_one(&mut *self.acquire().await?).await? == 1)
    }

    /// Deletes a batch of resets whose wait and quiet time are over: the next grant of such an address is like a first one.
    /// Returns the number of deleted rows.
    ///
    /// The outer condition is checked again after a wait for a row that is being granted a mail.
    pub(super) async fn purge_resets(&self, batch: u64) -> Result<u64, sqlx::Error> {
        let pacing = &self.reset_pacing;
        let purge = sqlx::query!(
            "
            WITH stale AS MATERIALIZED (
                SELECT id FROM password_resets WHERE granted_at <= now() - make_interval(secs => $1) LIMIT $2
            )
            DELETE FROM password_resets AS r USING stale
            WHERE r.id = stale.id AND granted_at <= now() - make_interval(secs => $1)
            ",
            pacing.quiet.max(pacing.longest_wait).as_secs_f64(),
            batch as i64,
        );
        Ok(purge.execute(&mut *self.acquire().await?).await?.rows_affected())
    }
}
