//! Maps errors to problems: the use cases' errors, the stores' errors, and the framework's own.
//!
//! A server error is logged here, once; the log line carries the request id of its span.

use std::time::Duration;

use poem::error::ParsePathError;
use poem::http::StatusCode;
use poem::{IntoResponse, Response};

use super::path::Path;
use super::problem::{DISOWNED, Problem};
use super::problem_type::ProblemType;
use crate::accounts::errors::{
    ActivateError, AuthenticateError, ChangePasswordError, ConfirmAddressError, DeleteError, OperatorError,
    RegisterError, RequestAddressError, RequestResetError, ResendError, ResetPasswordError, SetLocaleError, StoreError,
    UpdateError,
};
use crate::passwords::Overloaded;

/// Returns the response to an error: a problem as it is, an error of the framework as the problem that it means.
///
/// `path` is the path template that the request matched, if any.
pub fn response_to(error: poem::Error, path: Option<&Path>) -> Response {
    if error.is_from_response() {
        return error.into_response();
    }
    let problem = match (error.status(), path) {
        // A path segment that is not UTF-8 cannot be the id of a user.
        (StatusCode::BAD_REQUEST, Some(path)) if error.is::<ParsePathError>() && path.template().contains("{id}") => {
            Problem::malformed_user_id()
        }
        (StatusCode::METHOD_NOT_ALLOWED, Some(path)) => Problem::method_not_allowed(path.allow()),
        (StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED, _) => {
            Problem::new(ProblemType::NotFound, "There is nothing at this path.")
        }
        (status, _) if status.is_client_error() => {
            Problem::new(ProblemType::MalformedRequest, "The request cannot be read.")
        }
        _ => {
            tracing::error!(%error, "the request failed; the response is 500");
            Problem::internal()
        }
    };
    problem.into_response()
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable { store, summary, .. } => {
                tracing::warn!(%error, "a store is unavailable; the response is 503");
                Self::unavailable(format!("{store} {summary}."), Duration::from_secs(1))
            }
            StoreError::Broken { .. } => {
                tracing::error!(%error, "a store refused a call, or returned invalid data; the response is 500");
                Self::internal()
            }
        }
    }
}

impl From<Overloaded> for Problem {
    fn from(Overloaded { retry_after }: Overloaded) -> Self {
        Self::unavailable("Too many passwords are waiting to be hashed.", retry_after)
    }
}

impl From<RegisterError> for Problem {
    fn from(error: RegisterError) -> Self {
        match error {
            RegisterError::Closed => Self::registration_closed(),
            RegisterError::Taken => Self::email_taken(),
            RegisterError::TooSoon { left } => Self::too_many_codes(left),
            RegisterError::Overloaded(error) => error.into(),
            RegisterError::Store(error) => error.into(),
        }
    }
}

impl From<ResendError> for Problem {
    fn from(error: ResendError) -> Self {
        match error {
            ResendError::AlreadyActive => Self::already_active(),
            ResendError::TooSoon { left } => Self::too_many_codes(left),
            ResendError::Gone => Self::unauthenticated_because(
                "The registration no longer exists: it was deleted, or the address was registered again.",
            ),
            ResendError::Store(error) => error.into(),
        }
    }
}

impl From<OperatorError> for Problem {
    fn from(error: OperatorError) -> Self {
        match error {
            OperatorError::NotFound => Self::user_not_found(),
            OperatorError::AlreadyActive => Self::already_active(),
            OperatorError::Taken => Self::email_taken_by_another_user(),
            OperatorError::TooSoon { left } => Self::too_many_codes(left),
            OperatorError::Store(error) => error.into(),
        }
    }
}

impl From<AuthenticateError> for Problem {
    fn from(error: AuthenticateError) -> Self {
        match error {
            AuthenticateError::WrongCredentials => Self::unauthenticated(),
            AuthenticateError::Disabled => Self::account_disabled(),
            AuthenticateError::Disowned => Self::unauthenticated_because(DISOWNED),
            AuthenticateError::Overloaded(error) => error.into(),
            AuthenticateError::Store(error) => error.into(),
        }
    }
}

