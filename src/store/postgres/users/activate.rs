//! Activation: the one statement that makes a pending registration an account.

use super::{PgUsers, UserRow, traceparent};
use crate::domain::user::UserId;
use crate::telemetry::trace::TraceContext;

impl PgUsers {
    /// Makes a pending row an account, and queues a mail of this kind. The constraint `users_one_account` refuses a second account of an address.
    pub(super) async fn try_activate(
        &self,
        id: UserId,
        mail_kind: &str,
        trace: Option<TraceContext>,
    ) -> Result<Option<UserRow>, sqlx::Error> {
        let activated = sqlx::query_as!(
            UserRow,
            r#"
            WITH activated AS (
                UPDATE users SET status = 'active', activated_at = now()
                WHERE id = $1 AND status || '' = 'pending' RETURNING *
            ), unsent AS (
                DELETE FROM outbox USING activated WHERE user_id = activated.id AND kind = 'code'
            ), queued AS (
                INSERT INTO outbox (user_id, kind, nonce, digits, traceparent)
                SELECT id, $3, decode(repeat('00', 16), 'hex'), 4, $2 FROM activated
            ), told AS (
                INSERT INTO events (type, user_id, email, status, role)
                SELECT 'user.activated', id, email, status, role FROM activated
            )
            SELECT id AS "id!", email AS "email!", status AS "status!", role AS "role!", created_at AS "created_at!",
                activated_at, locale
            FROM activated
            "#,
            id.0,
            traceparent(trace),
            mail_kind,
        )
        .fetch_optional(&mut *self.acquire().await?)
        .await;
        match activated {
            Err(sqlx::Error::Database(error)) if error.constraint() == Some("users_one_account") => Ok(None),
            other => other,
        }
    }
}
