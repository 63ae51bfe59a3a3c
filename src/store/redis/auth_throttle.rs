//! Throttle of failed authentications: for each address and network together, and for each network.
//!
//! Some failures are free. Each further failure doubles the wait before the next attempt.
//!
//! - `sixty:limit:{<network>}:failures`, and `…:failures:<MAC of the address>`. Fields: `forgiven`, the time at which all
//!   failures are forgotten, and `until`, the time before which no attempt is admitted. Both are in microseconds of
//!   Redis's clock. The keys expire when all failures are forgotten.
//!
//! An attempt after the free failures reserves its wait before it runs, so that such attempts run one after the other.
//! Attempts within the free failures reserve nothing. A semaphore lets each process run as many of them at once as may
//! fail, so that a burst of wrong passwords is throttled after its first ones.

use std::sync::LazyLock;
use std::time::Duration;

use deadpool_redis::redis::Script;

use super::fail_open::FailOpen;
use super::keyed_semaphore::{KeyedPermit, KeyedSemaphore};
use super::lua::NOW;
use crate::domain::code::CodeSecret;
use crate::domain::email::Address;
use crate::domain::network::Network;

/// The waits of one key: after `free` failures a second, then doubled for each failure up to `longest`.
struct Rule {
    free: u32,
    /// One failure is forgotten each time this has passed.
    forget: Duration,
    longest: Duration,
}

/// The rule for an address and a network together. An attacker gets about 150 attempts a day, since each failure is
/// forgotten after ten minutes. A burst gets at most nine attempts in a process: four earlier failures cause no wait, and
/// five attempts run at once.
const ADDRESS: Rule = Rule { free: 5, forget: Duration::from_secs(10 * 60), longest: Duration::from_secs(15 * 60) };
/// The rule for a network. Many people may share it, so one attacker must not make the others wait long.
const NETWORK: Rule = Rule { free: 60, forget: Duration::from_secs(60), longest: Duration::from_secs(60) };

#[derive(Clone)]
pub struct AuthThrottle {
    redis: FailOpen,
    secret: CodeSecret,
    concurrent: KeyedSemaphore,
    max_wait: Duration,
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
    keys: [String; 2],
    /// Whether the address has recent failures from this network.
    has_failures: bool,
    /// The reserved values of `until`, one for each key; empty where nothing was reserved.
    reserved: [String; 2],
    _permit: KeyedPermit,
}

/// Lua: the rule of each key, and the wait that a number of failures causes.
const RULES: &str = r"
    local free, forget, longest = {}, {}, {}
    for i = 1, #KEYS do
        free[i], forget[i], longest[i] = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i])
    end
    local function wait_after(i, forgiven)
        local failures = math.ceil((forgiven - now) / forget[i])
        return failures < free[i] and 0 or math.min(longest[i], 1000000 * 2 ^ (failures - free[i]))
    end
";

/// Admits an attempt unless one of the keys has a wait, and reserves the waits. Returns the wait in microseconds (0:
/// admitted), whether the address has failures, and the reserved values of `until`.
static ADMIT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(&format!(
        "{NOW}{RULES}{}",
        r"
        local wait, forgiven, reserved = 0, {}, {'', ''}
        for i, key in ipairs(KEYS) do
            local state = redis.call('HMGET', key, 'forgiven', 'until')
            forgiven[i] = tonumber(state[1] or 0)
            wait = math.max(wait, tonumber(state[2] or 0) - now)
        end
        if wait > 0 then return {wait, 0, '', ''} end
        for i, key in ipairs(KEYS) do
            local wait = wait_after(i, forgiven[i])
            if wait > 0 then
                reserved[i] = string.format('%.0f', now + wait)
                redis.call('HSET', key, 'until', reserved[i])
            end
        end
        return {0, forgiven[1] > 0 and 1 or 0, reserved[1], reserved[2]}
        "
    ))
});

