//! Mails with codes, and who is granted one: whoever registers, and whoever asks again.

use std::time::Duration;

use sqlx::PgConnection;

use super::{PgUsers, UserRow, traceparent};
use crate::accounts::ports::{NewUser, Regrant};
use crate::domain::code::{CodeLength, Nonce};
use crate::domain::pacing::YEAR;
use crate::domain::user::UserId;
use crate::passwords::{HashParams, PasswordHash};

/// A statement that begins with granting the address a mail, if it is time, and goes on with `$rest`, which reads what
/// was `granted`: `domain/pacing.rs` in one atomic upsert, by PostgreSQL's clock.
macro_rules! grant {
    ($pacing:expr, $address:expr, $params:expr, $row:ty, $rest:literal $(, $more:expr)* $(,)?) => {
        sqlx::query_as!(
            $row,
            r#"
            WITH granted AS (
                INSERT INTO addresses AS a (address, salt, hash_cost, granted_at, wait, short_granted_at)
                VALUES ($1, $2, $3, now(), make_interval(secs => $4), CASE WHEN $7 > 0 THEN ARRAY[now()] ELSE '{}' END)
                ON CONFLICT (address) DO UPDATE SET
                    granted_at = now(),
                    wait = CASE
                        WHEN now() >= a.granted_at + make_interval(secs => $6) THEN make_interval(secs => $4)
                        ELSE least(a.wait * 2, make_interval(secs => $5))
                    END,
                    short_granted_at = (
                        SELECT CASE WHEN cardinality(recent) < $7 THEN recent || now() ELSE recent END
                        FROM (SELECT ARRAY(
                            SELECT at FROM unnest(a.short_granted_at) AS at WHERE at > now() - make_interval(secs => $8)
                        )) AS year (recent)
                    )
                WHERE now() >= a.granted_at + a.wait AND a.salt = $2 AND a.hash_cost = $3
                RETURNING a.address, wait, CASE WHEN now() = ANY (short_granted_at) THEN $9 ELSE 10::smallint END AS digits
            )
            "# + $rest,
            $address,
            &$params.salt.0[..],
            $params.cost.to_string(),
            $pacing.first_wait.as_secs_f64(),
            $pacing.longest_wait.as_secs_f64(),
            $pacing.quiet.as_secs_f64(),
            i32::from($pacing.short_codes),
            YEAR.as_secs_f64(),
            $pacing.short_length.digits() as i16,
            $($more),*
        )
    };
}

struct Granted {
    wait: f64,
    digits: i16,
}

/// How often a registration is begun at the most: once more is enough unless the address is registered and disowned all
/// the time.
const ATTEMPTS: u32 = 3;

impl PgUsers {
    /// Of simultaneous calls for an address one gets the grant; the others wait here for its transaction to end.
    async fn grant(
        &self,
        transaction: &mut PgConnection,
        address: &str,
        params: HashParams,
    ) -> Result<Option<(Duration, CodeLength)>, sqlx::Error> {
        let granted = grant!(
            self.pacing,
            address,
            params,
            Granted,
            r#"SELECT extract(epoch FROM wait)::float8 AS "wait!", digits AS "digits!" FROM granted"#,
        )
        .fetch_optional(transaction)
        .await?;
        let Some(Granted { wait, digits }) = granted else {
            return Ok(None);
        };
        let length = u8::try_from(digits).ok().and_then(CodeLength::new);
        let length = length.ok_or_else(|| sqlx::Error::Decode("no code is so long".into()))?;
        Ok(Some((Duration::from_secs_f64(wait), length)))
    }

    /// What is left of the address's wait. Asked after a grant was refused, so it is at least a moment.
    async fn left(&self, connection: &mut PgConnection, address: &str) -> Result<Duration, sqlx::Error> {
        let left = sqlx::query_scalar!(
            r#"SELECT extract(epoch FROM granted_at + wait - now())::float8 AS "left!" FROM addresses WHERE address = $1"#,
            address,
        )
        .fetch_one(connection)
        .await?;
        Ok(Duration::try_from_secs_f64(left).unwrap_or_default().max(Duration::from_millis(1)))
    }

