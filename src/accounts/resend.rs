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
        match self.users.grant_again(user.id, self.rng.nonce()).await? {
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
