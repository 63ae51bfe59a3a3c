//! The circuit breaker of a mail provider: after failures in a row, this process sends it one mail at a time.
//!
//! - Closed: the worker sends as many mails at once as `MAIL_CONCURRENCY` allows.
//! - Open: after ten failures in a row, a refusal of the account, or a failed probe, no mail is sent for a while.
//! - Half-open: after the pause, one mail probes the provider. Success closes the breaker; failure opens it again.
//!
//! The breaker protects a provider in trouble, and saves the attempts of mails for when they can succeed.
//! `route.rs` chooses between two providers by their breakers.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Backoff;

/// Failures in a row that open the breaker. If a provider fails half of the requests, ten in a row have a probability of
/// one in a thousand.
pub(super) const FAILURES_TO_OPEN: u32 = 10;
/// The pause between a failed probe and the next one.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest pause for a `Retry-After` of the provider. The mail that was refused waits the whole `Retry-After`.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The pauses while another provider takes the mails: each failed probe makes the mail wait that probed.
const PAUSES_OF_SPARED: Backoff = Backoff::new(Duration::from_secs(1), LONGEST_PAUSE);

/// Starts closed.
#[derive(Default)]
pub struct CircuitBreaker(Mutex<State>);

#[derive(Default)]
struct State {
    consecutive_failures: u32,
    /// Whether the provider refused the account and has accepted no mail since.
    account_refused: bool,
    /// The last failure, or the start of a probe.
    last: Option<Instant>,
    /// The provider's `Retry-After`, after the last failure.
    retry_after: Duration,
    /// The probes since the breaker opened.
    probes: u32,
}

impl State {
    fn is_closed(&self) -> bool {
        self.consecutive_failures < FAILURES_TO_OPEN
    }

    fn fail(&mut self, now: Instant, retry_after: Option<Duration>) {
        self.consecutive_failures = self.consecutive_failures.saturating_add(1);
        self.last = Some(now);
        self.retry_after = retry_after.unwrap_or_default();
    }

    /// The pause that is left until the next probe.
    fn pause_left(&self, now: Instant, spared: bool) -> Duration {
        let pause = if spared { PAUSES_OF_SPARED.pause_after(self.probes.saturating_add(1)) } else { PAUSE };
        let pause = self.retry_after.clamp(pause, LONGEST_PAUSE);
        self.last.map_or(Duration::ZERO, |last| (last + pause).saturating_duration_since(now))
    }
}

/// What an attempt has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    None,
    Closed,
    /// By failures.
    Opened,
    AccountRefused,
}

impl CircuitBreaker {
    /// Records that the provider accepted a mail. Closes the breaker.
    pub fn record_success(&self) -> Change {
        let before = std::mem::take(&mut *self.state());
        if before.is_closed() { Change::None } else { Change::Closed }
    }

    /// Records that the provider refuses the account, with its `Retry-After`. Opens the breaker at once: every other mail
    /// would be refused too.
    pub fn record_account_refusal(&self, now: Instant, retry_after: Option<Duration>) -> Change {
        let mut state = self.state();
        state.fail(now, retry_after);
        state.consecutive_failures = state.consecutive_failures.max(FAILURES_TO_OPEN);
        if std::mem::replace(&mut state.account_refused, true) { Change::None } else { Change::AccountRefused }
    }

    /// Records a temporary failure of the provider, with its `Retry-After`.
    pub fn record_failure(&self, now: Instant, retry_after: Option<Duration>) -> Change {
        let mut state = self.state();
        state.fail(now, retry_after);
        if state.consecutive_failures == FAILURES_TO_OPEN { Change::Opened } else { Change::None }
    }

    pub fn is_closed(&self) -> bool {
        self.state().is_closed()
    }

    pub fn is_account_refused(&self) -> bool {
        self.state().account_refused
    }

