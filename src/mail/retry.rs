//! When to try again: exponential backoff with full jitter, and an end.

use std::time::Duration;

const BASE: Duration = Duration::from_millis(500);
/// Somebody waits for the mail: once the fault is over it should be there within five seconds. What is down is not
/// hammered by that, because the circuit sends it one mail at a time.
const LONGEST: Duration = Duration::from_secs(4);
/// Where the mail may have been taken, each attempt may be a further copy in a mailbox.
const LONGEST_BETWEEN_COPIES: Duration = Duration::from_secs(30);

/// How long to wait after the given attempt (the first is 1) of a mail of this age, or `None` to give up, because it is as
/// old as `give_up_after`. The last attempt is made at that age, no sooner and no later, even if the provider asked for a
/// longer wait: one question too early costs it less than a lost mail a person. Up to then what it asked for is obeyed,
/// and jittered on top. `unsent`: no attempt can have reached the provider. `fraction` is random, in `0.0..1.0`: jitter
/// over the whole range spreads those who failed together.
pub fn delay(
    attempt: u32,
    unsent: bool,
    age: Duration,
    asked: Option<Duration>,
    give_up_after: Duration,
    fraction: f64,
) -> Option<Duration> {
    let doubled = BASE.saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1)));
    let longest = if unsent { LONGEST } else { LONGEST_BETWEEN_COPIES };
    let jittered = doubled.min(longest).mul_f64(fraction);
    let wait = asked.unwrap_or_default().saturating_add(jittered);
    let left = give_up_after.saturating_sub(age);
    (!left.is_zero()).then(|| wait.min(left))
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUARTER: Duration = Duration::from_secs(15 * 60);

    #[test]
    fn it_doubles_to_a_limit() {
        let delays = |unsent| {
            let delay = |n| delay(n, unsent, Duration::ZERO, None, QUARTER, 1.0).unwrap().as_millis();
            [1, 2, 3, 4, 5, 6, 7, 8, u32::MAX].map(delay)
        };
        assert_eq!(delays(true), [500, 1000, 2000, 4000, 4000, 4000, 4000, 4000, 4000]);
        assert_eq!(delays(false), [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
    }

    #[test]
    fn jitter_takes_the_whole_range() {
        assert_eq!(delay(4, true, Duration::ZERO, None, QUARTER, 0.0), Some(Duration::ZERO));
        assert_eq!(delay(4, true, Duration::ZERO, None, QUARTER, 0.5), Some(Duration::from_secs(2)));
    }

    #[test]
    fn the_providers_wish_is_obeyed() {
        let asked = Some(Duration::from_secs(20));
        assert_eq!(delay(1, true, Duration::ZERO, asked, QUARTER, 0.0), asked);
    }

    #[test]
    fn the_last_attempt_is_at_the_end() {
        let age = QUARTER - Duration::from_secs(5);
        assert_eq!(delay(9, false, age, None, QUARTER, 0.9), Some(Duration::from_secs(5)));
        assert_eq!(delay(9, true, age, None, QUARTER, 0.5), Some(Duration::from_secs(2)));
        for asked in [QUARTER, Duration::MAX] {
            assert_eq!(delay(1, true, Duration::ZERO, Some(asked), QUARTER, 1.0), Some(QUARTER));
        }
    }

    #[test]
    fn it_ends() {
        for age in [QUARTER, 2 * QUARTER] {
            assert_eq!(delay(1, true, age, None, QUARTER, 0.0), None);
        }
    }
}
