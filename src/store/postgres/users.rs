//! Addresses and users. What is unique is so by the schema; what must be atomic is one statement or one transaction.

mod administration;
mod creation;
mod endings;
mod grants;

use std::time::Duration;

use sqlx::PgPool;
use sqlx::types::time::OffsetDateTime;
use uuid::Uuid;

use super::{Postgres, broken};
use crate::accounts::ports::{
    AddressState, Change, Cursor, DeletedBy, Deletion, Filter, NewUser, Registration, Regrant, StoreError, StoredUser,
    Update, Users,
};
use crate::domain::code::Nonce;
use crate::domain::email::Address;
use crate::domain::not_me::NotMeHash;
use crate::domain::pacing::Pacing;
use crate::domain::user::{User, UserId};
use crate::passwords::{HashParams, PasswordHash, Salt};
use crate::telemetry::trace::TraceContext;
use administration::Updated;
pub use creation::Creation;

pub struct PgUsers {
    postgres: Postgres,
    pacing: Pacing,
}

struct UserRow {
    id: Uuid,
    email: String,
    status: String,
    role: String,
    created_at: OffsetDateTime,
    activated_at: Option<OffsetDateTime>,
}

impl TryFrom<UserRow> for User {
    type Error = StoreError;

    fn try_from(row: UserRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: UserId(row.id),
            email: row.email,
            status: row.status.parse().map_err(broken)?,
            role: row.role.parse().map_err(broken)?,
            created_at: row.created_at,
            activated_at: row.activated_at,
        })
    }
}

/// What a mail that is queued now belongs to.
fn traceparent() -> Option<String> {
    TraceContext::current().map(|trace| trace.to_string())
}

impl PgUsers {
    pub fn new(postgres: Postgres, pacing: Pacing) -> Self {
        Self { postgres, pacing }
    }

    fn pool(&self) -> &PgPool {
        self.postgres.pool()
    }

    async fn try_rehash(&self, id: UserId, old: &PasswordHash, new: &PasswordHash) -> Result<bool, sqlx::Error> {
        let mut transaction = self.pool().begin().await?;
        // First the address: from here on nobody can register a row by the old params.
        let costs = sqlx::query!(
            "
            UPDATE addresses SET hash_cost = $3 FROM users
            WHERE users.id = $1 AND addresses.address = users.address AND addresses.hash_cost = $2
            ",
            id.0,
            old.params.cost.to_string(),
            new.params.cost.to_string(),
        )
        .execute(&mut *transaction)
        .await?;
        let hashes = sqlx::query!(
            "
            UPDATE users SET password_hash = $3
            WHERE id = $1 AND password_hash = $2 AND status <> 'pending'
                AND NOT EXISTS (
                    SELECT FROM users AS shadow WHERE shadow.address = users.address AND shadow.status = 'pending'
                )
            ",
            id.0,
            old.to_phc(),
            new.to_phc(),
        )
        .execute(&mut *transaction)
        .await?;
        let rehashed = costs.rows_affected() == 1 && hashes.rows_affected() == 1;
        if rehashed {
            transaction.commit().await?;
        } else {
            transaction.rollback().await?;
        }
        Ok(rehashed)
    }

    async fn try_activate(&self, id: UserId) -> Result<Option<UserRow>, sqlx::Error> {
        let activated = sqlx::query_as!(
            UserRow,
            r#"
            WITH activated AS (
                UPDATE users SET status = 'active', activated_at = now() WHERE id = $1 AND status = 'pending' RETURNING *
            ), unsent AS (
                DELETE FROM outbox USING activated WHERE user_id = activated.id AND kind = 'code'
            ), queued AS (
                INSERT INTO outbox (user_id, kind, nonce, digits, traceparent)
                SELECT id, 'activated', decode(repeat('00', 16), 'hex'), 4, $2 FROM activated
            ), told AS (
                INSERT INTO events (type, user_id, email, status, role)
                SELECT 'user.activated', id, email, status, role FROM activated
            )
            SELECT id AS "id!", email AS "email!", status AS "status!", role AS "role!", created_at AS "created_at!",
                activated_at
            FROM activated
            "#,
            id.0,
            traceparent(),
        )
        .fetch_optional(self.pool())
        .await;
        match activated {
            Err(sqlx::Error::Database(error)) if error.constraint() == Some("users_one_account") => Ok(None),
            other => other,
        }
    }
}

impl Users for PgUsers {
    async fn address_state(&self, address: &Address) -> Result<AddressState, StoreError> {
        let row = self
            .postgres
            .bounded(
                sqlx::query!(
                    r#"
                    SELECT salt, hash_cost, extract(epoch FROM granted_at + wait - now())::float8 AS "left!"
                    FROM addresses WHERE address = $1
                    "#,
                    address.as_str()
                )
                .fetch_optional(self.pool()),
            )
            .await?;
        let Some(row) = row else {
            return Ok(AddressState { params: None, wait: None });
        };
        let salt = row.salt.try_into().map_err(|_| broken("a salt that is not of 16 octets"))?;
        // Negative once the wait is over.
        let wait = Duration::try_from_secs_f64(row.left).ok().filter(|left| !left.is_zero());
        let cost = row.hash_cost.parse().map_err(broken)?;
        Ok(AddressState { params: Some(HashParams { salt: Salt(salt), cost }), wait })
    }

