//! A clock that only tests move.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use time::OffsetDateTime;

use super::lock;

/// A clock that starts at the Unix epoch and stands still until [`ManualClock::advance`]. Clones share their time.
#[derive(Clone)]
pub struct ManualClock(Arc<Mutex<OffsetDateTime>>);

impl Default for ManualClock {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(OffsetDateTime::UNIX_EPOCH)))
    }
}

impl ManualClock {
    pub fn now(&self) -> OffsetDateTime {
        *lock(&self.0)
    }

    pub fn advance(&self, by: Duration) {
        *lock(&self.0) += by;
    }
}
