//! Queue another code mail for a pending registration.

use std::time::Duration;

use metrics::counter;

use super::Accounts;
use super::errors::ResendError;
use super::ports::{Codes, Users};
use crate::domain::user::{Status, User};
use crate::telemetry::trace::TraceContext;

impl<U: Users, C: Codes> Accounts<U, C> {
    /// Queues a new code mail for an authenticated user. Returns the wait until the next code mail is allowed.
    pub async fn resend(&self, user: &User, trace: Option<TraceContext>) -> Result<Duration, ResendError> {
        if user.status != Status::Pending {
            return Err(ResendError::AlreadyActive);
        }
        let outcome = self.users.resend(user.id, self.rng.nonce(), trace).await;
        match &outcome {
            Ok(_) => self.mail_queued.notify_one(),
            Err(ResendError::TooSoon { .. }) => {
                counter!("sixty_limited_requests_total", "limit" => "address").increment(1);
            }
            Err(_) => {}
        }
        outcome
    }
}
