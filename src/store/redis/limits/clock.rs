//! The clock of the limits: Redis's own, or one that a test scripts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The time that scripts use. The default is the clock of Redis.
#[derive(Debug, Clone, Default)]
pub struct LimitsClock(Option<Arc<AtomicU64>>);

impl LimitsClock {
    /// Returns a clock that stands still until [`LimitsClock::advance`].
    pub fn scripted(micros: u64) -> Self {
        Self(Some(Arc::new(AtomicU64::new(micros))))
    }

    /// Moves a scripted clock forward. The clock of Redis is not affected.
    pub fn advance(&self, by: Duration) {
        if let Self(Some(micros)) = self {
            micros.fetch_add(by.as_micros() as u64, Ordering::Relaxed);
        }
    }

    /// Moves a scripted clock back, as a failover to a server whose clock is behind does.
    pub fn set_back(&self, by: Duration) {
        if let Self(Some(micros)) = self {
            micros.fetch_sub(by.as_micros() as u64, Ordering::Relaxed);
        }
    }

    /// The last argument of each script; see `lua::NOW`.
    pub(super) fn argument(&self) -> u64 {
        self.0.as_ref().map_or(0, |micros| micros.load(Ordering::Relaxed))
    }
}
