//! `/v1/users/me/email`: another address for an account.

use poem::web::Data;
use poem_openapi::{ApiResponse, Object, OpenApi};

use super::auth::{self, BasicCredentials};
use super::client::Client;
use super::client_limits::ClientLimits;
use super::payload::{Fields, JsonBody, JsonReply, RequestSchema};
use super::problem::whole_seconds;
use super::user_schemas::{ActivateUser, CodeQueued, UserJson};
use super::users::Tag;
use crate::accounts::errors::ConfirmAddressError;
use crate::accounts::ports::{Codes, Users};
use crate::accounts::{Accounts, Caller};
use crate::domain::email::Email;
use crate::domain::policy::Policy;
use crate::telemetry::trace::TraceContext;

#[derive(Object)]
struct ChangeEmail {
    /// The new address. The rules are those of a registration.
    #[oai(validator(max_length = 254))]
    email: String,
}

impl RequestSchema for ChangeEmail {
    type Parsed = Email;

    fn parse(fields: &mut Fields, policy: &Policy) -> Option<Email> {
        fields.parsed("email", |text| policy.email(text))
    }
}

#[derive(ApiResponse)]
enum ChangeEmailResponse {
    /// A mail with a code is queued for the new address, and a notice for the old one.
    #[oai(status = 202)]
    Accepted(JsonReply<CodeQueued>),
}

#[derive(ApiResponse)]
enum ConfirmEmailResponse {
    /// The user, with the new address.
    #[oai(status = 200)]
    Ok(JsonReply<UserJson>),
}

pub struct AddressChangesApi<U, C> {
    accounts: Accounts<U, C>,
    policy: Policy,
    limits: ClientLimits,
}

impl<U: Users, C: Codes> AddressChangesApi<U, C> {
    pub fn new(accounts: Accounts<U, C>, policy: Policy, limits: ClientLimits) -> Self {
        Self { accounts, policy, limits }
    }
}

#[OpenApi(tag = "Tag::Account")]
impl<U: Users, C: Codes> AddressChangesApi<U, C> {
    /// Ask for another address
    ///
    /// Queues a mail with a code for the new address. The old address stays until the code is sent back, and gets a notice
    /// with a link that takes the change back within 72 hours. The wait between two codes is that of the new address, and is
    /// shared with registrations. A later request replaces an earlier one.
    ///
    /// If the new address has an account, the response is the same; its owner gets a mail, and no code works.
    ///
    /// If the response was lost, send the request again: `too-many-codes` means that the first one was accepted.
    #[oai(path = "/v1/users/me/email", method = "put", operation_id = "changeEmail")]
    async fn change_email(
        &self,
        client: Client,
        trace: Data<&TraceContext>,
        credentials: BasicCredentials,
        body: JsonBody<ChangeEmail>,
    ) -> poem::Result<ChangeEmailResponse> {
        let new = body.parse(&self.policy)?;
        let (row, current) = auth::authenticate(&self.accounts, &self.limits, &client, credentials).await?;
        let caller = Caller { network: client.network, trace: Some(*trace.0) };
        let requested = self.accounts.request_address_change(&row, &current, &new, caller);
        let wait = self.limits.limit_mail_request(&client, &current, requested).await?;
        let retry_after = whole_seconds(wait).cast_signed();
        Ok(ChangeEmailResponse::Accepted(JsonReply(CodeQueued { retry_after })))
    }

    /// Confirm the new address with the mailed code
    ///
    /// The credentials are the old address and the password. Afterwards they are the new address and the same password. The
    /// code is valid for one minute after the mail provider accepted the mail, and for three guesses.
    ///
    /// If the response was lost, read the user with the new address: 200 means that the address was changed.
    #[oai(path = "/v1/users/me/email/confirmation", method = "post", operation_id = "confirmEmail")]
    async fn confirm_email(
        &self,
        client: Client,
        trace: Data<&TraceContext>,
        credentials: BasicCredentials,
        body: JsonBody<ActivateUser>,
    ) -> poem::Result<ConfirmEmailResponse> {
        let code = body.parse(&self.policy)?;
        let password = credentials.password.clone();
        let (row, current) = auth::authenticate(&self.accounts, &self.limits, &client, credentials).await?;
        let caller = Caller { network: client.network, trace: Some(*trace.0) };
        let confirmed = self.accounts.confirm_address_change(&row, password, &code, caller);
        let is_miss = |error: &ConfirmAddressError| matches!(error, ConfirmAddressError::Incorrect { .. });
        let user = self.limits.limit_guess(&client, &current, confirmed, is_miss).await?;
        Ok(ConfirmEmailResponse::Ok(JsonReply(user.into())))
    }
}
