//! Waiting for a store at the start: says why, and ends when no patience can help.

use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::fault::{Cure, Fault};
use crate::backoff::Backoff;

/// The pauses between two attempts.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));

/// How long a store may refuse the credentials: while a store is being set up, its users do not exist yet.
const GRACE: Duration = Duration::from_secs(5);

/// A wait logs its reason again after this time.
const REPEAT: Duration = Duration::from_secs(10);

pub struct Waiting {
    backoff: Backoff,
    grace: Duration,
    /// Since when the store has refused.
    refused_since: Option<Instant>,
    logged: Option<(String, Instant)>,
}

impl Default for Waiting {
    fn default() -> Self {
        Self { backoff: BACKOFF, grace: GRACE, refused_since: None, logged: None }
    }
}

impl Waiting {
    /// A wait for a person who looks on: wrong settings end it at once.
    pub fn without_grace() -> Self {
        Self { grace: Duration::ZERO, ..Self::default() }
    }

    /// Pauses until the next attempt. Logs the reason at once, when it changes, and every ten seconds.
    ///
    /// # Errors
    /// The fault, if waiting does not cure it.
    pub async fn pause(&mut self, fault: Fault) -> Result<(), Fault> {
        let store = fault.store;
        if let Some(reason) = self.record(fault, Instant::now())? {
            warn!("waiting for {store}: {reason}");
        }
        tokio::time::sleep(self.backoff.next_pause()).await;
        Ok(())
    }

    /// Returns the reason if it is to be logged now.
    fn record(&mut self, fault: Fault, now: Instant) -> Result<Option<String>, Fault> {
        match fault.cure {
            Cure::Setting | Cure::Defect => return Err(fault),
            Cure::SettingOrTime => {
                if now - *self.refused_since.get_or_insert(now) >= self.grace {
                    return Err(fault);
                }
            }
            Cure::Time => self.refused_since = None,
        }
        match &self.logged {
            Some((reason, at)) if *reason == fault.reason && now - *at < REPEAT => Ok(None),
            _ => {
                self.logged = Some((fault.reason.clone(), now));
                Ok(Some(fault.reason))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(reason: &str, cure: Cure) -> Fault {
        Fault { store: "Redis", summary: "", reason: reason.to_owned(), cure }
    }

    #[test]
    fn only_what_time_may_cure_is_waited_for() {
        let now = Instant::now();
        for cure in [Cure::Setting, Cure::Defect] {
            assert!(Waiting::default().record(fault("wrong", cure), now).is_err());
        }
        let mut waiting = Waiting::default();
        assert!(waiting.record(fault("down", Cure::Time), now).is_ok());
        assert!(waiting.record(fault("down", Cure::Time), now + 100 * GRACE).is_ok());
        let now = now + 100 * GRACE;
        let refusal = || fault("refused", Cure::SettingOrTime);
        assert!(waiting.record(refusal(), now).is_ok());
        assert!(waiting.record(refusal(), now + GRACE / 2).is_ok());
        assert_eq!(waiting.record(refusal(), now + GRACE), Err(refusal()));
        assert!(Waiting::without_grace().record(refusal(), now).is_err());
    }

    #[test]
    fn a_refusal_that_ended_has_a_new_grace() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        for round in 0..10 {
            assert!(waiting.record(fault("refused", Cure::SettingOrTime), now + round * GRACE).is_ok());
            assert!(waiting.record(fault("down", Cure::Time), now + round * GRACE).is_ok());
        }
    }

    #[test]
    fn a_reason_is_logged_when_it_changes_and_every_ten_seconds() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        let mut logged = |reason: &str, seconds| {
            waiting.record(fault(reason, Cure::Time), now + Duration::from_secs(seconds)).unwrap().is_some()
        };
        let expected = [true, false, true, true, false, true];
        let times = [("a", 0), ("a", 9), ("a", 10), ("b", 11), ("b", 12), ("a", 13)];
        assert_eq!(times.map(|(reason, seconds)| logged(reason, seconds)), expected);
    }
}
