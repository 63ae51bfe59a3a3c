//! Problems: the error responses of the API (RFC 9457). `problem_type.rs` lists their types.
//!
//! A problem holds only what the client may read; `error_mapping.rs` logs the rest.

use std::time::Duration;

use poem::http::{HeaderValue, StatusCode, header};
use poem::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};

use super::problem_type::ProblemType;
use crate::accounts::errors::NoCodeReason;

pub const MEDIA_TYPE: &str = "application/problem+json";
/// The `WWW-Authenticate` header: the realm, and UTF-8 as the charset of credentials (RFC 7617).
pub const CHALLENGE: &str = r#"Basic realm="sixty", charset="UTF-8""#;
/// The `WWW-Authenticate` header for a web page's script. The scheme is unknown to browsers, so that they show the script
/// the response instead of a login box.
pub const SCRIPT_CHALLENGE: &str = r#"xBasic realm="sixty", charset="UTF-8""#;

/// The detail for the credentials of a registration that the owner of the address has deleted.
pub const DISOWNED: &str =
    "The registration was deleted: the link \"This was not me\" in its mail was used. Register again.";

/// An invalid field of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    #[serde(flatten)]
    pub location: FieldLocation,
    pub detail: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FieldLocation {
    /// A JSON pointer (RFC 6901) into the request body.
    Pointer(String),
    /// The name of a query parameter or of a header.
    Parameter(&'static str),
}

/// A problem: the content of one error response.
#[derive(Debug, Clone)]
pub struct Problem {
    problem_type: ProblemType,
    status: StatusCode,
    detail: String,
    errors: Vec<FieldError>,
    attempts_remaining: Option<u8>,
    retry_after: Option<Duration>,
    allow: Option<String>,
}

impl Problem {
    pub fn new(problem_type: ProblemType, detail: impl Into<String>) -> Self {
        Self {
            problem_type,
            status: problem_type.status(),
            detail: detail.into(),
            errors: vec![],
            attempts_remaining: None,
            retry_after: None,
            allow: None,
        }
    }

    pub fn unauthenticated() -> Self {
        Self::new(
            ProblemType::Unauthenticated,
            "No user has this address and password. A pending registration ends when its address is registered again, or \
             when the link \"This was not me\" in its mail is used.",
        )
    }

    /// The request has no credentials that can be read, or they were right until another request changed what they belong to.
    /// The detail must not depend on whether a user exists, unless the credentials were right.
    pub fn unauthenticated_because(detail: &str) -> Self {
        Self::new(ProblemType::Unauthenticated, detail)
    }

    pub fn invalid(errors: Vec<FieldError>) -> Self {
        Self { errors, ..Self::new(ProblemType::InvalidField, "Some fields of the body are invalid.") }
    }

    /// A header is invalid, and perhaps fields of the body too.
    pub fn invalid_header(errors: Vec<FieldError>) -> Self {
        Self { errors, ..Self::new(ProblemType::InvalidField, "Some headers or fields of the body are invalid.") }
    }

    pub fn invalid_parameters(errors: Vec<FieldError>) -> Self {
        Self { errors, ..Self::new(ProblemType::InvalidField, "Some query parameters are invalid.") }
    }

    /// One member of the body is invalid.
    pub fn invalid_member(name: &str, error: &impl std::error::Error) -> Self {
        Self::invalid(vec![FieldError {
            location: FieldLocation::Pointer(format!("/{name}")),
            detail: error.to_string(),
        }])
    }

    pub fn method_not_allowed(allow: String) -> Self {
        let detail = format!("This path allows {allow}.");
        Self { allow: Some(allow), ..Self::new(ProblemType::MethodNotAllowed, detail) }
    }

    pub fn unavailable(detail: impl Into<String>, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..Self::new(ProblemType::Unavailable, detail) }
    }

    pub fn internal() -> Self {
        Self::new(ProblemType::Internal, "The service logged the error with the id in X-Request-Id.")
    }

    pub fn account_disabled() -> Self {
        Self::new(ProblemType::AccountDisabled, "An operator has disabled this account.")
    }

    pub fn forbidden() -> Self {
        Self::new(ProblemType::Forbidden, "This user does not have the role admin.")
    }

    pub fn user_not_found() -> Self {
        Self::new(ProblemType::UserNotFound, "No user has this id.")
    }

    pub fn malformed_user_id() -> Self {
        Self::new(ProblemType::UserNotFound, "No user has this id: ids are UUIDs with hyphens.")
    }

    pub fn last_admin() -> Self {
        Self::new(ProblemType::LastAdmin, "This is the only active admin; nothing was changed.")
    }

    pub fn registration_closed() -> Self {
        Self::new(ProblemType::RegistrationClosed, "This service accepts no new registrations.")
    }

    pub fn email_taken() -> Self {
        Self::new(ProblemType::EmailTaken, "This address belongs to an account; nothing was changed.")
    }

    pub fn already_active() -> Self {
        Self::new(ProblemType::AlreadyActive, "The account was activated before; no code is needed.")
    }

    pub fn not_active() -> Self {
        Self::new(ProblemType::NotActive, "This registration is still pending; its code activates it.")
    }

    /// A gateway must not let a pending registration through: 403, which gateways pass on to their client.
    pub fn not_active_for_gateway() -> Self {
        Self { status: StatusCode::FORBIDDEN, ..Self::not_active() }
    }

    /// `wait`: how long until the address may request the next code.
    pub fn too_many_codes(wait: Duration) -> Self {
        let detail = format!("The next code for this address can be asked for in {} s.", whole_seconds(wait));
        Self { retry_after: Some(wait), ..Self::new(ProblemType::TooManyCodes, detail) }
    }

    /// Says in the detail that the registration ticket of the request was not accepted.
    pub fn with_refused_ticket(mut self) -> Self {
        if self.problem_type == ProblemType::TooManyCodes {
            self.detail += " The registration ticket was not accepted: it was used, has expired, was replaced by a later one, \
                            or belongs to another address.";
        }
        self
    }

    /// `reason`: what the client's network did too often. `wait`: how long until it may try again.
    pub fn too_many_requests(reason: &str, wait: Duration) -> Self {
        let detail = format!("{reason} from this network; try again in {} s.", whole_seconds(wait).max(1));
        Self { retry_after: Some(wait), ..Self::new(ProblemType::TooManyRequests, detail) }
    }

    pub fn problem_type(&self) -> ProblemType {
        self.problem_type
    }

    /// The status of the response.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    pub fn is_server_error(&self) -> bool {
        self.status.is_server_error()
    }

    pub fn incorrect_code(remaining: u8) -> Self {
        let pointer = FieldError {
            location: FieldLocation::Pointer("/code".to_owned()),
            detail: "is not the code of the latest mail".to_owned(),
        };
        let detail = match remaining {
            0 => "The code was wrong for the third time and is destroyed; ask for another.".to_owned(),
            1 => "The code is wrong; one guess is left.".to_owned(),
            n => format!("The code is wrong; {n} guesses are left."),
        };
        Self {
            errors: vec![pointer],
            attempts_remaining: Some(remaining),
            ..Self::new(ProblemType::IncorrectCode, detail)
        }
    }

    pub fn no_code(reason: NoCodeReason) -> Self {
        Self::new(
            ProblemType::CodeExpired,
            match reason {
                NoCodeReason::OnItsWay => "No code is live yet: the mail is still on its way.",
                NoCodeReason::NotMailed => {
                    "No code is live: its mail was sent long ago or could not be sent; ask for another."
                }
                NoCodeReason::Expired => "The code has expired; ask for another.",
                NoCodeReason::Destroyed => "The code was destroyed by three wrong guesses; ask for another.",
            },
        )
    }

    /// The new address is the one that the account has.
    pub fn same_address() -> Self {
        let (pointer, detail) = ("/email".to_owned(), "is the address of the account already".to_owned());
        Self::invalid(vec![FieldError { location: FieldLocation::Pointer(pointer), detail }])
    }

    /// The code was right, but its change of address is no longer the latest one.
    pub fn address_change_gone() -> Self {
        Self::new(
            ProblemType::CodeExpired,
            "The change of address was confirmed, replaced or taken back in the meantime; ask for another.",
        )
    }

    /// The address has no live reset code. The detail is the same for every reason: it must not reveal an account.
    pub fn no_reset_code() -> Self {
        Self::new(
            ProblemType::CodeExpired,
            "No reset code of this address is live: none was asked for, or it has expired, was used or replaced, or was \
             destroyed by three wrong guesses. Ask for another.",
        )
    }

    /// The owner of the address has deleted the registration that the credentials belong to, and its code with it.
    pub fn disowned() -> Self {
        Self::new(ProblemType::CodeExpired, DISOWNED)
    }

    /// The registration that the credentials belong to was replaced or deleted after they were checked.
    pub fn registration_gone() -> Self {
        Self::new(ProblemType::CodeExpired, "The registration was replaced or deleted in the meantime; register again.")
    }

    /// The code is right, so the client reads the mailbox and may know: an operator has created or imported an account of the
    /// address after the registration.
    pub fn email_taken_meanwhile() -> Self {
        Self::new(
            ProblemType::EmailTaken,
            "The code is right, but the people who run the service have made an account of this address in the meantime. Use \
             that account: this registration cannot become one.",
        )
    }

    /// For admins: this registration stands beside an account of its address.
    pub fn email_taken_by_another_user() -> Self {
        Self::new(
            ProblemType::EmailTaken,
            "Another user has an account of this address, so this registration cannot become one; nothing was changed.",
        )
    }

    /// An example of a problem type, for the OpenAPI document.
    pub fn example(problem_type: ProblemType) -> Self {
        let detail = |detail: &str| Self::new(problem_type, detail);
        match problem_type {
            ProblemType::MalformedRequest => detail("The body broke off."),
            ProblemType::Unauthenticated => Self::unauthenticated(),
            ProblemType::AccountDisabled => Self::account_disabled(),
            ProblemType::Forbidden => Self::forbidden(),
            ProblemType::RegistrationClosed => Self::registration_closed(),
            ProblemType::UserNotFound => Self::user_not_found(),
            ProblemType::NotFound => detail("There is nothing at this path."),
            ProblemType::MethodNotAllowed => Self::method_not_allowed("GET, HEAD".to_owned()),
            ProblemType::EmailTaken => Self::email_taken(),
            ProblemType::AlreadyActive => Self::already_active(),
            ProblemType::NotActive => Self::not_active(),
            ProblemType::LastAdmin => Self::last_admin(),
            ProblemType::CodeExpired => Self::no_code(NoCodeReason::Expired),
            ProblemType::PayloadTooLarge => detail("The body is larger than 16384 bytes."),
            ProblemType::UnsupportedMediaType => {
                detail("The header Content-Type is missing; the body must be application/json.")
            }
            ProblemType::InvalidField => {
                let (pointer, detail) = ("/password".to_owned(), "must have at least 8 characters".to_owned());
                Self::invalid(vec![FieldError { location: FieldLocation::Pointer(pointer), detail }])
            }
            ProblemType::IncorrectCode => Self::incorrect_code(2),
            ProblemType::TooManyCodes => Self::too_many_codes(Duration::from_secs(42)),
            ProblemType::TooManyRequests => {
                Self::too_many_requests("Too many mails were requested", Duration::from_secs(36))
            }
            ProblemType::Internal => Self::internal(),
            ProblemType::Unavailable => Self::unavailable("Redis does not answer.", Duration::from_secs(1)),
        }
    }

    /// The description of a problem type in JSON, as `/problems/{name}` returns it.
    pub fn description(problem_type: ProblemType) -> Value {
        let (name, status) = (problem_type.name(), problem_type.status().as_u16());
        json!({ "name": name, "status": status, "title": problem_type.title(), "advice": problem_type.advice() })
    }

    /// The members of the problem, as JSON.
    pub fn to_json(&self) -> Value {
        let mut members = json!({
            "type": format!("/problems/{}", self.problem_type.name()),
            "title": self.problem_type.title(),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if !self.errors.is_empty() {
            members["errors"] = json!(self.errors);
        }
        if let Some(remaining) = self.attempts_remaining {
            members["attempts_remaining"] = json!(remaining);
        }
        if let Some(seconds) = self.retry_after_seconds() {
            members["retry_after"] = json!(seconds);
        }
        members
    }

    fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after.map(|wait| whole_seconds(wait).max(1))
    }
}

