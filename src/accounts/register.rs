//! Registering an address: hash, then user, grant and mail in one transaction.

use std::time::Duration;

use metrics::counter;
use thiserror::Error;

use super::Accounts;
use super::ports::{Codes, NewUser, Registration, StoreError, Users};
use crate::domain::email::Email;
use crate::domain::password::Password;
use crate::domain::user::{Status, User};
use crate::passwords::{Overloaded, Salt};

/// What whoever registers an address learns of its account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExistingAccount {
    /// Nothing: the answer is that of a new address, and the owner is told by mail.
    Hide,
    /// That there is one.
    Reveal,
}

#[derive(Debug, Error)]
pub enum RegisterError {
    /// Only with [`ExistingAccount::Reveal`].
    #[error("the address has an account")]
    Taken,
    #[error("the address was granted a code too short a time ago")]
    TooSoon { left: Duration },
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl<U: Users, C: Codes> Accounts<U, C> {
    /// Writes the address's pending row and queues its mail. Whether the address has an account already is not asked
    /// here, so that nothing about the answer can tell; the mail worker asks.
    pub async fn register(&self, email: &Email, password: Password) -> Result<User, RegisterError> {
        // A look is enough: an account that comes into being after it is hidden once more, and its owner told.
        if self.existing_account == ExistingAccount::Reveal {
            let rows = self.users.find_by_address(email.address()).await?;
            if rows.iter().any(|row| row.user.status != Status::Pending) {
                return Err(RegisterError::Taken);
            }
        }
        let standing = self.users.address_state(email.address()).await?;
        // Only to spare the hash: the transaction decides.
        if let Some(left) = standing.wait {
            return Err(too_soon(left));
        }
        let params = standing.params.unwrap_or_else(|| self.hasher.params(Salt(self.rng.bytes())));
        let hash = self.hasher.hash(password, params).await?;
        let new = NewUser { id: self.rng.user_id(), email, hash: &hash, nonce: self.rng.nonce() };
        match self.users.register(&new).await? {
            Registration::Registered(user) => {
                self.mail_queued.notify_one();
                counter!("sixty_registrations_total").increment(1);
                Ok(user)
            }
            Registration::TooSoon { left } => Err(too_soon(left)),
        }
    }
}

fn too_soon(left: Duration) -> RegisterError {
    counter!("sixty_limited_requests_total", "limit" => "address").increment(1);
    RegisterError::TooSoon { left }
}
