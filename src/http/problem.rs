//! Every error of the API is a problem (RFC 9457); `kind.rs` lists the kinds.
//!
//! A problem holds only what the client may read; `error_mapping.rs` logs the rest.

use std::time::Duration;

use poem::http::{HeaderValue, header};
use poem::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};

use super::problem_type::ProblemType;
use crate::accounts::errors::NoCodeReason;

pub const MEDIA_TYPE: &str = "application/problem+json";
/// RFC 7617: the realm, and that credentials are UTF-8.
pub const CHALLENGE: &str = r#"Basic realm="sixty", charset="UTF-8""#;

/// One field at fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    #[serde(flatten)]
    pub at: Place,
    pub detail: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// A JSON pointer (RFC 6901) into the body.
    Pointer(String),
    /// The name of a parameter of the query.
    Parameter(&'static str),
}

/// A problem, as it is answered.
#[derive(Debug, Clone)]
pub struct Problem {
    kind: ProblemType,
    detail: String,
    errors: Vec<FieldError>,
    attempts_remaining: Option<u8>,
    retry_after: Option<Duration>,
    allow: Option<String>,
}

impl Problem {
    pub fn new(kind: ProblemType, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), errors: vec![], attempts_remaining: None, retry_after: None, allow: None }
    }

    pub fn unauthenticated() -> Self {
        Self::new(ProblemType::Unauthenticated, "No user has this address and password, or none were sent.")
    }

    pub fn invalid(errors: Vec<FieldError>) -> Self {
        Self { errors, ..Self::new(ProblemType::InvalidField, "Some of the body's fields do not hold what they must.") }
    }

    pub fn invalid_parameters(errors: Vec<FieldError>) -> Self {
        Self {
            errors,
            ..Self::new(ProblemType::InvalidField, "Some of the query's parameters do not hold what they must.")
        }
    }

    /// One member of the body is at fault.
    pub fn invalid_member(name: &str, error: &impl std::error::Error) -> Self {
        Self::invalid(vec![FieldError { at: Place::Pointer(format!("/{name}")), detail: error.to_string() }])
    }

    pub fn method_not_allowed(allow: String) -> Self {
        let detail = format!("This path answers to {allow}.");
        Self { allow: Some(allow), ..Self::new(ProblemType::MethodNotAllowed, detail) }
    }

    pub fn unavailable(detail: impl Into<String>, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..Self::new(ProblemType::Unavailable, detail) }
    }

    pub fn internal() -> Self {
        Self::new(ProblemType::Internal, "The error was logged under the id in X-Request-Id.")
    }

    pub fn account_disabled() -> Self {
        Self::new(ProblemType::AccountDisabled, "An operator has closed this account.")
    }

    pub fn forbidden() -> Self {
        Self::new(ProblemType::Forbidden, "This user is no admin.")
    }

    pub fn user_not_found() -> Self {
        Self::new(ProblemType::UserNotFound, "No user has this id.")
    }

    pub fn last_admin() -> Self {
        Self::new(ProblemType::LastAdmin, "This is the only active admin; nothing was changed.")
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

    pub fn too_many_codes(left: Duration) -> Self {
        let detail = format!("The next code for this address can be asked for in {} s.", whole_seconds(left));
        Self { retry_after: Some(left), ..Self::new(ProblemType::TooManyCodes, detail) }
    }

    /// `what` the client's network has done too often.
    pub fn too_many_requests(what: &str, left: Duration) -> Self {
        let detail = format!("{what} from this network; try again in {} s.", whole_seconds(left).max(1));
        Self { retry_after: Some(left), ..Self::new(ProblemType::TooManyRequests, detail) }
    }

    pub fn is_the_servers_fault(&self) -> bool {
        self.kind.status().is_server_error()
    }

    pub fn incorrect_code(remaining: u8) -> Self {
        let pointer = FieldError {
            at: Place::Pointer("/code".to_owned()),
            detail: "is not the code of the latest mail".to_owned(),
        };
        let detail = match remaining {
            0 => "The code was wrong for the third time and is destroyed.".to_owned(),
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
                NoCodeReason::NotMailed => "No code is live: the mail is still on its way, or was sent long ago.",
                NoCodeReason::Expired => "The code has expired; ask for another.",
                NoCodeReason::Destroyed => "The code was destroyed by three wrong guesses; ask for another.",
            },
        )
    }

    /// What was registered under these credentials was replaced by a later registration.
    pub fn replaced() -> Self {
        Self::new(ProblemType::CodeExpired, "The code was replaced: the address was registered again in the meantime.")
    }

    /// One of its kind, for the OpenAPI document.
    pub fn example(kind: ProblemType) -> Self {
        let detail = |detail: &str| Self::new(kind, detail);
        match kind {
            ProblemType::MalformedRequest => detail("The body broke off."),
            ProblemType::Unauthenticated => Self::unauthenticated(),
            ProblemType::AccountDisabled => Self::account_disabled(),
            ProblemType::Forbidden => Self::forbidden(),
            ProblemType::UserNotFound => Self::user_not_found(),
            ProblemType::NotFound => detail("There is nothing at this path."),
            ProblemType::MethodNotAllowed => Self::method_not_allowed("GET, HEAD".to_owned()),
            ProblemType::EmailTaken => Self::email_taken(),
            ProblemType::AlreadyActive => Self::already_active(),
            ProblemType::NotActive => Self::not_active(),
            ProblemType::LastAdmin => Self::last_admin(),
            ProblemType::CodeExpired => Self::no_code(NoCodeReason::Expired),
            ProblemType::PayloadTooLarge => detail("The body is larger than 16384 octets."),
            ProblemType::UnsupportedMediaType => detail("The body must be application/json in UTF-8, not compressed."),
            ProblemType::InvalidField => {
                let (pointer, detail) = ("/password".to_owned(), "must have at least 8 characters".to_owned());
                Self::invalid(vec![FieldError { at: Place::Pointer(pointer), detail }])
            }
            ProblemType::IncorrectCode => Self::incorrect_code(2),
            ProblemType::TooManyCodes => Self::too_many_codes(Duration::from_secs(42)),
            ProblemType::TooManyRequests => {
                Self::too_many_requests("Too many mails were asked for", Duration::from_secs(36))
            }
            ProblemType::Internal => Self::internal(),
            ProblemType::Unavailable => Self::unavailable("Redis does not answer.", Duration::from_secs(1)),
        }
    }

    /// What is said at the address that a problem's `type` points at.
    pub fn description(kind: ProblemType) -> Value {
        let (name, status) = (kind.name(), kind.status().as_u16());
        json!({ "name": name, "status": status, "title": kind.title(), "advice": kind.advice() })
    }

    /// The members on the wire.
    pub fn to_json(&self) -> Value {
        let mut members = json!({
            "type": format!("/problems/{}", self.kind.name()),
            "title": self.kind.title(),
            "status": self.kind.status().as_u16(),
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
        self.retry_after.map(|after| whole_seconds(after).max(1))
    }
}

/// Seconds, rounded up: who comes back after them is not too early.
pub fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = self.to_json().to_string();
        // For those who look at it in a terminal.
        body.push('\n');
        let mut response = Response::builder().status(self.kind.status()).content_type(MEDIA_TYPE).body(body);
        let headers = response.headers_mut();
        if self.kind == ProblemType::Unauthenticated {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE));
        }
        if self.kind == ProblemType::UnsupportedMediaType {
            // RFC 9110, section 15.5.16: what would have been taken.
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
    async fn a_problem_on_the_wire() {
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
    fn headers_say_what_the_status_asks_for() {
        let response = Problem::unauthenticated().into_response();
        assert_eq!(response.header("www-authenticate"), Some(CHALLENGE));
        let response = Problem::unavailable("", Duration::ZERO).into_response();
        assert_eq!(response.header("retry-after"), Some("1"));
        let response = Problem::method_not_allowed("GET, HEAD".to_owned()).into_response();
        assert_eq!(response.header("allow"), Some("GET, HEAD"));
    }
}
