//! Advisory locks. Each belongs to a schema: several installations may share a database, each with a schema of its own.

use sqlx::PgConnection;

/// The lock of the process that relays events. The number spells "sixty ev".
pub(super) const EVENTS: i64 = i64::from_be_bytes(*b"sixty ev");

/// The lock of the process that applies or reverts migrations. The number spells "sixty mi".
pub(super) const MIGRATIONS: i64 = i64::from_be_bytes(*b"sixty mi");

/// The lock of the process that deletes more than a batch of registrations. The number spells "sixty pu".
pub(super) const PURGE: i64 = i64::from_be_bytes(*b"sixty pu");

/// Tries to take a lock of the current schema. Returns whether this session holds it; a session keeps its lock until it
/// ends.
///
/// In the schema `public` the key is `lock` itself, which earlier releases use in every schema.
pub(super) async fn try_lock(session: &mut PgConnection, lock: i64) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        SELECT pg_try_advisory_lock(
            CASE current_schema() WHEN 'public' THEN $1::bigint
                ELSE hashtextextended(coalesce(current_schema()::text, ''), $1) END
        ) AS "locked!"
        "#,
        lock,
    )
    .fetch_one(session)
    .await
}
