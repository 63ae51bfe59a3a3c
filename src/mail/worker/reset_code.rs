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
    pub(super) async fn send_reset_code(&self, claim: &Claim, trace: TraceContext) -> Outcome {
        let Ok(requested) = Email::parse(&claim.email) else {
            return failed(invalid_recipient(), claim.unsent, LeftCode::None);
        };
        let retry = |error: StoreError| Outcome::Retry {
            reason: error.to_string(),
            retry_after: None,
            unsent: claim.unsent,
            left: LeftCode::None,
        };
        let ttl = self.lifetimes.password_reset;
        // A late mail says how much of the lifetime is left.
        let left = ttl.saturating_sub(claim.age + claim.claimed.elapsed());
        if left.is_zero() {
            let reason = "its code has expired, or would now be older than RESET_CODE_TTL".to_owned();
            return Outcome::GiveUp { reason, left: LeftCode::None };
        }
        let id = self.secret.reset_id(requested.address());
        let code = claim.user.map(|_| self.secret.code(&claim.nonce, claim.length));
        if !claim.armed {
            match self.codes.put(id.into(), claim.attempt(), code.as_ref(), true).await {
                Ok(PutOutcome::Live) => {}
                Ok(PutOutcome::ClaimLost) => return Outcome::ClaimLost,
                Ok(PutOutcome::Superseded | PutOutcome::Invalidated | PutOutcome::Spent) => return Outcome::NotWanted,
                Err(error) => return retry(error),
            }
        }
        let (Some(account), Some(account_email), Some(code)) = (claim.user, &claim.account_email, &code) else {
            return Outcome::NotWanted;
        };
        match self.outbox.bind_reset(claim, id, account).await {
            Ok(true) => {}
            Ok(false) => return Outcome::NotWanted,
            Err(error) => return retry(error),
        }
        let Ok(recipient) = Email::parse(account_email) else {
            return failed(invalid_recipient(), claim.unsent, LeftCode::None);
        };
        let mail = self.mails.reset_code(claim.account_locale, &recipient, code, in_whole_minutes(left, ttl));
        match self.send(claim, &mail, trace).await {
            Ok(message_id) => Outcome::Sent { message_id },
            Err(error) => {
                let maybe_accepted = matches!(&error, SendError::Temporary { maybe_accepted: true, .. });
                failed(error, claim.unsent && !maybe_accepted, LeftCode::None)
            }
        }
    }
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
