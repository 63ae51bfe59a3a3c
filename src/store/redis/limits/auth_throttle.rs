//! Throttle of failed authentications: for each address and network together, and for each network.
//!
//! Some failures are free. Each further failure doubles the wait before the next attempt.
//!
//! - `sixty:limit:{<network>}:failures:<MAC of the address>` (the pair), and `…:failures` (the network; wider IPv6 levels:
//!   `…:failures:<network>`). Fields: `forgiven`, the time at which all failures are forgotten; `until`, the time before
//!   which no attempt is admitted; `patient`, a GCRA time. All are in microseconds of Redis's clock. The keys expire when
//!   all failures are forgotten.
//! - `…:back:<MAC of the address>`: when an address that never failed from this network may come back.
//!
//! An attempt after the free failures reserves its wait before it runs, so that such attempts run one after the other.
//! Attempts within the free failures reserve nothing. A semaphore lets each process run as many of them at once as may
//! fail, so that a burst of wrong passwords is throttled after its first ones.
//!
//! A network that waits has two lanes, each with half of its rate. Everybody shares one. The other admits addresses that
//! never failed from this network, were refused, and came back after the time in `Retry-After`. A client that tries
//! another random address each time does not come back, and so cannot keep out a neighbour who does.
//!
//! A success changes nothing that others could see. It only ends its own reservation.

use std::sync::LazyLock;
use std::time::Duration;

use deadpool_redis::redis::Script;

use super::clock::LimitsClock;
use super::fail_open::FailOpen;
use super::keyed_semaphore::{KeyedPermit, KeyedSemaphore};
use super::levels::NetworkKeys;
use super::local::LocalLimits;
use super::quota::Quota;
use crate::domain::code::CodeSecret;
use crate::domain::email::Address;
use crate::domain::network::Network;
use crate::store::redis::lua::NOW;

/// The waits of one key: after `free` failures the wait is `first`, and it doubles with each failure up to `longest`.
#[derive(Clone, Copy)]
struct Rule {
    free: u32,
    /// One failure is forgotten each time this has passed.
    forget: Duration,
    first: Duration,
    longest: Duration,
}

/// The rule for an address and a network together. An attacker gets about 150 attempts a day, since each failure is
/// forgotten after ten minutes. At most nine attempts run at once in a process: four earlier failures do not wait yet.
const PAIR: Rule = Rule {
    free: 5,
    forget: Duration::from_secs(10 * 60),
    first: Duration::from_secs(1),
    longest: Duration::from_secs(15 * 60),
};

/// The rule for a network. Many people may share it, so one attacker must not make the others wait long. The longest wait
/// is that of the lane for everybody: one attempt in two minutes. In the long run a network fails as often as failures
/// are forgotten.
const NETWORK: Rule = Rule {
    free: 60,
    forget: Duration::from_secs(61),
    first: Duration::from_secs(2),
    longest: Duration::from_secs(2 * 60),
};

/// The lane for addresses that never failed and came back when they were told to: ten at once, then one in 128 seconds.
const PATIENT: Quota = Quota { units: 10, window: Duration::from_secs(10 * 128) };

/// The shortest time after which an address is told to come back.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long an address may come back after that time.
const PATIENCE_WINDOW: Duration = Duration::from_secs(15);
/// The most addresses of one network that are remembered for the patient lane. It bounds the memory of a flood.
const MAX_PATIENT: u32 = 50_000;

/// What a network may fail while Redis does not respond: about as much as by [`NETWORK`].
pub(super) const NETWORK_FAILURES: Quota = Quota { units: 60, window: Duration::from_secs(60 * 60) };

impl Rule {
    /// Returns the rule of a wider network level: `factor` times the failures.
    fn times(self, factor: u32) -> Self {
        let Self { free, forget, first, longest } = self;
        Self { free: free * factor, forget: forget / factor, first: first / factor, longest: longest / factor }
    }

    /// Lua arguments. Times are in microseconds.
    fn arguments(self) -> [u64; 4] {
        let micros = |time: Duration| time.as_micros() as u64;
        [u64::from(self.free), micros(self.forget), micros(self.first), micros(self.longest)]
    }
}

