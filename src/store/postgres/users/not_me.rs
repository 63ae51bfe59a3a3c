//! "This was not me": deletes the pending registration of a mailed link, remembers its password for a day, and stores a
//! ticket for the owner of the address.

use sqlx::types::time::OffsetDateTime;
use uuid::Uuid;

use super::super::{broken, store_error};
use super::{PgUsers, UserRow};
use crate::accounts::ports::{AddressHashes, StoreError, StoredUser};
use crate::domain::email::Address;
use crate::domain::not_me::{self, NotMeHash};
use crate::domain::ticket::{self, TicketHash};
use crate::domain::user::UserId;
use crate::passwords::{ForeignHash, PasswordHash};

/// A hash of an address, with its user. A deleted registration has no user.
struct HashRow {
    id: Option<Uuid>,
    email: Option<String>,
    status: Option<String>,
    role: Option<String>,
    created_at: Option<OffsetDateTime>,
    activated_at: Option<OffsetDateTime>,
    locale: Option<String>,
    password_hash: String,
    foreign_hash: Option<String>,
}

impl HashRow {
    fn user(self) -> Option<UserRow> {
        Some(UserRow {
            id: self.id?,
            email: self.email?,
            status: self.status?,
            role: self.role?,
            created_at: self.created_at?,
            activated_at: self.activated_at,
            locale: self.locale,
        })
    }
}

impl PgUsers {
    /// Reads the users of an address and its deleted registration with one statement, so that the time is the same for
    /// every address.
    pub(super) async fn try_find_hashes(&self, address: &Address) -> Result<AddressHashes, StoreError> {
        // The condition on `status` is always true. It lets PostgreSQL use the two partial indexes on `address`.
        let rows = sqlx::query_as!(
            HashRow,
            r#"
            SELECT id AS "id?", email AS "email?", status AS "status?", role AS "role?", created_at AS "created_at?",
                activated_at, locale, password_hash AS "password_hash!", foreign_hash
            FROM users WHERE address = $1 AND (status = 'pending' OR status <> 'pending')
            UNION ALL
            SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, password_hash, NULL
            FROM disowned WHERE address_mac = $2 AND expires_at > now()
            "#,
            address.as_str(),
            self.mac(address.as_str()),
        )
        .fetch_all(&mut *self.acquire().await.map_err(store_error)?)
        .await
        .map_err(store_error)?;
        let mut hashes = AddressHashes::default();
        for row in rows {
            let hash = PasswordHash::from_phc(&row.password_hash).map_err(broken)?;
            if let Some(foreign) = &row.foreign_hash {
                hashes.foreign = Some(ForeignHash::parse(foreign).map_err(broken)?);
            }
            match row.user() {
                Some(user) => hashes.rows.push(StoredUser { user: user.try_into()?, hash }),
                None => hashes.disowned = Some(hash),
            }
        }
        Ok(hashes)
    }

    /// Returns the deleted user and its address.
    pub(super) async fn try_report_not_me(
        &self,
        link: &NotMeHash,
        ticket: &TicketHash,
    ) -> Result<Option<(UserId, String)>, sqlx::Error> {
        let mut transaction = self.postgres.begin().await?;
        let pending = sqlx::query!(
            "
            SELECT users.id, address FROM not_me_links JOIN users ON users.id = user_id
            WHERE token_hash = $1 AND expires_at > now() AND status || '' = 'pending'
            ",
            &link.0[..],
        )
        .fetch_optional(&mut *transaction)
        .await?;
        let Some(registration) = pending else {
            return Ok(None);
        };
        // Lock order: address, then user, as in a registration.
        sqlx::query!(
            "
            UPDATE addresses SET ticket_hash = $2, ticket_expires_at = now() + make_interval(secs => $3)
            WHERE address = $1
            ",
            registration.address,
            &ticket.0[..],
            ticket::LIFETIME.as_secs_f64(),
        )
        .execute(&mut *transaction)
        .await?;
        // The links are deleted with the row, so of two simultaneous uses only one deletes a row, and the rollback below
        // keeps its ticket. A row that was just activated stays.
        let deleted = sqlx::query!(
            "
            WITH deleted AS (
                DELETE FROM users WHERE id = $1 AND status || '' = 'pending' RETURNING id, password_hash, status, role
            ), remembered AS (
                INSERT INTO disowned (address_mac, password_hash, expires_at)
                SELECT $2::bytea, password_hash, now() + make_interval(secs => $3) FROM deleted WHERE $2::bytea IS NOT NULL
                ON CONFLICT (address_mac) DO UPDATE SET
                    password_hash = EXCLUDED.password_hash, expires_at = EXCLUDED.expires_at
            )
            INSERT INTO events (type, user_id, status, role) SELECT 'user.deleted', id, status, role FROM deleted
            ",
            registration.id,
            self.mac(&registration.address),
            not_me::DISOWNED_FOR.as_secs_f64(),
        )
        .execute(&mut *transaction)
        .await?;
        if deleted.rows_affected() == 0 {
            transaction.rollback().await?;
            return Ok(None);
        }
        transaction.commit().await?;
        Ok(Some((UserId(registration.id), registration.address)))
    }
}
