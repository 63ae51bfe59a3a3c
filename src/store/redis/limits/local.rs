//! Limits of this process alone, for the time in which Redis does not respond.
//!
//! Each network gets the same quotas as in Redis, from each process. They begin whole when Redis stops to respond.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, RateLimiter};
use tokio::time::Instant;

use super::LimitsConfig;
use super::quota::{Quota, QuotaName, QuotaState};
use crate::domain::network::Network;

/// Failed authentications of a network: about as many as Redis would allow.
const NETWORK_FAILURES: Quota = Quota { units: 60, window: Duration::from_secs(60 * 60) };

/// Above this number of networks, those that use nothing are forgotten.
const CLEANUP_THRESHOLD: usize = 10_000;

#[derive(Clone)]
pub(super) struct LocalLimits {
    codes: Arc<Limiter>,
    misses: Arc<Penalties>,
    failures: Arc<Penalties>,
}

/// A quota for each network, consumed before the work.
struct Limiter {
    quota: Quota,
    limiter: DefaultKeyedRateLimiter<Network>,
}

/// A quota of failures for each network, consumed after a failure. An exhausted quota refuses further attempts.
struct Penalties {
    failures: Limiter,
    refused_until: Mutex<HashMap<Network, Instant>>,
}

impl LocalLimits {
    pub fn new(config: &LimitsConfig) -> Self {
        Self {
            codes: Arc::new(Limiter::new(config.codes)),
            misses: Arc::new(Penalties::new(config.misses)),
            failures: Arc::new(Penalties::new(NETWORK_FAILURES)),
        }
    }

    /// Consumes a unit of the quota of codes.
    pub fn consume_code(&self, network: Network) -> Result<(), QuotaState> {
        self.codes.consume(network).map_err(|wait| self.codes.exhausted(QuotaName::Codes, wait))
    }

    /// Refuses a guess if the network has sent too many wrong codes.
    pub fn check_guess(&self, network: Network) -> Result<(), QuotaState> {
        self.misses.check(network).map_err(|wait| self.misses.failures.exhausted(QuotaName::Misses, wait))
    }

    pub fn count_miss(&self, network: Network) {
        self.misses.count(network);
    }

    /// Refuses an authentication if too many of the network have failed. Returns the wait.
    pub fn check_authentication(&self, network: Network) -> Result<(), Duration> {
        self.failures.check(network)
    }

    pub fn count_failure(&self, network: Network) {
        self.failures.count(network);
    }
}

impl Limiter {
    fn new(quota: Quota) -> Self {
        let units = NonZeroU32::new(quota.units).unwrap_or(NonZeroU32::MIN);
        let unit = Duration::from_micros(quota.unit_micros().max(1));
        let governed = governor::Quota::with_period(unit).expect("a unit is longer than zero").allow_burst(units);
        Self { quota, limiter: RateLimiter::keyed(governed) }
    }

    /// Returns the wait if the quota is exhausted.
    fn consume(&self, network: Network) -> Result<(), Duration> {
        if self.limiter.len() > CLEANUP_THRESHOLD {
            self.limiter.retain_recent();
        }
        self.limiter
            .check_key(&network.fairness_key())
            .map_err(|refused| refused.wait_time_from(DefaultClock::default().now()))
    }

    fn exhausted(&self, name: QuotaName, wait: Duration) -> QuotaState {
        QuotaState::new(name, self.quota, 0, wait.as_micros() as u64)
    }
}

impl Penalties {
    fn new(quota: Quota) -> Self {
        Self { failures: Limiter::new(quota), refused_until: Mutex::default() }
    }

    fn check(&self, network: Network) -> Result<(), Duration> {
        let network = network.fairness_key();
        let mut refused_until = self.refused_until.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(until) = refused_until.get(&network) else {
            return Ok(());
        };
        let wait = until.saturating_duration_since(Instant::now());
        if wait.is_zero() {
            refused_until.remove(&network);
            Ok(())
        } else {
            Err(wait)
        }
    }

    fn count(&self, network: Network) {
        if let Err(wait) = self.failures.consume(network) {
            let mut refused_until = self.refused_until.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            if refused_until.len() > CLEANUP_THRESHOLD {
                refused_until.retain(|_, until| *until > now);
            }
            refused_until.insert(network.fairness_key(), now + wait);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(address: &str) -> Network {
        Network::of(address.parse().unwrap())
    }

    fn limits() -> LocalLimits {
        LocalLimits::new(&LimitsConfig {
            codes: Quota::per_hour(3),
            misses: Quota::per_hour(2),
            pending_logins: Quota::per_hour(1),
            flood: Quota::per_hour(1),
            max_wait: Duration::ZERO,
        })
    }

    #[test]
    fn each_network_has_its_own_quota_of_codes() {
        let limits = limits();
        for _ in 0..3 {
            limits.consume_code(network("192.0.2.1")).unwrap();
        }
        let refused = limits.consume_code(network("192.0.2.1")).unwrap_err();
        assert!((1..=1200).contains(&refused.next.as_secs()), "{refused:?}");
        limits.consume_code(network("192.0.2.2")).unwrap();
    }

    #[test]
    fn guesses_are_refused_after_too_many_wrong_ones() {
        let limits = limits();
        for _ in 0..3 {
            limits.check_guess(network("192.0.2.1")).unwrap();
            limits.count_miss(network("192.0.2.1"));
        }
        assert!(limits.check_guess(network("192.0.2.1")).is_err());
        limits.check_guess(network("192.0.2.2")).unwrap();
    }

    #[test]
    fn successful_authentications_consume_nothing() {
        let limits = limits();
        for _ in 0..1_000 {
            limits.check_authentication(network("192.0.2.1")).unwrap();
        }
        for _ in 0..=NETWORK_FAILURES.units {
            limits.count_failure(network("192.0.2.1"));
        }
        assert!(limits.check_authentication(network("192.0.2.1")).is_err());
    }
}
