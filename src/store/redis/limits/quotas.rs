//! Quotas of client networks by the generic cell rate algorithm (GCRA).
//!
//! - `sixty:limit:{<network>}:codes`, `…:misses`, `…:misses-per-day`: the time at which the whole quota is available again,
//!   in microseconds of Redis's clock. Wider IPv6 levels: `…:codes:<network>`. The keys expire at that time.
//! - `sixty:limit:{<network>}:first:<MAC of the address>`: the network may make a first guess at the address's code.
//! - `sixty:limit:{<network>}:logins:<MAC of the address>`: authentications by a pending registration (a GCRA time).
//!
//! Redis Cluster needs all keys of a script in one slot: see `levels.rs`.

use std::sync::LazyLock;
use std::time::Duration;

use deadpool_redis::redis::Script;

use super::LimitsConfig;
use super::clock::LimitsClock;
use super::fail_open::FailOpen;
use super::flood::FloodDetector;
use super::levels::{LevelQuota, NetworkKeys, Use};
use super::local::LocalLimits;
use super::quota::{Quota, QuotaName, QuotaState};
use crate::domain::code::CodeSecret;
use crate::domain::email::Address;
use crate::domain::network::Network;
use crate::store::redis::lua::NOW;

/// How many hours' worth of wrong codes a network has in a day.
const MISSES_PER_DAY: u32 = 10;

/// How long a network may make the first guess at a code that it asked for. Longer than a mail may take.
const FIRST_GUESS_TTL: Duration = Duration::from_secs(60 * 60);

/// Authentications that each pending registration has free in an hour, from one network.
const FREE_PENDING_LOGINS: u32 = 10;

/// In flood mode, a network with this many recent wrong codes contributes to the flood. A person has at most two wrong
/// guesses before a code is destroyed.
const FLOOD_MISSES: u32 = 3;
/// In flood mode, the units that a guess costs a network that contributes.
const FLOOD_COST: u32 = 5;

/// Units that a request has consumed. [`Quotas::refund`] returns them.
#[derive(Debug)]
#[must_use]
pub struct ConsumedUnits {
    levels: Vec<(String, Quota)>,
    name: QuotaName,
    units: u32,
    /// The key of the first guess, if this was one.
    first_guess: Option<String>,
    pub state: QuotaState,
}

/// Quotas of all client networks.
#[derive(Clone)]
pub struct Quotas {
    redis: FailOpen,
    secret: CodeSecret,
    config: LimitsConfig,
    flood: FloodDetector,
    local: LocalLimits,
    clock: LimitsClock,
}

/// Lua: the time at which a whole quota is available again. First guesses may consume more than the quota; a time that is
/// more than two windows ahead means that the clock was set back.
const FULL_AT: &str = r"
    local function full_at_of(key, window)
        local full_at = tonumber(redis.call('GET', key) or 0)
        if full_at > now + 2 * window then full_at = now + window end
        return math.max(full_at, now)
    end
";

