//! `/v1/users`: registering, activating, asking for another code, looking at oneself, changing one's
//! password, leaving.

use poem::web::Data;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi, Tags};
use time::OffsetDateTime;
use uuid::Uuid;

use super::auth::Credentials;
use super::client::Client;
use super::client_limits::ClientLimits;
use super::payload::{Body, Fields, Reply, RequestSchema};
use super::problem::{Problem, whole_seconds};
use crate::accounts::Accounts;
use crate::accounts::ports::{Codes, StoredUser, Users};
use crate::domain::code::Code;
use crate::domain::email::Email;
use crate::domain::password::Password;
use crate::domain::policy::Policy;
use crate::domain::user as domain;
use crate::telemetry::trace::TraceContext;

#[derive(Tags)]
enum Tag {
    /// From an address and a password to an account: registering, and proving the address with the mailed code.
    Registration,
    /// For who has registered: looking at oneself, changing the password, leaving.
    Account,
}

#[derive(Enum)]
#[oai(rename = "Status", rename_all = "lowercase")]
enum Status {
    Pending,
    Active,
    Disabled,
}

#[derive(Enum)]
#[oai(rename = "Role", rename_all = "lowercase")]
pub(super) enum Role {
    User,
    Admin,
}

/// A user. Times are RFC 3339 in UTC.
#[derive(Object)]
#[oai(rename = "User")]
pub struct User {
    /// A UUIDv7, new with every registration.
    id: Uuid,
    /// The address as it was typed.
    email: String,
    status: Status,
    role: Role,
    created_at: OffsetDateTime,
    /// Null while the status is pending.
    activated_at: Option<OffsetDateTime>,
}

impl From<domain::User> for User {
    fn from(user: domain::User) -> Self {
        Self {
            id: user.id.0,
            email: user.email,
            status: match user.status {
                domain::Status::Pending => Status::Pending,
                domain::Status::Active => Status::Active,
                domain::Status::Disabled => Status::Disabled,
            },
            role: match user.role {
                domain::Role::User => Role::User,
                domain::Role::Admin => Role::Admin,
            },
            created_at: user.created_at,
            activated_at: user.activated_at,
        }
    }
}

#[derive(Object)]
struct RegisterUser {
    /// At most 254 octets, no colon. One address is one address however it is written: case, Unicode form and the
    /// spelling of the domain do not matter; dots and plus-tags do.
    #[oai(validator(max_length = 254))]
    email: String,
    /// Any Unicode but control characters, in NFC. Not a common password, nor one made of the address.
    #[oai(validator(max_length = 128))]
    password: poem_openapi::types::Password,
}

impl RequestSchema for RegisterUser {
    type Parsed = (Email, Password);

    fn parse(fields: &mut Fields, policy: &Policy) -> Option<Self::Parsed> {
        let email = fields.parsed("email", Email::parse);
        let password = fields.parsed("password", |text| policy.password(text, email.as_ref()));
        Some((email?, password?))
    }
}

#[derive(Object)]
struct ChangePassword {
    /// The new one: any Unicode but control characters, in NFC. Not a common password, nor one made of the address.
    #[oai(validator(max_length = 128))]
    password: poem_openapi::types::Password,
}

impl RequestSchema for ChangePassword {
    type Parsed = Password;

    fn parse(fields: &mut Fields, policy: &Policy) -> Option<Password> {
        fields.parsed("password", |text| policy.password(text, None))
    }
}

#[derive(Object)]
struct ActivateUser {
    /// The digits of the code in the latest mail. An address that was sent many codes gets longer ones.
    code: poem_openapi::types::Password,
}

impl RequestSchema for ActivateUser {
    type Parsed = Code;

    fn parse(fields: &mut Fields, policy: &Policy) -> Option<Code> {
        fields.parsed("code", |text| policy.code(text))
    }
}

#[derive(Object)]
struct CodeQueued {
    /// Seconds until another code can be asked for.
    retry_after: i64,
}

