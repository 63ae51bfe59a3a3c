//! The errors of all use cases. The ports return the same types, so each refusal has one name between store and HTTP.

use std::time::Duration;

use thiserror::Error;

use crate::passwords::Overloaded;

/// A store could not be used, or returned data that cannot be valid. A missing row is not an error.
#[derive(Debug, Clone, Error)]
pub enum StoreError {
    /// The store cannot be used now; the same call may succeed later. Whether a change was written is unknown.
    #[error("{store} is unavailable: {reason}")]
    Unavailable {
        store: &'static str,
        /// What clients may read, after the name of the store: "does not answer".
        summary: &'static str,
        /// What operators read.
        reason: String,
    },
    /// A defect of this program or of the stored data, or a missing right in the store.
    #[error("{store} refused a call: {reason}")]
    Broken { store: &'static str, reason: String },
}

#[derive(Debug, Error)]
pub enum RegisterError {
    /// Only with [`Registration::Closed`](super::Registration::Closed).
    #[error("registration is closed")]
    Closed,
    /// Only with [`ExistingAccount::Reveal`](super::ExistingAccount::Reveal).
    #[error("the address has an account")]
    Taken,
    /// The wait between two code mails to the address is not over. Nothing was written.
    #[error("the next code mail to the address is allowed in {left:?}")]
    TooSoon { left: Duration },
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Debug, Error)]
pub enum ResendError {
    #[error("the account is active already")]
    AlreadyActive,
    /// The wait between two code mails to the address is not over. Nothing was written.
    #[error("the next code mail to the address is allowed in {left:?}")]
    TooSoon { left: Duration },
    /// The registration was replaced or deleted after its credentials were checked.
    #[error("the registration no longer exists")]
    Gone,
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Debug, Error)]
pub enum ActivateError {
    #[error("the account is active already")]
    AlreadyActive,
    #[error("the user has no live code")]
    NoCode(NoCodeReason),
    /// The registration was replaced or deleted after its credentials were checked, and its code with it.
    #[error("the registration no longer exists")]
    Gone,
    /// The code is right, but an operator has created or imported an account of the address in the meantime.
    #[error("the address has an account")]
    Taken,
    /// The guess was wrong. `remaining` guesses are left; at 0 this guess destroyed the code.
    #[error("the code is wrong")]
    Incorrect { remaining: u8 },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a user has no live code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoCodeReason {
    /// The mail with the code is queued.
    OnItsWay,
    /// No code was mailed in the last hour, or its mail was given up.
    NotMailed,
    /// The code was mailed, and its lifetime is over. Or Redis lost the wrong guesses at the code.
    Expired,
    /// Wrong guesses destroyed the code.
    Destroyed,
}

/// Why an operator's request for a pending registration was refused. Nothing was changed.
#[derive(Debug, Error)]
pub enum OperatorError {
    #[error("no user has this id")]
    NotFound,
    #[error("the account is active already")]
    AlreadyActive,
    /// The registration stands beside an account of the same address, and can never become one.
    #[error("the address has an account")]
    Taken,
    /// The wait between two code mails to the address is not over.
    #[error("the next code mail to the address is allowed in {left:?}")]
    TooSoon { left: Duration },
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Debug, Error)]
pub enum AuthenticateError {
    /// An unknown address and a wrong password give the same error.
    #[error("no user has this address and password")]
    WrongCredentials,
    /// The credentials are right, but an operator disabled the account.
    #[error("the account is disabled")]
    Disabled,
    /// The credentials are those of a registration that the owner of the address has deleted.
    #[error("the owner of the address has deleted the registration")]
    Disowned,
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Debug, Error)]
pub enum ChangePasswordError {
    #[error("the user is not active")]
    NotActive,
    /// An operator disabled the account after its credentials were checked.
    #[error("the account is disabled")]
    Disabled,
    /// The password was changed, or the account deleted, after its credentials were checked.
    #[error("the password is no longer the one that was checked")]
    Changed,
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Debug, Error)]
pub enum RequestResetError {
    /// The wait between two reset mails to the address is not over. Nothing was written.
    #[error("the next reset mail to the address is allowed in {left:?}")]
    TooSoon { left: Duration },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The password was not changed.
#[derive(Debug, Error)]
pub enum ResetPasswordError {
    /// The address has no live code. The reason is not told: it could reveal whether the address has an account.
    #[error("the address has no live code")]
    NoCode,
    /// The guess was wrong. `remaining` guesses are left; at 0 this guess destroyed the code.
    #[error("the code is wrong")]
    Incorrect { remaining: u8 },
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Nothing was changed.
#[derive(Debug, Error)]
pub enum SetLocaleError {
    /// The registration was replaced or the account deleted after its credentials were checked.
    #[error("the user no longer exists")]
    Gone,
    /// An operator disabled the account after its credentials were checked.
    #[error("the account is disabled")]
    Disabled,
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Debug, Error)]
pub enum RequestAddressError {
    #[error("the user is not active")]
    NotActive,
    #[error("the account has this address")]
    SameAddress,
    /// The wait between two code mails to the new address is not over. Nothing was written.
    #[error("the next code mail to the address is allowed in {left:?}")]
    TooSoon { left: Duration },
    /// The password was changed, or the account disabled or deleted, after its credentials were checked.
    #[error("the password is no longer the one that was checked")]
    Changed,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The address was not changed.
#[derive(Debug, Error)]
pub enum ConfirmAddressError {
    #[error("the user is not active")]
    NotActive,
    #[error("the user has no live code for another address")]
    NoCode(NoCodeReason),
    /// The guess was wrong. `remaining` guesses are left; at 0 this guess destroyed the code.
    #[error("the code is wrong")]
    Incorrect { remaining: u8 },
    /// The code is right, but the address has got an account in the meantime.
    #[error("the address has an account")]
    Taken,
    /// The change was confirmed, replaced or taken back, or the password was changed, in the meantime.
    #[error("the change no longer exists")]
    Changed,
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Nothing was deleted.
#[derive(Debug, Error)]
pub enum DeleteError {
    #[error("no user has this id")]
    NotFound,
    /// An operator disabled the account after its credentials were checked. Only operators delete disabled accounts.
    #[error("the account is disabled")]
    Disabled,
    #[error("the user is the only active admin")]
    LastAdmin,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Nothing was changed.
#[derive(Debug, Error)]
pub enum UpdateError {
    #[error("no user has this id")]
    NotFound,
    /// The registration is pending: it must be activated first.
    #[error("the user is not active")]
    NotActive,
    #[error("the user is the only active admin")]
    LastAdmin,
    #[error(transparent)]
    Store(#[from] StoreError),
}
