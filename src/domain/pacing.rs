//! Rate limit of code mails per address, and the length of their codes.
//!
//! Each grant allows three wrong guesses, so grants must be rare. The wait between grants doubles, and only a limited
//! number of grants per year has a short code. So an attacker's chance against one address stays below 1 % per year.
//! The address is never locked: under attack its codes get longer.
//!
//! `store/postgres/users/code_grants.rs` implements the same rule as one atomic statement. The contract tests in
//! `testing/contract/` check both implementations.

use std::time::Duration;

use time::OffsetDateTime;

use super::code::CodeLength;

/// The sliding window over which short codes are counted.
pub const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pacing {
    /// Wait after the first grant. It must be at least the lifetime of a code, or a new grant could replace a live code.
    pub first_wait: Duration,
    /// Upper limit of the doubled wait.
    pub longest_wait: Duration,
    /// After this time without a grant, the next wait is `first_wait` again.
    pub quiet: Duration,
    /// Number of grants with a short code in any [`YEAR`]. Further grants have codes of ten digits.
    pub short_codes: u16,
    /// Length of a short code.
    pub short_length: CodeLength,
}

impl Default for Pacing {
    fn default() -> Self {
        Self {
            first_wait: Duration::from_secs(60),
            longest_wait: Duration::from_secs(4 * 60 * 60),
            quiet: Duration::from_secs(24 * 60 * 60),
            short_codes: 30,
            short_length: CodeLength::FOUR,
        }
    }
}

impl Pacing {
    /// Returns the default pacing of reset mails. All their codes have the same length.
    pub fn of_resets() -> Self {
        Self {
            first_wait: Duration::from_secs(10 * 60),
            short_codes: u16::MAX,
            short_length: CodeLength::EIGHT,
            ..Self::default()
        }
    }
}

/// The grants of an address. An activation does not change them: a change would reveal the activation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    pub granted_at: OffsetDateTime,
    /// Time from `granted_at` until the next grant is allowed.
    pub wait: Duration,
    /// Times of the grants with a short code in the last year, at most `short_codes`.
    pub short_granted_at: Vec<OffsetDateTime>,
}

/// The wait is not over. `left` is the rest of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooSoon {
    pub left: Duration,
}

impl Pacing {
    /// Grants a code mail if the wait is over. Returns the new history and the length of the code.
    pub fn grant(&self, before: Option<&History>, now: OffsetDateTime) -> Result<(History, CodeLength), TooSoon> {
        let due = before.map(|before| before.granted_at + before.wait);
        match due {
            Some(due) if now < due => Err(TooSoon { left: (due - now).unsigned_abs() }),
            _ => Ok(self.grant_by_ticket(before, now)),
        }
    }

    /// Grants a code mail whether or not the wait is over: for a registration ticket. Otherwise like [`Pacing::grant`]: the
    /// wait doubles, and the short codes are counted.
    pub fn grant_by_ticket(&self, before: Option<&History>, now: OffsetDateTime) -> (History, CodeLength) {
        let Some(before) = before else {
            return self.granted(self.first_wait, vec![], now);
        };
        let quiet = now >= before.granted_at + self.quiet;
        let wait = if quiet { self.first_wait } else { (before.wait * 2).min(self.longest_wait) };
        let recent = before.short_granted_at.iter().copied().filter(|&at| at > now - YEAR).collect();
        self.granted(wait, recent, now)
    }