/// Counts a failed attempt for both keys.
static RECORD_FAILURE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(&format!(
        "{NOW}{RULES}{}",
        r"
        for i, key in ipairs(KEYS) do
            -- Failures beyond those that cause the longest wait would only be remembered longer, so they are not counted.
            local counted = free[i] + math.ceil(math.log(longest[i] / 1000000) / math.log(2))
            local forgiven = math.max(tonumber(redis.call('HGET', key, 'forgiven') or 0), now) + forget[i]
            forgiven = math.min(forgiven, now + counted * forget[i])
            redis.call('HSET', key, 'forgiven', string.format('%.0f', forgiven))
            local wait = wait_after(i, forgiven)
            if wait > 0 then redis.call('HSET', key, 'until', string.format('%.0f', now + wait)) end
            redis.call('PEXPIRE', key, math.ceil(math.max(forgiven - now, wait) / 1000))
        end
        "
    ))
});

/// Ends the reservations of an attempt that did not fail, and forgets the failures of the address if asked to.
static RELEASE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        if ARGV[3] == '1' then redis.call('DEL', KEYS[1]) end
        for i, key in ipairs(KEYS) do
            -- A different value is the reservation of another attempt.
            if redis.call('HGET', key, 'until') == ARGV[i] then redis.call('HDEL', key, 'until') end
        end
        ",
    )
});

impl AuthThrottle {
    /// `max_wait` is the longest wait for concurrent attempts at the same address from the same network.
    pub(super) fn new(redis: FailOpen, secret: CodeSecret, max_wait: Duration) -> Self {
        Self { redis, secret, concurrent: KeyedSemaphore::new(ADDRESS.free as usize), max_wait }
    }

    /// Admits an attempt to authenticate, unless too many have failed. `Ok(None)`: Redis did not respond, so the attempt may
    /// run without a record.
    ///
    /// All user names that are no addresses count as one address.
    pub async fn admit(&self, network: Network, address: Option<&Address>) -> Result<Option<Attempt>, NotAdmitted> {
        let network_key = format!("{}:limit:{{{network}}}:failures", self.redis.prefix());
        let address = hex::encode(&self.secret.pseudonym(address)[..16]);
        let keys = [format!("{network_key}:{address}"), network_key];
        let permit = self.concurrent.acquire(&keys[0], self.max_wait).await.ok_or(NotAdmitted::Busy(self.max_wait))?;
        let mut admit = ADMIT.prepare_invoke();
        admit.key(&keys[..]).arg(rules());
        let admitted: Option<(u64, u32, String, String)> = self.redis.run(&admit).await;
        match admitted {
            None => Ok(None),
            Some((0, failures, address, network)) => {
                Ok(Some(Attempt { keys, has_failures: failures > 0, reserved: [address, network], _permit: permit }))
            }
            Some((wait, ..)) => Err(NotAdmitted::TooManyFailures(Duration::from_micros(wait))),
        }
    }

    pub async fn record_failure(&self, attempt: Attempt) {
        let mut record = RECORD_FAILURE.prepare_invoke();
        record.key(&attempt.keys[..]).arg(rules());
        let _: Option<()> = self.redis.run(&record).await;
    }

    /// Ends an attempt that did not fail. `forgive` forgets the failures of the address, never those of the network.
    pub async fn release(&self, attempt: Attempt, forgive: bool) {
        let forgive = forgive && attempt.has_failures;
        if !forgive && attempt.reserved.iter().all(String::is_empty) {
            return;
        }
        let mut release = RELEASE.prepare_invoke();
        release.key(&attempt.keys[..]).arg(&attempt.reserved[..]).arg(u8::from(forgive));
        let _: Option<()> = self.redis.run(&release).await;
    }
}

/// The numbers of both rules, in the order of the keys, as the scripts read them. Times are in microseconds.
fn rules() -> Vec<u64> {
    let numbers = |rule: Rule| [u64::from(rule.free), rule.forget.as_micros() as u64, rule.longest.as_micros() as u64];
    [ADDRESS, NETWORK].into_iter().flat_map(numbers).collect()
}
