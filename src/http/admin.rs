//! `/v1/users` for admins: list, read, update and delete users.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use poem_openapi::param::{Path, Query};
use poem_openapi::{ApiResponse, Enum, Object, OpenApi, Tags};
use thiserror::Error;
use time::OffsetDateTime;
use uuid::Uuid;

use super::auth::BasicCredentials;
use super::client::Client;
use super::client_limits::ClientLimits;
use super::payload::{Fields, JsonBody, JsonReply, RequestSchema};
use super::problem::{FieldError, FieldLocation, Problem};
use super::user_schemas::{DeleteUserResponse, GetUserResponse, RoleJson, UserJson};
use crate::accounts::Accounts;
use crate::accounts::ports::{AccountChange, Codes, Cursor, UserFilter, Users};
use crate::domain::email::{Email, EmailError};
use crate::domain::policy::Policy;
use crate::domain::user::{Role, Status, UserId};

/// Users per page, if the request does not set `limit`.
pub const DEFAULT_LIMIT: u32 = 20;
/// The largest accepted `limit`.
pub const MAX_LIMIT: u32 = 100;

#[derive(Tags)]
enum Tag {
    /// For users with the role admin. The command `sixty users` creates the first admin.
    Administration,
}

/// The status that an admin can set. A pending user cannot be activated this way.
#[derive(Enum)]
#[oai(rename_all = "lowercase")]
#[oai(rename = "AccountStatus")]
enum AccountStatusJson {
    Active,
    Disabled,
}

/// Changes to a user. An absent member leaves its value unchanged.
#[derive(Object)]
struct UpdateUser {
    #[oai(skip_serializing_if_is_none)]
    status: Option<AccountStatusJson>,
    #[oai(skip_serializing_if_is_none)]
    role: Option<RoleJson>,
}

#[derive(Debug, Error)]
#[error("must be {0}")]
struct NotOneOf(&'static str);

impl RequestSchema for UpdateUser {
    type Parsed = AccountChange;

    fn parse(fields: &mut Fields, _: &Policy) -> Option<AccountChange> {
        let disabled = fields.optional("status", |word| match word {
            "active" => Ok(false),
            "disabled" => Ok(true),
            _ => Err(NotOneOf("active or disabled")),
        });
        let role = fields.optional("role", |word| word.parse().map_err(|_| NotOneOf("user or admin")));
        Some(AccountChange { disabled: disabled?, role: role? })
    }
}

/// One page of users, newest first.
#[derive(Object)]
struct UserList {
    items: Vec<UserJson>,
    /// The value of the parameter `cursor` for the next page. Null on the last page.
    next_cursor: Option<String>,
}

#[derive(ApiResponse)]
enum ListUsersResponse {
    /// A page of users.
    #[oai(status = 200)]
    Ok(JsonReply<UserList>),
}

/// The hint for an address with a blank: the client probably sent a `+` that is not percent-encoded.
const BARE_PLUS: &str = "; a + in a query stands for a blank, send it as %2B";

/// The query parameters of `listUsers`, parsed.
struct ListQuery {
    filter: UserFilter,
    limit: u32,
    after: Option<Cursor>,
}

impl ListQuery {
    fn parse(
        status: Option<String>,
        email: Option<String>,
        limit: Option<String>,
        cursor: Option<String>,
    ) -> Result<Self, Problem> {
        let mut errors = vec![];
        let mut add_error = |parameter, detail: String| {
            errors.push(FieldError { location: FieldLocation::Parameter(parameter), detail });
        };
        let status = status.map(|word| word.parse::<Status>()).transpose().unwrap_or_else(|_| {
            add_error("status", "must be pending, active or disabled".to_owned());
            None
        });
        let parse_email = |text: String| {
            let is_plus = |error: &EmailError| *error == EmailError::Invisible && text.contains(' ');
            let hint = |error: &EmailError| if is_plus(error) { BARE_PLUS } else { "" };
            Email::parse(&text).map_err(|error| format!("{error}{}", hint(&error)))
        };
        let email = email.map(parse_email).transpose().unwrap_or_else(|detail| {
            add_error("email", detail);
            None
        });
        let limit = limit.map_or(Some(DEFAULT_LIMIT), |digits| digits.parse().ok());
        let limit = limit.filter(|limit| (1..=MAX_LIMIT).contains(limit)).unwrap_or_else(|| {
            add_error("limit", format!("must be a number from 1 to {MAX_LIMIT}"));
            DEFAULT_LIMIT
        });
        let after = cursor.map(|text| parse_cursor(&text).ok_or(())).transpose().unwrap_or_else(|()| {
            add_error("cursor", "must be the next_cursor of an earlier page".to_owned());
            None
        });
        if !errors.is_empty() {
            return Err(Problem::invalid_parameters(errors));
        }
        Ok(Self { filter: UserFilter { status, address: email.map(|email| email.address().clone()) }, limit, after })
    }
}

/// Encodes a cursor: the creation time in microseconds (PostgreSQL's resolution) and the user id, in base64url. The
/// encoding is opaque to clients, so it can change.
fn encode_cursor(cursor: Cursor) -> String {
    let micros = (cursor.created_at.unix_timestamp_nanos() / 1000) as u64;
    URL_SAFE_NO_PAD.encode([&micros.to_be_bytes()[..], cursor.id.0.as_bytes()].concat())
}

fn parse_cursor(text: &str) -> Option<Cursor> {
    let octets: [u8; 24] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
    let (micros, id) = octets.split_at(8);
    let micros = u64::from_be_bytes(micros.try_into().ok()?);
    let created_at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000).ok()?;
    Some(Cursor { created_at, id: UserId(Uuid::from_slice(id).ok()?) })
}

