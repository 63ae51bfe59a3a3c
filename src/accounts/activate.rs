//! Activating an account: exactly once, for the credentials that were checked.

use metrics::counter;
use thiserror::Error;

use super::Accounts;
use super::ports::{Codes, NoCode, Redeemed, StoreError, Users};
use crate::domain::code::Code;
use crate::domain::user::{Status, User};

#[derive(Debug, Error)]
pub enum ActivateError {
    #[error("the user is active already")]
    AlreadyActive,
    #[error("there is no live code")]
    NoCode(NoCode),
    /// The registration was replaced since its credentials were checked, and its code with it.
    #[error("the registration is gone")]
    Gone,
    #[error("the code is wrong")]
    Incorrect { remaining: u8 },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl<U: Users, C: Codes> Accounts<U, C> {
    /// Redeems the code in Redis, then turns the authenticated row active in PostgreSQL. A crash in between costs
    /// nothing: the code was only compared, and lives out its minute.
    pub async fn activate(&self, user: &User, code: &Code) -> Result<User, ActivateError> {
        if user.status != Status::Pending {
            return Err(ActivateError::AlreadyActive);
        }
        match self.codes.redeem(user.id, code).await? {
            Redeemed::Match => guessed("right"),
            Redeemed::Miss { remaining } => {
                guessed("wrong");
                if remaining == 0 {
                    counter!("sixty_codes_destroyed_total").increment(1);
                }
                return Err(ActivateError::Incorrect { remaining });
            }
            // One that lost a race finds the code gone: the winner has discarded it.
            Redeemed::NoCode(why) => {
                guessed("no_code");
                return Err(self.no_longer_pending(user).await?.unwrap_or(ActivateError::NoCode(why)));
            }
        }
        let Some(active) = self.users.activate(user.id).await? else {
            return Err(self.no_longer_pending(user).await?.unwrap_or(ActivateError::Gone));
        };
        self.mail_queued.notify_one();
        // The account is active whatever becomes of the code, which nobody can use twice.
        self.forget_code(user.id).await;
        counter!("sixty_codes_verified_total").increment(1);
        Ok(active)
    }

    /// What became of a row that was pending when its credentials were checked. `None`: it still is.
    async fn no_longer_pending(&self, user: &User) -> Result<Option<ActivateError>, StoreError> {
        Ok(match self.users.find(user.id).await? {
            Some(now) if now.status == Status::Pending => None,
            Some(_) => Some(ActivateError::AlreadyActive),
            None => Some(ActivateError::Gone),
        })
    }
}

fn guessed(outcome: &'static str) {
    counter!("sixty_guesses_total", "outcome" => outcome).increment(1);
}
