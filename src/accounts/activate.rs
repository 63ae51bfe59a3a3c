//! Activate an account with the mailed code, exactly once.

use metrics::counter;

use super::Accounts;
use super::errors::{ActivateError, NoCodeReason, StoreError};
use super::ports::{Codes, Redeemed, Users};
use crate::domain::code::Code;
use crate::domain::user::{Status, User};
use crate::telemetry::trace::TraceContext;

impl<U: Users, C: Codes> Accounts<U, C> {
    /// Redeems the code in Redis, then makes the authenticated row active in PostgreSQL.
    ///
    /// A crash between the two steps loses nothing: redeeming only compares the code, so the code stays live.
    pub async fn activate(&self, user: &User, code: &Code, trace: Option<TraceContext>) -> Result<User, ActivateError> {
        if user.status != Status::Pending {
            return Err(ActivateError::AlreadyActive);
        }
        match self.codes.redeem(user.id.into(), code).await? {
            Redeemed::Match => count_guess("right"),
            Redeemed::WrongGuess { remaining } => {
                count_guess("wrong");
                if remaining == 0 {
                    counter!("sixty_codes_destroyed_total").increment(1);
                }
                return Err(ActivateError::Incorrect { remaining });
            }
            // Of two simultaneous requests the first discards the code; the second must get `AlreadyActive`.
            Redeemed::NoCode(reason) => {
                count_guess("no_code");
                let not_pending = self.why_not_pending(user).await?;
                return Err(match not_pending {
                    Some(error) => error,
                    None => ActivateError::NoCode(self.is_on_its_way(user, reason).await?),
                });
            }
        }
        let Some(active) = self.users.activate(user.id, trace).await? else {
            return Err(self.why_not_pending(user).await?.unwrap_or(ActivateError::Taken));
        };
        self.mail_queued.notify_one();
        self.discard_code(user.id).await;
        counter!("sixty_codes_verified_total").increment(1);
        Ok(active)
    }

    /// Distinguishes a mail that is queued from one that was sent long ago, was given up or was never queued.
    async fn is_on_its_way(&self, user: &User, reason: NoCodeReason) -> Result<NoCodeReason, StoreError> {
        let is_queued = reason == NoCodeReason::NotMailed && self.users.has_queued_code_mail(user.id).await?;
        Ok(if is_queued { NoCodeReason::OnItsWay } else { reason })
    }

    /// Returns why a row that was pending when its credentials were checked is no longer pending. `None` if it still is.
    async fn why_not_pending(&self, user: &User) -> Result<Option<ActivateError>, StoreError> {
        Ok(match self.users.find(user.id).await? {
            Some(now) if now.status == Status::Pending => None,
            Some(_) => Some(ActivateError::AlreadyActive),
            None => Some(ActivateError::Gone),
        })
    }
}

fn count_guess(outcome: &'static str) {
    counter!("sixty_guesses_total", "outcome" => outcome).increment(1);
}