    async fn register(&self, new: &NewUser<'_>) -> Result<Registration, StoreError> {
        Ok(match self.postgres.bounded(self.try_register(new)).await? {
            Ok(row) => Registration::Registered(row.try_into()?),
            Err(left) => Registration::TooSoon { left },
        })
    }

    async fn grant_again(&self, id: UserId, nonce: Nonce) -> Result<Regrant, StoreError> {
        self.postgres.bounded(self.try_grant_again(id, nonce)).await
    }

    async fn find_by_address(&self, address: &Address) -> Result<Vec<StoredUser>, StoreError> {
        // What is always true lets the two partial indexes be used: without it, all users would be read.
        let rows = self
            .postgres
            .bounded(
                sqlx::query!(
                    "
                    SELECT id, email, status, role, created_at, activated_at, password_hash
                    FROM users WHERE address = $1 AND (status = 'pending' OR status <> 'pending')
                    ",
                    address.as_str()
                )
                .fetch_all(self.pool()),
            )
            .await?;
        rows.into_iter()
            .map(|row| {
                let hash = PasswordHash::from_phc(&row.password_hash).map_err(broken)?;
                let user = UserRow {
                    id: row.id,
                    email: row.email,
                    status: row.status,
                    role: row.role,
                    created_at: row.created_at,
                    activated_at: row.activated_at,
                };
                Ok(StoredUser { user: user.try_into()?, hash })
            })
            .collect()
    }

    async fn rehash(&self, id: UserId, old: &PasswordHash, new: &PasswordHash) -> Result<bool, StoreError> {
        self.postgres.bounded(self.try_rehash(id, old, new)).await
    }

    async fn change_password(&self, id: UserId, old: &PasswordHash, new: &PasswordHash) -> Result<bool, StoreError> {
        // A notice that was not sent yet is queued anew, for its owner should hear of the latest change.
        let change = sqlx::query!(
            "
            WITH changed AS (
                UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2 AND status = 'active'
                RETURNING id, email, status, role
            ), told AS (
                INSERT INTO events (type, user_id, email, status, role)
                SELECT 'user.password_changed', id, email, status, role FROM changed
            )
            INSERT INTO outbox (user_id, kind, nonce, digits, traceparent)
            SELECT id, 'password_changed', decode(repeat('00', 16), 'hex'), 4, $4 FROM changed
            ON CONFLICT (user_id, kind) WHERE kind <> 'code' DO UPDATE SET
                id = DEFAULT, idempotency_key = DEFAULT, created_at = DEFAULT, attempts = DEFAULT, unsent = DEFAULT,
                due_at = DEFAULT, lease = DEFAULT, traceparent = EXCLUDED.traceparent
            ",
            id.0,
            old.to_phc(),
            new.to_phc(),
            traceparent(),
        );
        Ok(self.postgres.bounded(change.execute(self.pool())).await?.rows_affected() == 1)
    }

    async fn find(&self, id: UserId) -> Result<Option<User>, StoreError> {
        let row = self
            .postgres
            .bounded(
                sqlx::query_as!(
                    UserRow,
                    "SELECT id, email, status, role, created_at, activated_at FROM users WHERE id = $1",
                    id.0
                )
                .fetch_optional(self.pool()),
            )
            .await?;
        row.map(User::try_from).transpose()
    }

    async fn activate(&self, id: UserId) -> Result<Option<User>, StoreError> {
        self.postgres.bounded(self.try_activate(id)).await?.map(User::try_from).transpose()
    }

    async fn list(&self, filter: &Filter, after: Option<Cursor>, limit: u32) -> Result<Vec<User>, StoreError> {
        let rows = self.postgres.bounded(self.try_list(filter, after, limit)).await?;
        rows.into_iter().map(User::try_from).collect()
    }

    async fn update(&self, id: UserId, change: Change) -> Result<Update, StoreError> {
        Ok(match self.postgres.bounded(self.try_update(id, change)).await? {
            Updated::Row(row) => Update::Updated(row.try_into()?),
            Updated::NotFound => Update::NotFound,
            Updated::NotActive => Update::NotActive,
            Updated::LastAdmin => Update::LastAdmin,
        })
    }

    async fn delete(&self, id: UserId, by: DeletedBy) -> Result<Deletion, StoreError> {
        self.postgres.bounded(self.try_delete(id, by)).await
    }

    async fn report_not_me(&self, link: &NotMeHash) -> Result<Option<UserId>, StoreError> {
        self.postgres.bounded(self.try_report_not_me(link)).await
    }

    async fn purge(&self, pending_ttl: Duration) -> Result<u64, StoreError> {
        let mut purged = 0;
        loop {
            let batch = self.postgres.bounded(self.purge_batch(pending_ttl)).await?;
            purged += batch;
            if batch < endings::BATCH {
                break;
            }
        }
        self.postgres.bounded(self.purge_links()).await?;
        Ok(purged)
    }
}
