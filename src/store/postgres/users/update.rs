//! Changes of accounts by operators. One active admin always remains.

use super::active_admins::lock_admins_and_find_another;
use super::{PgUsers, UserRow};
use crate::accounts::errors::UpdateError;
use crate::accounts::ports::AccountChange;
use crate::domain::user::{Role, Status, User, UserId};

impl PgUsers {
    pub(super) async fn try_update(&self, id: UserId, change: AccountChange) -> Result<User, UpdateError> {
        let mut transaction = self.postgres.begin().await?;
        // Only a change that may remove an admin waits for the lock on all admins.
        let may_be_last = change.removes_admin() && !lock_admins_and_find_another(&mut transaction, id).await?;
        let now = sqlx::query!("SELECT status, role FROM users WHERE id = $1 FOR NO KEY UPDATE", id.0)
            .fetch_optional(&mut *transaction)
            .await?;
        let refusal = match now {
            None => Some(UpdateError::NotFound),
            Some(now) if now.status == "pending" => Some(UpdateError::NotActive),
            Some(now) if now.role == "admin" && now.status == "active" && may_be_last => Some(UpdateError::LastAdmin),
            Some(_) => None,
        };
        if let Some(refusal) = refusal {
            transaction.rollback().await?;
            return Err(refusal);
        }
        let status = change.disabled.map(|disabled| if disabled { Status::Disabled } else { Status::Active });
        let row = sqlx::query_as!(
            UserRow,
            r#"
            WITH before AS (
                SELECT status, role FROM users WHERE id = $1
            ), changed AS (
                UPDATE users SET status = coalesce($2, status), role = coalesce($3, role) WHERE id = $1 RETURNING *
            ), told AS (
                INSERT INTO events (type, user_id, email, status, role)
                SELECT type, id, email, changed.status, changed.role
                FROM before, changed, LATERAL (VALUES
                    ('user.disabled', changed.status = 'disabled' AND before.status <> 'disabled'),
                    ('user.enabled', changed.status = 'active' AND before.status <> 'active'),
                    ('user.role_changed', changed.role <> before.role)
                ) AS possible (type, happened)
                WHERE happened
            )
            SELECT id AS "id!", email AS "email!", status AS "status!", role AS "role!", created_at AS "created_at!",
                activated_at, locale
            FROM changed
            "#,
            id.0,
            status.map(Status::as_str),
            change.role.map(Role::as_str),
        )
        .fetch_one(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(row.try_into()?)
    }
}
