//! Changes of addresses. Lock order: the address, then the user, then the outbox.

use std::time::Duration;

use sqlx::PgConnection;

use super::super::{broken, store_error};
use super::{PgUsers, UserRow, traceparent};
use crate::accounts::errors::{ConfirmAddressError, RequestAddressError};
use crate::accounts::ports::{AddressChange, NewAddressChange, RestoredAddress, StoreError};
use crate::domain::address_change::{LINK_LIFETIME, RestoreHash};
use crate::domain::email::Address;
use crate::domain::user::{User, UserId};
use crate::passwords::{HashParams, PasswordHash, Salt};
use crate::telemetry::trace::TraceContext;

/// How long a change that nobody confirms is kept.
const KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);

impl PgUsers {
    pub(super) async fn try_request_address_change(
        &self,
        change: &NewAddressChange<'_>,
    ) -> Result<Duration, RequestAddressError> {
        let address = change.email.address().as_str();
        let mut transaction = self.postgres.begin().await?;
        self.bring_back_address(&mut transaction, address).await?;
        let Some((wait, length)) = self.grant(&mut transaction, address, change.params).await? else {
            let left = self.remaining_wait(&mut transaction, address).await?;
            transaction.rollback().await?;
            return Err(RequestAddressError::TooSoon { left });
        };
        let queued = sqlx::query_scalar!(
            r#"
            WITH owner AS MATERIALIZED (
                SELECT id, address, email FROM users
                WHERE id = $1 AND password_hash = $2 AND status || '' = 'active' FOR NO KEY UPDATE
            ), changed AS (
                INSERT INTO address_changes (user_id, address, email) SELECT id, $3, $4 FROM owner
                ON CONFLICT (user_id) DO UPDATE SET
                    address = EXCLUDED.address, email = EXCLUDED.email, requested_at = now()
            ), linked AS (
                INSERT INTO address_links (token_hash, user_id, address, email, expires_at)
                SELECT $5, id, address, email, now() + make_interval(secs => $6) FROM owner
            ), code AS (
                INSERT INTO outbox (user_id, kind, nonce, digits, traceparent)
                SELECT id, 'address_code', $7, $8, $9 FROM owner
                ON CONFLICT (user_id, kind) WHERE kind <> 'code' DO UPDATE SET
                    id = DEFAULT, nonce = EXCLUDED.nonce, digits = EXCLUDED.digits, idempotency_key = DEFAULT,
                    created_at = DEFAULT, attempts = DEFAULT, unsent = DEFAULT, due_at = DEFAULT, lease = DEFAULT,
                    charged = DEFAULT, traceparent = EXCLUDED.traceparent
            ), notice AS (
                INSERT INTO outbox (user_id, kind, address, nonce, digits, traceparent)
                SELECT id, 'address_change', email, $7, $8, $9 FROM owner
                ON CONFLICT (user_id, kind) WHERE kind <> 'code' DO UPDATE SET
                    id = DEFAULT, address = EXCLUDED.address, nonce = EXCLUDED.nonce, idempotency_key = DEFAULT,
                    created_at = DEFAULT, attempts = DEFAULT, unsent = DEFAULT, due_at = DEFAULT, lease = DEFAULT,
                    traceparent = EXCLUDED.traceparent
            )
            SELECT count(*) AS "owners!" FROM owner
            "#,
            change.user.0,
            change.old.to_phc(),
            address,
            change.email.as_typed(),
            &change.link.0[..],
            LINK_LIFETIME.as_secs_f64(),
            &change.nonce.0[..],
            length.digits() as i16,
            traceparent(change.trace),
        )
        .fetch_one(&mut *transaction)
        .await?;
        if queued == 0 {
            transaction.rollback().await?;
            return Err(RequestAddressError::Changed);
        }
        transaction.commit().await?;
        Ok(wait)
    }

