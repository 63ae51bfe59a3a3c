//! Queued code mails, as tests read it from a fake or from the outbox table.

use crate::domain::code::{CodeLength, Grant, Nonce};
use crate::domain::email::{Address, Email};
use crate::domain::user::UserId;

/// A code mail that is not sent yet, with all inputs of its code but the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueuedMail {
    pub user: UserId,
    pub grant: Grant,
    pub nonce: Nonce,
    pub length: CodeLength,
}

/// A reset mail that is not sent yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedReset {
    pub address: Address,
    pub grant: Grant,
    pub nonce: Nonce,
    pub length: CodeLength,
}

/// A code mail to a new address that is not sent yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedAddressChange {
    pub email: Email,
    pub grant: Grant,
    pub nonce: Nonce,
    pub length: CodeLength,
}
