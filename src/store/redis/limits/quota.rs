//! Quotas of client networks, as responses show them in `RateLimit` headers.

use std::fmt;
use std::time::Duration;

/// A rate limit: `units` per `window`, used at once or spread over it. Used units return evenly (GCRA).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    pub units: u32,
    pub window: Duration,
}

impl Quota {
    pub fn per_hour(units: u32) -> Self {
        Self { units, window: Duration::from_secs(60 * 60) }
    }

    pub fn per_day(units: u32) -> Self {
        Self { units, window: Duration::from_secs(24 * 60 * 60) }
    }

    /// Returns a quota with `factor` times the units.
    pub(super) fn times(self, factor: u32) -> Self {
        Self { units: self.units.saturating_mul(factor), ..self }
    }

    /// The time in which one unit returns, in microseconds. Rounded down, so that all units return within the window.
    pub(super) fn unit_micros(self) -> u64 {
        self.window.as_micros() as u64 / u64::from(self.units)
    }
}

/// The quotas that every client network has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuotaName {
    /// Registrations and requests for another code. Each may send a mail, whose code allows three guesses.
    Codes,
    /// Wrong guesses at codes, in an hour.
    Misses,
    /// Wrong guesses at codes, in a day.
    MissesPerDay,
    /// Authentications by pending registrations, beyond the few that each registration has free.
    PendingLogins,
}

impl QuotaName {
    /// The name in Redis keys, in `RateLimit` headers, and in the metric `sixty_limited_requests_total`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Codes => "codes",
            Self::Misses => "misses",
            Self::MissesPerDay => "misses-per-day",
            Self::PendingLogins => "pending",
        }
    }
}

/// What is left of a network's quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaState {
    pub name: QuotaName,
    pub quota: Quota,
    pub remaining: u32,
    /// The time until a unit returns; for a refused request, until it would be accepted. Whole seconds.
    pub next: Duration,
}

impl QuotaState {
    /// `next_micros` is rounded up to whole seconds, so that a client that waits as long is not too early.
    pub(super) fn new(name: QuotaName, quota: Quota, remaining: u32, next_micros: u64) -> Self {
        Self { name, quota, remaining, next: Duration::from_secs(next_micros.div_ceil(1_000_000)) }
    }

    /// The value of `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers).
    pub fn policy(&self) -> String {
        format!("\"{}\";q={};w={}", self.name.as_str(), self.quota.units, self.quota.window.as_secs())
    }
}

/// The value of `RateLimit` (draft-ietf-httpapi-ratelimit-headers).
impl fmt::Display for QuotaState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\";r={};t={}", self.name.as_str(), self.remaining, self.next.as_secs())
    }
}