impl From<DeleteError> for Problem {
    fn from(error: DeleteError) -> Self {
        match error {
            DeleteError::NotFound => Self::user_not_found(),
            DeleteError::Disabled => Self::account_disabled(),
            DeleteError::LastAdmin => Self::last_admin(),
            DeleteError::Store(error) => error.into(),
        }
    }
}

impl From<ChangePasswordError> for Problem {
    fn from(error: ChangePasswordError) -> Self {
        match error {
            ChangePasswordError::NotActive => Self::not_active(),
            ChangePasswordError::Disabled => Self::account_disabled(),
            ChangePasswordError::Changed => {
                Self::unauthenticated_because("Another request changed the password or deleted the account.")
            }
            ChangePasswordError::Overloaded(error) => error.into(),
            ChangePasswordError::Store(error) => error.into(),
        }
    }
}

impl From<RequestAddressError> for Problem {
    fn from(error: RequestAddressError) -> Self {
        match error {
            RequestAddressError::NotActive => Self::not_active(),
            RequestAddressError::SameAddress => Self::same_address(),
            RequestAddressError::TooSoon { left } => Self::too_many_codes(left),
            RequestAddressError::Changed => Self::unauthenticated_because(
                "Another request changed the password, or disabled or deleted the account.",
            ),
            RequestAddressError::Store(error) => error.into(),
        }
    }
}

impl From<ConfirmAddressError> for Problem {
    fn from(error: ConfirmAddressError) -> Self {
        match error {
            ConfirmAddressError::NotActive => Self::not_active(),
            ConfirmAddressError::NoCode(reason) => Self::no_code(reason),
            ConfirmAddressError::Incorrect { remaining } => Self::incorrect_code(remaining),
            ConfirmAddressError::Taken => Self::email_taken(),
            ConfirmAddressError::Changed => Self::address_change_gone(),
            ConfirmAddressError::Overloaded(error) => error.into(),
            ConfirmAddressError::Store(error) => error.into(),
        }
    }
}

impl From<RequestResetError> for Problem {
    fn from(error: RequestResetError) -> Self {
        match error {
            RequestResetError::TooSoon { left } => Self::too_many_codes(left),
            RequestResetError::Store(error) => error.into(),
        }
    }
}

impl From<ResetPasswordError> for Problem {
    fn from(error: ResetPasswordError) -> Self {
        match error {
            ResetPasswordError::NoCode => Self::no_reset_code(),
            ResetPasswordError::Incorrect { remaining } => Self::incorrect_code(remaining),
            ResetPasswordError::Overloaded(error) => error.into(),
            ResetPasswordError::Store(error) => error.into(),
        }
    }
}

impl From<SetLocaleError> for Problem {
    fn from(error: SetLocaleError) -> Self {
        match error {
            SetLocaleError::Gone => {
                Self::unauthenticated_because("Another request deleted the user, or registered the address again.")
            }
            SetLocaleError::Disabled => Self::account_disabled(),
            SetLocaleError::Store(error) => error.into(),
        }
    }
}

impl From<UpdateError> for Problem {
    fn from(error: UpdateError) -> Self {
        match error {
            UpdateError::NotFound => Self::user_not_found(),
            UpdateError::NotActive => Self::not_active(),
            UpdateError::LastAdmin => Self::last_admin(),
            UpdateError::Store(error) => error.into(),
        }
    }
}

impl From<ActivateError> for Problem {
    fn from(error: ActivateError) -> Self {
        match error {
            ActivateError::AlreadyActive => Self::already_active(),
            ActivateError::NoCode(reason) => Self::no_code(reason),
            ActivateError::Gone => Self::registration_gone(),
            ActivateError::Taken => Self::email_taken_meanwhile(),
            ActivateError::Incorrect { remaining } => Self::incorrect_code(remaining),
            ActivateError::Store(error) => error.into(),
        }
    }
}