#[derive(Clone)]
pub struct AuthThrottle {
    redis: FailOpen,
    secret: CodeSecret,
    concurrent: KeyedSemaphore,
    max_wait: Duration,
    local: LocalLimits,
    clock: LimitsClock,
}

/// Why an attempt is not admitted, and how long until one may be.
#[derive(Debug)]
pub enum NotAdmitted {
    TooManyFailures(Duration),
    /// Too many concurrent attempts at the address run before this one.
    Busy(Duration),
}

/// An admitted attempt. If its outcome is not recorded, its reservations end by themselves.
#[must_use]
pub struct Attempt {
    network: Network,
    keys: Keys,
    /// The reserved value of `until` of each key; empty where nothing was reserved. `None`: Redis did not respond.
    reserved: Option<Vec<String>>,
    /// Whether the lane for patient addresses admitted it.
    is_patient: bool,
    _permit: Option<KeyedPermit>,
}

/// The keys of a pair, its network levels, and the time to come back.
struct Keys {
    /// The pair, then each network level.
    throttled: Vec<String>,
    back: String,
    back_count: String,
    factors: Vec<u32>,
}

impl Attempt {
    /// Returns whether Redis admitted the attempt, and not the limits of this process.
    pub fn is_counted_in_redis(&self) -> bool {
        self.reserved.is_some()
    }
}

impl Keys {
    /// The rule of each key, in the order of the keys, as the scripts read them.
    fn rules(&self) -> Vec<u64> {
        let networks = self.factors.iter().map(|factor| NETWORK.times(*factor));
        std::iter::once(PAIR).chain(networks).flat_map(Rule::arguments).collect()
    }
}

/// Lua: the rule of each key, and the wait that a number of failures causes. ARGV: the number of keys, then four numbers
/// for each key.
const RULES: &str = r"
    local count = tonumber(ARGV[1])
    local free, forget, first, longest = {}, {}, {}, {}
    for i = 1, count do
        local at = 4 * i - 2
        free[i], forget[i] = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
        first[i], longest[i] = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
    end
    local function wait_after(i, forgiven)
        local failures = math.ceil((forgiven - now) / forget[i])
        return failures < free[i] and 0 or math.min(longest[i], first[i] * 2 ^ (failures - free[i]))
    end
";

/// Admits an attempt unless the pair or one of the networks has a wait, and reserves the waits.
///
/// KEYS: the throttled keys, the time to come back, and the count of such times. ARGV after the rules: the unit and the
/// units of the patient lane, the factor of each network, PATIENCE, PATIENCE_WINDOW, MAX_PATIENT.
///
/// Returns the wait in microseconds (0: admitted), whether the patient lane admitted it, and the reserved values of `until`.
static ADMIT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(&format!(
        "{NOW}{RULES}{}",
        r"
        local base = 4 * count + 2
        local patient_unit, patient_units = tonumber(ARGV[base]), tonumber(ARGV[base + 1])
        local function factor(i) return tonumber(ARGV[base + i]) end
        local rest = base + count + 1
        local patience, window, max_patient = tonumber(ARGV[rest]), tonumber(ARGV[rest + 1]), tonumber(ARGV[rest + 2])
        local back, back_count = KEYS[count + 1], KEYS[count + 2]

        local forgiven, patient, pair_wait, network_wait = {}, {}, 0, 0
        for i = 1, count do
            local state = redis.call('HMGET', KEYS[i], 'forgiven', 'until', 'patient')
            forgiven[i], patient[i] = tonumber(state[1] or 0), math.max(tonumber(state[3] or 0), now)
            local wait = tonumber(state[2] or 0) - now
            if i == 1 then pair_wait = wait else network_wait = math.max(network_wait, wait) end
        end
        local function refused(wait) return {math.ceil(wait), 0, {}} end
        if pair_wait > 0 then return refused(math.max(pair_wait, network_wait)) end

        local is_patient = false
        if network_wait > 0 then
            -- An address that has failed from here shares the lane for everybody.
            if forgiven[1] > now then return refused(network_wait) end
            local lane_wait = 0
            for i = 2, count do
                local full = now + patient_units * patient_unit
                lane_wait = math.max(lane_wait, patient[i] + patient_unit / factor(i) - full)
            end
            local due = tonumber(redis.call('GET', back) or 0)
            if due > now then return refused(due - now) end
            if due == 0 or due + window < now or lane_wait > 0 then
                local wait = math.ceil(math.max(patience, lane_wait) / 1000000) * 1000000
                local marks = redis.call('INCR', back_count)
                if marks == 1 then redis.call('PEXPIRE', back_count, math.ceil(window / 1000)) end
                if marks <= max_patient then
                    redis.call('SET', back, string.format('%.0f', now + wait), 'PX', math.ceil((wait + window) / 1000))
                    return refused(wait)
                end
                return refused(math.max(network_wait, wait))
            end
            is_patient = true
            redis.call('DEL', back)
            for i = 2, count do
                redis.call('HSET', KEYS[i], 'patient', string.format('%.0f', patient[i] + patient_unit / factor(i)))
            end
        end

        local reservations = {}
        for i = 1, count do
            local wait = wait_after(i, forgiven[i])
            local reserved = ''
            if wait > 0 and not (is_patient and i > 1) then
                reserved = string.format('%.0f', now + wait)
                redis.call('HSET', KEYS[i], 'until', reserved)
            end
            reservations[i] = reserved
        end
        return {0, is_patient and 1 or 0, reservations}
        "
    ))
});

