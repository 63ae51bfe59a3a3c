//! Test accounts in large numbers, for trying things out and for load tests.

use super::PgUsers;
use crate::accounts::ports::StoreError;
use crate::passwords::PasswordHash;

/// Users per statement: few enough to end long before the statement timeout.
const BATCH: u32 = 10_000;

impl PgUsers {
    /// Returns the greatest number in the addresses of the users that [`PgUsers::seed`] created; 0 if there are none.
    pub async fn seeded(&self) -> Result<u32, StoreError> {
        let count = sqlx::query_scalar!(
            r#"
            SELECT coalesce(max(substring(address FROM '^user([0-9]{1,9})@seed[.]example$')::integer), 0) AS "count!"
            FROM addresses WHERE address LIKE 'user%@seed.example'
            "#
        );
        Ok(self.postgres.bounded(async { count.fetch_one(&mut *self.acquire().await?).await }).await?.cast_unsigned())
    }

    /// Creates `count` active accounts, `user<first>@seed.example` and following. All share one hash, because hashing would
    /// take most of the time.
    ///
    /// Their registration times are spread over the last year. No events are recorded. After each batch the callback
    /// `on_progress` gets the number of accounts created so far.
    pub async fn seed(
        &self,
        first: u32,
        count: u32,
        hash: &PasswordHash,
        mut on_progress: impl FnMut(u32),
    ) -> Result<(), StoreError> {
        let mut done = 0;
        while done < count {
            let batch = BATCH.min(count - done);
            let from = i64::from(first) + i64::from(done);
            // The ids are UUIDv7 (RFC 9562) of the registration times.
            let seed = sqlx::query!(
                "
                WITH seeded AS (
                    INSERT INTO addresses (address, salt, hash_cost, granted_at, wait, short_granted_at)
                    SELECT 'user' || n || '@seed.example', $1, $2, now() - make_interval(secs => $3),
                        make_interval(secs => $4), '{}'
                    FROM generate_series($5::bigint, $6::bigint) AS n
                    RETURNING address
                ), made AS MATERIALIZED (
                    SELECT address, now() - random() * interval '365 days' AS at, md5(gen_random_uuid()::text) AS random
                    FROM seeded
                )
                INSERT INTO users (id, address, email, password_hash, status, created_at, activated_at)
                SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || left(random, 3)
                        || '8' || substr(random, 4, 15))::uuid,
                    address, address, $7, 'active', at, at
                FROM made
                ",
                &hash.params.salt.0[..],
                hash.params.cost.to_string(),
                self.pacing.quiet.as_secs_f64(),
                self.pacing.first_wait.as_secs_f64(),
                from,
                from + i64::from(batch) - 1,
                hash.to_phc(),
            );
            self.postgres.bounded(async { seed.execute(&mut *self.acquire().await?).await }).await?;
            done += batch;
            on_progress(done);
        }
        Ok(())
    }
}
