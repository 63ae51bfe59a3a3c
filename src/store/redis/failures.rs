//! Failed authentications, of an address by a network and of a network in all: some are free, then each makes the wait
//! before the next attempt longer.
//!
//! - `sixty:limit:{<network>}:failures`, and `…:failures:<MAC of the address>`. Fields: `forgiven`, the time at which all
//!   failures are forgotten, and `until`, the time before which no further attempt is made; both in microseconds of
//!   Redis's clock. They live until all is forgotten.
//!
//! An attempt reserves its wait before it is made, so those who are under suspicion try one after the other. The others
//! take turns, as many at a time as may fail: however many wrong ones come at once, those after the first find it noted,
//! and however many right ones come, each has its turn. Each process gives turns of its own.

use std::sync::LazyLock;
use std::time::Duration;

use deadpool_redis::redis::Script;

use super::codes::hex;
use super::fail_open::FailOpen;
use super::keyed_semaphore::{KeyedPermit, KeyedSemaphore};
use super::limits::NOW;
use crate::domain::code::CodeSecret;
use crate::domain::email::Address;
use crate::domain::network::Network;

/// After `free` failures the wait is a second and doubles up to `longest`; every `forget` a failure is forgotten.
struct Rule {
    free: u32,
    forget: Duration,
    longest: Duration,
}

/// People mistype; who tries for a day gets about 150 attempts at an account from a network: each failure is forgotten
/// after ten minutes. Of many at once at most nine are made by a process, since four may have failed before.
const ADDRESS: Rule = Rule { free: 5, forget: Duration::from_secs(10 * 60), longest: Duration::from_secs(15 * 60) };
/// Many people may share a network, who must not wait long for what one of them does.
const NETWORK: Rule = Rule { free: 60, forget: Duration::from_secs(60), longest: Duration::from_secs(60) };

#[derive(Clone)]
pub struct Failures {
    redis: FailOpen,
    secret: CodeSecret,
    turns: KeyedSemaphore,
    max_wait: Duration,
}

/// Why no attempt may be made now, and for how long.
#[derive(Debug)]
pub enum Refused {
    TooManyFailed(Duration),
    /// Those before it take too long.
    Busy(Duration),
}

/// An attempt that may be made. Its reservations pass by themselves if nobody says how it ended.
#[must_use]
pub struct Attempt {
    keys: [String; 2],
    /// The address has failed from this network.
    suspicious: bool,
    /// What was reserved: the values of `until`, or empty.
    reserved: [String; 2],
    _turn: KeyedPermit,
}

/// The scripts' common ground: for each key its rule.
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

static FAILED: LazyLock<Script> = LazyLock::new(|| {
    Script::new(&format!(
        "{NOW}{RULES}{}",
        r"
        for i, key in ipairs(KEYS) do
            -- More failures than the longest wait takes would only be remembered longer.
            local most = free[i] + math.ceil(math.log(longest[i] / 1000000) / math.log(2))
            local forgiven = math.max(tonumber(redis.call('HGET', key, 'forgiven') or 0), now) + forget[i]
            forgiven = math.min(forgiven, now + most * forget[i])
            redis.call('HSET', key, 'forgiven', string.format('%.0f', forgiven))
            local wait = wait_after(i, forgiven)
            if wait > 0 then redis.call('HSET', key, 'until', string.format('%.0f', now + wait)) end
            redis.call('PEXPIRE', key, math.ceil(math.max(forgiven - now, wait) / 1000))
        end
        "
    ))
});

static PASSED: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        if ARGV[3] == '1' then redis.call('DEL', KEYS[1]) end
        for i, key in ipairs(KEYS) do
            -- Another attempt's reservation is not ours to end.
            if redis.call('HGET', key, 'until') == ARGV[i] then redis.call('HDEL', key, 'until') end
        end
        ",
    )
});

impl Failures {
    /// `max_wait` is the longest wait for a turn.
    pub(super) fn new(redis: FailOpen, secret: CodeSecret, max_wait: Duration) -> Self {
        Self { redis, secret, turns: KeyedSemaphore::new(ADDRESS.free as usize), max_wait }
    }

    /// Whether an attempt at an address may be made now. A user name that is no address is as good as one that nobody has.
    /// `None`: nobody knows, so it may.
    pub async fn admit(&self, network: Network, address: Option<&Address>) -> Result<Option<Attempt>, Refused> {
        let of_network = format!("{}:limit:{{{network}}}:failures", self.redis.prefix());
        let address = hex(&self.secret.pseudonym(address)[..16]);
        let keys = [format!("{of_network}:{address}"), of_network];
        let turn = self.turns.take(&keys[0], self.max_wait).await.ok_or(Refused::Busy(self.max_wait))?;
        let mut admit = ADMIT.prepare_invoke();
        admit.key(&keys[..]).arg(rules());
        let admitted: Option<(u64, u32, String, String)> =
            self.redis.ask(async |mut redis| admit.invoke_async(&mut redis).await).await;
        match admitted {
            None => Ok(None),
            Some((0, failures, address, network)) => {
                Ok(Some(Attempt { keys, suspicious: failures > 0, reserved: [address, network], _turn: turn }))
            }
            Some((wait, ..)) => Err(Refused::TooManyFailed(Duration::from_micros(wait))),
        }
    }

    pub async fn failed(&self, attempt: Attempt) {
        let mut failed = FAILED.prepare_invoke();
        failed.key(&attempt.keys[..]).arg(rules());
        let _: Option<()> = self.redis.ask(async |mut redis| failed.invoke_async(&mut redis).await).await;
    }

    /// The attempt did not fail. `forgive` forgets the failures of its address, never those of its network.
    pub async fn passed(&self, attempt: Attempt, forgive: bool) {
        let forgive = forgive && attempt.suspicious;
        if !forgive && attempt.reserved.iter().all(String::is_empty) {
            return;
        }
        let mut passed = PASSED.prepare_invoke();
        passed.key(&attempt.keys[..]).arg(&attempt.reserved[..]).arg(u8::from(forgive));
        let _: Option<()> = self.redis.ask(async |mut redis| passed.invoke_async(&mut redis).await).await;
    }
}

fn rules() -> Vec<u64> {
    let numbers = |rule: Rule| [u64::from(rule.free), rule.forget.as_micros() as u64, rule.longest.as_micros() as u64];
    [ADDRESS, NETWORK].into_iter().flat_map(numbers).collect()
}
