//! Flood detection: more wrong codes per window, over all networks together, than people make.
//!
//! - `sixty:limit:{flood}`: a GCRA time as in `limits.rs`, which may exceed its limit. All replicas share the key.
//!
//! Flood mode ends by itself when the rate of wrong codes falls below the limit.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use deadpool_redis::redis::Script;
use metrics::gauge;
use tracing::{info, warn};

use super::clock::LimitsClock;
use super::fail_open::FailOpen;
use super::quota::Quota;
use crate::store::redis::lua::NOW;

#[derive(Clone)]
pub(super) struct FloodDetector {
    redis: FailOpen,
    limit: Quota,
    clock: LimitsClock,
    /// Whether this process has logged that flood mode is on, and not yet that it is off.
    logged_on: Arc<AtomicBool>,
}

/// Counts wrong codes. Returns how long flood mode lasts if no further ones come, in milliseconds; 0 when it is off.
///
/// Flood mode lasts for a window at least. Otherwise every second guess near the limit would switch it on and off.
static COUNT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(&format!(
        "{NOW}{}",
        r"
        local unit, quota, misses = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
        local window = quota * unit
        local full_at = math.max(math.min(tonumber(redis.call('GET', KEYS[1]) or 0), now + 2 * window), now)
        if misses > 0 then
            local was_off = full_at <= now + window
            full_at = math.min(full_at + misses * unit, now + 2 * window)
            if was_off and full_at > now + window then full_at = now + 2 * window end
            redis.call('SET', KEYS[1], string.format('%.0f', full_at), 'PX', math.ceil((full_at - now) / 1000))
        end
        return math.ceil(math.max(full_at - now - window, 0) / 1000)
        "
    ))
});

impl FloodDetector {
    pub(super) fn new(redis: FailOpen, limit: Quota, clock: LimitsClock) -> Self {
        Self { redis, limit, clock, logged_on: Arc::default() }
    }

    /// Returns whether flood mode is on. It is off while Redis does not respond.
    pub(super) async fn is_on(&self) -> bool {
        self.update(0).await
    }

    pub(super) async fn count_miss(&self) {
        self.update(1).await;
    }

    async fn update(&self, misses: u32) -> bool {
        let Some(left) = self.run_count(misses).await else {
            return false;
        };
        if !left.is_zero() && !self.logged_on.swap(true, Ordering::Relaxed) {
            gauge!("sixty_wrong_code_flood").set(1.0);
            warn!("flood mode is on: too many wrong codes; guesses now cost more units for networks that send many");
            // Perhaps no further guess comes that would find flood mode off.
            tokio::spawn(self.clone().log_the_end(left));
        }
        !left.is_zero()
    }

    async fn log_the_end(self, mut left: Duration) {
        while !left.is_zero() {
            tokio::time::sleep(left).await;
            // While Redis does not respond, nothing is counted and no limit applies.
            left = self.run_count(0).await.unwrap_or_default();
        }
        self.logged_on.store(false, Ordering::Relaxed);
        gauge!("sixty_wrong_code_flood").set(0.0);
        info!("flood mode is off: guesses cost one unit again");
    }

    /// Returns how long flood mode still lasts. `None`: Redis did not respond.
    async fn run_count(&self, misses: u32) -> Option<Duration> {
        let key = format!("{}:limit:{{flood}}", self.redis.prefix());
        let mut count = COUNT.prepare_invoke();
        count.key(&key).arg(self.limit.unit_micros()).arg(self.limit.units).arg(misses).arg(self.clock.argument());
        self.redis.run(&key, &count).await.map(Duration::from_millis)
    }
}
