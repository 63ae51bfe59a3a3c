//! `/v1/users` for admins: list, read, update and delete users.

use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::{ApiResponse, Enum, Object, OpenApi, Tags};
use thiserror::Error;
use uuid::Uuid;

use super::auth::{self, BasicCredentials};
use super::client::Client;
use super::client_limits::ClientLimits;
use super::list_query::{ListQuery, Parameters, Selection, encode_newest, encode_searched};
use super::payload::{Fields, JsonBody, JsonReply, RequestSchema};
use super::problem::{Problem, whole_seconds};
use super::user_schemas::{
    ActivateUserResponse, CodeQueued, DeleteUserResponse, GetUserResponse, ResendCodeResponse, RoleJson, UserJson,
};
use crate::accounts::Accounts;
use crate::accounts::ports::{AccountChange, Codes, Users};
use crate::domain::policy::Policy;
use crate::domain::user::{Role, UserId};
use crate::telemetry::trace::TraceContext;

#[derive(Tags)]
enum Tag {
    /// For users with the role admin. The command `sixty users` creates the first admin.
    Administration,
}

/// The status that an admin can set. `activateUserAsAdmin` activates a pending user.
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

/// One page of users: newest first, or sorted by address if the request has `email_prefix`.
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

/// Parses a user id. Accepts only the hyphenated form, which is the form that the API returns.
fn parse_user_id(text: &str) -> Result<UserId, Problem> {
    let id = Uuid::try_parse(text).ok().filter(|_| text.len() == uuid::fmt::Hyphenated::LENGTH);
    id.map(UserId).ok_or_else(Problem::malformed_user_id)
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
        let (row, _) = auth::authenticate(&self.accounts, &self.limits, client, credentials).await?;
        if row.user.role == Role::Admin { Ok(()) } else { Err(Problem::forbidden()) }
    }
}

#[OpenApi(tag = "Tag::Administration")]
impl<U: Users, C: Codes> AdminApi<U, C> {
    /// List users
    ///
    /// Newest first, including pending users. A user who registers after the first page was read appears on no later page.
    ///
    /// With `email_prefix` the list is sorted by address. Every page takes the same time, however many users there are.
    #[oai(path = "/v1/users", method = "get", operation_id = "listUsers")]
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the request")]
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
        /// The position where the page starts: `next_cursor` of the previous page. Use the same other parameters.
        cursor: Query<Option<String>>,
        /// Only users whose address starts with this text, in any case. After an `@`, the domain is in ASCII. Send `+` as
        /// `%2B`. Not together with `email`.
        email_prefix: Query<Option<String>>,
        /// Only users whose address has exactly this domain, in any spelling. Not together with `email`.
        domain: Query<Option<String>>,
    ) -> poem::Result<ListUsersResponse> {
        self.authenticate_admin(&client, credentials).await?;
        let sent = Parameters {
            status: status.0,
            email: email.0,
            email_prefix: email_prefix.0,
            domain: domain.0,
            limit: limit.0,
            cursor: cursor.0,
        };
        let ListQuery { selection, limit } = ListQuery::parse(&sent)?;
        let (items, next_cursor) = match selection {
            Selection::Newest(filter, after) => {
                let page = self.accounts.list(&filter, after, limit).await.map_err(Problem::from)?;
                (page.items, page.next.map(encode_newest))
            }
            Selection::ByAddress(search, after) => {
                let page = self.accounts.search(&search, after.as_ref(), limit).await.map_err(Problem::from)?;
                (page.items, page.next.as_ref().map(encode_searched))
            }
        };
        let items = items.into_iter().map(UserJson::from).collect();
        Ok(ListUsersResponse::Ok(JsonReply(UserList { items, next_cursor })))
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

    /// Activate a pending user
    ///
    /// The account keeps the password that the person chose. Nobody has proved the address by a code: the admin vouches for
    /// it. A mail informs the person. If the address has an account already, the registration cannot become one.
    #[oai(path = "/v1/users/:id/activation", method = "post", operation_id = "activateUserAsAdmin")]
    async fn activate_user(
        &self,
        client: Client,
        trace: Data<&TraceContext>,
        credentials: BasicCredentials,
        /// The user's id.
        id: Path<String>,
    ) -> poem::Result<ActivateUserResponse> {
        self.authenticate_admin(&client, credentials).await?;
        let activated = self.accounts.activate_as_operator(parse_user_id(&id)?, Some(*trace.0)).await;
        Ok(ActivateUserResponse::Ok(JsonReply(activated.map_err(Problem::from)?.into())))
    }

    /// Request another code for a pending user
    ///
    /// The wait between two codes of the address holds for admins, too.
    #[oai(path = "/v1/users/:id/verification-code", method = "post", operation_id = "resendCodeAsAdmin")]
    async fn resend_code(
        &self,
        client: Client,
        trace: Data<&TraceContext>,
        credentials: BasicCredentials,
        /// The user's id.
        id: Path<String>,
    ) -> poem::Result<ResendCodeResponse> {
        self.authenticate_admin(&client, credentials).await?;
        let resent = self.accounts.resend_as_operator(parse_user_id(&id)?, Some(*trace.0)).await;
        let wait = resent.map_err(Problem::from)?;
        Ok(ResendCodeResponse::Accepted(JsonReply(CodeQueued { retry_after: whole_seconds(wait).cast_signed() })))
    }

    /// Delete a user
    ///
    /// Deletes a user permanently, with its codes and queued mails. Pending and disabled users can be deleted too. The last
    /// active admin cannot be deleted. If the address has no other user, the service keeps only a MAC of it, with the times
    /// of its codes, for up to 365 days after the last one.
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
        fn parsing_any_text_does_not_panic(text in any::<String>()) {
            let _ = parse_user_id(&text);
        }
    }
}
