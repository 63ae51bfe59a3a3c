//! Grants of code mails: for registrations, and for pending users who ask for another code.

use std::time::Duration;

use sqlx::{PgConnection, PgExecutor};

use super::super::broken;
use super::{PgUsers, UserRow, traceparent};
use crate::accounts::errors::{RegisterError, ResendError};
use crate::accounts::ports::NewUser;
use crate::domain::code::{CodeLength, Nonce};
use crate::domain::locale::Locale;
use crate::domain::pacing::YEAR;
use crate::domain::ticket::TicketHash;
use crate::domain::user::{User, UserId};
use crate::passwords::{HashParams, PasswordHash};
use crate::telemetry::trace::TraceContext;

/// A statement that grants the address a code mail if its wait is over or the ticket is valid, and continues with `$rest`.
/// `$rest` reads the CTE `granted`, which is empty if nothing was granted.
///
/// This is the rule of `domain/pacing.rs` as one atomic upsert, by PostgreSQL's clock. The upsert locks the row of the
/// address before it checks the ticket, so of two simultaneous uses of a ticket one is refused. A used ticket leaves its time
/// of use, by which `granted` tells that this statement used it.
macro_rules! grant {
    ($pacing:expr, $address:expr, $mac:expr, $params:expr, $ticket:expr, $row:ty, $rest:literal $(, $more:expr)* $(,)?) => {
        sqlx::query_as!(
            $row,
            r#"
            WITH granted AS (
                INSERT INTO addresses AS a (address, salt, hash_cost, granted_at, wait, short_granted_at, mac)
                VALUES ($1, $2, $3, now(), make_interval(secs => $4), CASE WHEN $7 > 0 THEN ARRAY[now()] ELSE '{}' END,
                    $11)
                ON CONFLICT (address) DO UPDATE SET
                    granted_at = now(),
                    mac = coalesce(EXCLUDED.mac, a.mac),
                    wait = CASE
                        WHEN now() >= a.granted_at + make_interval(secs => $6) THEN make_interval(secs => $4)
                        ELSE least(a.wait * 2, make_interval(secs => $5))
                    END,
                    short_granted_at = (
                        SELECT CASE WHEN cardinality(recent) < $7 THEN recent || now() ELSE recent END
                        FROM (SELECT ARRAY(
                            SELECT at FROM unnest(a.short_granted_at) AS at WHERE at > now() - make_interval(secs => $8)
                        )) AS year (recent)
                    ),
                    ticket_hash = CASE WHEN a.ticket_hash = $10 AND a.ticket_expires_at > now() THEN NULL
                        ELSE a.ticket_hash END,
                    ticket_expires_at = CASE WHEN a.ticket_hash = $10 AND a.ticket_expires_at > now() THEN now()
                        ELSE a.ticket_expires_at END
                WHERE (now() >= a.granted_at + a.wait OR (a.ticket_hash = $10 AND a.ticket_expires_at > now()))
                    AND a.salt = $2 AND a.hash_cost = $3
                RETURNING a.address, wait, CASE WHEN now() = ANY (short_granted_at) THEN $9 ELSE 10::smallint END AS digits,
                    a.ticket_hash IS NULL AND coalesce(a.ticket_expires_at = now(), false) AS by_ticket
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
            $ticket as Option<&[u8]>,
            $mac as Option<&[u8]>,
            $($more),*
        )
    };
}

struct Granted {
    wait: f64,
    digits: i16,
}

/// Maximum number of attempts to write a registration. A second attempt suffices, unless other requests keep registering
/// the address and deleting the registration.
const MAX_ATTEMPTS: u32 = 3;

impl PgUsers {
    /// Grants a code mail if the wait of the address is over. Returns the next wait and the length of the code.
    ///
    /// Of simultaneous calls for an address, one gets the grant. The others wait here until its transaction ends.
    pub(super) async fn grant(
        &self,
        transaction: &mut PgConnection,
        address: &str,
        params: HashParams,
    ) -> Result<Option<(Duration, CodeLength)>, sqlx::Error> {
        let mac = self.mac(address);
        let granted = grant!(
            self.pacing,
            address,
            mac.as_deref(),
            params,
            None,
            Granted,
            r#"SELECT extract(epoch FROM wait)::float8 AS "wait!", digits AS "digits!" FROM granted"#,
        )
        .fetch_optional(transaction)
        .await?;
        let Some(Granted { wait, digits }) = granted else {
            return Ok(None);
        };
        let length = u8::try_from(digits).ok().and_then(CodeLength::new);
        let length = length.ok_or_else(|| sqlx::Error::Decode("the code length in the database is invalid".into()))?;
        Ok(Some((Duration::from_secs_f64(wait), length)))
    }

    /// Returns the rest of the address's wait, at least one millisecond: this runs after a grant was refused.
    pub(super) async fn remaining_wait(
        &self,
        connection: &mut PgConnection,
        address: &str,
    ) -> Result<Duration, sqlx::Error> {
        let mac = self.mac(address);
        let left = sqlx::query_scalar!(
            r#"
            SELECT extract(epoch FROM granted_at + wait - now())::float8 AS "left!"
            FROM addresses WHERE address = $1 OR mac = $2 ORDER BY address = $1 DESC LIMIT 1
            "#,
            address,
            mac.as_deref(),
        )
        .fetch_optional(connection)
        .await?;
        let left = left.and_then(|left| Duration::try_from_secs_f64(left).ok());
        Ok(left.unwrap_or_default().max(Duration::from_millis(1)))
    }

    /// Writes a registration, if necessary with several attempts.
    ///
    /// All parts of the statement read the users as of its start, but it may wait for its grant after that. A pending row
    /// that another request writes in the meantime is invisible to the DELETE, so `users_one_pending` rejects the INSERT.
    /// The next attempt sees the row.
    ///
    /// If the address has no user, `addresses_mac` rejects the INSERT. The next attempt gives the row its address back, and
    /// takes it again if nothing is granted.
    pub(super) async fn try_register(&self, new: &NewUser<'_>) -> Result<User, RegisterError> {
        let address = new.email.address().as_str();
        let (mut attempts, mut has_no_user) = (0, false);
        loop {
            attempts += 1;
            let registered = if has_no_user {
                self.register_after_restoring(address, new).await
            } else {
                self.register_once(new, &mut *self.acquire().await?).await
            };
            match registered {
                Ok(Some(row)) => return Ok(row.try_into()?),
                Ok(None) => {
                    let left = self.remaining_wait(&mut *self.acquire().await?, address).await?;
                    return Err(RegisterError::TooSoon { left });
                }
                Err(sqlx::Error::Database(error)) if attempts < MAX_ATTEMPTS => match error.constraint() {
                    Some("users_one_pending") => {}
                    Some("addresses_mac" | "addresses_pkey") => has_no_user = true,
                    _ => return Err(sqlx::Error::Database(error).into()),
                },
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn register_after_restoring(&self, address: &str, new: &NewUser<'_>) -> Result<Option<UserRow>, sqlx::Error> {
        let mut transaction = self.postgres.begin().await?;
        self.bring_back_address(&mut transaction, address).await?;
        let registered = self.register_once(new, &mut *transaction).await?;
        match registered {
            Some(_) => transaction.commit().await?,
            None => transaction.rollback().await?,
        }
        Ok(registered)
    }

    /// Writes a registration with one statement, so with one network round trip. Returns `None` if nothing was granted and
    /// nothing was written.
    ///
    /// PostgreSQL may execute independent CTEs in any order. So the INSERT reads the result of the DELETE to run after it.
    /// Deleting the old row deletes its queued mail too (ON DELETE CASCADE). A row that was just activated is no longer
    /// pending and stays.
    ///
    /// The mail of a registration with a ticket is not counted in its mailbox. The holder of the ticket reads the mailbox, and
    /// a stranger who used up the quota must not keep the owner out.
    async fn register_once(
        &self,
        new: &NewUser<'_>,
        connection: impl PgExecutor<'_>,
    ) -> Result<Option<UserRow>, sqlx::Error> {
        let address = new.email.address().as_str();
        let mac = self.mac(address);
        grant!(
            self.pacing,
            address,
            mac.as_deref(),
            new.hash.params,
            new.ticket.as_ref().map(|TicketHash(hash)| &hash[..]),
            UserRow,
            r#"
            , replaced AS (
                DELETE FROM users USING granted
                WHERE users.address = granted.address AND status || '' = 'pending'
                RETURNING users.id, status, role
            ), registered AS (
                INSERT INTO users (id, address, email, password_hash, locale)
                SELECT $12, address, $13, $14, $17 FROM granted WHERE (SELECT count(*) FROM replaced) >= 0
                RETURNING *
            ), queued AS (
                INSERT INTO outbox (user_id, kind, nonce, digits, traceparent, charged)
                SELECT id, 'code', $15, digits, $16, by_ticket FROM registered, granted
            ), told AS (
                INSERT INTO events (type, user_id, email, status, role)
                SELECT 'user.deleted', id, NULL, status, role FROM replaced
                UNION ALL SELECT 'user.registered', id, email, status, role FROM registered
            )
            SELECT id AS "id!", email AS "email!", status AS "status!", role AS "role!", created_at AS "created_at!",
                activated_at, locale
            FROM registered
            "#,
            new.id.0,
            new.email.as_typed(),
            new.hash.to_phc(),
            &new.nonce.0[..],
            traceparent(new.trace),
            new.locale.map(Locale::tag),
        )
        .fetch_optional(connection)
        .await
    }

    /// Queues another code mail. Returns the next wait; `None` if the row is gone or not pending.
    pub(super) async fn try_resend(
        &self,
        id: UserId,
        nonce: Nonce,
        trace: Option<TraceContext>,
    ) -> Result<Option<Duration>, ResendError> {
        let mut transaction = self.postgres.begin().await?;
        let pending =
            sqlx::query!("SELECT address, password_hash FROM users WHERE id = $1 AND status || '' = 'pending'", id.0)
                .fetch_optional(&mut *transaction)
                .await?;
        let Some(pending) = pending else {
            return Ok(None);
        };
        let hash = PasswordHash::from_phc(&pending.password_hash).map_err(broken)?;
        // Lock order: address, then user, as in a registration.
        self.merge_duplicates(&mut transaction, &pending.address).await?;
        let Some((wait, length)) = self.grant(&mut transaction, &pending.address, hash.params).await? else {
            let left = self.remaining_wait(&mut transaction, &pending.address).await?;
            transaction.rollback().await?;
            return Err(ResendError::TooSoon { left });
        };
        let still_pending =
            sqlx::query!("SELECT FROM users WHERE id = $1 AND status || '' = 'pending' FOR NO KEY UPDATE", id.0)
                .fetch_optional(&mut *transaction)
                .await?;
        if still_pending.is_none() {
            transaction.rollback().await?;
            return Ok(None);
        }
        // Overwrites an unsent mail and the lease of its worker.
        sqlx::query!(
            "
            INSERT INTO outbox (user_id, kind, nonce, digits, traceparent) VALUES ($1, 'code', $2, $3, $4)
            ON CONFLICT (user_id) WHERE kind = 'code' DO UPDATE SET
                id = DEFAULT, nonce = EXCLUDED.nonce, digits = EXCLUDED.digits, idempotency_key = DEFAULT,
                created_at = DEFAULT, attempts = DEFAULT, unsent = DEFAULT, due_at = DEFAULT, lease = DEFAULT,
                charged = DEFAULT, wait_moved = DEFAULT, traceparent = EXCLUDED.traceparent
            ",
            id.0,
            &nonce.0[..],
            length.digits() as i16,
            traceparent(trace),
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(Some(wait))
    }
}
