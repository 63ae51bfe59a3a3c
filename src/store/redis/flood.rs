//! A flood: more wrong codes, of all networks together, than people make.
//!
//! One key counts them for all replicas. A flood ends by itself when that many no longer come.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use deadpool_redis::redis::Script;
use metrics::gauge;
use tracing::{info, warn};

use super::fail_open::FailOpen;
use super::limits::{NOW, Quota};

#[derive(Clone)]
pub(super) struct Flood {
    redis: FailOpen,
    limit: Quota,
    /// What this process has said last.
    on: Arc<AtomicBool>,
}

/// Answers how long the flood still lasts if nothing more comes, in milliseconds; 0 when there is none. It lasts for a
/// window at the least: else, at the border, every other guess would begin it and end it.
static COUNT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(&format!(
        "{NOW}{}",
        r"
        local unit, quota, misses = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
        local window = quota * unit
        local whole = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now)
        if misses > 0 then
            local begins = whole <= now + window
            whole = math.min(whole + misses * unit, now + 2 * window)
            if begins and whole > now + window then whole = now + 2 * window end
            redis.call('SET', KEYS[1], string.format('%.0f', whole), 'PX', math.ceil((whole - now) / 1000))
        end
        return math.ceil(math.max(whole - now - window, 0) / 1000)
        "
    ))
});

impl Flood {
    pub(super) fn new(redis: FailOpen, limit: Quota) -> Self {
        Self { redis, limit, on: Arc::default() }
    }

    pub(super) async fn is_on(&self) -> bool {
        self.count(0).await
    }

    pub(super) async fn count_miss(&self) {
        self.count(1).await;
    }

    async fn count(&self, misses: u32) -> bool {
        let Some(left) = self.ask(misses).await else {
            return false;
        };
        if !left.is_zero() && !self.on.swap(true, Ordering::Relaxed) {
            gauge!("sixty_wrong_code_flood").set(1.0);
            warn!("a flood of wrong codes: guesses cost the networks that contribute more");
            // Nobody else may notice the end: guesses may no longer come.
            tokio::spawn(self.clone().watch(left));
        }
        !left.is_zero()
    }

    async fn watch(self, mut left: Duration) {
        while !left.is_zero() {
            tokio::time::sleep(left).await;
            // Without Redis nothing is counted, nor limited.
            left = self.ask(0).await.unwrap_or_default();
        }
        self.on.store(false, Ordering::Relaxed);
        gauge!("sixty_wrong_code_flood").set(0.0);
        info!("the flood of wrong codes is over");
    }

    /// How long the flood still lasts.
    async fn ask(&self, misses: u32) -> Option<Duration> {
        let key = format!("{}:limit:{{flood}}", self.redis.prefix());
        let mut count = COUNT.prepare_invoke();
        count.key(key).arg(self.limit.unit()).arg(self.limit.units).arg(misses);
        let left: u64 = self.redis.ask(async |mut redis| count.invoke_async(&mut redis).await).await?;
        Some(Duration::from_millis(left))
    }
}
