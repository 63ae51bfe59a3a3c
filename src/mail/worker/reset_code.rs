//! The mail with the code of a password reset.
//!
//! Its code is put into Redis once, before the first attempt to send the mail, and stays there whatever becomes of the mail.
//! An address without an active account gets a decoy in the same way, and no mail. So guesses cannot reveal whether there is
//! an account: not even while the provider is slow or down.

use std::time::Duration;

use super::{Outcome, Worker, failed, invalid_recipient};
use crate::accounts::ports::{Codes, PutOutcome, StoreError};
use crate::domain::email::Email;
use crate::mail::provider::SendError;
use crate::store::postgres::outbox::{Claim, LeftCode};
use crate::telemetry::trace::TraceContext;

impl<C: Codes> Worker<C> {
    /// Puts the code of a reset mail into Redis, or a decoy if the address has no active account.
    pub(super) async fn store_reset_code(&self, claim: &Claim) -> Outcome {
        let Ok(requested) = Email::parse(&claim.email) else {
            return failed(invalid_recipient(), claim.unsent, LeftCode::None);
        };
        if self.rest_of_reset(claim).is_zero() {
            return too_late();
        }
        let id = self.secret.reset_id(requested.address());
        let code = claim.user.map(|_| self.secret.code(&claim.nonce, claim.length));
        match self.codes.put(id.into(), claim.attempt(), code.as_ref(), true).await {
            Ok(PutOutcome::Live) => {}
            Ok(PutOutcome::ClaimLost) => return Outcome::ClaimLost,
            Ok(PutOutcome::Superseded | PutOutcome::Invalidated | PutOutcome::Spent) => return Outcome::NotWanted,
            Err(error) => return retry(claim, &error),
        }
        let Some(account) = claim.user else {
            return Outcome::NotWanted;
        };
        match self.outbox.bind_reset(claim, id, account).await {
            Ok(true) => {
                self.queued.notify_one();
                Outcome::CodeStored
            }
            Ok(false) => Outcome::NotWanted,
            Err(error) => retry(claim, &error),
        }
    }

    /// Sends a reset mail whose code is in Redis.
    pub(super) async fn send_reset_code(&self, claim: &Claim, trace: TraceContext) -> Outcome {
        let (Some(account), Some(account_email)) = (claim.user, &claim.account_email) else {
            return Outcome::NotWanted;
        };
        let (Ok(requested), Ok(recipient)) = (Email::parse(&claim.email), Email::parse(account_email)) else {
            return failed(invalid_recipient(), claim.unsent, LeftCode::None);
        };
        // A late mail says how much of the lifetime is left.
        let left = self.rest_of_reset(claim);
        if left.is_zero() {
            return too_late();
        }
        match self.outbox.is_reset_bound(claim, self.secret.reset_id(requested.address()), account).await {
            Ok(true) => {}
            Ok(false) => return Outcome::NotWanted,
            Err(error) => return retry(claim, &error),
        }
        let code = self.secret.code(&claim.nonce, claim.length);
        let shown = in_whole_minutes(left, self.lifetimes.password_reset);
        match self.send(claim, &self.mails.reset_code(claim.account_locale, &recipient, &code, shown), trace).await {
            Ok(message_id) => Outcome::Sent { message_id },
            Err(error) => {
                let maybe_accepted = matches!(&error, SendError::Temporary { maybe_accepted: true, .. });
                failed(error, claim.unsent && !maybe_accepted, LeftCode::None)
            }
        }
    }

    /// Returns how long the code of a reset mail can still be used. Its lifetime starts with the request.
    fn rest_of_reset(&self, claim: &Claim) -> Duration {
        self.lifetimes.password_reset.saturating_sub(claim.age + claim.claimed.elapsed())
    }
}

fn retry(claim: &Claim, error: &StoreError) -> Outcome {
    Outcome::Retry { reason: error.to_string(), retry_after: None, unsent: claim.unsent, left: LeftCode::None }
}

fn too_late() -> Outcome {
    let reason = "its code has expired, or would now be older than RESET_CODE_TTL".to_owned();
    Outcome::GiveUp { reason, left: LeftCode::None }
}

/// Returns the rest of a lifetime as a mail says it: the whole lifetime if nearly nothing of it has passed, otherwise rounded
/// down to minutes, or to seconds below one minute.
fn in_whole_minutes(left: Duration, ttl: Duration) -> Duration {
    if left + Duration::from_secs(2) >= ttl {
        return ttl;
    }
    let seconds = left.as_secs();
    Duration::from_secs(if seconds >= 60 { seconds - seconds % 60 } else { seconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rest_of_a_lifetime_is_rounded_down() {
        let rest = |millis, ttl| in_whole_minutes(Duration::from_millis(millis), Duration::from_secs(ttl)).as_secs();
        assert_eq!(rest(599_990, 600), 600);
        assert_eq!(rest(597_000, 600), 540);
        assert_eq!(rest(60_500, 600), 60);
        assert_eq!(rest(59_900, 600), 59);
        assert_eq!(rest(2_900, 3), 3);
    }
}
