//! When to send a mail again: exponential backoff with full jitter, and an age at which the worker gives up.

use std::time::Duration;

use crate::backoff::Backoff;

const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest backoff while no attempt can have reached the provider. It is short: a person waits for the mail, which
/// should arrive within five seconds of the provider's recovery. The circuit breaker protects the provider meanwhile.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
/// The longest backoff when an earlier attempt may have been accepted: each further attempt may put a copy into the mailbox.
const LONGEST_PAUSE_BETWEEN_COPIES: Duration = Duration::from_secs(30);

/// Returns the wait after a failed attempt, or `None` to give up.
///
/// - `attempt` counts from 1.
/// - `unsent`: no attempt can have reached the provider.
/// - `age` is the age of the mail. The last attempt is made at the age `give_up_after`, no sooner and no later.
/// - `retry_after` is the provider's `Retry-After`. The jitter is added to `retry_after`. The last attempt does not wait for
///   `retry_after`: an early request costs the provider less than a lost mail costs a person.
/// - `fraction` is random, in `0.0..1.0`. Jitter over the whole range spreads mails that failed together.
pub fn delay(
    attempt: u32,
    unsent: bool,
    age: Duration,
    retry_after: Option<Duration>,
    give_up_after: Duration,
    fraction: f64,
) -> Option<Duration> {
    let longest = if unsent { LONGEST_PAUSE } else { LONGEST_PAUSE_BETWEEN_COPIES };
    let jittered = Backoff::new(FIRST_PAUSE, longest).pause_after(attempt).mul_f64(fraction);
    let wait = retry_after.unwrap_or_default().saturating_add(jittered);
    let left = give_up_after.saturating_sub(age);
    (!left.is_zero()).then(|| wait.min(left))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVE_UP_AFTER: Duration = Duration::from_secs(15 * 60);

    #[test]
    fn delays_double_up_to_a_limit() {
        let delays = |unsent| {
            let delay = |n| delay(n, unsent, Duration::ZERO, None, GIVE_UP_AFTER, 1.0).unwrap().as_millis();
            [1, 2, 3, 4, 5, 6, 7, 8, u32::MAX].map(delay)
        };
        assert_eq!(delays(true), [500, 1000, 2000, 4000, 4000, 4000, 4000, 4000, 4000]);
        assert_eq!(delays(false), [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
    }

    #[test]
    fn jitter_covers_the_whole_range() {
        assert_eq!(delay(4, true, Duration::ZERO, None, GIVE_UP_AFTER, 0.0), Some(Duration::ZERO));
        assert_eq!(delay(4, true, Duration::ZERO, None, GIVE_UP_AFTER, 0.5), Some(Duration::from_secs(2)));
    }

    #[test]
    fn retry_after_is_obeyed() {
        let retry_after = Some(Duration::from_secs(20));
        assert_eq!(delay(1, true, Duration::ZERO, retry_after, GIVE_UP_AFTER, 0.0), retry_after);
    }

    #[test]
    fn the_last_attempt_is_made_at_the_give_up_age() {
        let age = GIVE_UP_AFTER - Duration::from_secs(5);
        assert_eq!(delay(9, false, age, None, GIVE_UP_AFTER, 0.9), Some(Duration::from_secs(5)));
        assert_eq!(delay(9, true, age, None, GIVE_UP_AFTER, 0.5), Some(Duration::from_secs(2)));
        for retry_after in [GIVE_UP_AFTER, Duration::MAX] {
            assert_eq!(delay(1, true, Duration::ZERO, Some(retry_after), GIVE_UP_AFTER, 1.0), Some(GIVE_UP_AFTER));
        }
    }

    #[test]
    fn a_mail_of_the_give_up_age_is_not_retried() {
        for age in [GIVE_UP_AFTER, 2 * GIVE_UP_AFTER] {
            assert_eq!(delay(1, true, age, None, GIVE_UP_AFTER, 0.0), None);
        }
    }
}
