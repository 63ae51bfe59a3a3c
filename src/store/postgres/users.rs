//! PostgreSQL's users and addresses. The schema enforces uniqueness; each change is one statement or one transaction.
//!
//! A condition on the status of a row that is found by its id or address is written `status || '' = 'pending'`. PostgreSQL
//! could otherwise scan the whole partial index of pending users: if its statistics are old and say that there are none, that
//! looks cheapest.

mod activate;
mod active_admins;
mod address_changes;
mod code_grants;
mod create;
mod delete;
mod hash_costs;
pub mod import;
mod list;
mod locale;
mod not_me;
mod password_resets;
mod passwords;
mod purge;
mod retired;
mod search;
mod seed;
mod update;

use std::sync::Mutex;
use std::time::Duration;

use sqlx::types::time::OffsetDateTime;
use uuid::Uuid;

use super::session::Session;
use super::{CallError, Postgres, broken, store_error};
use crate::accounts::errors::{
    ConfirmAddressError, DeleteError, RegisterError, RequestAddressError, RequestResetError, ResendError, UpdateError,
};
use crate::accounts::ports::{
    AccountChange, AddressChange, AddressHashes, AddressSearch, AddressState, Cursor, DeletedBy, FoundUser,
    NewAddressChange, NewUser, RestoredAddress, SearchCursor, StoreError, StoredUser, UserFilter, Users,
};
use crate::domain::address_change::RestoreHash;
use crate::domain::code::{CodeSecret, Nonce, ResetId};
use crate::domain::email::Address;
use crate::domain::locale::Locale;
use crate::domain::not_me::NotMeHash;
use crate::domain::pacing::Pacing;
use crate::domain::ticket::TicketHash;
use crate::domain::user::{User, UserId};
use crate::passwords::{AddressCost, ForeignHash, HashParams, PasswordHash, Salt};
use crate::telemetry::trace::TraceContext;
pub use create::CreateError;
use purge::PurgePace;

/// The port [`Users`] on PostgreSQL.
pub struct PgUsers {
    postgres: Postgres,
    pacing: Pacing,
    /// The pacing of reset mails.
    reset_pacing: Pacing,
    /// The key of the MACs of addresses without a user.
    secret: Option<CodeSecret>,
    /// The last address of the latest batch of a search for addresses without a user.
    searched_until: Mutex<String>,
    purge_pace: PurgePace,
}

/// The columns of a user that the API shows.
struct UserRow {
    id: Uuid,
    email: String,
    status: String,
    role: String,
    created_at: OffsetDateTime,
    activated_at: Option<OffsetDateTime>,
    locale: Option<String>,
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
            locale: stored_locale(row.locale.as_deref()),
        })
    }
}

/// Reads a column `locale`. A later release may know more languages.
pub(super) fn stored_locale(tag: Option<&str>) -> Option<Locale> {
    tag.and_then(|tag| tag.parse().ok())
}

/// Implements the conversion that lets `?` end a statement in a function that returns this error.
macro_rules! from_sqlx_error {
    ($($error:ty),*) => {
        $(impl From<sqlx::Error> for $error {
            fn from(error: sqlx::Error) -> Self {
                Self::Store(store_error(error))
            }
        }

        impl CallError for $error {
            fn store_error(&self) -> Option<&StoreError> {
                match self {
                    Self::Store(error) => Some(error),
                    _ => None,
                }
            }
        })*
    };
}

from_sqlx_error!(
    ConfirmAddressError,
    RequestAddressError,
    RegisterError,
    RequestResetError,
    ResendError,
    UpdateError,
    DeleteError,
    CreateError
);

/// Value of the column `outbox.traceparent`.
fn traceparent(trace: Option<TraceContext>) -> Option<String> {
    trace.map(|trace| trace.to_string())
}

impl PgUsers {
    /// Returns the users for a process without `CODE_SECRET`. It cannot replace every address of a deleted user by its MAC;
    /// processes with the secret do that later.
    pub fn new(postgres: Postgres, pacing: Pacing) -> Self {
        let purge_pace = PurgePace::UNLIMITED;
        Self {
            postgres,
            pacing,
            reset_pacing: Pacing::of_resets(),
            secret: None,
            searched_until: Mutex::default(),
            purge_pace,
        }
    }

    pub fn with_secret(postgres: Postgres, pacing: Pacing, secret: CodeSecret) -> Self {
        Self { secret: Some(secret), ..Self::new(postgres, pacing) }
    }

    async fn acquire(&self) -> Result<Session, sqlx::Error> {
        self.postgres.acquire().await
    }
}

