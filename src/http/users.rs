//! `/v1/users` for everybody: register, activate, request another code, and manage one's own account.

use poem::web::Data;
use poem_openapi::{OpenApi, Tags};

use super::accept_language::AcceptLanguage;
use super::auth::{self, BasicCredentials};
use super::client::Client;
use super::client_limits::{ClientLimits, NotAuthenticated};
use super::payload::{JsonBody, JsonReply};
use super::problem::{Problem, whole_seconds};
use super::registration_ticket::TicketHeader;
use super::user_schemas::{
    ActivateUser, ActivateUserResponse, ChangePassword, ChangePasswordResponse, CodeQueued, DeleteUserResponse,
    GetUserResponse, RegisterUser, RegisterUserResponse, ResendCodeResponse, UpdateCurrentUser,
};
use crate::accounts::errors::{ActivateError, AuthenticateError};
use crate::accounts::ports::{Codes, StoredUser, Users};
use crate::accounts::{Accounts, Caller};
use crate::domain::email::{Address, Email};
use crate::domain::policy::Policy;
use crate::telemetry::trace::TraceContext;

#[derive(Tags)]
pub(super) enum Tag {
    /// Register an address with a password, then activate the account with the mailed code.
    Registration,
    /// For registered users: read one's own user, change the password, delete the account.
    Account,
}

pub struct UsersApi<U, C> {
    accounts: Accounts<U, C>,
    policy: Policy,
    limits: ClientLimits,
}

impl<U: Users, C: Codes> UsersApi<U, C> {
    pub fn new(accounts: Accounts<U, C>, policy: Policy, limits: ClientLimits) -> Self {
        Self { accounts, policy, limits }
    }

    async fn authenticate(
        &self,
        client: &Client,
        credentials: BasicCredentials,
    ) -> Result<(StoredUser, Address), NotAuthenticated> {
        auth::authenticate(&self.accounts, &self.limits, client, credentials).await
    }
}

#[OpenApi]
impl<U: Users, C: Codes> UsersApi<U, C> {
    /// Register an address
    ///
    /// Creates a pending user and queues a mail with a verification code. If the address already has an account, the
    /// response is the same, and a mail informs the owner. (The service can be configured to return `email-taken` instead.)
    ///
    /// A later registration of the same address replaces a pending one, but only after the wait between two codes. During
    /// the wait the response is `too-many-codes`, and nothing changes. Only a registration ticket passes the wait: the owner of
    /// the address gets one by the link “This was not me” in a mail.
    ///
    /// The operator can close registration (`registration-closed`), or accept addresses of some domains only
    /// (`invalid-field`). Neither depends on whether the address has an account.
    ///
    /// If the response was lost, do not repeat the request at once. The registration exists and its mail is queued:
    /// activate with the code, or wait and register again.
    #[oai(path = "/v1/users", method = "post", operation_id = "registerUser", tag = "Tag::Registration")]
    async fn register_user(
        &self,
        client: Client,
        trace: Data<&TraceContext>,
        /// The ticket from the page of a “This was not me” link, or from its response header of the same name. It passes the
        /// wait of its address once, within 15 minutes. A used, expired or unknown ticket is ignored.
        #[oai(name = "Registration-Ticket")]
        ticket: TicketHeader,
        /// The languages that the person prefers. The first one that the service speaks becomes the language of the mails;
        /// without one, they have the service's default language.
        #[oai(name = "Accept-Language")]
        language: AcceptLanguage,
        body: JsonBody<RegisterUser>,
    ) -> poem::Result<RegisterUserResponse> {
        // Before the body is read any further, so that the answer is the same for every body.
        self.accounts.check_registration().map_err(Problem::from)?;
        let (ticket, (email, password)) = body.parse_with(ticket.parse(), &self.policy)?;
        self.accounts.check_hasher(client.network).map_err(Problem::from)?;
        let caller = Caller { network: client.network, trace: Some(*trace.0) };
        let registered = self.accounts.register(&email, password, ticket.as_ref(), language.0, caller);
        let registered = self.limits.limit_mail_request(&client, email.address(), registered).await;
        // A ticket that was accepted passes the wait.
        let user =
            registered.map_err(|problem| if ticket.is_some() { problem.with_refused_ticket() } else { problem })?;
        Ok(RegisterUserResponse::Created(JsonReply(user.into()), "/v1/users/me".to_owned()))
    }

    /// Get the current user
    ///
    /// Returns the user that the credentials belong to, pending or active.
    ///
    /// 200 does not mean that the user owns the address: anybody can register any address. Only `status` `active` means it.
    /// A gateway asks `GET /v1/auth`.
    #[oai(path = "/v1/users/me", method = "get", operation_id = "getCurrentUser", tag = "Tag::Account")]
    async fn get_current_user(&self, client: Client, credentials: BasicCredentials) -> poem::Result<GetUserResponse> {
        let (StoredUser { user, .. }, _) = self.authenticate(&client, credentials).await?;
        Ok(GetUserResponse::Ok(JsonReply(user.into())))
    }