/// Parses a user id. Accepts only the hyphenated form, which is the form that the API returns.
fn parse_user_id(text: &str) -> Result<UserId, Problem> {
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

    /// Checks that the credentials belong to an admin.
    ///
    /// Handlers call this before they parse the request, so a client who is not an admin learns nothing about other users.
    async fn authenticate_admin(&self, client: &Client, credentials: BasicCredentials) -> Result<(), Problem> {
        self.accounts.check_hasher(client.network).map_err(Problem::from)?;
        let BasicCredentials { address, password } = credentials;
        let attempt = async |password| self.accounts.authenticate(address.as_ref(), password, client.network).await;
        let row = self.limits.limit_authentication(client, address.as_ref(), password, attempt).await?;
        if row.user.role == Role::Admin { Ok(()) } else { Err(Problem::forbidden()) }
    }
}

#[OpenApi(tag = "Tag::Administration")]
impl<U: Users, C: Codes> AdminApi<U, C> {
    /// List users
    ///
    /// Newest first, including pending users. A user who registers after the first page was read appears on no later page.
    #[oai(path = "/v1/users", method = "get", operation_id = "listUsers")]
    async fn list_users(
        &self,
        client: Client,
        credentials: BasicCredentials,
        /// Only users with this status.
        status: Query<Option<String>>,
        /// Only users with this address, in any spelling: at most one account and one pending user. Send `+` as `%2B`.
        email: Query<Option<String>>,
        /// The maximum number of users per page.
        limit: Query<Option<String>>,
        /// The position where the page starts: `next_cursor` of the previous page. Use the same `status` and `email`.
        cursor: Query<Option<String>>,
    ) -> poem::Result<ListUsersResponse> {
        self.authenticate_admin(&client, credentials).await?;
        let ListQuery { filter, limit, after } = ListQuery::parse(status.0, email.0, limit.0, cursor.0)?;
        let page = self.accounts.list(&filter, after, limit).await.map_err(Problem::from)?;
        let items = page.items.into_iter().map(UserJson::from).collect();
        Ok(ListUsersResponse::Ok(JsonReply(UserList { items, next_cursor: page.next.map(encode_cursor) })))
    }

    /// Get a user
    ///
    /// Every registration gets a new id. To find the users of an address, list users by `email`.
    #[oai(path = "/v1/users/:id", method = "get", operation_id = "getUser")]
    async fn get_user(
        &self,
        client: Client,
        credentials: BasicCredentials,
        /// The user's id.
        id: Path<String>,
    ) -> poem::Result<GetUserResponse> {
        self.authenticate_admin(&client, credentials).await?;
        let user = self.accounts.find(parse_user_id(&id)?).await.map_err(Problem::from)?;
        Ok(GetUserResponse::Ok(JsonReply(user.ok_or_else(Problem::user_not_found)?.into())))
    }

    /// Update a user: disable or enable the account, change the role
    ///
    /// Requests with the correct credentials of a disabled account get `account-disabled`. The last active admin cannot be
    /// disabled or lose the role. The body is a merge patch (RFC 7396); its media type is accepted, too.
    #[oai(path = "/v1/users/:id", method = "patch", operation_id = "updateUser")]
    async fn update_user(
        &self,
        client: Client,
        credentials: BasicCredentials,
        /// The user's id.
        id: Path<String>,
        body: JsonBody<UpdateUser>,
    ) -> poem::Result<GetUserResponse> {
        self.authenticate_admin(&client, credentials).await?;
        let id = parse_user_id(&id)?;
        let change = body.parse(&self.policy)?;
        let user = self.accounts.update(id, change).await.map_err(Problem::from)?;
        Ok(GetUserResponse::Ok(JsonReply(user.into())))
    }

    /// Delete a user
    ///
    /// Deletes a user permanently, with its codes and queued mails. Pending and disabled users can be deleted too. The last
    /// active admin cannot be deleted.
    #[oai(path = "/v1/users/:id", method = "delete", operation_id = "deleteUser")]
    async fn delete_user(
        &self,
        client: Client,
        credentials: BasicCredentials,
        /// The user's id.
        id: Path<String>,
    ) -> poem::Result<DeleteUserResponse> {
        self.authenticate_admin(&client, credentials).await?;
        self.accounts.delete_as_operator(parse_user_id(&id)?).await.map_err(Problem::from)?;
        Ok(DeleteUserResponse::NoContent)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn parsing_an_encoded_cursor_returns_the_cursor(micros in 0..253_402_300_799_000_000_i128, id in any::<u128>()) {
            let created_at = OffsetDateTime::from_unix_timestamp_nanos(micros * 1000).unwrap();
            let cursor = Cursor { created_at, id: UserId(Uuid::from_u128(id)) };
            prop_assert_eq!(parse_cursor(&encode_cursor(cursor)), Some(cursor));
        }

        #[test]
        fn parsing_any_text_does_not_panic(text in any::<String>(), octets in any::<[u8; 24]>()) {
            let _ = (parse_cursor(&text), parse_cursor(&URL_SAFE_NO_PAD.encode(octets)), parse_user_id(&text));
        }
    }
}
