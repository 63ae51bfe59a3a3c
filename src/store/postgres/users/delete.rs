//! Deletion of users, by themselves or by operators. One active admin always remains.

use super::PgUsers;
use super::active_admins::lock_admins_and_find_another;
use crate::accounts::errors::DeleteError;
use crate::accounts::ports::DeletedBy;
use crate::domain::user::UserId;

impl PgUsers {
    /// Returns the address of the deleted user.
    pub(super) async fn try_delete(&self, id: UserId, by: DeletedBy) -> Result<String, DeleteError> {
        let may_be_disabled = by == DeletedBy::Operator;
        // Deleting a user who is not an admin does not wait for the lock on all admins.
        let deleted = sqlx::query_scalar!(
            r#"
            WITH deleted AS (
                DELETE FROM users WHERE id = $1 AND role <> 'admin' AND ($2 OR status <> 'disabled')
                RETURNING id, address, status, role
            ), told AS (
                INSERT INTO events (type, user_id, status, role) SELECT 'user.deleted', id, status, role FROM deleted
            )
            SELECT address AS "address!" FROM deleted
            "#,
            id.0,
            may_be_disabled
        )
        .fetch_optional(&mut *self.acquire().await?)
        .await?;
        if let Some(address) = deleted {
            return Ok(address);
        }
        let mut transaction = self.postgres.begin().await?;
        let is_last = !lock_admins_and_find_another(&mut transaction, id).await?;
        let now = sqlx::query!("SELECT status, role FROM users WHERE id = $1 FOR UPDATE", id.0)
            .fetch_optional(&mut *transaction)
            .await?;
        let refusal = match now {
            None => Some(DeleteError::NotFound),
            Some(now) if now.status == "disabled" && !may_be_disabled => Some(DeleteError::Disabled),
            Some(now) if now.role == "admin" && now.status == "active" && is_last => Some(DeleteError::LastAdmin),
            Some(_) => None,
        };
        if let Some(refusal) = refusal {
            transaction.rollback().await?;
            return Err(refusal);
        }
        let address = sqlx::query_scalar!(
            r#"
            WITH deleted AS (
                DELETE FROM users WHERE id = $1 RETURNING id, address, status, role
            ), told AS (
                INSERT INTO events (type, user_id, status, role) SELECT 'user.deleted', id, status, role FROM deleted
            )
            SELECT address AS "address!" FROM deleted
            "#,
            id.0
        )
        .fetch_one(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(address)
    }
}
