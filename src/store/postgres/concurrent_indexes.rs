//! Indexes that a migration needs and that take long to build in a large table. They are built before the migration,
//! concurrently: other sessions write meanwhile.
//!
//! A migration is one transaction, and PostgreSQL builds no index concurrently in a transaction. A build that was interrupted
//! leaves an invalid index, so the next attempt drops it first.

use sqlx::{AssertSqlSafe, PgConnection};
use tracing::info;

/// An index: name, kind, and table with columns. Its migration repeats it as `CREATE … IF NOT EXISTS`, for databases in which
/// this step did not run.
type Index = (&'static str, &'static str, &'static str);

/// The migrations that need such indexes.
pub(super) const MIGRATIONS: [(i64, &[Index]); 2] = [
    (
        13,
        &[
            ("addresses_address_c", "UNIQUE INDEX", r#"addresses (address COLLATE "C")"#),
            ("addresses_mac", "UNIQUE INDEX", "addresses (mac) WHERE mac IS NOT NULL"),
            ("addresses_forgotten", "INDEX", "addresses (forget_at) WHERE forget_at IS NOT NULL"),
            ("users_address", "INDEX", r#"users USING hash (address COLLATE "C")"#),
            ("users_newest_of_status_c", "INDEX", r#"users (status COLLATE "C", created_at, id)"#),
        ],
    ),
    (
        15,
        &[
            ("users_status_address", "INDEX", r#"users (status COLLATE "C", address, id)"#),
            (
                "users_domain_newest",
                "INDEX",
                r#"users (split_part(address, '@', 2), status COLLATE "C", created_at, id)"#,
            ),
            (
                "users_domain_address",
                "INDEX",
                r#"users (split_part(address, '@', 2), status COLLATE "C", address, id)"#,
            ),
        ],
    ),
];

/// Builds the indexes that are missing or invalid. The migrations before theirs must be applied.
pub(super) async fn build(session: &mut PgConnection, indexes: &[Index]) -> Result<(), sqlx::Error> {
    let has_rows: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM addresses)").fetch_one(&mut *session).await?;
    if !has_rows {
        // The migration builds them at once, in its own transaction.
        return Ok(());
    }
    for (name, kind, definition) in indexes {
        let is_valid: Option<bool> = sqlx::query_scalar(
            "SELECT indisvalid FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
             WHERE relname = $1 AND relnamespace = quote_ident(current_schema())::regnamespace",
        )
        .bind(name)
        .fetch_optional(&mut *session)
        .await?;
        if is_valid == Some(true) {
            continue;
        }
        if is_valid == Some(false) {
            info!(index = name, "dropping an index whose build was interrupted");
            let drop = format!("DROP INDEX CONCURRENTLY {name}");
            sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut *session).await?;
        }
        info!(index = name, "building an index; other processes can write meanwhile");
        let create = format!("CREATE {kind} CONCURRENTLY {name} ON {definition}");
        sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut *session).await?;
    }
    Ok(())
}
