//! The lock that keeps at least one active admin.

use sqlx::PgConnection;

use crate::domain::user::UserId;

/// Locks all active admins until the transaction ends, and returns whether there is one other than `id`.
///
/// The rows are always locked in the same order. So a transaction that would remove another admin waits for this one, and
/// then finds one admin less.
pub(super) async fn lock_admins_and_find_another(
    transaction: &mut PgConnection,
    id: UserId,
) -> Result<bool, sqlx::Error> {
    let admins = sqlx::query_scalar!(
        "SELECT id FROM users WHERE role = 'admin' AND status = 'active' ORDER BY id FOR NO KEY UPDATE"
    )
    .fetch_all(transaction)
    .await?;
    Ok(admins.into_iter().any(|admin| admin != id.0))
}
