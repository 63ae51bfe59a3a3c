//! Accounts that an operator makes: one for whom he vouches, or very many to try things out with.

use super::{PgUsers, UserRow};
use crate::accounts::ports::StoreError;
use crate::domain::email::Email;
use crate::domain::user::{Role, User, UserId};
use crate::passwords::PasswordHash;

/// But for the first, nothing has changed.
#[derive(Debug, PartialEq, Eq)]
pub enum Creation {
    Created(User),
    /// The address has an account, active or disabled.
    Taken,
    /// The hash was not made by the address's params: somebody else was registering it at the same time.
    Overtaken,
}

/// Users that one statement makes: it should end long before the server cancels it.
const BATCH: u32 = 10_000;

impl PgUsers {
    /// Makes an active account. Nothing is granted to its address, and a pending row beside it stays.
    pub async fn create(
        &self,
        id: UserId,
        email: &Email,
        hash: &PasswordHash,
        role: Role,
    ) -> Result<Creation, StoreError> {
        match self.postgres.bounded(self.try_create(id, email, hash, role)).await? {
            Ok(row) => Ok(Creation::Created(row.try_into()?)),
            Err(refused) => Ok(refused),
        }
    }

    async fn try_create(
        &self,
        id: UserId,
        email: &Email,
        hash: &PasswordHash,
        role: Role,
    ) -> Result<Result<UserRow, Creation>, sqlx::Error> {
        let mut transaction = self.pool().begin().await?;
        // As if it had been quiet for long enough: the first code that it is ever granted is its first.
        let kept = sqlx::query!(
            "
            INSERT INTO addresses AS a (address, salt, hash_cost, granted_at, wait, short_granted_at)
            VALUES ($1, $2, $3, now() - make_interval(secs => $4), make_interval(secs => $5), '{}')
            ON CONFLICT (address) DO UPDATE SET salt = a.salt WHERE a.salt = $2 AND a.hash_cost = $3
            ",
            email.address().as_str(),
            &hash.params.salt.0[..],
            hash.params.cost.to_string(),
            self.pacing.quiet.as_secs_f64(),
            self.pacing.first_wait.as_secs_f64(),
        )
        .execute(&mut *transaction)
        .await?;
        if kept.rows_affected() == 0 {
            transaction.rollback().await?;
            return Ok(Err(Creation::Overtaken));
        }
        // As if it had been registered and activated at once, for who keeps count of either.
        let created = sqlx::query_as!(
            UserRow,
            r#"
            WITH created AS (
                INSERT INTO users (id, address, email, password_hash, status, role, activated_at)
                VALUES ($1, $2, $3, $4, 'active', $5, now())
                RETURNING *
            ), told AS (
                INSERT INTO events (type, user_id, email, status, role)
                SELECT type, id, email, status, role
                FROM created, unnest(ARRAY['user.registered', 'user.activated']) AS type
            )
            SELECT id AS "id!", email AS "email!", status AS "status!", role AS "role!", created_at AS "created_at!",
                activated_at
            FROM created
            "#,
            id.0,
            email.address().as_str(),
            email.as_typed(),
            hash.to_phc(),
            role.as_str(),
        )
        .fetch_one(&mut *transaction)
        .await;
        match created {
            Ok(row) => {
                transaction.commit().await?;
                Ok(Ok(row))
            }
            Err(sqlx::Error::Database(error)) if error.constraint() == Some("users_one_account") => {
                transaction.rollback().await?;
                Ok(Err(Creation::Taken))
            }
            Err(error) => Err(error),
        }
    }

    /// How many users were ever made by [`PgUsers::seed`].
    pub async fn seeded(&self) -> Result<u32, StoreError> {
        let count = sqlx::query_scalar!(
            r#"SELECT count(*)::integer AS "count!" FROM addresses WHERE address LIKE 'user%@seed.example'"#
        );
        Ok(self.postgres.bounded(count.fetch_one(self.pool())).await?.cast_unsigned())
    }

    /// Makes active accounts `user<first>@seed.example` and so on, `count` of them, which all have the same hash: hashing
    /// takes longer than all the rest. They seem to have registered at any time of the last year, and no events tell of
    /// them. `made` hears of each batch how many there are.
    pub async fn seed(
        &self,
        first: u32,
        count: u32,
        hash: &PasswordHash,
        mut made: impl FnMut(u32),
    ) -> Result<(), StoreError> {
        let mut done = 0;
        while done < count {
            let batch = BATCH.min(count - done);
            let from = i64::from(first) + i64::from(done);
            // The ids are UUIDv7 (RFC 9562), by the time of each.
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
            self.postgres.bounded(seed.execute(self.pool())).await?;
            done += batch;
            made(done);
        }
        Ok(())
    }
}
