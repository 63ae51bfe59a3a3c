//! Detects password guessing against one address from many networks.
//!
//! The login throttle limits each network, so an attacker with many networks gets a few guesses from each. This counts the
//! failures of an address over all networks. It refuses nothing: otherwise anybody could lock an owner out.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use metrics::counter;
use quick_cache::sync::Cache;
use tracing::warn;

use crate::domain::email::Address;

/// The failures of an address within [`WINDOW`] that are normal. The login throttle admits about ten from one network, so
/// more than this come from many networks.
const NORMAL_FAILURES: u32 = 50;
const WINDOW: Duration = Duration::from_secs(10 * 60);

/// The addresses whose failures are counted, about 1 MB. Addresses that fail often are kept, those that fail once make room.
const CAPACITY: usize = 10_000;

/// The failures of each address in this process. Clones share them. An address without an account counts like any other.
#[derive(Clone)]
pub struct GuessingDetector {
    hasher: RandomState,
    failures: Arc<Cache<u64, Arc<Failures>>>,
}

struct Failures {
    since: Instant,
    count: AtomicU32,
}

impl Default for GuessingDetector {
    fn default() -> Self {
        Self { hasher: RandomState::new(), failures: Arc::new(Cache::new(CAPACITY)) }
    }
}

impl GuessingDetector {
    /// Counts a failed authentication of an address.
    pub fn count_failure(&self, address: &Address) {
        if self.is_excessive(address, Instant::now()) {
            counter!("sixty_guessed_logins_total").increment(1);
        }
    }

    /// Returns whether the address has more failures within the window than is normal, with this one.
    fn is_excessive(&self, address: &Address, now: Instant) -> bool {
        let key = self.hasher.hash_one(address.as_str());
        let known = self.failures.get(&key).filter(|failures| now < failures.since + WINDOW);
        let failures = known.unwrap_or_else(|| {
            let new = Arc::new(Failures { since: now, count: AtomicU32::new(0) });
            self.failures.insert(key, Arc::clone(&new));
            new
        });
        let count = failures.count.fetch_add(1, Ordering::Relaxed) + 1;
        if count == NORMAL_FAILURES + 1 {
            warn!(
                failures = count, within = ?WINDOW,
                "somebody guesses the password of one address from many networks; each network is limited, all together are not"
            );
        }
        count > NORMAL_FAILURES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::email::Email;

    #[test]
    fn only_many_failures_of_one_address_within_the_window_are_excessive() {
        let detector = GuessingDetector::default();
        let email = |text: &str| Email::parse(text).unwrap();
        let (ada, now) = (email("ada@example.com"), Instant::now());
        for n in 0..NORMAL_FAILURES {
            assert!(!detector.is_excessive(ada.address(), now));
            assert!(!detector.is_excessive(email(&format!("user{n}@example.com")).address(), now));
        }
        assert!(detector.is_excessive(ada.address(), now));
        assert!(!detector.is_excessive(ada.address(), now + WINDOW));
    }
}
