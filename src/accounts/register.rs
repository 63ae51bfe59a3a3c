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
            let rows = self.users.rows(email.address()).await?;
            if rows.iter().any(|row| row.user.status != Status::Pending) {
                return Err(RegisterError::Taken);
            }
        }
        let standing = self.users.standing(email.address()).await?;
        // Only to spare the hash: the transaction decides.
        if let Some(left) = standing.wait {
            return Err(too_soon(left));
        }
        let recipe = standing.recipe.unwrap_or_else(|| self.hasher.recipe(Salt(self.entropy.bytes())));
        let hash = self.hasher.hash(password, recipe).await?;
        let new = NewUser { id: self.entropy.user_id(), email, hash: &hash, nonce: self.entropy.nonce() };
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

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::super::memory::Twins;
    use super::*;
    use crate::domain::user::Status;

    #[tokio::test]
    async fn it_writes_a_pending_user_and_one_mail() {
        let twins = Twins::new();
        let user = twins.register("Ada@Example.com", "correct horse").await.unwrap();
        assert_eq!((user.email.as_str(), user.status), ("Ada@Example.com", Status::Pending));
        assert_eq!(twins.users.queued().len(), 1);
    }

    #[tokio::test]
    async fn inside_the_wait_nothing_changes_and_after_it_the_row_is_replaced() {
        let twins = Twins::new();
        let first = twins.register("ada@example.com", "correct horse").await.unwrap();
        let again = twins.register("ADA@example.com", "battery staple").await;
        assert!(matches!(again, Err(RegisterError::TooSoon { left }) if left == Duration::from_secs(60)));
        assert!(twins.authenticate("ada@example.com", "correct horse").await.is_ok());

        twins.clock.advance(Duration::from_secs(60));
        let second = twins.register("ada@example.com", "battery staple").await.unwrap();
        assert_ne!(first.id, second.id);
        assert!(twins.authenticate("ada@example.com", "correct horse").await.is_err());
        let queued = twins.users.queued();
        assert_eq!(
            queued.iter().map(|mail| mail.user).collect::<Vec<_>>(),
            [second.id],
            "the old mail went with its row"
        );
    }

    #[tokio::test]
    async fn an_account_does_not_show() {
        let twins = Twins::new();
        let ada = twins.register("ada@example.com", "correct horse").await.unwrap();
        twins.activate(&ada).await.unwrap();
        twins.clock.advance(Duration::from_secs(60));
        let shadow = twins.register("ada@example.com", "battery staple").await.unwrap();
        assert_eq!(shadow.status, Status::Pending);
        assert_eq!(twins.authenticate("ada@example.com", "correct horse").await.unwrap().id, ada.id);
        assert_eq!(twins.authenticate("ada@example.com", "battery staple").await.unwrap().id, shadow.id);
    }

    #[tokio::test]
    async fn an_account_shows_if_that_is_wanted() {
        let twins = Twins::with(ExistingAccount::Reveal);
        let ada = twins.register("ada@example.com", "correct horse").await.unwrap();
        twins.activate(&ada).await.unwrap();
        for later in [0, 60] {
            twins.clock.advance(Duration::from_secs(later));
            let again = twins.register("ADA@example.com", "battery staple").await;
            assert!(matches!(again, Err(RegisterError::Taken)));
        }
        twins.users.disable(ada.id);
        assert!(matches!(twins.register("ada@example.com", "battery staple").await, Err(RegisterError::Taken)));
        assert!(twins.users.queued().is_empty());
    }
}