/// Counts a failed attempt for each key. A failure of the patient lane does not delay the lane for everybody. ARGV after
/// the rules: whether the patient lane admitted the attempt.
static RECORD_FAILURE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(&format!(
        "{NOW}{RULES}{}",
        r"
        local is_patient = ARGV[4 * count + 2] == '1'
        for i = 1, count do
            local key = KEYS[i]
            -- Failures beyond those that cause the longest wait would only be remembered longer, so they are not counted.
            local counted = free[i] + math.ceil(math.log(longest[i] / first[i]) / math.log(2))
            local forgiven = math.max(tonumber(redis.call('HGET', key, 'forgiven') or 0), now) + forget[i]
            forgiven = math.min(forgiven, now + counted * forget[i])
            redis.call('HSET', key, 'forgiven', string.format('%.0f', forgiven))
            local wait = wait_after(i, forgiven)
            if wait > 0 and not (is_patient and i > 1) then
                redis.call('HSET', key, 'until', string.format('%.0f', now + wait))
            end
            redis.call('PEXPIRE', key, math.ceil(math.max(forgiven - now, wait) / 1000))
        end
        "
    ))
});

/// Ends the reservations of an attempt that did not fail.
static RELEASE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        for i, key in ipairs(KEYS) do
            -- A different value is the reservation of another attempt.
            if redis.call('HGET', key, 'until') == ARGV[i] then redis.call('HDEL', key, 'until') end
        end
        ",
    )
});

/// Lets no attempt of a pair run for a time. ARGV: the time in microseconds.
static DEFER: LazyLock<Script> = LazyLock::new(|| {
    Script::new(&format!(
        "{NOW}{}",
        r"
        local wait = tonumber(ARGV[1])
        local ttl = redis.call('PTTL', KEYS[1])
        redis.call('HSET', KEYS[1], 'until', string.format('%.0f', now + wait))
        redis.call('PEXPIRE', KEYS[1], math.max(ttl, math.ceil(wait / 1000)))
        "
    ))
});

impl AuthThrottle {
    /// `max_wait` is the longest wait for concurrent attempts at the same address from the same network.
    pub(super) fn new(
        redis: FailOpen,
        secret: CodeSecret,
        max_wait: Duration,
        local: LocalLimits,
        clock: LimitsClock,
    ) -> Self {
        Self { redis, secret, concurrent: KeyedSemaphore::new(PAIR.free as usize), max_wait, local, clock }
    }

