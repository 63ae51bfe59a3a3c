//! `/v1/password-resets`: set a new password with a mailed code. Every address gets the same responses.

use poem::web::Data;
use poem_openapi::{ApiResponse, Object, OpenApi, Tags};

use super::client::Client;
use super::client_limits::ClientLimits;
use super::payload::{Fields, JsonBody, JsonReply, RequestSchema};
use super::problem::{Problem, whole_seconds};
use super::user_schemas::CodeQueued;
use crate::accounts::errors::ResetPasswordError;
use crate::accounts::ports::{Codes, Users};
use crate::accounts::{Accounts, Caller};
use crate::domain::code::Code;
use crate::domain::email::Email;
use crate::domain::password::Password;
use crate::domain::policy::Policy;
use crate::telemetry::trace::TraceContext;

#[derive(Tags)]
enum Tag {
    /// For somebody who has forgotten a password: ask for a code, then set a new password with it.
    #[oai(rename = "Password reset")]
    PasswordReset,
}

#[derive(Object)]
struct RequestPasswordReset {
    /// The address of the account, in any spelling.
    #[oai(validator(max_length = 254))]
    email: String,
}

impl RequestSchema for RequestPasswordReset {
    type Parsed = Email;

    fn parse(fields: &mut Fields, _: &Policy) -> Option<Email> {
        fields.parsed("email", Email::parse)
    }
}

#[derive(Object)]
struct ResetPassword {
    /// The address of the account, in any spelling.
    #[oai(validator(max_length = 254))]
    email: String,
    /// The digits of the code in the latest reset mail. White space, hyphens, dots and invisible characters are dropped;
    /// digits of any script are accepted.
    code: String,
    /// The new password. Any Unicode characters except control characters; normalized to NFC. Common passwords and
    /// passwords derived from the address are refused.
    #[oai(validator(max_length = 128))]
    password: String,
}

impl RequestSchema for ResetPassword {
    type Parsed = (Email, Code, Password);

    fn parse(fields: &mut Fields, policy: &Policy) -> Option<Self::Parsed> {
        let email = fields.parsed("email", Email::parse);
        let code = fields.parsed("code", |text| policy.reset_code(text));
        let password = fields.parsed("password", |text| policy.password(text, email.as_ref()));
        Some((email?, code?, password?))
    }
}

#[derive(ApiResponse)]
enum RequestPasswordResetResponse {
    /// If the address has an active account, a mail with a code is queued for it.
    #[oai(status = 202)]
    Accepted(JsonReply<CodeQueued>),
}

#[derive(ApiResponse)]
enum ResetPasswordResponse {
    /// The password is changed. A mail informs the owner.
    #[oai(status = 204)]
    NoContent,
}

pub struct PasswordResetsApi<U, C> {
    accounts: Accounts<U, C>,
    policy: Policy,
    limits: ClientLimits,
}

impl<U: Users, C: Codes> PasswordResetsApi<U, C> {
    pub fn new(accounts: Accounts<U, C>, policy: Policy, limits: ClientLimits) -> Self {
        Self { accounts, policy, limits }
    }
}

#[OpenApi(tag = "Tag::PasswordReset")]
impl<U: Users, C: Codes> PasswordResetsApi<U, C> {
    /// Ask for a password reset
    ///
    /// Queues a mail with a code if the address has an active account. The response is the same for every address: it does
    /// not say whether there is an account. An address without one gets no mail.
    ///
    /// The first wait between two codes is ten minutes, as long as a code lives. It doubles with every code, up to four hours,
    /// and starts again after a day without a code. During the wait the response is `too-many-codes`, and nothing changes.
    ///
    /// If the response was lost, send the request again: `too-many-codes` means that the first one was accepted.
    #[oai(path = "/v1/password-resets", method = "post", operation_id = "requestPasswordReset")]
    async fn request_password_reset(
        &self,
        client: Client,
        trace: Data<&TraceContext>,
        body: JsonBody<RequestPasswordReset>,
    ) -> poem::Result<RequestPasswordResetResponse> {
        let email = body.parse(&self.policy)?;
        let requested = self.accounts.request_password_reset(email.address(), Some(*trace.0));
        let wait = self.limits.limit_mail_request(&client, email.address(), requested).await?;
        let retry_after = whole_seconds(wait).cast_signed();
        Ok(RequestPasswordResetResponse::Accepted(JsonReply(CodeQueued { retry_after })))
    }

    /// Set a new password with the mailed code
    ///
    /// The code is valid for ten minutes from the request, for three guesses, and for one new password. It is not valid any
    /// more when the account has changed its password in the meantime. A password that the rules refuse costs no guess. An
    /// address without an account gets the same responses as a wrong code for an account.
    ///
    /// If the response was lost, send the request again: `code-expired` means that the password was changed, or that the code
    /// has expired. The new password tells which.
    #[oai(path = "/v1/password-resets", method = "put", operation_id = "resetPassword")]
    async fn reset_password(
        &self,
        client: Client,
        trace: Data<&TraceContext>,
        body: JsonBody<ResetPassword>,
    ) -> poem::Result<ResetPasswordResponse> {
        let (email, code, password) = body.parse(&self.policy)?;
        // Before the guess is counted. The result does not depend on the address.
        self.accounts.check_hasher(client.network).map_err(Problem::from)?;
        let caller = Caller { network: client.network, trace: Some(*trace.0) };
        let reset = self.accounts.reset_password(email.address(), &code, password, caller);
        let is_miss = |error: &ResetPasswordError| matches!(error, ResetPasswordError::Incorrect { .. });
        self.limits.limit_guess(&client, email.address(), reset, is_miss).await?;
        Ok(ResetPasswordResponse::NoContent)
    }
}
