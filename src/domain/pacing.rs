//! How often an address is granted a mail, and how long the code in it is.
//!
//! Three guesses a grant are only as good as the grants are rare. A wait between grants that doubles, and four digits
//! for a bounded number of them a year, hold the year-long chance against one address below 1 %, without ever locking
//! the address: who is attacked gets longer codes.
//!
//! This is the rule in plain words; `store/postgres/users.rs` says the same in one atomic statement, and the contract
//! in `accounts/contract.rs` holds both to it.

use std::time::Duration;

use time::OffsetDateTime;

use super::code::CodeLength;

/// The window over which short codes are counted: any 365 days.
pub const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pacing {
    /// From the first grant to the second. At least `CODE_TTL`, or a live code could be replaced.
    pub first_wait: Duration,
    /// What doubling ends at.
    pub longest_wait: Duration,
    /// After so long without a grant the next wait is the first one again.
    pub quiet: Duration,
    /// How many grants in any [`YEAR`] carry a short code; the others carry ten digits.
    pub short_codes: u16,
    /// Of a short code.
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

/// What is remembered of an address. Activation does not touch it: that would tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    pub granted_at: OffsetDateTime,
    /// From `granted_at` to the next grant.
    pub wait: Duration,
    /// When short codes were granted in the last year, at most `short_codes` of them.
    pub short_granted_at: Vec<OffsetDateTime>,
}

/// A grant was asked for inside the wait. Nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooSoon {
    pub left: Duration,
}

impl Pacing {
    /// Grants a mail, if it is time.
    pub fn grant(&self, before: Option<&History>, now: OffsetDateTime) -> Result<(History, CodeLength), TooSoon> {
        let Some(before) = before else {
            return Ok(self.granted(self.first_wait, vec![], now));
        };
        let due = before.granted_at + before.wait;
        if now < due {
            return Err(TooSoon { left: (due - now).unsigned_abs() });
        }
        let quiet = now >= before.granted_at + self.quiet;
        let wait = if quiet { self.first_wait } else { (before.wait * 2).min(self.longest_wait) };
        let recent = before.short_granted_at.iter().copied().filter(|&at| at > now - YEAR).collect();
        Ok(self.granted(wait, recent, now))
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

    /// An attacker who asks for a grant the moment it is to be had, waits out the quiet time after so many of them, in
    /// turn, and uses every guess of every grant; that a mail is sent again gives no further guess (`accounts/model.rs`).
    /// Returns the chance of having guessed a code within any 365 days of two years.
    fn chance_within_a_year(pacing: &Pacing, bursts: &[usize]) -> f64 {
        let (mut now, mut history, mut grants) = (START, None, vec![]);
        for burst in bursts.iter().cycle() {
            for n in 1..=*burst {
                let (after, length) = pacing.grant(history.as_ref(), now).expect("asked when due");
                grants.push((now, f64::from(MAX_WRONG_GUESSES) / length.space() as f64));
                now += if n == *burst { after.wait.max(pacing.quiet) } else { after.wait };
                history = Some(after);
            }
            if now > START + 2 * YEAR {
                break;
            }
        }
        // Beginning with each grant, the chances of those within a year add up; both ends only move on.
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
    fn twice_the_short_codes_would_break_the_promise() {
        let lax = Pacing { short_codes: 60, ..Pacing::default() };
        assert!(chance_within_a_year(&lax, &[8]) > 0.01);
        let without_end =
            Pacing { short_length: CodeLength::new(9).expect("less than ten"), short_codes: u16::MAX, ..lax };
        assert!(chance_within_a_year(&without_end, &[8]) < 0.01, "longer codes keep it without a limit");
    }

    #[test]
    fn waits_double_to_four_hours_and_are_forgotten_after_a_quiet_day() {
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
    fn inside_the_wait_nothing_is_granted() {
        let pacing = Pacing::default();
        let (history, _) = pacing.grant(None, START).unwrap();
        let early = pacing.grant(Some(&history), START + Duration::from_secs(59));
        assert_eq!(early, Err(TooSoon { left: Duration::from_secs(1) }));
        assert!(pacing.grant(Some(&history), START + Duration::from_secs(60)).is_ok());
    }

    proptest! {
        // Two years of grants each.
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// By the defaults, however the attacker spaces the bursts.
        #[test]
        fn a_year_of_patience_reaches_at_most_one_percent(bursts in prop::collection::vec(1..80_usize, 1..8)) {
            let chance = chance_within_a_year(&Pacing::default(), &bursts);
            prop_assert!(chance <= 0.01, "{chance}");
        }
    }

    proptest! {
        /// However the requests are spaced, no 365 days hold more short codes than allowed.
        #[test]
        fn short_codes_are_bounded_in_any_year(gaps in prop::collection::vec(0_u64..40 * 24 * 3600, 1..200)) {
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
