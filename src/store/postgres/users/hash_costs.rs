//! The distribution of the accounts' hash costs.

use super::super::broken;
use super::PgUsers;
use crate::accounts::ports::StoreError;
use crate::passwords::HashCost;

/// A table of at most this size is read as a whole: about 100,000 users. Of a larger table, about as many are read.
const SAMPLE_BYTES: f64 = 24.0 * 1024.0 * 1024.0;

impl PgUsers {
    /// Counts the accounts by hash cost: all accounts, or those of a sample of the table's pages.
    ///
    /// The sample has a seed. So it changes little from one call to the next, and few addresses get another cost.
    pub(super) async fn try_hash_costs(&self) -> Result<Vec<(HashCost, u64)>, StoreError> {
        let counts = sqlx::query!(
            r#"
            SELECT split_part(password_hash, '$', 4) AS "cost!", count(*) AS "accounts!"
            FROM users TABLESAMPLE SYSTEM (
                least(100, 100 * $1::float8 / greatest(pg_relation_size('users'), 1))::real
            ) REPEATABLE (60)
            WHERE status <> 'pending'
            GROUP BY 1
            "#,
            SAMPLE_BYTES,
        );
        let counts = self.postgres.bounded(async { counts.fetch_all(&mut *self.acquire().await?).await }).await?;
        let parsed = counts.into_iter().map(|row| Ok((row.cost.parse()?, row.accounts.unsigned_abs())));
        parsed.collect::<Result<_, crate::passwords::PhcError>>().map_err(broken)
    }
}