    fn granted(&self, wait: Duration, mut short: Vec<OffsetDateTime>, now: OffsetDateTime) -> (History, CodeLength) {
        let length = if short.len() < usize::from(self.short_codes) {
            short.push(now);
            self.short_length
        } else {
            CodeLength::TEN
        };
        (History { granted_at: now, wait, short_granted_at: short }, length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::code::MAX_WRONG_GUESSES;
    use proptest::prelude::*;

    const START: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    /// Returns an attacker's highest chance to guess a code within any 365 days of two years.
    ///
    /// The attacker requests each grant as soon as it is allowed and uses all its guesses. After each burst of grants the
    /// attacker waits for the quiet period; `bursts` are the sizes of the bursts. A retried mail gives no further guess
    /// (`testing/model/`).
    fn chance_within_a_year(pacing: &Pacing, bursts: &[usize]) -> f64 {
        let (mut now, mut history, mut grants) = (START, None, vec![]);
        for burst in bursts.iter().cycle() {
            for n in 1..=*burst {
                let (after, length) = pacing.grant(history.as_ref(), now).expect("the wait is over");
                grants.push((now, f64::from(MAX_WRONG_GUESSES) / length.space() as f64));
                now += if n == *burst { after.wait.max(pacing.quiet) } else { after.wait };
                history = Some(after);
            }
            if now > START + 2 * YEAR {
                break;
            }
        }
        // Sliding window: for each grant, the sum of the chances of all grants in the year that starts with it.
        let (mut end, mut sum, mut worst) = (0, 0.0, 0.0_f64);
        for (from, chance) in &grants {
            while grants.get(end).is_some_and(|(at, _)| *at < *from + YEAR) {
                sum += grants[end].1;
                end += 1;
            }
            worst = worst.max(sum);
            sum -= chance;
        }
        worst
    }

    #[test]
    fn reset_codes_of_seven_digits_exceed_one_in_ten_thousand() {
        let lax = Pacing { short_length: CodeLength::new(7).expect("less than ten"), ..Pacing::of_resets() };
        assert!(chance_within_a_year(&lax, &[8]) > 0.0001);
    }

    #[test]
    fn twice_the_short_codes_exceed_one_percent() {
        let lax = Pacing { short_codes: 60, ..Pacing::default() };
        assert!(chance_within_a_year(&lax, &[8]) > 0.01);
        let nine_digits =
            Pacing { short_length: CodeLength::new(9).expect("less than ten"), short_codes: u16::MAX, ..lax };
        assert!(chance_within_a_year(&nine_digits, &[8]) < 0.01, "codes of nine digits need no limit");
    }

    #[test]
    fn waits_double_to_four_hours_and_restart_after_a_quiet_day() {
        let pacing = Pacing::default();
        let (mut now, mut history, mut waits) = (START, None, vec![]);
        for _ in 0..10 {
            let (after, _) = pacing.grant(history.as_ref(), now).unwrap();
            waits.push(after.wait.as_secs());
            now += after.wait;
            history = Some(after);
        }
        assert_eq!(waits, [60, 120, 240, 480, 960, 1920, 3840, 7680, 14400, 14400]);
        let last = history.unwrap();
        let (after, _) = pacing.grant(Some(&last), last.granted_at + pacing.quiet).unwrap();
        assert_eq!(after.wait, pacing.first_wait);
    }

    #[test]
    fn ticket_passes_the_wait_and_the_next_wait_doubles() {
        let pacing = Pacing { short_codes: 2, ..Pacing::default() };
        let (first, _) = pacing.grant(None, START).unwrap();
        let now = START + Duration::from_secs(1);
        let (second, length) = pacing.grant_by_ticket(Some(&first), now);
        assert_eq!((second.granted_at, second.wait, length), (now, Duration::from_secs(120), CodeLength::FOUR));
        let (_, length) = pacing.grant_by_ticket(Some(&second), now);
        assert_eq!(length, CodeLength::TEN, "a ticket must not give a short code back");
    }

    #[test]
    fn grant_inside_the_wait_is_refused() {
        let pacing = Pacing::default();
        let (history, _) = pacing.grant(None, START).unwrap();
        let early = pacing.grant(Some(&history), START + Duration::from_secs(59));
        assert_eq!(early, Err(TooSoon { left: Duration::from_secs(1) }));
        assert!(pacing.grant(Some(&history), START + Duration::from_secs(60)).is_ok());
    }

    proptest! {
        // Each case simulates two years of grants.
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn chance_within_a_year_is_at_most_one_percent_for_any_bursts(bursts in prop::collection::vec(1..80_usize, 1..8)) {
            let chance = chance_within_a_year(&Pacing::default(), &bursts);
            prop_assert!(chance <= 0.01, "{chance}");
        }
    }

    proptest! {
        // Slower, because all grants of a year have a short code, and are remembered.
        #![proptest_config(ProptestConfig::with_cases(6))]

        #[test]
        fn chance_to_guess_a_reset_code_within_a_year_is_at_most_one_in_ten_thousand(
            bursts in prop::collection::vec(1..80_usize, 1..8),
        ) {
            let chance = chance_within_a_year(&Pacing::of_resets(), &bursts);
            prop_assert!(chance <= 0.0001, "{chance}");
        }
    }

    proptest! {
        #[test]
        fn short_codes_are_limited_in_any_365_days(gaps in prop::collection::vec(0_u64..40 * 24 * 3600, 1..200)) {
            let pacing = Pacing::default();
            let (mut now, mut history, mut short) = (START, None, vec![]);
            for gap in gaps {
                now += Duration::from_secs(gap);
                if let Ok((after, length)) = pacing.grant(history.as_ref(), now) {
                    if length == CodeLength::FOUR {
                        short.push(now);
                    }
                    prop_assert!(after.short_granted_at.len() <= usize::from(pacing.short_codes));
                    history = Some(after);
                }
            }
            for (n, from) in short.iter().enumerate() {
                let within = short[n..].iter().take_while(|&&at| at < *from + YEAR).count();
                prop_assert!(within <= usize::from(pacing.short_codes));
            }
        }
    }
}
