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

#[cfg(all(test, feature = "testing"))]
mod tests {
    use std::time::Duration;

    use super::super::memory::{Twins, other_than};
    use super::*;

    #[tokio::test]
    async fn the_right_code_activates_once() {
        let twins = Twins::new();
        let ada = twins.register("ada@example.com", "correct horse").await.unwrap();
        let code = twins.mail(&ada).await;
        let active = twins.accounts.activate(&ada, &code).await.unwrap();
        assert_eq!((active.id, active.status), (ada.id, Status::Active));
        assert!(active.activated_at.is_some());
        // With the row as it was before, and as it is now.
        assert!(matches!(twins.accounts.activate(&ada, &code).await, Err(ActivateError::AlreadyActive)));
        assert!(matches!(twins.accounts.activate(&active, &code).await, Err(ActivateError::AlreadyActive)));
    }

    #[tokio::test]
    async fn before_the_mail_and_after_the_minute_there_is_no_code() {
        let twins = Twins::new();
        let ada = twins.register("ada@example.com", "correct horse").await.unwrap();
        let early = twins.accounts.activate(&ada, &Code::parse("0000").unwrap()).await;
        assert!(matches!(early, Err(ActivateError::NoCode(NoCode::NotMailed))));
        let code = twins.mail(&ada).await;
        twins.clock.advance(Duration::from_secs(60));
        let late = twins.accounts.activate(&ada, &code).await;
        assert!(matches!(late, Err(ActivateError::NoCode(NoCode::Expired))));
    }

    #[tokio::test]
    async fn three_misses_destroy_the_code_however_often_its_mail_is_retried() {
        let twins = Twins::new();
        let ada = twins.register("ada@example.com", "correct horse").await.unwrap();
        let code = twins.mail(&ada).await;
        for left in [2, 1, 0] {
            let miss = twins.accounts.activate(&ada, &other_than(&code)).await;
            assert!(matches!(miss, Err(ActivateError::Incorrect { remaining }) if remaining == left));
            if left == 1 {
                assert_eq!(twins.mail(&ada).await, code, "a retried mail carries the same code");
            }
        }
        twins.mail(&ada).await;
        let late = twins.accounts.activate(&ada, &code).await;
        assert!(matches!(late, Err(ActivateError::NoCode(NoCode::Destroyed))));
    }

    #[tokio::test]
    async fn an_old_registrations_code_activates_nothing() {
        let twins = Twins::new();
        let ada = twins.register("ada@example.com", "correct horse").await.unwrap();
        let code = twins.mail(&ada).await;
        twins.clock.advance(Duration::from_secs(59));
        twins.mail(&ada).await;
        twins.clock.advance(Duration::from_secs(1));
        let eve = twins.register("ada@example.com", "battery staple").await.unwrap();
        assert!(matches!(twins.accounts.activate(&ada, &code).await, Err(ActivateError::Gone)));
        assert!(twins.accounts.activate(&eve, &code).await.is_err());
    }
}