    /// Returns the pause until the next probe. `None`: the breaker is closed, or the pause is over.
    pub fn pause(&self, now: Instant) -> Option<Duration> {
        let state = self.state();
        let left = state.pause_left(now, false);
        (!state.is_closed() && !left.is_zero()).then_some(left)
    }

    /// Takes the permit for a probe of an open breaker: one after each pause. `spared`: another provider takes the mails, so
    /// the pauses grow.
    pub fn take_probe(&self, now: Instant, spared: bool) -> bool {
        let mut state = self.state();
        if state.is_closed() || !state.pause_left(now, spared).is_zero() {
            return false;
        }
        state.probes = state.probes.saturating_add(1);
        state.last = Some(now);
        state.retry_after = Duration::ZERO;
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker_after(failures: u32, now: Instant) -> CircuitBreaker {
        let breaker = CircuitBreaker::default();
        (0..failures).for_each(|_| {
            breaker.record_failure(now, None);
        });
        breaker
    }

    #[test]
    fn ten_failures_in_a_row_open_the_breaker() {
        let now = Instant::now();
        let breaker = breaker_after(FAILURES_TO_OPEN - 1, now);
        assert!(breaker.is_closed());
        assert_eq!(breaker.record_failure(now, None), Change::Opened);
        assert!(!breaker.is_closed());
        assert_eq!(breaker.record_failure(now, None), Change::None);
        assert_eq!(breaker.record_success(), Change::Closed);
        assert!(breaker.is_closed());
        assert_eq!(breaker.record_success(), Change::None);
    }

    #[test]
    fn one_refusal_of_the_account_opens_the_breaker() {
        let (breaker, now) = (CircuitBreaker::default(), Instant::now());
        assert_eq!(breaker.record_account_refusal(now, None), Change::AccountRefused);
        assert_eq!(breaker.record_account_refusal(now, None), Change::None);
        assert!(!breaker.is_closed() && breaker.is_account_refused());
        assert_eq!(breaker.pause(now), Some(PAUSE));
        assert_eq!(breaker.record_success(), Change::Closed);
        assert!(breaker.is_closed() && !breaker.is_account_refused());
    }

    #[test]
    fn a_success_resets_the_count_of_failures() {
        let now = Instant::now();
        let breaker = breaker_after(FAILURES_TO_OPEN - 1, now);
        breaker.record_success();
        breaker.record_failure(now, None);
        assert!(breaker.is_closed());
    }

    #[test]
    fn a_pause_follows_each_failed_probe() {
        let now = Instant::now();
        assert_eq!(breaker_after(FAILURES_TO_OPEN - 1, now).pause(now), None);
        let breaker = breaker_after(FAILURES_TO_OPEN, now);
        assert_eq!(breaker.pause(now), Some(PAUSE));
        assert_eq!(breaker.pause(now + PAUSE), None);
        for (retry_after, pause) in [(0, PAUSE), (2, Duration::from_secs(2)), (3600, LONGEST_PAUSE)] {
            breaker.record_failure(now, Some(Duration::from_secs(retry_after)));
            assert_eq!(breaker.pause(now), Some(pause));
        }
        breaker.record_success();
        assert_eq!(breaker.pause(now), None);
    }

    #[test]
    fn the_pauses_grow_while_another_provider_takes_the_mails() {
        let mut now = Instant::now();
        let breaker = breaker_after(FAILURES_TO_OPEN, now);
        let mut pauses = vec![];
        for _ in 0..7 {
            let failed = now;
            while !breaker.take_probe(now, true) {
                now += Duration::from_millis(500);
            }
            pauses.push((now - failed).as_secs());
            assert!(!breaker.take_probe(now, true), "one probe after each pause");
            breaker.record_failure(now, None);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
        // The other one fails too: the short pause counts.
        assert!(!breaker.take_probe(now, false) && breaker.take_probe(now + PAUSE, false));
        breaker.record_success();
        assert!(!breaker.take_probe(now + LONGEST_PAUSE, true), "a closed breaker needs no probe");
    }
}