    pub(super) async fn try_find_address_change(&self, user: UserId) -> Result<Option<AddressChange>, StoreError> {
        let row = sqlx::query!("SELECT address FROM address_changes WHERE user_id = $1", user.0)
            .fetch_optional(&mut *self.acquire().await.map_err(store_error)?)
            .await
            .map_err(store_error)?;
        let Some(row) = row else {
            return Ok(None);
        };
        let mac = self.mac(&row.address);
        let params = sqlx::query!(
            "
            SELECT salt, hash_cost FROM addresses WHERE address = $1 OR mac = $2
            ORDER BY address = $1 DESC LIMIT 1
            ",
            row.address,
            mac.as_deref(),
        )
        .fetch_optional(&mut *self.acquire().await.map_err(store_error)?)
        .await
        .map_err(store_error)?;
        params
            .map(|params| {
                let params = parse_params(params.salt, &params.hash_cost)?;
                Ok(AddressChange { address: Address::from_canonical(row.address), params })
            })
            .transpose()
    }

    /// Returns the user with the new address, and the old address in canonical form.
    pub(super) async fn try_confirm_address_change(
        &self,
        user: UserId,
        old: &PasswordHash,
        address: &Address,
        new: &PasswordHash,
    ) -> Result<(User, String), ConfirmAddressError> {
        let mut transaction = self.postgres.begin().await?;
        // Whoever writes a user locks the row of its address before.
        if self.lock_params(&mut transaction, address.as_str()).await? != Some(new.params) {
            transaction.rollback().await?;
            return Err(ConfirmAddressError::Changed);
        }
        let before = sqlx::query_scalar!("SELECT address FROM users WHERE id = $1 FOR NO KEY UPDATE", user.0)
            .fetch_optional(&mut *transaction)
            .await?;
        let confirmed = sqlx::query_as!(
            UserRow,
            r#"
            WITH change AS (
                DELETE FROM address_changes WHERE user_id = $1 AND address = $3 RETURNING user_id, address, email
            ), changed AS (
                UPDATE users SET address = change.address, email = change.email, password_hash = $4 FROM change
                WHERE users.id = change.user_id AND password_hash = $2 AND status || '' = 'active'
                RETURNING users.*
            ), unsent AS (
                DELETE FROM outbox USING changed WHERE user_id = changed.id AND kind = 'address_code'
            ), told AS (
                INSERT INTO events (type, user_id, email, status, role)
                SELECT 'user.email_changed', id, email, status, role FROM changed
            )
            SELECT id AS "id!", email AS "email!", status AS "status!", role AS "role!", created_at AS "created_at!",
                activated_at, locale
            FROM changed
            "#,
            user.0,
            old.to_phc(),
            address.as_str(),
            new.to_phc(),
        )
        .fetch_optional(&mut *transaction)
        .await;
        let confirmed = match confirmed {
            Err(sqlx::Error::Database(error)) if error.constraint() == Some("users_one_account") => {
                transaction.rollback().await?;
                return Err(ConfirmAddressError::Taken);
            }
            other => other?,
        };
        let (Some(row), Some(before)) = (confirmed, before) else {
            transaction.rollback().await?;
            return Err(ConfirmAddressError::Changed);
        };
        transaction.commit().await?;
        Ok((row.try_into()?, before))
    }

