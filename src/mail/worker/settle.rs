//! What the worker stores about a finished attempt.

use std::time::Duration;

use metrics::counter;
use tracing::{debug, error, info, warn};

use super::{Outcome, Worker};
use crate::accounts::ports::{Codes, StoreError};
use crate::mail::retry;
use crate::mail::route::MessageId;
use crate::store::postgres::outbox::{Claim, LeftCode};

impl<C: Codes> Worker<C> {
    /// Stores the outcome in the outbox: deletes the mail's row, or schedules a retry.
    pub(super) async fn settle(&self, claim: &Claim, outcome: Outcome) -> Result<(), StoreError> {
        let (user, attempts) = (claim.user, claim.attempts);
        let outcome = match outcome {
            Outcome::Retry { reason, retry_after, unsent, left } => {
                let fraction = self.rng.fraction();
                let age = claim.age + claim.claimed.elapsed();
                match retry::delay(attempts, unsent, age, retry_after, self.give_up_after, fraction) {
                    Some(delay) => {
                        warn!(%reason, user.id = user.map(tracing::field::display), attempts, ?delay, "a mail was not accepted; it will be tried again");
                        counter!("sixty_mail_attempts_total", "outcome" => "retry").increment(1);
                        self.outbox.retry(claim, delay, unsent, left).await?;
                        return Ok(());
                    }
                    None => Outcome::GiveUp { reason, left },
                }
            }
            Outcome::HandOver => {
                info!(
                    user.id = user.map(tracing::field::display),
                    attempts, "a mail was not finished before the shutdown; another process will send it"
                );
                // `unsent` is false, because the provider may have accepted the mail.
                self.outbox.retry(claim, Duration::ZERO, false, LeftCode::Live(self.lifetimes.registration)).await?;
                return Ok(());
            }
            Outcome::ClaimLost => {
                debug!(
                    user.id = user.map(tracing::field::display),
                    "the claim on a mail was lost; another process sends the mail, or it is not wanted"
                );
                return Ok(());
            }
            Outcome::CodeStored => return Ok(()),
            other => other,
        };
        let label = match &outcome {
            Outcome::Sent { message_id } => {
                let MessageId { provider, by_fallback, id } = message_id;
                let message_id = id.as_deref().unwrap_or("unknown");
                info!(
                    user.id = user.map(tracing::field::display), attempts, provider, fallback = by_fallback, message_id,
                    idempotency_key = %claim.idempotency_key,
                    "a mail was accepted by the provider"
                );
                "sent"
            }
            Outcome::GiveUp { reason, .. } => {
                error!(%reason, user.id = user.map(tracing::field::display), attempts, "a mail was given up");
                "given_up"
            }
            Outcome::MailboxLimit => {
                info!(
                    user.id = user.map(tracing::field::display),
                    "a code mail was dropped, because its mailbox reached MAILBOX_CODES_PER_HOUR or \
                     MAILBOX_CODES_PER_DAY; the user can request another code later"
                );
                "mailbox_limit"
            }
            _ => {
                debug!(user.id = user.map(tracing::field::display), "a mail is not wanted any more, and was deleted");
                "not_wanted"
            }
        };
        counter!("sixty_mail_attempts_total", "outcome" => label).increment(1);
        let left = match outcome {
            Outcome::Sent { .. } => LeftCode::Live(self.lifetimes.registration),
            Outcome::GiveUp { left, .. } => left,
            _ => LeftCode::None,
        };
        if !self.outbox.finish(claim, left).await? {
            debug!(
                user.id = user.map(tracing::field::display),
                "the claim on a finished mail was lost; another process may send the mail again"
            );
        }
        Ok(())
    }
}
