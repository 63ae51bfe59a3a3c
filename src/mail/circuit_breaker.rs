//! Whether the provider works, as far as this process has seen. While it does not, it is probed with one mail at a time:
//! a provider that struggles is not hammered, and mails keep their attempts for when they are of use.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::gauge;
use tracing::{info, warn};

/// Failures in a row that are not chance: of a provider that fails every other time one run in a thousand is so long.
const FAILURES: u32 = 10;
/// From a failed probe to the next.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest pause that a provider may ask for. A mail of its own waits as long as it asked.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

#[derive(Default)]
pub struct Circuit(Mutex<State>);

#[derive(Default)]
struct State {
    failures: u32,
    /// Until the next probe, if the last one failed.
    pause: Option<Duration>,
}

impl State {
    fn probing(&self) -> bool {
        self.failures >= FAILURES
    }
}

impl Circuit {
    /// The provider has accepted a mail.
    pub fn accepted(&self) {
        let was = std::mem::take(&mut *self.state());
        if was.probing() {
            info!("the mail provider accepts mails again");
            gauge!("sixty_mail_probing").set(0.0);
        }
    }

    /// It failed in a way that will pass, and asked for some time or for none.
    pub fn failed(&self, retry_after: Option<Duration>) {
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        state.pause = Some(retry_after.unwrap_or_default().clamp(PAUSE, LONGEST_PAUSE));
        if state.failures == FAILURES {
            warn!(failures = FAILURES, "the mail provider fails; trying one mail at a time until it accepts one");
            gauge!("sixty_mail_probing").set(1.0);
        }
    }

    /// How many mails may be under way at once.
    pub fn limit(&self, concurrency: usize) -> usize {
        if self.state().probing() { 1 } else { concurrency }
    }

    /// What to wait before the next probe, once for each that failed.
    pub fn pause(&self) -> Option<Duration> {
        let mut state = self.state();
        if state.probing() { state.pause.take() } else { None }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failing(times: u32) -> Circuit {
        let circuit = Circuit::default();
        (0..times).for_each(|_| circuit.failed(None));
        circuit
    }

    #[test]
    fn several_failures_in_a_row_leave_one_mail_at_a_time() {
        assert_eq!(failing(FAILURES - 1).limit(8), 8);
        let circuit = failing(FAILURES);
        assert_eq!(circuit.limit(8), 1);
        circuit.accepted();
        assert_eq!(circuit.limit(8), 8);
    }

    #[test]
    fn an_acceptance_ends_the_row() {
        let circuit = failing(FAILURES - 1);
        circuit.accepted();
        circuit.failed(None);
        assert_eq!(circuit.limit(8), 8);
    }

    #[test]
    fn each_failed_probe_is_followed_by_a_pause() {
        assert_eq!(failing(FAILURES - 1).pause(), None);
        let circuit = failing(FAILURES);
        assert_eq!((circuit.pause(), circuit.pause()), (Some(PAUSE), None));
        for (asked, pause) in [(0, PAUSE), (2, Duration::from_secs(2)), (3600, LONGEST_PAUSE)] {
            circuit.failed(Some(Duration::from_secs(asked)));
            assert_eq!(circuit.pause(), Some(pause));
        }
        circuit.accepted();
        assert_eq!(circuit.pause(), None);
    }
}
