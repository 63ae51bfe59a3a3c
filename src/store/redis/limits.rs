//! What a client network may do: quotas by the generic cell rate algorithm (GCRA), a key for each.
//!
//! - `sixty:limit:{<network>}:codes`, `…:misses`: the time, in microseconds of Redis's clock, at which the quota is whole
//!   again. It lives until then.
//! - `sixty:limit:{flood}`: the same for the wrong codes of all networks together, but it goes beyond the limit.
//!
//! None of this is needed to serve a request: when Redis does not answer, nothing is limited.

use std::fmt;
use std::sync::LazyLock;
use std::time::Duration;

use deadpool_redis::redis::Script;

use super::Redis;
use super::fail_open::FailOpen;
use super::failures::Failures;
use super::flood::Flood;
use crate::domain::code::CodeSecret;
use crate::domain::network::Network;

/// How often. At once, or spread over the window; what was used comes back evenly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    pub units: u32,
    pub window: Duration,
}

impl Quota {
    pub fn per_hour(units: u32) -> Self {
        Self { units, window: Duration::from_secs(60 * 60) }
    }

    /// The time in which one unit comes back, in microseconds. Rounded down, so that the whole fits into the window.
    pub(super) fn unit(self) -> u64 {
        self.window.as_micros() as u64 / u64::from(self.units)
    }
}

/// What is counted by network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// Registrations and requests for another code: each may send a mail, and gives three guesses.
    Codes,
    /// Wrong codes.
    Misses,
}

impl Counted {
    pub fn name(self) -> &'static str {
        match self {
            Self::Codes => "codes",
            Self::Misses => "misses",
        }
    }
}

/// What is left of a network's quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaState {
    pub counted: Counted,
    pub quota: Quota,
    pub remaining: u32,
    /// Until more is left; for who was refused: until it would be let through.
    pub next: Duration,
}

/// `RateLimit-Policy` and `RateLimit` of draft-ietf-httpapi-ratelimit-headers.
impl QuotaState {
    pub fn policy(&self) -> String {
        format!("\"{}\";q={};w={}", self.counted.name(), self.quota.units, self.quota.window.as_secs())
    }
}

impl fmt::Display for QuotaState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\";r={};t={}", self.counted.name(), self.remaining, self.next.as_secs())
    }
}

/// What was taken of a quota, to be given back if it turns out not to be owed.
#[derive(Debug)]
#[must_use]
pub struct Charge {
    network: Network,
    units: u32,
    pub standing: QuotaState,
}

#[derive(Debug, Clone, Copy)]
pub struct LimitsConfig {
    pub codes: Quota,
    pub misses: Quota,
    /// As many wrong codes, of all networks together, are a flood.
    pub flood: Quota,
    /// The longest wait for other attempts at the same address from the same network.
    pub max_wait: Duration,
}

#[derive(Clone)]
pub struct RedisLimits {
    redis: FailOpen,
    config: LimitsConfig,
    flood: Flood,
    pub failures: Failures,
}

/// While there is a flood, a network that made this many wrong guesses a short time ago is one that contributes: a person
/// has two misses and then no code …
const FLOOD_FROM: u32 = 3;
/// … and this is what a further guess costs it.
const FLOOD_COST: u32 = 5;

/// The time of Redis, which all replicas share, in microseconds. Numbers of this size are written by `%.0f`: Lua's own
/// way rounds them.
pub(super) const NOW: &str = r"
    local time = redis.call('TIME')
    local now = time[1] * 1000000 + time[2]
";

static CHARGE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(&format!(
        "{NOW}{}",
        r"
        local unit, quota, dear_from, dear = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
        local whole = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now)
        local used = math.ceil((whole - now) / unit)
        local cost = used >= dear_from and math.min(dear, quota) or 1
        local after = whole + cost * unit
        local most = now + quota * unit
        if after > most then
            return {0, math.floor((most - whole) / unit), after - most}
        end
        redis.call('SET', KEYS[1], string.format('%.0f', after), 'PX', math.ceil((after - now) / 1000))
        return {cost, math.floor((most - after) / unit), (after - now - 1) % unit + 1}
        "
    ))
});

static GIVE_BACK: LazyLock<Script> = LazyLock::new(|| {
    Script::new(&format!(
        "{NOW}{}",
        r"
        local unit, quota, units = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
        local whole = math.max(tonumber(redis.call('GET', KEYS[1]) or 0) - units * unit, now)
        if whole > now then
            redis.call('SET', KEYS[1], string.format('%.0f', whole), 'PX', math.ceil((whole - now) / 1000))
        else
            redis.call('DEL', KEYS[1])
        end
        local used = whole - now
        return {math.floor((quota * unit - used) / unit), used > 0 and (used - 1) % unit + 1 or 0}
        "
    ))
});

impl RedisLimits {
    /// The secret hides addresses in the names of keys.
    pub fn new(redis: Redis, secret: CodeSecret, config: LimitsConfig) -> Self {
        let redis = FailOpen::new(redis);
        let flood = Flood::new(redis.clone(), config.flood);
        Self { flood, failures: Failures::new(redis.clone(), secret, config.max_wait), redis, config }
    }

    /// Takes a unit of the network's quota, or says what is left of it and when to come back. `None`: nobody knows, and
    /// nothing is limited.
    pub async fn charge(&self, counted: Counted, network: Network) -> Option<Result<Charge, QuotaState>> {
        let quota = self.quota(counted);
        let dear_from = match counted {
            Counted::Misses if self.flood.is_on().await => FLOOD_FROM,
            _ => u32::MAX,
        };
        let mut charge = CHARGE.prepare_invoke();
        charge.key(self.key(counted, network)).arg(quota.unit()).arg(quota.units).arg(dear_from).arg(FLOOD_COST);
        let (units, remaining, next): (u32, u32, u64) =
            self.redis.ask(async |mut redis| charge.invoke_async(&mut redis).await).await?;
        let standing = quota_state(counted, quota, remaining, next);
        Some(if units == 0 { Err(standing) } else { Ok(Charge { network, units, standing }) })
    }

    pub async fn give_back(&self, charge: Charge) -> Option<QuotaState> {
        let Charge { network, units, standing: QuotaState { counted, quota, .. } } = charge;
        let mut give_back = GIVE_BACK.prepare_invoke();
        give_back.key(self.key(counted, network)).arg(quota.unit()).arg(quota.units).arg(units);
        let (remaining, next): (u32, u64) =
            self.redis.ask(async |mut redis| give_back.invoke_async(&mut redis).await).await?;
        Some(quota_state(counted, quota, remaining, next))
    }

    /// A wrong code, whoever sent it.
    pub async fn missed(&self) {
        self.flood.count_miss().await;
    }

    fn quota(&self, counted: Counted) -> Quota {
        match counted {
            Counted::Codes => self.config.codes,
            Counted::Misses => self.config.misses,
        }
    }

    fn key(&self, counted: Counted, network: Network) -> String {
        format!("{}:limit:{{{network}}}:{}", self.redis.prefix(), counted.name())
    }
}

/// Times are told in whole seconds, rounded up: who comes back after them is not too early.
fn quota_state(counted: Counted, quota: Quota, remaining: u32, next: u64) -> QuotaState {
    QuotaState { counted, quota, remaining, next: Duration::from_secs(next.div_ceil(1_000_000)) }
}