impl Users for PgUsers {
    async fn address_state(&self, address: &Address, ticket: Option<&TicketHash>) -> Result<AddressState, StoreError> {
        let mac = self.mac(address.as_str());
        let read = async || {
            let read = sqlx::query!(
                r#"
                SELECT salt, hash_cost, extract(epoch FROM granted_at + wait - now())::float8 AS "left!",
                    coalesce(ticket_hash = $2 AND ticket_expires_at > now(), false) AS "has_ticket!"
                FROM addresses WHERE address = $1 OR mac = $3 ORDER BY address = $1 DESC LIMIT 1
                "#,
                address.as_str(),
                ticket.map(|ticket| &ticket.0[..]),
                mac.as_deref()
            );
            read.fetch_optional(&mut *self.acquire().await.map_err(store_error)?).await.map_err(store_error)
        };
        let row = self.postgres.repeated_read(read).await?;
        let Some(row) = row else {
            return Ok(AddressState { params: None, wait: None });
        };
        let salt = row.salt.try_into().map_err(|_| broken("a salt must have 16 octets"))?;
        // `left` is negative once the wait is over.
        let wait = Duration::try_from_secs_f64(row.left).ok().filter(|left| !left.is_zero() && !row.has_ticket);
        let cost = row.hash_cost.parse().map_err(broken)?;
        Ok(AddressState { params: Some(HashParams { salt: Salt(salt), cost }), wait })
    }

    async fn hash_costs(&self) -> Result<Vec<(AddressCost, u64)>, StoreError> {
        self.try_hash_costs().await
    }

    async fn register(&self, new: &NewUser<'_>) -> Result<User, RegisterError> {
        self.postgres.repeated_change(|| self.try_register(new)).await
    }

    async fn resend(&self, id: UserId, nonce: Nonce, trace: Option<TraceContext>) -> Result<Duration, ResendError> {
        if let Some(wait) = self.postgres.repeated_change(|| self.try_resend(id, nonce, trace)).await? {
            return Ok(wait);
        }
        Err(match self.find(id).await? {
            Some(_) => ResendError::AlreadyActive,
            None => ResendError::Gone,
        })
    }