/// Consumes units at each level if all levels have enough.
///
/// KEYS: the first-guess key, then a key for each level; the first level is the client's own network in an hour. ARGV:
/// what to do with the first guess (`allow`, `use`, `keep`), its TTL, from how many used units a request costs more, that
/// cost, then unit, quota and use for each level.
///
/// A first guess is recorded and never refused. Returns the consumed units (0: refused), what remains at the first level,
/// the microseconds until a unit returns (refused: until the request would be accepted), and whether it was a first guess.
static CONSUME: LazyLock<Script> = LazyLock::new(|| {
    Script::new(&format!(
        "{NOW}{FULL_AT}{}",
        r"
        local first, first_ttl = ARGV[1], tonumber(ARGV[2])
        local raised_from, raised_cost = tonumber(ARGV[3]), tonumber(ARGV[4])
        local is_first = false
        if first == 'use' then is_first = tonumber(redis.call('GET', KEYS[1]) or 0) > now end

        local levels, wait, cost = {}, 0, 1
        for i = 2, #KEYS do
            local at = 5 + (i - 2) * 3
            local level = {key = KEYS[i], unit = tonumber(ARGV[at]), quota = tonumber(ARGV[at + 1]), use = ARGV[at + 2]}
            level.full_at = full_at_of(level.key, level.quota * level.unit)
            level.latest = now + level.quota * level.unit
            local used = math.ceil((level.full_at - now) / level.unit)
            if i == 2 and used >= raised_from and not is_first then cost = math.min(raised_cost, level.quota) end
            if is_first and level.use == 'take' then level.use = 'record' end
            local needed = level.use == 'check' and 1 or cost
            if level.use ~= 'record' then wait = math.max(wait, level.full_at + needed * level.unit - level.latest) end
            levels[#levels + 1] = level
        end
        local own = levels[1]
        if wait > 0 then
            return {0, math.max(0, math.floor((own.latest - own.full_at) / own.unit)), wait, 0}
        end

        for _, level in ipairs(levels) do
            if level.use ~= 'check' then
                level.full_at = level.full_at + cost * level.unit
                local ttl = math.ceil((level.full_at - now) / 1000)
                redis.call('SET', level.key, string.format('%.0f', level.full_at), 'PX', ttl)
            end
        end
        if first == 'allow' then
            redis.call('SET', KEYS[1], string.format('%.0f', now + first_ttl * 1000), 'PX', first_ttl)
        elseif is_first then
            redis.call('DEL', KEYS[1])
        end
        local remaining = math.floor((own.latest - own.full_at) / own.unit)
        local next_unit = (own.full_at - now - 1) % own.unit + 1
        if remaining < 0 then remaining, next_unit = 0, own.full_at + own.unit - own.latest end
        return {cost, remaining, next_unit, is_first and 1 or 0}
        "
    ))
});

/// Returns consumed units to each level. Returns what remains at the first level, and the microseconds until a further
/// unit returns.
///
/// KEYS: the first-guess key, then a key for each level. ARGV: the units, the TTL of the first guess (0: there was none),
/// then unit and quota for each level.
static REFUND: LazyLock<Script> = LazyLock::new(|| {
    Script::new(&format!(
        "{NOW}{FULL_AT}{}",
        r"
        local units, first_ttl = tonumber(ARGV[1]), tonumber(ARGV[2])
        local answer
        for i = 2, #KEYS do
            local unit, quota = tonumber(ARGV[3 + (i - 2) * 2]), tonumber(ARGV[4 + (i - 2) * 2])
            local full_at = math.max(full_at_of(KEYS[i], quota * unit) - units * unit, now)
            if full_at > now then
                redis.call('SET', KEYS[i], string.format('%.0f', full_at), 'PX', math.ceil((full_at - now) / 1000))
            else
                redis.call('DEL', KEYS[i])
            end
            local used = full_at - now
            local remaining = math.max(0, math.floor((quota * unit - used) / unit))
            answer = answer or {remaining, used > 0 and (used - 1) % unit + 1 or 0}
        end
        if first_ttl > 0 then
            redis.call('SET', KEYS[1], string.format('%.0f', now + first_ttl * 1000), 'PX', first_ttl)
        end
        return answer
        "
    ))
});

impl Quotas {
    pub(super) fn new(
        redis: FailOpen,
        secret: CodeSecret,
        config: LimitsConfig,
        flood: FloodDetector,
        local: LocalLimits,
        clock: LimitsClock,
    ) -> Self {
        Self { redis, secret, config, flood, local, clock }
    }

    /// Consumes a unit of the quota of codes, and allows the network a first guess at the address's code.
    ///
    /// `Err`: the quota is exhausted, or the network sent too many wrong codes in a day. `Ok(None)`: Redis did not respond,
    /// and the limits of this process have enough.
    pub async fn consume_code(&self, network: Network, address: &Address) -> Result<Option<ConsumedUnits>, QuotaState> {
        let keys = NetworkKeys::new(self.redis.prefix(), network);
        let mut levels = keys.quotas(QuotaName::Codes, self.config.codes, Use::Take);
        levels.extend(keys.quotas(QuotaName::MissesPerDay, self.misses_per_day(), Use::Check));
        let first_guess = self.first_guess_key(&keys, address);
        match self.consume(QuotaName::Codes, "allow", first_guess, levels, u32::MAX).await {
            Some(outcome) => outcome.map(Some),
            None => self.local.consume_code(network).map(|()| None),
        }
    }

    /// Consumes a unit of the quota of wrong codes before a guess; several in flood mode.
    ///
    /// The first guess at a code that this network asked for is counted, and never refused: neighbours that guess wrong
    /// must not make a right code worthless.
    pub async fn consume_guess(
        &self,
        network: Network,
        address: &Address,
    ) -> Result<Option<ConsumedUnits>, QuotaState> {
        let keys = NetworkKeys::new(self.redis.prefix(), network);
        let mut levels = keys.quotas(QuotaName::Misses, self.config.misses, Use::Take);
        levels.extend(keys.quotas(QuotaName::MissesPerDay, self.misses_per_day(), Use::Take));
        let raised_from = if self.flood.is_on().await { FLOOD_MISSES } else { u32::MAX };
        let first_guess = self.first_guess_key(&keys, address);
        match self.consume(QuotaName::Misses, "use", first_guess, levels, raised_from).await {
            Some(outcome) => outcome.map(Some),
            None => self.local.check_guess(network).map(|()| None),
        }
    }

    /// Counts an authentication by a pending registration. Each registration has a few free; further ones consume the
    /// quota of the network.
    ///
    /// Returns how long this address is not admitted again from this network, if both are exhausted.
    pub async fn consume_pending_login(&self, network: Network, address: &Address) -> Option<Duration> {
        let keys = NetworkKeys::new(self.redis.prefix(), network);
        let key = format!("{}:{}", keys.own("logins"), self.mac(address));
        let free = LevelQuota { key, quota: Quota::per_hour(FREE_PENDING_LOGINS), usage: Use::Take };
        let unused = keys.own("unused");
        let own = self.consume(QuotaName::PendingLogins, "keep", unused.clone(), vec![free], u32::MAX).await?;
        let Err(own) = own else { return None };
        let levels = keys.quotas(QuotaName::PendingLogins, self.config.pending_logins, Use::Take);
        let network = self.consume(QuotaName::PendingLogins, "keep", unused, levels, u32::MAX).await?;
        network.err().map(|network| own.next.min(network.next))
    }

    /// Returns consumed units to the quota. `None`: Redis did not respond.
    pub async fn refund(&self, consumed: ConsumedUnits) -> Option<QuotaState> {
        let ConsumedUnits { levels, name, units, first_guess, state } = consumed;
        let mut refund = REFUND.prepare_invoke();
        // Without a first guess the key is not written, but it must be in the slot of the others.
        refund.key(first_guess.as_ref().unwrap_or(&levels[0].0));
        for (key, _) in &levels {
            refund.key(key);
        }
        let ttl = if first_guess.is_some() { FIRST_GUESS_TTL.as_millis() as u64 } else { 0 };
        refund.arg(units).arg(ttl);
        for (_, quota) in &levels {
            refund.arg(quota.unit_micros()).arg(quota.units);
        }
        refund.arg(self.clock.argument());
        let (remaining, next_micros): (u32, u64) = self.redis.run(&levels[0].0, &refund).await?;
        Some(QuotaState::new(name, state.quota, remaining, next_micros))
    }

    /// Counts a wrong code for flood detection, and for the limits of this process.
    pub async fn count_miss(&self, network: Network, counted_in_redis: bool) {
        if !counted_in_redis {
            self.local.count_miss(network);
        }
        self.flood.count_miss().await;
    }

    /// `None`: Redis did not respond.
    async fn consume(
        &self,
        name: QuotaName,
        first: &'static str,
        first_key: String,
        levels: Vec<LevelQuota>,
        raised_from: u32,
    ) -> Option<Result<ConsumedUnits, QuotaState>> {
        let mut consume = CONSUME.prepare_invoke();
        consume.key(&first_key);
        for level in &levels {
            consume.key(&level.key);
        }
        consume.arg(first).arg(FIRST_GUESS_TTL.as_millis() as u64).arg(raised_from).arg(FLOOD_COST);
        for level in &levels {
            consume.arg(level.arguments());
        }
        consume.arg(self.clock.argument());
        let (units, remaining, next_micros, is_first): (u32, u32, u64, u8) =
            self.redis.run(&first_key, &consume).await?;
        let state = QuotaState::new(name, levels[0].quota, remaining, next_micros);
        if units == 0 {
            return Some(Err(state));
        }
        let consumed = levels.into_iter().filter(|level| !matches!(level.usage, Use::Check));
        Some(Ok(ConsumedUnits {
            levels: consumed.map(|level| (level.key, level.quota)).collect(),
            name,
            units,
            first_guess: (is_first == 1).then_some(first_key),
            state,
        }))
    }

    fn misses_per_day(&self) -> Quota {
        Quota::per_day(self.config.misses.units.saturating_mul(MISSES_PER_DAY))
    }

    fn first_guess_key(&self, keys: &NetworkKeys, address: &Address) -> String {
        format!("{}:{}", keys.own("first"), self.mac(address))
    }

    fn mac(&self, address: &Address) -> String {
        hex::encode(&self.secret.pseudonym(Some(address))[..16])
    }
}