#[derive(ApiResponse)]
enum Registered {
    /// The user is pending, and the code is on its way by mail.
    #[oai(status = 201)]
    Created(
        Reply<User>,
        /// Where the user can look at itself.
        #[oai(header = "Location")]
        String,
    ),
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

#[derive(ApiResponse)]
enum Changed {
    /// From now on the new password is the right one, and a mail tells the owner.
    #[oai(status = 204)]
    NoContent,
}

#[derive(ApiResponse)]
enum Queued {
    /// A new code is on its way by mail; it takes the place of the earlier one.
    #[oai(status = 202)]
    Accepted(Reply<CodeQueued>),
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

    async fn authenticate(&self, client: &Client, credentials: Credentials) -> Result<StoredUser, Problem> {
        let Credentials { address, password } = credentials;
        let attempt = self.accounts.authenticate(address.as_ref(), password);
        self.limits.authenticating(client, address.as_ref(), attempt).await
    }
}

#[OpenApi]
impl<U: Users, C: Codes> UsersApi<U, C> {
    /// Register an address
    ///
    /// Answers the same for an address that has an account already; its owner is told by mail. (Unless the service is
    /// configured to say so: then it answers `email-taken`.) A registration that was not activated is replaced by a later
    /// one, once the wait between two codes is over; within it the answer is `too-many-codes`, and nothing changes.
    ///
    /// Was the answer lost? The registration stands and its mail is on the way: activate with its code, or wait and register
    /// again.
    #[oai(path = "/v1/users", method = "post", operation_id = "registerUser", tag = "Tag::Registration")]
    async fn register_user(
        &self,
        client: Client,
        trace: Data<&TraceContext>,
        body: Body<RegisterUser>,
    ) -> poem::Result<Registered> {
        let (email, password) = body.parse(&self.policy)?;
        let user = self.limits.asking(&client, self.accounts.register(&email, password, Some(*trace.0))).await?;
        Ok(Registered::Created(Reply(user.into()), "/v1/users/me".to_owned()))
    }

    /// Look at oneself
    ///
    /// Pending users too.
    #[oai(path = "/v1/users/me", method = "get", operation_id = "getCurrentUser", tag = "Tag::Account")]
    async fn get_current_user(&self, client: Client, credentials: Credentials) -> poem::Result<Found> {
        let StoredUser { user, .. } = self.authenticate(&client, credentials).await?;
        Ok(Found::Ok(Reply(user.into())))
    }

    /// Change one's password
    ///
    /// The old one is that of the credentials. A registration that is still pending has none to change: registering again
    /// gives it another. Was the answer lost? Send it again: `unauthenticated` says that the new one holds.
    #[oai(path = "/v1/users/me/password", method = "put", operation_id = "changePassword", tag = "Tag::Account")]
    async fn change_password(
        &self,
        client: Client,
        trace: Data<&TraceContext>,
        credentials: Credentials,
        body: Body<ChangePassword>,
    ) -> poem::Result<Changed> {
        let password = body.parse(&self.policy)?;
        let row = self.authenticate(&client, credentials).await?;
        let password = match Email::parse(&row.user.email) {
            Ok(email) => password.not_made_of(&email).map_err(|error| Problem::invalid_member("password", &error))?,
            // Of an address that would be refused today; all other rules still hold.
            Err(_) => password,
        };
        self.limits.asking(&client, self.accounts.change_password(&row, password, Some(*trace.0))).await?;
        Ok(Changed::NoContent)
    }

    /// Delete oneself
    ///
    /// For good, and pending users too. Another registration of the same address is not touched, and how long the address
    /// has to wait for its next code does not change.
    #[oai(path = "/v1/users/me", method = "delete", operation_id = "deleteCurrentUser", tag = "Tag::Account")]
    async fn delete_current_user(&self, client: Client, credentials: Credentials) -> poem::Result<Deleted> {
        let StoredUser { user, .. } = self.authenticate(&client, credentials).await?;
        self.accounts.delete(&user).await.map_err(Problem::from)?;
        Ok(Deleted::NoContent)
    }

