//! Lists of users for operators, with cursor pagination.

use super::{PgUsers, UserRow};
use crate::accounts::ports::{Cursor, UserFilter};
use crate::domain::user::Status;

impl PgUsers {
    /// Lists users with one of four statements. Each is a range scan of its own index; PostgreSQL would plan a single
    /// statement for all filters without an index.
    pub(super) async fn try_list(
        &self,
        filter: &UserFilter,
        after: Option<Cursor>,
        limit: u32,
    ) -> Result<Vec<UserRow>, sqlx::Error> {
        if let Some(domain) = &filter.domain {
            return self.try_list_domain(domain, filter.status, after, i64::from(limit)).await;
        }
        let (created_at, id) = (after.map(|after| after.created_at), after.map(|after| after.id.0));
        let (status, limit) = (filter.status.map(Status::as_str), i64::from(limit));
        match (&filter.address, status) {
            (None, None) => {
                sqlx::query_as!(
                    UserRow,
                    "
                    SELECT id, email, status, role, created_at, activated_at, locale FROM users
                    WHERE (created_at, id) < (coalesce($1::timestamptz, 'infinity'), $2::uuid)
                    ORDER BY created_at DESC, id DESC LIMIT $3
                    ",
                    created_at,
                    id,
                    limit,
                )
                .fetch_all(&mut *self.acquire().await?)
                .await
            }
            (None, Some(status)) => {
                sqlx::query_as!(
                    UserRow,
                    r#"
                    SELECT id, email, status, role, created_at, activated_at, locale FROM users
                    WHERE (created_at, id) < (coalesce($1::timestamptz, 'infinity'), $2::uuid)
                        AND status COLLATE "C" = $4
                    ORDER BY created_at DESC, id DESC LIMIT $3
                    "#,
                    created_at,
                    id,
                    limit,
                    status,
                )
                .fetch_all(&mut *self.acquire().await?)
                .await
            }
            // At most two rows: an account and a pending registration.
            (Some(address), status) => {
                sqlx::query_as!(
                    UserRow,
                    "
                    SELECT id, email, status, role, created_at, activated_at, locale FROM users
                    WHERE address = $5
                        AND (created_at, id) < (coalesce($1::timestamptz, 'infinity'), $2::uuid)
                        AND status = coalesce($4, status)
                    ORDER BY created_at DESC, id DESC LIMIT $3
                    ",
                    created_at,
                    id,
                    limit,
                    status,
                    address.as_str(),
                )
                .fetch_all(&mut *self.acquire().await?)
                .await
            }
        }
    }
}
