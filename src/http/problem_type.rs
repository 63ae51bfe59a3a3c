//! Problem types (RFC 9457): the name, status, title and advice of each.

use poem::http::StatusCode;

/// A problem type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemType {
    MalformedRequest,
    Unauthenticated,
    AccountDisabled,
    Forbidden,
    RegistrationClosed,
    NotFound,
    UserNotFound,
    MethodNotAllowed,
    EmailTaken,
    AlreadyActive,
    NotActive,
    LastAdmin,
    CodeExpired,
    PayloadTooLarge,
    UnsupportedMediaType,
    InvalidField,
    IncorrectCode,
    TooManyCodes,
    TooManyRequests,
    Internal,
    Unavailable,
}

impl ProblemType {
    pub const ALL: [Self; 21] = [
        Self::MalformedRequest,
        Self::Unauthenticated,
        Self::AccountDisabled,
        Self::Forbidden,
        Self::RegistrationClosed,
        Self::NotFound,
        Self::UserNotFound,
        Self::MethodNotAllowed,
        Self::EmailTaken,
        Self::AlreadyActive,
        Self::NotActive,
        Self::LastAdmin,
        Self::CodeExpired,
        Self::PayloadTooLarge,
        Self::UnsupportedMediaType,
        Self::InvalidField,
        Self::IncorrectCode,
        Self::TooManyCodes,
        Self::TooManyRequests,
        Self::Internal,
        Self::Unavailable,
    ];

    /// The last segment of the `type` member: `/problems/<name>`.
    pub fn name(self) -> &'static str {
        self.definition().0
    }

    pub fn status(self) -> StatusCode {
        self.definition().1
    }

    pub fn title(self) -> &'static str {
        self.definition().2
    }

    /// What the client can do, for the page at `/problems/<name>`.
    pub fn advice(self) -> &'static str {
        self.definition().3
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|problem_type| problem_type.name() == name)
    }

    /// Name, status, title and advice.
    fn definition(self) -> (&'static str, StatusCode, &'static str, &'static str) {
        match self {
            Self::MalformedRequest => (
                "malformed-request",
                StatusCode::BAD_REQUEST,
                "The request cannot be read",
                "Send one Host header, and a complete body: JSON in UTF-8, without duplicate member names.",
            ),
            Self::Unauthenticated => (
                "unauthenticated",
                StatusCode::UNAUTHORIZED,
                "The credentials are missing or wrong",
                "Send the e-mail address and the password by HTTP Basic authentication, in UTF-8. The member \
                 detail says what is missing. If a pending address was registered again, only the latest password is valid. If \
                 the owner of the address has deleted the registration by the link in its mail, register again.",
            ),
            Self::AccountDisabled => (
                "account-disabled",
                StatusCode::FORBIDDEN,
                "The account is disabled",
                "The credentials are correct, but an operator has disabled the account. Contact the operator.",
            ),
            Self::Forbidden => (
                "forbidden",
                StatusCode::FORBIDDEN,
                "Only admins may do this",
                "The credentials are correct, but the user's role is not admin. Ask an admin or the operator: the command \
                 sixty users creates the first admin.",
            ),
            Self::RegistrationClosed => (
                "registration-closed",
                StatusCode::FORBIDDEN,
                "Registration is closed",
                "The operator of the service accepts no new registrations. Ask the operator for an account. A registration that is \
                 pending can still be activated, and accounts work as before.",
            ),
            Self::UserNotFound => (
                "user-not-found",
                StatusCode::NOT_FOUND,
                "There is no such user",
                "Find the user's id with GET /v1/users. Every registration gets a new id.",
            ),
            Self::NotFound => (
                "not-found",
                StatusCode::NOT_FOUND,
                "There is nothing here",
                "Compare the path with /openapi.json. Upper case, a trailing slash and a missing /v1 all matter.",
            ),
            Self::MethodNotAllowed => (
                "method-not-allowed",
                StatusCode::METHOD_NOT_ALLOWED,
                "This path does not allow the method",
                "Use a method that the response header Allow lists.",
            ),
            Self::EmailTaken => (
                "email-taken",
                StatusCode::CONFLICT,
                "The address has an account already",
                "Use the account with its password, or ask the operator for another one. Nothing was changed, and no mail is sent.",
            ),
            Self::AlreadyActive => (
                "already-active",
                StatusCode::CONFLICT,
                "The account is active already",
                "No action is needed: an active account needs no code.",
            ),
            Self::NotActive => (
                "not-active",
                StatusCode::CONFLICT,
                "The account is not active",
                "Activate the account first, with the code in the mail. Nothing was changed. At GET /v1/auth the status is 403.",
            ),
            Self::LastAdmin => (
                "last-admin",
                StatusCode::CONFLICT,
                "No admin would be left",
                "Give another active account the role admin first. Nothing was changed.",
            ),
            Self::CodeExpired => (
                "code-expired",
                StatusCode::GONE,
                "There is no live code",
                "Request another code with POST /v1/users/me/verification-code. Use it within one minute after the mail. If \
                 the owner of the address has deleted the registration by the link in its mail, register again.",
            ),
            Self::PayloadTooLarge => (
                "payload-too-large",
                StatusCode::PAYLOAD_TOO_LARGE,
                "The body is too large",
                "Send only the members that the operation declares. They fit into 16 KiB.",
            ),
            Self::UnsupportedMediaType => (
                "unsupported-media-type",
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "The body's media type is not supported",
                "Send Content-Type: application/json.",
            ),
            Self::InvalidField => (
                "invalid-field",
                StatusCode::UNPROCESSABLE_ENTITY,
                "A field is invalid",
                "The member errors lists every invalid field and what it must be.",
            ),
            Self::IncorrectCode => (
                "incorrect-code",
                StatusCode::UNPROCESSABLE_ENTITY,
                "The code is wrong",
                "Compare the code with the latest mail. The member attempts_remaining says how many guesses are left. \
                 After the last wrong guess the code is destroyed: request another code.",
            ),
            Self::TooManyCodes => (
                "too-many-codes",
                StatusCode::TOO_MANY_REQUESTS,
                "A code was asked for too recently",
                "Look for the mail with the code, or wait for retry_after seconds and request another code. The wait \
                 doubles with every code. It is reset after a day without a code.",
            ),
            Self::TooManyRequests => (
                "too-many-requests",
                StatusCode::TOO_MANY_REQUESTS,
                "Too many requests from this network",
                "Wait for retry_after seconds. The service limits registrations, requests for codes, changes of password, \
                 wrong codes and wrong credentials per network. A network is an IPv4 address, or the first 64 bits of an \
                 IPv6 address. Nothing was changed.",
            ),
            Self::Internal => (
                "internal",
                StatusCode::INTERNAL_SERVER_ERROR,
                "The service failed",
                "The request did not cause the error. Report the X-Request-Id of the response to the operator.",
            ),
            Self::Unavailable => (
                "unavailable",
                StatusCode::SERVICE_UNAVAILABLE,
                "The service is temporarily unavailable",
                "Send the same request again after retry_after seconds.",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_found_by_its_name() {
        for problem_type in ProblemType::ALL {
            assert_eq!(ProblemType::from_name(problem_type.name()), Some(problem_type));
        }
        assert_eq!(ProblemType::from_name("nonsense"), None);
    }
}
