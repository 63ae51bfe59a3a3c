//! The circuit breaker of the mail provider: after failures in a row, this process sends one mail at a time.
//!
//! - Closed: the worker sends as many mails at once as `MAIL_CONCURRENCY` allows.
//! - Open: after ten failures in a row, a refusal of the account, or a failed probe, the worker pauses.
//! - Half-open: after the pause, one mail probes the provider. Success closes the breaker; failure opens it again.
//!
//! The breaker protects a provider in trouble, and saves the attempts of mails for when they can succeed.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::gauge;
use tracing::{info, warn};

/// Failures in a row that open the breaker. If a provider fails half of the requests, ten in a row have a probability of
/// one in a thousand.
const FAILURES_TO_OPEN: u32 = 10;
/// The pause between a failed probe and the next one.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest pause for a `Retry-After` of the provider. The mail that was refused waits the whole `Retry-After`.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Starts closed.
#[derive(Default)]
pub struct CircuitBreaker(Mutex<State>);

#[derive(Default)]
struct State {
    consecutive_failures: u32,
    /// Whether the provider refused the account and has accepted no mail since.
    account_refused: bool,
    /// The pause before the next probe. `None`: the worker has taken it, so the breaker is half-open.
    pause: Option<Duration>,
}

impl State {
    fn is_closed(&self) -> bool {
        self.consecutive_failures < FAILURES_TO_OPEN
    }
}

impl CircuitBreaker {
    /// Records that the provider accepted a mail. Closes the breaker.
    pub fn record_success(&self) {
        let before = std::mem::take(&mut *self.state());
        if !before.is_closed() {
            info!("the circuit breaker is closed: the mail provider accepts mails again");
            gauge!("sixty_mail_probing").set(0.0);
        }
        if before.account_refused {
            gauge!("sixty_mail_account_refused").set(0.0);
        }
    }

    /// Records that the provider refuses the account, with its `Retry-After`. Opens the breaker at once: every other mail
    /// would be refused too. `reason` names the settings to check.
    pub fn record_account_refusal(&self, reason: &str, retry_after: Option<Duration>) {
        let mut state = self.state();
        state.consecutive_failures = state.consecutive_failures.saturating_add(1).max(FAILURES_TO_OPEN);
        state.pause = Some(retry_after.unwrap_or_default().clamp(PAUSE, LONGEST_PAUSE));
        gauge!("sixty_mail_probing").set(1.0);
        gauge!("sixty_mail_account_refused").set(1.0);
        if !std::mem::replace(&mut state.account_refused, true) {
            warn!(
                reason,
                "the circuit breaker is open: the mail provider refuses the account, so no mail is sent; correct the \
                 setting and restart; mails are kept until MAIL_GIVE_UP"
            );
        }
    }

    /// Records a temporary failure of the provider, with its `Retry-After`.
    pub fn record_failure(&self, retry_after: Option<Duration>) {
        let mut state = self.state();
        state.consecutive_failures = state.consecutive_failures.saturating_add(1);
        state.pause = Some(retry_after.unwrap_or_default().clamp(PAUSE, LONGEST_PAUSE));
        if state.consecutive_failures == FAILURES_TO_OPEN {
            warn!(
                failures = FAILURES_TO_OPEN,
                "the circuit breaker is open: the mail provider fails; trying one mail at a time until it accepts one"
            );
            gauge!("sixty_mail_probing").set(1.0);
        }
    }

    /// Returns how many mails the worker may send at once: `concurrency` while closed, otherwise one.
    pub fn limit(&self, concurrency: usize) -> usize {
        if self.state().is_closed() { concurrency } else { 1 }
    }

    /// Takes the pause before the next probe. `None`: the breaker is closed, or the pause was already taken.
    pub fn take_pause(&self) -> Option<Duration> {
        let mut state = self.state();
        if state.is_closed() { None } else { state.pause.take() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker_after(failures: u32) -> CircuitBreaker {
        let breaker = CircuitBreaker::default();
        (0..failures).for_each(|_| breaker.record_failure(None));
        breaker
    }

    #[test]
    fn ten_failures_in_a_row_limit_the_worker_to_one_mail() {
        assert_eq!(breaker_after(FAILURES_TO_OPEN - 1).limit(8), 8);
        let breaker = breaker_after(FAILURES_TO_OPEN);
        assert_eq!(breaker.limit(8), 1);
        breaker.record_success();
        assert_eq!(breaker.limit(8), 8);
    }

    #[test]
    fn one_refusal_of_the_account_limits_the_worker_to_one_mail() {
        let breaker = CircuitBreaker::default();
        breaker.record_account_refusal("answered 401", None);
        assert_eq!((breaker.limit(8), breaker.take_pause()), (1, Some(PAUSE)));
        breaker.record_success();
        assert_eq!(breaker.limit(8), 8);
    }

    #[test]
    fn a_success_resets_the_count_of_failures() {
        let breaker = breaker_after(FAILURES_TO_OPEN - 1);
        breaker.record_success();
        breaker.record_failure(None);
        assert_eq!(breaker.limit(8), 8);
    }

    #[test]
    fn each_failed_probe_causes_one_pause() {
        assert_eq!(breaker_after(FAILURES_TO_OPEN - 1).take_pause(), None);
        let breaker = breaker_after(FAILURES_TO_OPEN);
        assert_eq!((breaker.take_pause(), breaker.take_pause()), (Some(PAUSE), None));
        for (retry_after, pause) in [(0, PAUSE), (2, Duration::from_secs(2)), (3600, LONGEST_PAUSE)] {
            breaker.record_failure(Some(Duration::from_secs(retry_after)));
            assert_eq!(breaker.take_pause(), Some(pause));
        }
        breaker.record_success();
        assert_eq!(breaker.take_pause(), None);
    }
}