    /// Update the current user: the language of the mails
    ///
    /// Pending and active users can choose the language of their mails, also of mails that are queued. `null` is the default
    /// language of the service. The body is a merge patch (RFC 7396); its media type is accepted, too.
    #[oai(path = "/v1/users/me", method = "patch", operation_id = "updateCurrentUser", tag = "Tag::Account")]
    async fn update_current_user(
        &self,
        client: Client,
        credentials: BasicCredentials,
        body: JsonBody<UpdateCurrentUser>,
    ) -> poem::Result<GetUserResponse> {
        let locale = body.parse(&self.policy)?;
        let (StoredUser { user, .. }, _) = self.authenticate(&client, credentials).await?;
        // An absent member changes nothing.
        let user = match locale {
            Some(locale) => self.accounts.set_locale(&user, locale).await.map_err(Problem::from)?,
            None => user,
        };
        Ok(GetUserResponse::Ok(JsonReply(user.into())))
    }

    /// Change the password
    ///
    /// The credentials contain the old password, the body the new one. A pending user cannot change the password, but can
    /// register again with another one.
    ///
    /// Somebody who has forgotten the password asks for a password reset instead.
    ///
    /// If the response was lost, send the request again: `unauthenticated` means that the password was changed.
    #[oai(path = "/v1/users/me/password", method = "put", operation_id = "changePassword", tag = "Tag::Account")]
    async fn change_password(
        &self,
        client: Client,
        trace: Data<&TraceContext>,
        credentials: BasicCredentials,
        body: JsonBody<ChangePassword>,
    ) -> poem::Result<ChangePasswordResponse> {
        let password = body.parse(&self.policy)?;
        let (row, address) = self.authenticate(&client, credentials).await?;
        let password = match Email::parse(&row.user.email) {
            Ok(email) => password.not_made_of(&email).map_err(|error| Problem::invalid_member("password", &error))?,
            // An older version accepted this address. All other password rules still apply.
            Err(_) => password,
        };
        let caller = Caller { network: client.network, trace: Some(*trace.0) };
        let changed = self.accounts.change_password(&row, password, caller);
        self.limits.limit_mail_request(&client, &address, changed).await?;
        Ok(ChangePasswordResponse::NoContent)
    }

    /// Delete the current user
    ///
    /// Deletes the user permanently, pending or active, with its code and queued mails. Another registration of the same
    /// address is not deleted. If the address has no other user, the service keeps no address: only a MAC of it, with the
    /// times of its codes, for up to 365 days after the last one. So the wait for the next code does not change. Mails
    /// that were sent, published events and backups are not deleted.
    #[oai(path = "/v1/users/me", method = "delete", operation_id = "deleteCurrentUser", tag = "Tag::Account")]
    async fn delete_current_user(
        &self,
        client: Client,
        credentials: BasicCredentials,
    ) -> poem::Result<DeleteUserResponse> {
        // Always costs a hash. Deleting the last user of an address takes longer, and without the hash that would show whether
        // the address has an account beside a registration.
        let accounts = self.accounts.clone().with_verified_passwords(None);
        let (StoredUser { user, .. }, _) = auth::authenticate(&accounts, &self.limits, &client, credentials).await?;
        self.accounts.delete(&user).await.map_err(Problem::from)?;
        Ok(DeleteUserResponse::NoContent)
    }

    /// Activate the account with the mailed code
    ///
    /// The code is valid for one minute after the mail provider accepted the mail, and for three guesses. A mail confirms
    /// the activation.
    ///
    /// If the response was lost, send the request again: `already-active` means that the account was activated.
    #[oai(path = "/v1/users/me/activation", method = "post", operation_id = "activateUser", tag = "Tag::Registration")]
    async fn activate_user(
        &self,
        client: Client,
        trace: Data<&TraceContext>,
        credentials: BasicCredentials,
        body: JsonBody<ActivateUser>,
    ) -> poem::Result<ActivateUserResponse> {
        let code = body.parse(&self.policy)?;
        let authenticated = self.authenticate(&client, credentials).await.map_err(|error| match error {
            NotAuthenticated::Refused(AuthenticateError::Disowned) => Problem::disowned(),
            other => other.into(),
        });
        let (StoredUser { user, .. }, address) = authenticated?;
        let activated = self.accounts.activate(&user, &code, Some(*trace.0));
        let is_miss = |error: &ActivateError| matches!(error, ActivateError::Incorrect { .. });
        let user = self.limits.limit_guess(&client, &address, activated, is_miss).await?;
        Ok(ActivateUserResponse::Ok(JsonReply(user.into())))
    }

    /// Request another code
    ///
    /// The first wait between two codes is one minute. It doubles with every code, up to four hours, and starts again at
    /// one minute after a day without a code.
    ///
    /// If the response was lost, send the request again: `too-many-codes` means that a mail is queued.
    #[oai(
        path = "/v1/users/me/verification-code",
        method = "post",
        operation_id = "resendCode",
        tag = "Tag::Registration"
    )]
    async fn resend_code(
        &self,
        client: Client,
        trace: Data<&TraceContext>,
        credentials: BasicCredentials,
    ) -> poem::Result<ResendCodeResponse> {
        let (StoredUser { user, .. }, address) = self.authenticate(&client, credentials).await?;
        let resent = self.accounts.resend(&user, Some(*trace.0));
        let wait = self.limits.limit_mail_request(&client, &address, resent).await?;
        Ok(ResendCodeResponse::Accepted(JsonReply(CodeQueued { retry_after: whole_seconds(wait).cast_signed() })))
    }
}