    /// The parts of its statement see the users as they were when it began, though it may have waited for its grant since
    /// then: a pending row that came meanwhile, and whose wait is over all the same, is not deleted, and the schema
    /// refuses a second one. Beginning again sees it.
    pub(super) async fn try_register(&self, new: &NewUser<'_>) -> Result<Result<UserRow, Duration>, sqlx::Error> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            match self.register_once(new).await {
                Ok(Some(row)) => return Ok(Ok(row)),
                Ok(None) => {
                    let left = self.left(&mut *self.pool().acquire().await?, new.email.address().as_str()).await?;
                    return Ok(Err(left));
                }
                Err(sqlx::Error::Database(error))
                    if error.constraint() == Some("users_one_pending") && attempts < ATTEMPTS => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// One statement, one journey. `None`: nothing was granted, nothing has changed.
    ///
    /// Of two parts neither of which asks for the other, either may be executed first; so who is inserted asks for who was
    /// deleted. The queued mail of the deleted one goes with it (ON DELETE CASCADE). A row that was just activated is no
    /// longer pending and stays.
    async fn register_once(&self, new: &NewUser<'_>) -> Result<Option<UserRow>, sqlx::Error> {
        grant!(
            self.pacing,
            new.email.address().as_str(),
            new.hash.params,
            UserRow,
            r#"
            , replaced AS (
                DELETE FROM users USING granted WHERE users.address = granted.address AND status = 'pending'
                RETURNING users.id, status, role
            ), registered AS (
                INSERT INTO users (id, address, email, password_hash)
                SELECT $10, address, $11, $12 FROM granted WHERE (SELECT count(*) FROM replaced) >= 0
                RETURNING *
            ), queued AS (
                INSERT INTO outbox (user_id, kind, nonce, digits, traceparent)
                SELECT id, 'code', $13, digits, $14 FROM registered, granted
            ), told AS (
                INSERT INTO events (type, user_id, email, status, role)
                SELECT 'user.deleted', id, NULL, status, role FROM replaced
                UNION ALL SELECT 'user.registered', id, email, status, role FROM registered
            )
            SELECT id AS "id!", email AS "email!", status AS "status!", role AS "role!", created_at AS "created_at!",
                activated_at
            FROM registered
            "#,
            new.id.0,
            new.email.as_typed(),
            new.hash.to_phc(),
            &new.nonce.0[..],
            traceparent(),
        )
        .fetch_optional(self.pool())
        .await
    }

    pub(super) async fn try_grant_again(&self, id: UserId, nonce: Nonce) -> Result<Regrant, sqlx::Error> {
        let mut transaction = self.pool().begin().await?;
        let registered =
            sqlx::query!("SELECT address, password_hash FROM users WHERE id = $1 AND status = 'pending'", id.0)
                .fetch_optional(&mut *transaction)
                .await?;
        let Some(of) = registered else {
            return Ok(Regrant::NotPending);
        };
        let hash = PasswordHash::from_phc(&of.password_hash).map_err(|error| sqlx::Error::Decode(error.into()))?;
        // First the address, then the user: the order in which registering locks them.
        let Some((wait, length)) = self.grant(&mut transaction, &of.address, hash.params).await? else {
            let left = self.left(&mut transaction, &of.address).await?;
            transaction.rollback().await?;
            return Ok(Regrant::TooSoon { left });
        };
        let pending = sqlx::query!("SELECT FROM users WHERE id = $1 AND status = 'pending' FOR NO KEY UPDATE", id.0)
            .fetch_optional(&mut *transaction)
            .await?;
        if pending.is_none() {
            transaction.rollback().await?;
            return Ok(Regrant::NotPending);
        }
        // A mail not sent yet is overwritten, and its worker's lease with it.
        sqlx::query!(
            "
            INSERT INTO outbox (user_id, kind, nonce, digits, traceparent) VALUES ($1, 'code', $2, $3, $4)
            ON CONFLICT (user_id) WHERE kind = 'code' DO UPDATE SET
                id = DEFAULT, nonce = EXCLUDED.nonce, digits = EXCLUDED.digits, idempotency_key = DEFAULT,
                created_at = DEFAULT, attempts = DEFAULT, unsent = DEFAULT, due_at = DEFAULT, lease = DEFAULT,
                traceparent = EXCLUDED.traceparent
            ",
            id.0,
            &nonce.0[..],
            length.digits() as i16,
            traceparent(),
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(Regrant::Granted { wait })
    }
}
