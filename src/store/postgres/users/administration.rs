//! What operators ask for: lists, changes of accounts, deletions; and that an active admin is left.

use sqlx::PgConnection;

use super::{PgUsers, UserRow};
use crate::accounts::ports::{Change, Cursor, DeletedBy, Deletion, Filter};
use crate::domain::user::{Role, Status, UserId};

/// What an [`Update`](crate::accounts::ports::Update) is made of.
pub(super) enum Updated {
    Row(UserRow),
    NotFound,
    NotActive,
    LastAdmin,
}

impl PgUsers {
    /// A statement for each kind of list, so that each is a range of its index: one for all would be planned for none.
    pub(super) async fn try_list(
        &self,
        filter: &Filter,
        after: Option<Cursor>,
        limit: u32,
    ) -> Result<Vec<UserRow>, sqlx::Error> {
        let (at, id) = (after.map(|after| after.created_at), after.map(|after| after.id.0));
        let (status, limit) = (filter.status.map(Status::as_str), i64::from(limit));
        match (&filter.address, status) {
            (None, None) => {
                sqlx::query_as!(
                    UserRow,
                    "
                    SELECT id, email, status, role, created_at, activated_at FROM users
                    WHERE (created_at, id) < (coalesce($1::timestamptz, 'infinity'), $2::uuid)
                    ORDER BY created_at DESC, id DESC LIMIT $3
                    ",
                    at,
                    id,
                    limit,
                )
                .fetch_all(self.pool())
                .await
            }
            (None, Some(status)) => {
                sqlx::query_as!(
                    UserRow,
                    "
                    SELECT id, email, status, role, created_at, activated_at FROM users
                    WHERE (created_at, id) < (coalesce($1::timestamptz, 'infinity'), $2::uuid)
                        AND status = $4
                    ORDER BY created_at DESC, id DESC LIMIT $3
                    ",
                    at,
                    id,
                    limit,
                    status,
                )
                .fetch_all(self.pool())
                .await
            }
            // Two rows at the most.
            (Some(address), status) => {
                sqlx::query_as!(
                    UserRow,
                    "
                    SELECT id, email, status, role, created_at, activated_at FROM users
                    WHERE address = $5 AND (status = 'pending' OR status <> 'pending')
                        AND (created_at, id) < (coalesce($1::timestamptz, 'infinity'), $2::uuid)
                        AND status = coalesce($4, status)
                    ORDER BY created_at DESC, id DESC LIMIT $3
                    ",
                    at,
                    id,
                    limit,
                    status,
                    address.as_str(),
                )
                .fetch_all(self.pool())
                .await
            }
        }
    }

    pub(super) async fn try_update(&self, id: UserId, change: Change) -> Result<Updated, sqlx::Error> {
        let mut transaction = self.pool().begin().await?;
        let may_cost_an_admin = change.disabled == Some(true) || change.role == Some(Role::User);
        let others = may_cost_an_admin && other_admins(&mut transaction, id).await?;
        let now = sqlx::query!("SELECT status, role FROM users WHERE id = $1 FOR NO KEY UPDATE", id.0)
            .fetch_optional(&mut *transaction)
            .await?;
        let refused = match now {
            None => Some(Updated::NotFound),
            Some(now) if now.status == "pending" => Some(Updated::NotActive),
            Some(now) if may_cost_an_admin && now.role == "admin" && now.status == "active" && !others => {
                Some(Updated::LastAdmin)
            }
            Some(_) => None,
        };
        if let Some(refused) = refused {
            transaction.rollback().await?;
            return Ok(refused);
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
                activated_at
            FROM changed
            "#,
            id.0,
            status.map(Status::as_str),
            change.role.map(Role::as_str),
        )
        .fetch_one(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(Updated::Row(row))
    }

    pub(super) async fn try_delete(&self, id: UserId, by: DeletedBy) -> Result<Deletion, sqlx::Error> {
        let even_disabled = by == DeletedBy::Operator;
        // Who is no admin need not wait for those who are.
        let deleted = sqlx::query!(
            "
            WITH deleted AS (
                DELETE FROM users WHERE id = $1 AND role <> 'admin' AND ($2 OR status <> 'disabled')
                RETURNING id, status, role
            )
            INSERT INTO events (type, user_id, status, role) SELECT 'user.deleted', id, status, role FROM deleted
            ",
            id.0,
            even_disabled
        )
        .execute(self.pool())
        .await?;
        if deleted.rows_affected() == 1 {
            return Ok(Deletion::Deleted);
        }
        let mut transaction = self.pool().begin().await?;
        let others = other_admins(&mut transaction, id).await?;
        let now = sqlx::query!("SELECT status, role FROM users WHERE id = $1 FOR UPDATE", id.0)
            .fetch_optional(&mut *transaction)
            .await?;
        let refused = match now {
            None => Some(Deletion::NotFound),
            Some(now) if now.status == "disabled" && !even_disabled => Some(Deletion::Disabled),
            Some(now) if now.role == "admin" && now.status == "active" && !others => Some(Deletion::LastAdmin),
            Some(_) => None,
        };
        if let Some(refused) = refused {
            transaction.rollback().await?;
            return Ok(refused);
        }
        sqlx::query!(
            "
            WITH deleted AS (DELETE FROM users WHERE id = $1 RETURNING id, status, role)
            INSERT INTO events (type, user_id, status, role) SELECT 'user.deleted', id, status, role FROM deleted
            ",
            id.0
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(Deletion::Deleted)
    }
}

/// Whether there are active admins but this one. All of them are locked, always in the same order, until the transaction
/// ends: whoever would take away another waits, and then finds one less.
async fn other_admins(transaction: &mut PgConnection, id: UserId) -> Result<bool, sqlx::Error> {
    let admins = sqlx::query_scalar!(
        "SELECT id FROM users WHERE role = 'admin' AND status = 'active' ORDER BY id FOR NO KEY UPDATE"
    )
    .fetch_all(transaction)
    .await?;
    Ok(admins.into_iter().any(|admin| admin != id.0))
}