    async fn find_by_address(&self, address: &Address) -> Result<Vec<StoredUser>, StoreError> {
        let rows = self
            .postgres
            .bounded(async {
                sqlx::query!(
                    "
                    SELECT id, email, status, role, created_at, activated_at, locale, password_hash
                    FROM users WHERE address = $1
                    ",
                    address.as_str()
                )
                .fetch_all(&mut *self.acquire().await?)
                .await
            })
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
                    locale: row.locale,
                };
                Ok(StoredUser { user: user.try_into()?, hash })
            })
            .collect()
    }

    async fn find_hashes(&self, address: &Address) -> Result<AddressHashes, StoreError> {
        self.postgres.repeated_read(|| self.try_find_hashes(address)).await
    }

    async fn rehash(&self, id: UserId, old: &PasswordHash, new: &PasswordHash) -> Result<bool, StoreError> {
        self.postgres.bounded(self.try_rehash(id, old, new)).await
    }

    async fn replace_foreign(&self, id: UserId, foreign: &ForeignHash, new: &PasswordHash) -> Result<bool, StoreError> {
        self.postgres.bounded(self.try_replace_foreign(id, foreign, new)).await
    }

    async fn change_password(
        &self,
        id: UserId,
        old: &PasswordHash,
        new: &PasswordHash,
        trace: Option<TraceContext>,
    ) -> Result<bool, StoreError> {
        self.postgres
            .repeated_change(|| async { self.try_change_password(id, old, new, trace).await.map_err(store_error) })
            .await
    }

    async fn request_reset(
        &self,
        id: ResetId,
        address: &Address,
        nonce: Nonce,
        trace: Option<TraceContext>,
    ) -> Result<Duration, RequestResetError> {
        self.postgres.repeated_change(|| self.try_request_reset(id, address, nonce, trace)).await
    }

    async fn find_reset_account(&self, id: ResetId) -> Result<Option<StoredUser>, StoreError> {
        self.postgres.repeated_read(|| self.try_find_reset_account(id)).await
    }

    async fn reset_password(
        &self,
        id: ResetId,
        user: UserId,
        old: &PasswordHash,
        new: &PasswordHash,
        trace: Option<TraceContext>,
    ) -> Result<bool, StoreError> {
        self.postgres
            .repeated_change(|| async { self.try_reset_password(id, user, old, new, trace).await.map_err(store_error) })
            .await
    }

    async fn request_address_change(&self, change: &NewAddressChange<'_>) -> Result<Duration, RequestAddressError> {
        self.postgres.repeated_change(|| self.try_request_address_change(change)).await
    }

    async fn find_address_change(&self, user: UserId) -> Result<Option<AddressChange>, StoreError> {
        self.postgres.repeated_read(|| self.try_find_address_change(user)).await
    }

    async fn confirm_address_change(
        &self,
        user: UserId,
        old: &PasswordHash,
        address: &Address,
        new: &PasswordHash,
    ) -> Result<User, ConfirmAddressError> {
        let confirm = || self.try_confirm_address_change(user, old, address, new);
        let (user, before) = self.postgres.repeated_change(confirm).await?;
        self.retire_addresses(&[before]).await;
        Ok(user)
    }

    async fn restore_address(
        &self,
        link: &RestoreHash,
        random: [u8; 32],
        trace: Option<TraceContext>,
    ) -> Result<RestoredAddress, StoreError> {
        let (restored, before) =
            self.postgres.repeated_change(|| self.try_restore_address(link, random, trace)).await?;
        if let Some(before) = before {
            self.retire_addresses(&[before]).await;
        }
        Ok(restored)
    }

    async fn find(&self, id: UserId) -> Result<Option<User>, StoreError> {
        let read = async || {
            let read = sqlx::query_as!(
                UserRow,
                "SELECT id, email, status, role, created_at, activated_at, locale FROM users WHERE id = $1",
                id.0
            );
            read.fetch_optional(&mut *self.acquire().await.map_err(store_error)?).await.map_err(store_error)
        };
        let row = self.postgres.repeated_read(read).await?;
        row.map(User::try_from).transpose()
    }

    async fn activate(&self, id: UserId, trace: Option<TraceContext>) -> Result<Option<User>, StoreError> {
        self.postgres
            .repeated_change(|| async { self.try_activate(id, "activated", trace).await.map_err(store_error) })
            .await?
            .map(User::try_from)
            .transpose()
    }

    async fn activate_as_operator(&self, id: UserId, trace: Option<TraceContext>) -> Result<Option<User>, StoreError> {
        let kind = "activated_by_operator";
        self.postgres
            .repeated_change(|| async { self.try_activate(id, kind, trace).await.map_err(store_error) })
            .await?
            .map(User::try_from)
            .transpose()
    }

    async fn has_queued_code_mail(&self, id: UserId) -> Result<bool, StoreError> {
        let queued = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT FROM outbox WHERE user_id = $1 AND kind = 'code') AS "queued!""#,
            id.0
        );
        self.postgres.bounded(async { queued.fetch_one(&mut *self.acquire().await?).await }).await
    }

    async fn list(&self, filter: &UserFilter, after: Option<Cursor>, limit: u32) -> Result<Vec<User>, StoreError> {
        let rows = self
            .postgres
            .repeated_read(|| async { self.try_list(filter, after, limit).await.map_err(store_error) })
            .await?;
        rows.into_iter().map(User::try_from).collect()
    }

    async fn search(
        &self,
        search: &AddressSearch,
        after: Option<&SearchCursor>,
        limit: u32,
    ) -> Result<Vec<FoundUser>, StoreError> {
        let rows = self
            .postgres
            .repeated_read(|| async { self.try_search(search, after, limit).await.map_err(store_error) })
            .await?;
        rows.into_iter().map(FoundUser::try_from).collect()
    }

    async fn update(&self, id: UserId, change: AccountChange) -> Result<User, UpdateError> {
        self.postgres.repeated_change(|| self.try_update(id, change)).await
    }

    async fn set_locale(&self, id: UserId, locale: Option<Locale>) -> Result<Option<User>, StoreError> {
        self.postgres
            .repeated_change(|| async { self.try_set_locale(id, locale).await.map_err(store_error) })
            .await?
            .map(User::try_from)
            .transpose()
    }

    async fn delete(&self, id: UserId, by: DeletedBy) -> Result<(), DeleteError> {
        let address = self.postgres.repeated_change(|| self.try_delete(id, by)).await?;
        self.retire_addresses(&[address]).await;
        Ok(())
    }

    async fn report_not_me(&self, link: &NotMeHash, ticket: &TicketHash) -> Result<Option<UserId>, StoreError> {
        let Some((user, address)) = self.postgres.bounded(self.try_report_not_me(link, ticket)).await? else {
            return Ok(None);
        };
        self.retire_addresses(&[address]).await;
        Ok(Some(user))
    }

    async fn purge(&self, pending_ttl: Duration) -> Result<u64, StoreError> {
        self.purge_all(pending_ttl).await
    }
}
