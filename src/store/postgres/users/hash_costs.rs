//! The distribution of the costs of the accounts' logins.

use super::super::broken;
use super::PgUsers;
use crate::accounts::ports::StoreError;
use crate::passwords::AddressCost;

/// A table of at most this size is read as a whole: about 100,000 users. Of a larger table, about as many are read.
const SAMPLE_BYTES: f64 = 24.0 * 1024.0 * 1024.0;

impl PgUsers {
    /// Counts the accounts by cost: all accounts, or those of a sample of the table's pages.
    ///
    /// The sample has a seed. So it changes little from one call to the next, and few addresses get another cost.
    ///
    /// The cost of a foreign hash is what stands before its salt: `$2b$12` of a bcrypt hash, all parts but the last two of
    /// others.
    pub(super) async fn try_hash_costs(&self) -> Result<Vec<(AddressCost, u64)>, StoreError> {
        let counts = sqlx::query!(
            r#"
            SELECT split_part(password_hash, '$', 4) AS "argon2id!",
                CASE WHEN foreign_hash LIKE '$2%' THEN left(foreign_hash, 6)
                    ELSE regexp_replace(foreign_hash, '[$][^$]*[$][^$]*$', '') END AS "foreign",
                count(*) AS "accounts!"
            FROM users TABLESAMPLE SYSTEM (
                least(100, 100 * $1::float8 / greatest(pg_relation_size('users'), 1))::real
            ) REPEATABLE (60)
            WHERE status <> 'pending'
            GROUP BY 1, 2
            "#,
            SAMPLE_BYTES,
        );
        let counts = self.postgres.bounded(async { counts.fetch_all(&mut *self.acquire().await?).await }).await?;
        let parsed = counts.into_iter().map(|row| {
            let argon2id = row.argon2id.parse().map_err(broken)?;
            let foreign = row.foreign.as_deref().map(str::parse).transpose().map_err(broken)?;
            Ok((AddressCost { argon2id, foreign }, row.accounts.unsigned_abs()))
        });
        parsed.collect()
    }
}