    /// Admits an attempt to authenticate, unless too many have failed.
    ///
    /// All user names that are no addresses count as one address.
    pub async fn admit(&self, network: Network, address: Option<&Address>) -> Result<Attempt, NotAdmitted> {
        let keys = self.keys(network, address);
        let pair = &keys.throttled[0];
        let permit = self.concurrent.acquire(pair, self.max_wait).await.ok_or(NotAdmitted::Busy(self.max_wait))?;
        let mut admit = ADMIT.prepare_invoke();
        admit.key(&keys.throttled[..]).key(&keys.back).key(&keys.back_count);
        admit.arg(keys.throttled.len()).arg(keys.rules()).arg(PATIENT.unit_micros()).arg(PATIENT.units);
        admit.arg(&keys.factors[..]);
        admit.arg(PATIENCE.as_micros() as u64).arg(PATIENCE_WINDOW.as_micros() as u64).arg(MAX_PATIENT);
        admit.arg(self.clock.argument());
        let admitted: Option<(u64, u8, Vec<String>)> = self.redis.run(pair, &admit).await;
        let (reserved, is_patient) = match admitted {
            None => {
                self.local.check_authentication(network).map_err(NotAdmitted::TooManyFailures)?;
                (None, false)
            }
            Some((wait @ 1.., ..)) => return Err(NotAdmitted::TooManyFailures(Duration::from_micros(wait))),
            Some((0, is_patient, reserved)) => (Some(reserved), is_patient == 1),
        };
        Ok(Attempt { network, keys, reserved, is_patient, _permit: Some(permit) })
    }

    /// Returns an attempt that no wait refuses: this process has verified the same credentials a short time ago.
    pub fn admit_verified(&self, network: Network, address: Option<&Address>) -> Attempt {
        let keys = self.keys(network, address);
        Attempt { network, keys, reserved: Some(vec![]), is_patient: false, _permit: None }
    }

    pub async fn record_failure(&self, attempt: Attempt) {
        if attempt.reserved.is_none() {
            self.local.count_failure(attempt.network);
            return;
        }
        let keys = &attempt.keys;
        let mut record = RECORD_FAILURE.prepare_invoke();
        record.key(&keys.throttled[..]).arg(keys.throttled.len()).arg(keys.rules());
        record.arg(u8::from(attempt.is_patient)).arg(self.clock.argument());
        let recorded: Option<()> = self.redis.run(&keys.throttled[0], &record).await;
        if recorded.is_none() {
            self.local.count_failure(attempt.network);
        }
    }

    /// Ends the reservations of an attempt that did not fail. No failure is forgotten: a neighbour could see it, and would
    /// learn that the address has an account.
    pub async fn release(&self, attempt: Attempt) {
        let reserved = attempt.reserved.unwrap_or_default();
        if reserved.iter().all(String::is_empty) {
            return;
        }
        let mut release = RELEASE.prepare_invoke();
        release.key(&attempt.keys.throttled[..]).arg(&reserved[..]);
        let _: Option<()> = self.redis.run(&attempt.keys.throttled[0], &release).await;
    }

    /// Admits no attempt at the address from the network for a time.
    pub async fn defer(&self, network: Network, address: &Address, wait: Duration) {
        let keys = self.keys(network, Some(address));
        let mut defer = DEFER.prepare_invoke();
        defer.key(&keys.throttled[0]).arg(wait.as_micros() as u64).arg(self.clock.argument());
        let _: Option<()> = self.redis.run(&keys.throttled[0], &defer).await;
    }

    fn keys(&self, network: Network, address: Option<&Address>) -> Keys {
        let network = NetworkKeys::new(self.redis.prefix(), network);
        let mac = hex::encode(&self.secret.pseudonym(address)[..16]);
        let pair = format!("{}:{mac}", network.own("failures"));
        let levels = network.of_levels("failures");
        Keys {
            back: format!("{}:{mac}", network.own("back")),
            back_count: network.own("back"),
            factors: levels.iter().map(|level| level.factor).collect(),
            throttled: std::iter::once(pair).chain(levels.into_iter().map(|level| level.key)).collect(),
        }
    }
}
