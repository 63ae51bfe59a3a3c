//! The kinds of problems: what each is called, its status, what it says, and what to do about it.

use poem::http::StatusCode;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemType {
    MalformedRequest,
    Unauthenticated,
    AccountDisabled,
    Forbidden,
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
    pub const ALL: [Self; 20] = [
        Self::MalformedRequest,
        Self::Unauthenticated,
        Self::AccountDisabled,
        Self::Forbidden,
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

    /// The last segment of the problem's `type`.
    pub fn name(self) -> &'static str {
        self.facts().0
    }

    pub fn status(self) -> StatusCode {
        self.facts().1
    }

    pub fn title(self) -> &'static str {
        self.facts().2
    }

    /// What the client can do about it.
    pub fn advice(self) -> &'static str {
        self.facts().3
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    fn facts(self) -> (&'static str, StatusCode, &'static str, &'static str) {
        match self {
            Self::MalformedRequest => (
                "malformed-request",
                StatusCode::BAD_REQUEST,
                "The request cannot be read",
                "Send a complete body that is JSON in UTF-8, with every member named once.",
            ),
            Self::Unauthenticated => (
                "unauthenticated",
                StatusCode::UNAUTHORIZED,
                "The credentials are missing or wrong",
                "Send the e-mail address and the password of the registration by HTTP Basic authentication, in UTF-8. \
                 If the address was registered again since, only the latest password counts.",
            ),
            Self::AccountDisabled => (
                "account-disabled",
                StatusCode::FORBIDDEN,
                "The account is disabled",
                "The credentials are right, but an operator has closed the account. Ask the operator.",
            ),
            Self::Forbidden => (
                "forbidden",
                StatusCode::FORBIDDEN,
                "Only admins may do this",
                "The credentials are right, but the user's role is not admin. Ask an admin, or the operator: the first admin \
                 is made by sixty users.",
            ),
            Self::UserNotFound => (
                "user-not-found",
                StatusCode::NOT_FOUND,
                "There is no such user",
                "Look for the user's id in GET /v1/users. Registering an address again gives it another id.",
            ),
            Self::NotFound => (
                "not-found",
                StatusCode::NOT_FOUND,
                "There is nothing here",
                "Compare the path with /openapi.json: upper case, a trailing slash and a missing /v1 all matter.",
            ),
            Self::MethodNotAllowed => (
                "method-not-allowed",
                StatusCode::METHOD_NOT_ALLOWED,
                "The method does not fit this path",
                "The Allow field names the methods that do.",
            ),
            Self::EmailTaken => (
                "email-taken",
                StatusCode::CONFLICT,
                "The address has an account already",
                "Use the account with the password that it was registered with. Nothing was changed, and no mail is sent.",
            ),
            Self::AlreadyActive => (
                "already-active",
                StatusCode::CONFLICT,
                "The account is active already",
                "Nothing is left to do: no code is needed any more.",
            ),
            Self::NotActive => (
                "not-active",
                StatusCode::CONFLICT,
                "The account is not active",
                "It must be activated first, with the code that was mailed to its address. Nothing has changed.",
            ),
            Self::LastAdmin => (
                "last-admin",
                StatusCode::CONFLICT,
                "No admin would be left",
                "Give another active account the role admin first. Nothing has changed.",
            ),
            Self::CodeExpired => (
                "code-expired",
                StatusCode::GONE,
                "There is no live code",
                "Ask for another by POST /v1/users/me/verification-code, and use it within its minute.",
            ),
            Self::PayloadTooLarge => (
                "payload-too-large",
                StatusCode::PAYLOAD_TOO_LARGE,
                "The body is too large",
                "Send only the members that the operation names; together they fit into 16 KiB.",
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
                "A field does not hold what it must",
                "The member errors names every field at fault and what it must hold.",
            ),
            Self::IncorrectCode => (
                "incorrect-code",
                StatusCode::UNPROCESSABLE_ENTITY,
                "The code is wrong",
                "Compare it with the latest mail. The member attempts_remaining says how many guesses are left; after \
                 the last the code is destroyed, and another must be asked for.",
            ),
            Self::TooManyCodes => (
                "too-many-codes",
                StatusCode::TOO_MANY_REQUESTS,
                "A code was asked for too recently",
                "Look for the mail that was sent, or wait as long as retry_after (in seconds) says and ask again. The \
                 wait doubles each time, and is forgotten after a day without asking.",
            ),
            Self::TooManyRequests => (
                "too-many-requests",
                StatusCode::TOO_MANY_REQUESTS,
                "Too much was asked from this network",
                "Wait as long as retry_after (in seconds) says. Registrations, requests for codes, new passwords, wrong \
                 codes and wrong credentials are counted by network: an IPv4 address, or the first 64 bits of an IPv6 \
                 address. Nothing has changed.",
            ),
            Self::Internal => (
                "internal",
                StatusCode::INTERNAL_SERVER_ERROR,
                "Something went wrong here",
                "It is not the request's fault. Report the X-Request-Id of the response to the operator.",
            ),
            Self::Unavailable => (
                "unavailable",
                StatusCode::SERVICE_UNAVAILABLE,
                "The service cannot answer now",
                "Try the same request again after as long as retry_after (in seconds) says.",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_again() {
        for kind in ProblemType::ALL {
            assert_eq!(ProblemType::from_name(kind.name()), Some(kind));
        }
        assert_eq!(ProblemType::from_name("nonsense"), None);
    }
}
