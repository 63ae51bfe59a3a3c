//! `/v1/users` for admins: listing users, looking at one, closing, opening and promoting accounts, deleting.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use poem_openapi::param::{Path, Query};
use poem_openapi::{ApiResponse, Enum, Object, OpenApi, Tags};
use thiserror::Error;
use time::OffsetDateTime;
use uuid::Uuid;

use super::auth::Credentials;
use super::client::Client;
use super::client_limits::ClientLimits;
use super::payload::{Body, Fields, Reply, RequestSchema};
use super::problem::{FieldError, Place, Problem};
use super::users::{Role, User};
use crate::accounts::Accounts;
use crate::accounts::ports::{AccountChange, Codes, Cursor, UserFilter, Users};
use crate::domain::email::Email;
use crate::domain::policy::Policy;
use crate::domain::user as domain;
use crate::domain::user::UserId;

/// Of a page that does not say how many it should hold.
pub const DEFAULT_LIMIT: u32 = 20;
pub const MAX_LIMIT: u32 = 100;

#[derive(Tags)]
enum Tag {
    /// For users with the role admin. The first of them is made by `sixty users`.
    Administration,
}

/// Whether an account is open. A pending registration cannot be activated so.
#[derive(Enum)]
#[oai(rename_all = "lowercase")]
enum AccountStatus {
    Active,
    Disabled,
}

/// What is absent stays as it is.
#[derive(Object)]
struct UpdateUser {
    #[oai(skip_serializing_if_is_none)]
    status: Option<AccountStatus>,
    #[oai(skip_serializing_if_is_none)]
    role: Option<Role>,
}

#[derive(Debug, Error)]
#[error("must be {0}")]
struct MustBe(&'static str);

impl RequestSchema for UpdateUser {
    type Parsed = AccountChange;

    fn parse(fields: &mut Fields, _: &Policy) -> Option<AccountChange> {
        let disabled = fields.optional("status", |word| match word {
            "active" => Ok(false),
            "disabled" => Ok(true),
            _ => Err(MustBe("active or disabled")),
        });
        let role = fields.optional("role", |word| word.parse().map_err(|_| MustBe("user or admin")));
        Some(AccountChange { disabled: disabled?, role: role? })
    }
}

/// Some users, the newest first.
#[derive(Object)]
struct UserList {
    items: Vec<User>,
    /// The parameter `cursor` of the next page. Null on the last.
    next_cursor: Option<String>,
}

#[derive(ApiResponse)]
enum Listed {
    /// A page of the list.
    #[oai(status = 200)]
    Ok(Reply<UserList>),
}

#[derive(ApiResponse)]
enum Found {
    /// The user.
    #[oai(status = 200)]
    Ok(Reply<User>),
}

#[derive(ApiResponse)]
enum Deleted {
    /// The user is gone.
    #[oai(status = 204)]
    NoContent,
}

/// What a list is asked for.
struct Listing {
    filter: UserFilter,
    limit: u32,
    after: Option<Cursor>,
}

impl Listing {
    fn parse(
        status: Option<String>,
        email: Option<String>,
        limit: Option<String>,
        cursor: Option<String>,
    ) -> Result<Self, Problem> {
        let mut errors = vec![];
        let mut fault = |parameter, detail: String| errors.push(FieldError { at: Place::Parameter(parameter), detail });
        let status = status.map(|word| word.parse::<domain::Status>()).transpose().unwrap_or_else(|_| {
            fault("status", "must be pending, active or disabled".to_owned());
            None
        });
        let email = email.map(|text| Email::parse(&text)).transpose().unwrap_or_else(|error| {
            fault("email", error.to_string());
            None
        });
        let limit = limit.map_or(Some(DEFAULT_LIMIT), |digits| digits.parse().ok());
        let limit = limit.filter(|limit| (1..=MAX_LIMIT).contains(limit)).unwrap_or_else(|| {
            fault("limit", format!("must be a number from 1 to {MAX_LIMIT}"));
            DEFAULT_LIMIT
        });
        let after = cursor.map(|text| read_cursor(&text).ok_or(())).transpose().unwrap_or_else(|()| {
            fault("cursor", "must be the next_cursor of an earlier page".to_owned());
            None
        });
        if !errors.is_empty() {
            return Err(Problem::invalid_parameters(errors));
        }
        Ok(Self { filter: UserFilter { status, address: email.map(|email| email.address().clone()) }, limit, after })
    }
}

/// Microseconds, as PostgreSQL counts time, and the id: opaque to clients, so that it may become something else.
fn write_cursor(cursor: Cursor) -> String {
    let micros = (cursor.created_at.unix_timestamp_nanos() / 1000) as u64;
    URL_SAFE_NO_PAD.encode([&micros.to_be_bytes()[..], cursor.id.0.as_bytes()].concat())
}

fn read_cursor(text: &str) -> Option<Cursor> {
    let octets: [u8; 24] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
    let (micros, id) = octets.split_at(8);
    let micros = u64::from_be_bytes(micros.try_into().ok()?);
    let created_at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000).ok()?;
    Some(Cursor { created_at, id: UserId(Uuid::from_slice(id).ok()?) })
}

