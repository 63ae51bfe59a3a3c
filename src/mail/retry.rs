//! When to try again: exponential backoff with full jitter, and an end.

use std::time::Duration;

const BASE: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

/// How long to wait after the given attempt (the first is 1), or `None` to give up, because the mail would be older
/// than `give_up_after` by then. `fraction` is random, in `0.0..1.0`: jitter over the whole range spreads those who
/// failed together. What the provider asked for is obeyed, and jittered on top.
pub fn delay(
    attempt: u32,
    age: Duration,
    asked: Option<Duration>,
    give_up_after: Duration,
    fraction: f64,
) -> Option<Duration> {
    let doubled = BASE.saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1)));
    let jittered = doubled.min(LONGEST).mul_f64(fraction);
    let delay = asked.unwrap_or_default().saturating_add(jittered);
    (age.saturating_add(delay) < give_up_after).then_some(delay)
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUARTER: Duration = Duration::from_secs(15 * 60);

    #[test]
    fn it_doubles_to_a_limit() {
        let delays = [1, 2, 3, 6, 7, 8, u32::MAX].map(|n| delay(n, Duration::ZERO, None, QUARTER, 1.0).unwrap());
        assert_eq!(delays.map(|delay| delay.as_millis()), [500, 1000, 2000, 16_000, 30_000, 30_000, 30_000]);
    }

    #[test]
    fn jitter_takes_the_whole_range() {
        assert_eq!(delay(4, Duration::ZERO, None, QUARTER, 0.0), Some(Duration::ZERO));
        assert_eq!(delay(4, Duration::ZERO, None, QUARTER, 0.5), Some(Duration::from_secs(2)));
    }

    #[test]
    fn the_providers_wish_is_obeyed() {
        let asked = Some(Duration::from_secs(20));
        assert_eq!(delay(1, Duration::ZERO, asked, QUARTER, 0.0), asked);
    }

    #[test]
    fn it_ends() {
        assert_eq!(delay(1, QUARTER, None, QUARTER, 0.0), None);
        assert_eq!(delay(1, Duration::ZERO, Some(QUARTER), QUARTER, 0.0), None);
        assert_eq!(delay(1, Duration::ZERO, Some(Duration::MAX), QUARTER, 1.0), None);
    }
}