    /// Returns the outcome, and the address that the account had until then.
    pub(super) async fn try_restore_address(
        &self,
        link: &RestoreHash,
        random: [u8; 32],
        trace: Option<TraceContext>,
    ) -> Result<(RestoredAddress, Option<String>), StoreError> {
        let mut transaction = self.postgres.begin().await.map_err(store_error)?;
        let found = sqlx::query!(
            "
            SELECT user_id, address_links.address, address_links.email
            FROM address_links JOIN users ON users.id = user_id
            WHERE token_hash = $1 AND expires_at > now() AND status || '' <> 'pending'
            ",
            &link.0[..],
        )
        .fetch_optional(&mut *transaction)
        .await
        .map_err(store_error)?;
        let Some(link) = found else {
            return Ok((RestoredAddress::NoLink, None));
        };
        let params = self.lock_params(&mut transaction, &link.address).await?;
        let params = params.ok_or_else(|| broken("an address of a link has no row"))?;
        let before = sqlx::query_scalar!("SELECT address FROM users WHERE id = $1 FOR NO KEY UPDATE", link.user_id)
            .fetch_optional(&mut *transaction)
            .await
            .map_err(store_error)?;
        let restored = sqlx::query_scalar!(
            r#"
            WITH restored AS (
                UPDATE users SET address = $2, email = $3, password_hash = $4
                WHERE id = $1 AND EXISTS (SELECT FROM address_links WHERE user_id = $1 AND address = $2)
                RETURNING id, email, status, role
            ), links AS (
                DELETE FROM address_links USING restored WHERE user_id = restored.id
            ), change AS (
                DELETE FROM address_changes USING restored WHERE user_id = restored.id
            ), unsent AS (
                DELETE FROM outbox USING restored
                WHERE user_id = restored.id AND kind IN ('address_code', 'address_change')
            ), notice AS (
                INSERT INTO outbox (user_id, kind, nonce, digits, traceparent)
                SELECT id, 'address_restored', decode(repeat('00', 16), 'hex'), 4, $5 FROM restored
                ON CONFLICT (user_id, kind) WHERE kind <> 'code' DO UPDATE SET
                    id = DEFAULT, idempotency_key = DEFAULT, created_at = DEFAULT, attempts = DEFAULT, unsent = DEFAULT,
                    due_at = DEFAULT, lease = DEFAULT, traceparent = EXCLUDED.traceparent
            ), told AS (
                INSERT INTO events (type, user_id, email, status, role)
                SELECT 'user.email_restored', id, email, status, role FROM restored
            )
            SELECT id AS "id!" FROM restored
            "#,
            link.user_id,
            link.address,
            link.email,
            PasswordHash::of_digest(params.salt, params.cost, random).to_phc(),
            traceparent(trace),
        )
        .fetch_optional(&mut *transaction)
        .await;
        let restored = match restored {
            Err(sqlx::Error::Database(error)) if error.constraint() == Some("users_one_account") => {
                transaction.rollback().await.map_err(store_error)?;
                return Ok((RestoredAddress::Taken, None));
            }
            other => other.map_err(store_error)?,
        };
        let Some(user) = restored else {
            transaction.rollback().await.map_err(store_error)?;
            return Ok((RestoredAddress::NoLink, None));
        };
        transaction.commit().await.map_err(store_error)?;
        Ok((RestoredAddress::Restored(UserId(user)), before))
    }

    /// Gives the row of an address its address back if it has no user, locks it, and returns its hash parameters.
    async fn lock_params(
        &self,
        transaction: &mut PgConnection,
        address: &str,
    ) -> Result<Option<HashParams>, StoreError> {
        self.bring_back_address(transaction, address).await.map_err(store_error)?;
        let row = sqlx::query!("SELECT salt, hash_cost FROM addresses WHERE address = $1 FOR NO KEY UPDATE", address)
            .fetch_optional(transaction)
            .await
            .map_err(store_error)?;
        row.map(|row| parse_params(row.salt, &row.hash_cost)).transpose()
    }

    /// Deletes expired links, and changes that nobody has confirmed for a day.
    pub(super) async fn purge_address_changes(&self) -> Result<(), sqlx::Error> {
        sqlx::query!("DELETE FROM address_links WHERE expires_at <= now()")
            .execute(&mut *self.acquire().await?)
            .await?;
        sqlx::query!(
            "DELETE FROM address_changes WHERE requested_at <= now() - make_interval(secs => $1)",
            KEPT_FOR.as_secs_f64(),
        )
        .execute(&mut *self.acquire().await?)
        .await
        .map(drop)
    }
}

fn parse_params(salt: Vec<u8>, cost: &str) -> Result<HashParams, StoreError> {
    let salt = salt.try_into().map_err(|_| broken("a salt must have 16 octets"))?;
    Ok(HashParams { salt: Salt(salt), cost: cost.parse().map_err(broken)? })
}