/// In the one form that the API writes.
fn user_id(text: &str) -> Result<UserId, Problem> {
    let id = Uuid::try_parse(text).ok().filter(|_| text.len() == uuid::fmt::Hyphenated::LENGTH);
    id.map(UserId).ok_or_else(Problem::user_not_found)
}

pub struct AdminApi<U, C> {
    accounts: Accounts<U, C>,
    policy: Policy,
    limits: ClientLimits,
}

impl<U: Users, C: Codes> AdminApi<U, C> {
    pub fn new(accounts: Accounts<U, C>, policy: Policy, limits: ClientLimits) -> Self {
        Self { accounts, policy, limits }
    }

    /// Nothing about other users is told, not even what is wrong with the request, to who is no admin.
    async fn admit(&self, client: &Client, credentials: Credentials) -> Result<(), Problem> {
        let Credentials { address, password } = credentials;
        let attempt = self.accounts.authenticate(address.as_ref(), password);
        let row = self.limits.authenticating(client, address.as_ref(), attempt).await?;
        if row.user.role == domain::Role::Admin { Ok(()) } else { Err(Problem::forbidden()) }
    }
}

#[OpenApi(tag = "Tag::Administration")]
impl<U: Users, C: Codes> AdminApi<U, C> {
    /// List users
    ///
    /// Newest first, pending ones too. Who registers while one turns the pages appears on none that comes later.
    #[oai(path = "/v1/users", method = "get", operation_id = "listUsers")]
    async fn list_users(
        &self,
        client: Client,
        credentials: Credentials,
        /// Only users with this status.
        status: Query<Option<String>>,
        /// Only users of this address, in any of its spellings: at most an account and a pending registration.
        email: Query<Option<String>>,
        /// How many users a page holds at the most.
        limit: Query<Option<String>>,
        /// Where the page begins: `next_cursor` of the page before, with the same `status` and `email`.
        cursor: Query<Option<String>>,
    ) -> poem::Result<Listed> {
        self.admit(&client, credentials).await?;
        let Listing { filter, limit, after } = Listing::parse(status.0, email.0, limit.0, cursor.0)?;
        let page = self.accounts.list(&filter, after, limit).await.map_err(Problem::from)?;
        let items = page.items.into_iter().map(User::from).collect();
        Ok(Listed::Ok(Reply(UserList { items, next_cursor: page.next.map(write_cursor) })))
    }

    /// Look at a user
    ///
    /// By its id, which is new with every registration: to follow an address, list users by `email`.
    #[oai(path = "/v1/users/:id", method = "get", operation_id = "getUser")]
    async fn get_user(
        &self,
        client: Client,
        credentials: Credentials,
        /// The user's id.
        id: Path<String>,
    ) -> poem::Result<Found> {
        self.admit(&client, credentials).await?;
        let user = self.accounts.find(user_id(&id)?).await.map_err(Problem::from)?;
        Ok(Found::Ok(Reply(user.ok_or_else(Problem::user_not_found)?.into())))
    }

    /// Close, open or promote an account
    ///
    /// Whoever has a disabled account is told so when the credentials are right, and can do nothing with it. One active
    /// admin is always left.
    #[oai(path = "/v1/users/:id", method = "patch", operation_id = "updateUser")]
    async fn update_user(
        &self,
        client: Client,
        credentials: Credentials,
        /// The user's id.
        id: Path<String>,
        body: Body<UpdateUser>,
    ) -> poem::Result<Found> {
        self.admit(&client, credentials).await?;
        let id = user_id(&id)?;
        let change = body.parse(&self.policy)?;
        let user = self.accounts.update(id, change).await.map_err(Problem::from)?;
        Ok(Found::Ok(Reply(user.into())))
    }

    /// Delete a user
    ///
    /// For good, pending and disabled ones too, with their codes and queued mails. One active admin is always left.
    #[oai(path = "/v1/users/:id", method = "delete", operation_id = "deleteUser")]
    async fn delete_user(
        &self,
        client: Client,
        credentials: Credentials,
        /// The user's id.
        id: Path<String>,
    ) -> poem::Result<Deleted> {
        self.admit(&client, credentials).await?;
        self.accounts.delete_as_operator(user_id(&id)?).await.map_err(Problem::from)?;
        Ok(Deleted::NoContent)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_cursor_is_read_as_it_was_written(micros in 0..253_402_300_799_000_000_i128, id in any::<u128>()) {
            let created_at = OffsetDateTime::from_unix_timestamp_nanos(micros * 1000).unwrap();
            let cursor = Cursor { created_at, id: UserId(Uuid::from_u128(id)) };
            prop_assert_eq!(read_cursor(&write_cursor(cursor)), Some(cursor));
        }

        #[test]
        fn no_text_panics(text in any::<String>(), octets in any::<[u8; 24]>()) {
            let _ = (read_cursor(&text), read_cursor(&URL_SAFE_NO_PAD.encode(octets)), user_id(&text));
        }
    }
}
