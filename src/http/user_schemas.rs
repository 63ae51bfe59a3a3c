//! Request bodies, response bodies and responses of `/v1/users`.

use poem_openapi::{ApiResponse, Enum, Object};
use time::OffsetDateTime;
use uuid::Uuid;

use super::payload::{Fields, JsonReply, RequestSchema};
use crate::domain::code::Code;
use crate::domain::email::Email;
use crate::domain::locale::Locale;
use crate::domain::password::Password;
use crate::domain::policy::Policy;
use crate::domain::user::{Role, Status, User};

#[derive(Enum)]
#[oai(rename = "Status", rename_all = "lowercase")]
enum StatusJson {
    Pending,
    Active,
    Disabled,
}

#[derive(Enum)]
#[oai(rename = "Role", rename_all = "lowercase")]
pub enum RoleJson {
    User,
    Admin,
}

/// A user. Times are RFC 3339 in UTC.
#[derive(Object)]
#[oai(rename = "User")]
pub struct UserJson {
    /// A UUIDv7. Every registration gets a new one.
    id: Uuid,
    /// The address as the user typed it.
    email: String,
    status: StatusJson,
    role: RoleJson,
    created_at: OffsetDateTime,
    /// Null while the status is pending.
    activated_at: Option<OffsetDateTime>,
    /// The language of the user's mails, as a language tag. Null: the service's default language.
    locale: Option<String>,
}

impl From<User> for UserJson {
    fn from(user: User) -> Self {
        Self {
            id: user.id.0,
            email: user.email,
            status: match user.status {
                Status::Pending => StatusJson::Pending,
                Status::Active => StatusJson::Active,
                Status::Disabled => StatusJson::Disabled,
            },
            role: match user.role {
                Role::User => RoleJson::User,
                Role::Admin => RoleJson::Admin,
            },
            created_at: user.created_at,
            activated_at: user.activated_at,
            locale: user.locale.map(|locale| locale.tag().to_owned()),
        }
    }
}

#[derive(Object)]
pub struct RegisterUser {
    /// At most 254 octets, no colon. Case, Unicode normalization form, and the spelling of the domain (IDNA) do not
    /// distinguish addresses. Dots and plus-tags do.
    #[oai(validator(max_length = 254))]
    email: String,
    /// Any Unicode characters except control characters; normalized to NFC. Common passwords and passwords derived from
    /// the address are refused.
    #[oai(validator(max_length = 128))]
    password: String,
}

impl RequestSchema for RegisterUser {
    type Parsed = (Email, Password);

    fn parse(fields: &mut Fields, policy: &Policy) -> Option<Self::Parsed> {
        let email = fields.parsed("email", |text| policy.email(text));
        let password = fields.parsed("password", |text| policy.password(text, email.as_ref()));
        Some((email?, password?))
    }
}

#[derive(Object)]
pub struct ChangePassword {
    /// The new password. Any Unicode characters except control characters; normalized to NFC. Common passwords and
    /// passwords derived from the address are refused.
    #[oai(validator(max_length = 128))]
    password: String,
}

impl RequestSchema for ChangePassword {
    type Parsed = Password;

    fn parse(fields: &mut Fields, policy: &Policy) -> Option<Password> {
        fields.parsed("password", |text| policy.password(text, None))
    }
}

/// Changes to the current user. An absent member leaves its value unchanged.
#[derive(Object)]
pub struct UpdateCurrentUser {
    /// The language of the mails, as a language tag. Null: the service's default language.
    locale: Option<String>,
}

impl RequestSchema for UpdateCurrentUser {
    /// `None` changes nothing, `Some(None)` selects the default language.
    type Parsed = Option<Option<Locale>>;

    fn parse(fields: &mut Fields, _: &Policy) -> Option<Self::Parsed> {
        fields.nullable("locale", str::parse::<Locale>)
    }
}

#[derive(Object)]
pub struct ActivateUser {
    /// The digits of the code in the latest mail. An address that requested many codes gets longer codes. White space,
    /// hyphens, dots and invisible characters are dropped; digits of any script are accepted.
    code: String,
}

impl RequestSchema for ActivateUser {
    type Parsed = Code;

    fn parse(fields: &mut Fields, policy: &Policy) -> Option<Code> {
        fields.parsed("code", |text| policy.code(text))
    }
}

#[derive(Object)]
pub struct CodeQueued {
    /// Seconds until another code can be requested.
    pub retry_after: i64,
}

