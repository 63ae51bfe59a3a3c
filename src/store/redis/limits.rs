//! Rate limits of client networks: quotas by the generic cell rate algorithm (GCRA), one key for each.
//!
//! - `sixty:limit:{<network>}:codes`, `…:misses`: the time at which the whole quota is available again, in microseconds of
//!   Redis's clock. The key expires at that time.
//!
//! No request needs these limits to be served. While Redis does not respond, no limit applies.

use std::sync::LazyLock;
use std::time::Duration;

use deadpool_redis::redis::Script;

use super::Redis;
pub use super::auth_throttle::{Attempt, AuthThrottle, NotAdmitted};
use super::fail_open::FailOpen;
use super::flood::FloodDetector;
use super::lua::NOW;
pub use super::quota::{Quota, QuotaName, QuotaState};
use crate::domain::code::CodeSecret;
use crate::domain::network::Network;

/// Units that a request has consumed. [`RedisLimits::refund`] returns them.
#[derive(Debug)]
#[must_use]
pub struct ConsumedUnits {
    network: Network,
    units: u32,
    pub state: QuotaState,
}

#[derive(Debug, Clone, Copy)]
pub struct LimitsConfig {
    pub codes: Quota,
    pub misses: Quota,
    /// The rate of wrong codes, over all networks, above which flood mode is on.
    pub flood: Quota,
    /// The longest wait for other attempts at the same address from the same network.
    pub max_wait: Duration,
}

#[derive(Clone)]
pub struct RedisLimits {
    redis: FailOpen,
    config: LimitsConfig,
    flood: FloodDetector,
    pub auth_throttle: AuthThrottle,
}

/// In flood mode, a network with this many recent wrong codes contributes to the flood. A person has at most two wrong
/// guesses before a code is destroyed.
const FLOOD_MISSES: u32 = 3;
/// In flood mode, the units that a guess costs a network that contributes.
const FLOOD_COST: u32 = 5;

/// Consumes units if the quota has enough. Returns the consumed units (0: refused), what remains, and the microseconds
/// until a unit returns (refused: until enough have returned).
static CONSUME: LazyLock<Script> = LazyLock::new(|| {
    Script::new(&format!(
        "{NOW}{}",
        r"
        local unit, quota = tonumber(ARGV[1]), tonumber(ARGV[2])
        local raised_from, raised_cost = tonumber(ARGV[3]), tonumber(ARGV[4])
        local full_at = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now)
        local used = math.ceil((full_at - now) / unit)
        local cost = used >= raised_from and math.min(raised_cost, quota) or 1
        local after = full_at + cost * unit
        local latest = now + quota * unit
        if after > latest then
            return {0, math.floor((latest - full_at) / unit), after - latest}
        end
        redis.call('SET', KEYS[1], string.format('%.0f', after), 'PX', math.ceil((after - now) / 1000))
        return {cost, math.floor((latest - after) / unit), (after - now - 1) % unit + 1}
        "
    ))
});

/// Returns consumed units to the quota. Returns what remains, and the microseconds until a further unit returns.
static REFUND: LazyLock<Script> = LazyLock::new(|| {
    Script::new(&format!(
        "{NOW}{}",
        r"
        local unit, quota, units = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
        local full_at = math.max(tonumber(redis.call('GET', KEYS[1]) or 0) - units * unit, now)
        if full_at > now then
            redis.call('SET', KEYS[1], string.format('%.0f', full_at), 'PX', math.ceil((full_at - now) / 1000))
        else
            redis.call('DEL', KEYS[1])
        end
        local used = full_at - now
        return {math.floor((quota * unit - used) / unit), used > 0 and (used - 1) % unit + 1 or 0}
        "
    ))
});

impl RedisLimits {
    /// `secret` hides the addresses that are part of key names.
    pub fn new(redis: Redis, secret: CodeSecret, config: LimitsConfig) -> Self {
        let redis = FailOpen::new(redis);
        let flood = FloodDetector::new(redis.clone(), config.flood);
        let auth_throttle = AuthThrottle::new(redis.clone(), secret, config.max_wait);
        Self { redis, config, flood, auth_throttle }
    }

    /// Consumes a unit of the network's quota; several in flood mode. `Err`: the quota is exhausted. `None`: Redis did not
    /// respond, so no limit applies.
    pub async fn consume(&self, name: QuotaName, network: Network) -> Option<Result<ConsumedUnits, QuotaState>> {
        let quota = self.quota(name);
        let raised_from = match name {
            QuotaName::Misses if self.flood.is_on().await => FLOOD_MISSES,
            _ => u32::MAX,
        };
        let mut consume = CONSUME.prepare_invoke();
        consume.key(self.key(name, network)).arg(quota.unit_micros()).arg(quota.units).arg(raised_from).arg(FLOOD_COST);
        let (units, remaining, next_micros): (u32, u32, u64) = self.redis.run(&consume).await?;
        let state = QuotaState::new(name, quota, remaining, next_micros);
        Some(if units == 0 { Err(state) } else { Ok(ConsumedUnits { network, units, state }) })
    }

    /// Returns consumed units to the quota. `None`: Redis did not respond.
    pub async fn refund(&self, consumed: ConsumedUnits) -> Option<QuotaState> {
        let ConsumedUnits { network, units, state: QuotaState { name, quota, .. } } = consumed;
        let mut refund = REFUND.prepare_invoke();
        refund.key(self.key(name, network)).arg(quota.unit_micros()).arg(quota.units).arg(units);
        let (remaining, next_micros): (u32, u64) = self.redis.run(&refund).await?;
        Some(QuotaState::new(name, quota, remaining, next_micros))
    }

    /// Counts a wrong code for flood detection, over all networks.
    pub async fn count_miss(&self) {
        self.flood.count_miss().await;
    }

    fn quota(&self, name: QuotaName) -> Quota {
        match name {
            QuotaName::Codes => self.config.codes,
            QuotaName::Misses => self.config.misses,
        }
    }

    fn key(&self, name: QuotaName, network: Network) -> String {
        format!("{}:limit:{{{network}}}:{}", self.redis.prefix(), name.as_str())
    }
}
