//! Asking for another code, for a registration that is still pending.

use std::time::Duration;

use metrics::counter;
use thiserror::Error;

use super::Accounts;
use super::ports::{Codes, Regrant, StoreError, Users};
use crate::domain::user::{Status, User};

#[derive(Debug, Error)]
pub enum ResendError {
    #[error("the user is active already")]
    AlreadyActive,
    #[error("the address was granted a code too short a time ago")]
    TooSoon { left: Duration },
    /// The registration was replaced since its credentials were checked.
    #[error("the registration is gone")]
    Gone,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl<U: Users, C: Codes> Accounts<U, C> {
    /// Queues a new code for an authenticated user. Returns how long until the next can be asked for.
    pub async fn resend(&self, user: &User) -> Result<Duration, ResendError> {
        if user.status != Status::Pending {
            return Err(ResendError::AlreadyActive);
        }
        match self.users.grant_again(user.id, self.entropy.nonce()).await? {
            Regrant::Granted { wait } => {
                self.mail_queued.notify_one();
                Ok(wait)
            }
            Regrant::TooSoon { left } => {
                counter!("sixty_limited_requests_total", "limit" => "address").increment(1);
                Err(ResendError::TooSoon { left })
            }
            Regrant::NotPending if self.users.find(user.id).await?.is_some() => Err(ResendError::AlreadyActive),
            Regrant::NotPending => Err(ResendError::Gone),
        }
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::super::memory::Twins;
    use super::*;

    #[tokio::test]
    async fn a_later_grant_replaces_the_earlier_one() {
        let twins = Twins::new();
        let ada = twins.register("ada@example.com", "correct horse").await.unwrap();
        let old = twins.mail(&ada).await;
        assert!(matches!(twins.accounts.resend(&ada).await, Err(ResendError::TooSoon { .. })));

        twins.clock.advance(Duration::from_secs(60));
        assert_eq!(twins.accounts.resend(&ada).await.unwrap(), Duration::from_secs(120));
        let new = twins.mail(&ada).await;
        assert_ne!(old, new);
        assert!(twins.accounts.activate(&ada, &old).await.is_err());
        assert!(twins.accounts.activate(&ada, &new).await.is_ok());
        assert!(matches!(
            twins.accounts.resend(&ada).await,
            Err(ResendError::AlreadyActive | ResendError::TooSoon { .. })
        ));
    }

    #[tokio::test]
    async fn a_replaced_registration_is_gone() {
        let twins = Twins::new();
        let ada = twins.register("ada@example.com", "correct horse").await.unwrap();
        twins.clock.advance(Duration::from_secs(60));
        twins.register("ada@example.com", "battery staple").await.unwrap();
        twins.clock.advance(Duration::from_secs(120));
        assert!(matches!(twins.accounts.resend(&ada).await, Err(ResendError::Gone)));
    }
}
