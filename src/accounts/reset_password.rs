//! Set a new password with a mailed code, for somebody who has forgotten the old one.
//!
//! Neither use case says whether an address has an account. A request queues a mail for every address; only the mail worker
//! looks for an account, and stores a decoy if there is none. Whether and when the mail is accepted changes nothing in Redis,
//! so guesses at a decoy and at a code get the same responses.

use std::time::Duration;

use metrics::counter;

use super::errors::{RequestResetError, ResetPasswordError};
use super::ports::{Codes, Redeemed, Users};
use super::{Accounts, Caller};
use crate::domain::code::Code;
use crate::domain::email::Address;
use crate::domain::password::Password;
use crate::telemetry::trace::TraceContext;

impl<U: Users, C: Codes> Accounts<U, C> {
    /// Queues a reset mail. Returns the wait until the next one is allowed.
    pub async fn request_password_reset(
        &self,
        address: &Address,
        trace: Option<TraceContext>,
    ) -> Result<Duration, RequestResetError> {
        let id = self.secret.reset_id(address);
        let outcome = self.users.request_reset(id, address, self.rng.nonce(), trace).await;
        match &outcome {
            Ok(_) => {
                self.resets_queued.notify_one();
                counter!("sixty_password_reset_requests_total").increment(1);
            }
            Err(RequestResetError::TooSoon { .. }) => {
                counter!("sixty_limited_requests_total", "limit" => "reset").increment(1);
            }
            Err(RequestResetError::Store(_)) => {}
        }
        outcome
    }

    /// Changes the password of the account that the code was made for, once. A wrong guess costs no hash.
    ///
    /// A crash between the stores loses nothing: redeeming only compares the code, and PostgreSQL uses it up together with
    /// the change. The code stays in Redis until it expires, because its absence would reveal the reset.
    pub async fn reset_password(
        &self,
        address: &Address,
        code: &Code,
        new: Password,
        caller: Caller,
    ) -> Result<(), ResetPasswordError> {
        let id = self.secret.reset_id(address);
        match self.codes.redeem(id.into(), code).await? {
            Redeemed::Match => count_guess("right"),
            Redeemed::WrongGuess { remaining } => {
                count_guess("wrong");
                return Err(ResetPasswordError::Incorrect { remaining });
            }
            Redeemed::NoCode(_) => {
                count_guess("no_code");
                return Err(ResetPasswordError::NoCode);
            }
        }
        let Some(account) = self.users.find_reset_account(id).await? else {
            return Err(ResetPasswordError::NoCode);
        };
        let hash = self.hasher.hash(new.clone(), account.hash.params, caller.network).await?;
        let user = account.user.id;
        // The store compares the old hash. So of two simultaneous resets or changes the second fails.
        if !self.users.reset_password(id, user, &account.hash, &hash, caller.trace).await? {
            return Err(ResetPasswordError::NoCode);
        }
        self.remember(user, &hash, &new);
        self.mail_queued.notify_one();
        counter!("sixty_password_resets_total").increment(1);
        Ok(())
    }
}

fn count_guess(outcome: &'static str) {
    counter!("sixty_reset_guesses_total", "outcome" => outcome).increment(1);
}