/// Seconds, rounded up, so that a client that waits this long is not too early.
pub fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = self.to_json().to_string();
        // A final newline, for terminals.
        body.push('\n');
        let mut response = Response::builder().status(self.status).content_type(MEDIA_TYPE).body(body);
        let headers = response.headers_mut();
        if self.problem_type == ProblemType::Unauthenticated {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE));
        }
        if self.problem_type == ProblemType::UnsupportedMediaType {
            // The supported media type and encoding (RFC 9110, section 15.5.16).
            headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        if let Some(seconds) = self.retry_after_seconds() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(allow) = self.allow.and_then(|allow| HeaderValue::try_from(allow).ok()) {
            headers.insert(header::ALLOW, allow);
        }
        response
    }
}

impl From<Problem> for poem::Error {
    fn from(problem: Problem) -> Self {
        Self::from_response(problem.into_response())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn body(problem: Problem) -> String {
        let response = problem.into_response();
        assert_eq!(response.content_type(), Some(MEDIA_TYPE));
        response.into_body().into_string().await.unwrap().trim_end().to_owned()
    }

    #[tokio::test]
    async fn problems_are_written_as_json() {
        insta::assert_snapshot!(
            body(Problem::incorrect_code(1)).await,
            @r#"{"type":"/problems/incorrect-code","title":"The code is wrong","status":422,"detail":"The code is wrong; one guess is left.","errors":[{"pointer":"/code","detail":"is not the code of the latest mail"}],"attempts_remaining":1}"#
        );
        insta::assert_snapshot!(
            body(Problem::too_many_codes(Duration::from_millis(1500))).await,
            @r#"{"type":"/problems/too-many-codes","title":"A code was asked for too recently","status":429,"detail":"The next code for this address can be asked for in 2 s.","retry_after":2}"#
        );
    }

    #[test]
    fn problems_carry_the_headers_of_their_status() {
        let response = Problem::unauthenticated().into_response();
        assert_eq!(response.header("www-authenticate"), Some(CHALLENGE));
        let response = Problem::unavailable("", Duration::ZERO).into_response();
        assert_eq!(response.header("retry-after"), Some("1"));
        let response = Problem::method_not_allowed("GET, HEAD".to_owned()).into_response();
        assert_eq!(response.header("allow"), Some("GET, HEAD"));
    }
}