    /// Activate the account with the mailed code
    ///
    /// The code lives for one minute from the moment the mail was handed over, and for three guesses. Was the answer lost?
    /// Send it again: `already-active` says that it was done. A mail tells the owner.
    #[oai(path = "/v1/users/me/activation", method = "post", operation_id = "activateUser", tag = "Tag::Registration")]
    async fn activate_user(
        &self,
        client: Client,
        trace: Data<&TraceContext>,
        credentials: Credentials,
        body: Body<ActivateUser>,
    ) -> poem::Result<Found> {
        let code = body.parse(&self.policy)?;
        let StoredUser { user, .. } = self.authenticate(&client, credentials).await?;
        let user = self.limits.guessing(&client, self.accounts.activate(&user, &code, Some(*trace.0))).await?;
        Ok(Found::Ok(Reply(user.into())))
    }

    /// Ask for another code
    ///
    /// At most one a minute at first; the wait doubles each time, up to four hours, and is forgotten after a day. Was the
    /// answer lost? `too-many-codes` says that a mail is on the way.
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
        credentials: Credentials,
    ) -> poem::Result<Queued> {
        let StoredUser { user, .. } = self.authenticate(&client, credentials).await?;
        let wait = self.limits.asking(&client, self.accounts.resend(&user, Some(*trace.0))).await?;
        Ok(Queued::Accepted(Reply(CodeQueued { retry_after: whole_seconds(wait).cast_signed() })))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;

    fn parse<T: RequestSchema>(body: &[u8]) -> Result<T::Parsed, Problem> {
        Body::<T>::read(body)?.parse(&Policy::default())
    }

    /// Any JSON text, with every string beginning with a word to be looked for.
    fn text() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(|text| Value::from(format!("c4n4ry{text}"))),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((member(), inner), 0..4).prop_map(|members| Value::from(Map::from_iter(members))),
            ]
        })
    }

    fn member() -> impl Strategy<Value = String> {
        prop_oneof![Just("email"), Just("password"), Just("code"), Just("a/b~c"), Just("")].prop_map(ToOwned::to_owned)
    }

    proptest! {
        #[test]
        fn no_body_panics(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse::<RegisterUser>(&body);
            let _ = parse::<ActivateUser>(&body);
        }

        #[test]
        fn no_body_is_repeated_and_every_fault_has_its_pointer(body in text()) {
            let bytes = body.to_string().into_bytes();
            for problem in [parse::<RegisterUser>(&bytes).err(), parse::<ActivateUser>(&bytes).err()] {
                // No canary is an address or a code.
                let problem = problem.expect("it lacks what it must have").to_json();
                prop_assert!(!problem.to_string().contains("c4n4ry"), "{problem}");
                for error in problem["errors"].as_array().expect("they are named") {
                    let pointer = error["pointer"].as_str().expect("a string");
                    // Into the body, or to a member that it lacks.
                    let lacks = ["/email", "/password", "/code"].contains(&pointer);
                    prop_assert!(lacks || body.pointer(pointer).is_some(), "{pointer}");
                }
            }
        }

        #[test]
        fn what_may_be_chosen_can_be_presented(input in any::<String>()) {
            let body = json!({ "email": "ada@example.com", "password": input }).to_string();
            if let Ok((_, chosen)) = parse::<RegisterUser>(body.as_bytes()) {
                let presented = Password::present(&input).expect("it was accepted before");
                prop_assert_eq!(chosen.expose(), presented.expose());
                let again = Password::present(chosen.expose()).expect("it is itself");
                prop_assert_eq!(again.expose(), chosen.expose());
            }
        }

        #[test]
        fn a_guess_is_what_the_pattern_says(input in "[0-9a٣ ]{0,12}") {
            let body = json!({ "code": input }).to_string();
            let digits = input.bytes().all(|byte| byte.is_ascii_digit()) && [4, 10].contains(&input.len());
            prop_assert_eq!(parse::<ActivateUser>(body.as_bytes()).is_ok(), digits);
        }
    }
}