#[derive(ApiResponse)]
pub enum RegisterUserResponse {
    /// The user is pending. A mail with the code is queued.
    #[oai(status = 201)]
    Created(
        JsonReply<UserJson>,
        /// The path of the new user.
        #[oai(header = "Location")]
        String,
    ),
}

#[derive(ApiResponse)]
pub enum ActivateUserResponse {
    /// The account is active.
    #[oai(status = 200)]
    Ok(JsonReply<UserJson>),
}

#[derive(ApiResponse)]
pub enum GetUserResponse {
    /// The user.
    #[oai(status = 200)]
    Ok(JsonReply<UserJson>),
}

#[derive(ApiResponse)]
pub enum DeleteUserResponse {
    /// The user is deleted.
    #[oai(status = 204)]
    NoContent,
}

#[derive(ApiResponse)]
pub enum ChangePasswordResponse {
    /// The password is changed. A mail informs the owner.
    #[oai(status = 204)]
    NoContent,
}

#[derive(ApiResponse)]
pub enum ResendCodeResponse {
    /// A mail with a new code is queued. The new code replaces the earlier one.
    #[oai(status = 202)]
    Accepted(JsonReply<CodeQueued>),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::super::payload::JsonBody;
    use super::super::problem::Problem;
    use super::*;

    fn parse<T: RequestSchema>(body: &[u8]) -> Result<T::Parsed, Problem> {
        JsonBody::<T>::read(body)?.parse(&Policy::default())
    }

    /// Any JSON text. Every string starts with `c4n4ry`, a word that must not appear in a problem.
    fn json_text() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(|text| Value::from(format!("c4n4ry{text}"))),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((member_name(), inner), 0..4)
                    .prop_map(|members| Value::from(Map::from_iter(members))),
            ]
        })
    }

    fn member_name() -> impl Strategy<Value = String> {
        prop_oneof![Just("email"), Just("password"), Just("code"), Just("a/b~c"), Just("")].prop_map(ToOwned::to_owned)
    }

    proptest! {
        #[test]
        fn parsing_any_body_does_not_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse::<RegisterUser>(&body);
            let _ = parse::<ActivateUser>(&body);
        }

        #[test]
        fn problems_point_at_every_invalid_member_and_repeat_no_value(body in json_text()) {
            let bytes = body.to_string().into_bytes();
            for problem in [parse::<RegisterUser>(&bytes).err(), parse::<ActivateUser>(&bytes).err()] {
                // A canary is neither a valid address nor a valid code.
                let problem = problem.expect("the body has no valid address and no valid code").to_json();
                prop_assert!(!problem.to_string().contains("c4n4ry"), "{problem}");
                for error in problem["errors"].as_array().expect("an invalid body has errors") {
                    let pointer = error["pointer"].as_str().expect("a pointer is a string");
                    // The pointer names a member of the body, or a required member that the body lacks.
                    let is_required = ["/email", "/password", "/code"].contains(&pointer);
                    prop_assert!(is_required || body.pointer(pointer).is_some(), "{pointer}");
                }
            }
        }

        #[test]
        fn an_accepted_password_can_authenticate(input in any::<String>()) {
            let body = json!({ "email": "ada@example.com", "password": input }).to_string();
            if let Ok((_, chosen)) = parse::<RegisterUser>(body.as_bytes()) {
                let presented = Password::present(&input).expect("registration accepted the same text");
                prop_assert_eq!(chosen.expose(), presented.expose());
                let again = Password::present(chosen.expose()).expect("the normalized form is valid");
                prop_assert_eq!(again.expose(), chosen.expose());
            }
        }

        #[test]
        fn a_code_is_4_or_10_digits_of_any_script_besides_separators(input in "[0-9٣１ .\u{200e}-]{0,14}a?") {
            let body = json!({ "code": input }).to_string();
            let digits = input.chars().filter(|c| c.is_numeric()).count();
            let accepted = parse::<ActivateUser>(body.as_bytes()).is_ok();
            prop_assert_eq!(accepted, [4, 10].contains(&digits) && !input.contains('a'));
        }

        #[test]
        fn the_pattern_of_the_document_matches_every_accepted_code(
            input in prop_oneof![any::<String>(), "\\PC{4}", "[⑩-⑳⒈-⒛]{2,5}", "[\\p{Nd} .\u{200e}\u{a0}-]{4,14}"],
        ) {
            let pattern = regex::Regex::new(&Policy::default().code_pattern()).expect("the pattern is a regular expression");
            let body = json!({ "code": input }).to_string();
            let accepted = parse::<ActivateUser>(body.as_bytes()).is_ok();
            prop_assert!(!accepted || pattern.is_match(&input), "{input:?}");
        }
    }
}
