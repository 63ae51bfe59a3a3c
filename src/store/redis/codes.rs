//! The live codes: two keys a user, under one hash tag, so that one script may touch both on a cluster too.
//!
//! - `sixty:code:{<user id>}` lives for `CODE_TTL`. Fields: `code` (with `CODE_STORAGE=plain`) or `mac`, and `grant`.
//! - `sixty:tries:{<user id>}` lives for an hour. Fields: `grant` (the latest) and `misses` (of that grant);
//!   `withdrawn` while its mail could not be sent.

use std::fmt::Write as _;
use std::sync::LazyLock;
use std::time::Duration;

use deadpool_redis::redis::Script;

use super::{Redis, STORE};
use crate::accounts::ports::{Codes, NoCode, Put, Redeemed, StoreError};
use crate::domain::code::{Code, CodeSecret, Grant, MAX_MISSES};
use crate::domain::user::UserId;

/// How long misses are remembered: far longer than a mail is retried, or a retry would give new guesses.
const TRIES_TTL: Duration = Duration::from_secs(60 * 60);

/// What Redis keeps of a code.
#[derive(Debug, Clone)]
pub enum CodeStorage {
    /// The code itself: for showing what happens. Whoever reads Redis reads codes.
    Plain,
    /// A MAC under `CODE_SECRET`, which cannot be tried out without it.
    Hmac(CodeSecret),
}

pub struct RedisCodes {
    redis: Redis,
    storage: CodeStorage,
    ttl: Duration,
}

static PUT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local grant, field, value, ttl, tries_ttl, max_misses =
            tonumber(ARGV[1]), ARGV[2], ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
        local latest = tonumber(redis.call('HGET', KEYS[2], 'grant') or -1)
        if latest > grant then return 'overtaken' end
        if latest < grant then
            redis.call('HSET', KEYS[2], 'grant', grant, 'misses', 0)
        elseif tonumber(redis.call('HGET', KEYS[2], 'misses') or 0) >= max_misses then
            return 'spent'
        end
        redis.call('HDEL', KEYS[2], 'withdrawn')
        redis.call('PEXPIRE', KEYS[2], tries_ttl)
        redis.call('DEL', KEYS[1])
        redis.call('HSET', KEYS[1], field, value, 'grant', grant)
        redis.call('PEXPIRE', KEYS[1], ttl)
        return 'armed'
        ",
    )
});

static REDEEM: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local field, value, max_misses = ARGV[1], ARGV[2], tonumber(ARGV[3])
        local live = redis.call('HGET', KEYS[1], field)
        local misses = tonumber(redis.call('HGET', KEYS[2], 'misses') or -1)
        if not live then
            if misses < 0 then return {'not mailed', 0} end
            if misses >= max_misses then return {'destroyed', 0} end
            if redis.call('HEXISTS', KEYS[2], 'withdrawn') == 1 then return {'not mailed', 0} end
            return {'expired', 0}
        end
        -- It changes nothing, and fails where a miss could not be counted: out of memory, on a read-only replica. Without it
        -- such a Redis would refuse wrong guesses alone, and so tell which is right, as often as it is asked.
        redis.call('HSET', KEYS[1], field, live)
        if live == value then return {'match', 0} end
        if misses < 0 then
            -- The count was lost (evicted, say). Without it nothing bounds the guesses, so the code goes too.
            redis.call('DEL', KEYS[1])
            return {'expired', 0}
        end
        misses = redis.call('HINCRBY', KEYS[2], 'misses', 1)
        if misses >= max_misses then redis.call('DEL', KEYS[1]) end
        return {'miss', math.max(max_misses - misses, 0)}
        ",
    )
});

static WITHDRAW: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        if redis.call('HGET', KEYS[2], 'grant') == ARGV[1] then
            redis.call('DEL', KEYS[1])
            redis.call('HSET', KEYS[2], 'withdrawn', 1)
        end
        ",
    )
});

static DISCARD: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        redis.call('DEL', KEYS[1])
        if redis.call('EXISTS', KEYS[2]) == 1 then redis.call('HSET', KEYS[2], 'misses', ARGV[1]) end
        ",
    )
});

impl RedisCodes {
    pub fn new(redis: Redis, storage: CodeStorage, ttl: Duration) -> Self {
        Self { redis, storage, ttl }
    }

    fn keys(&self, user: UserId) -> [String; 2] {
        let prefix = &self.redis.prefix;
        [format!("{prefix}:code:{{{user}}}"), format!("{prefix}:tries:{{{user}}}")]
    }

    /// The field that a code is kept in, and its value; a decoy's value is no code's.
    fn kept(&self, user: UserId, code: Option<&Code>) -> (&'static str, String) {
        match (&self.storage, code) {
            (CodeStorage::Plain, Some(code)) => ("code", code.expose().to_owned()),
            (CodeStorage::Plain, None) => ("code", "decoy".to_owned()),
            (CodeStorage::Hmac(secret), Some(code)) => ("mac", hex(&secret.verifier(user, code))),
            (CodeStorage::Hmac(secret), None) => ("mac", hex(&secret.decoy(user))),
        }
    }
}

impl Codes for RedisCodes {
    async fn put(&self, user: UserId, grant: Grant, code: Option<&Code>) -> Result<Put, StoreError> {
        let (field, value) = self.kept(user, code);
        let mut put = PUT.prepare_invoke();
        put.key(&self.keys(user)[..])
            .arg(grant.0)
            .arg(field)
            .arg(value)
            .arg(self.ttl.as_millis() as u64)
            .arg(TRIES_TTL.as_millis() as u64)
            .arg(MAX_MISSES);
        let answer: String = self.redis.call(async |mut redis| put.invoke_async(&mut redis).await).await?;
        match answer.as_str() {
            "armed" => Ok(Put::Armed),
            "overtaken" => Ok(Put::Overtaken),
            "spent" => Ok(Put::Spent),
            _ => Err(broken()),
        }
    }

    async fn withdraw(&self, user: UserId, grant: Grant) -> Result<(), StoreError> {
        let mut withdraw = WITHDRAW.prepare_invoke();
        withdraw.key(&self.keys(user)[..]).arg(grant.0);
        self.redis.call(async |mut redis| withdraw.invoke_async(&mut redis).await).await
    }

    async fn redeem(&self, user: UserId, code: &Code) -> Result<Redeemed, StoreError> {
        let (field, value) = self.kept(user, Some(code));
        let mut redeem = REDEEM.prepare_invoke();
        redeem.key(&self.keys(user)[..]).arg(field).arg(value).arg(MAX_MISSES);
        let (answer, remaining): (String, u8) =
            self.redis.call(async |mut redis| redeem.invoke_async(&mut redis).await).await?;
        match answer.as_str() {
            "match" => Ok(Redeemed::Match),
            "miss" => Ok(Redeemed::Miss { remaining }),
            "not mailed" => Ok(Redeemed::NoCode(NoCode::NotMailed)),
            "expired" => Ok(Redeemed::NoCode(NoCode::Expired)),
            "destroyed" => Ok(Redeemed::NoCode(NoCode::Destroyed)),
            _ => Err(broken()),
        }
    }

    async fn discard(&self, user: UserId) -> Result<(), StoreError> {
        let mut discard = DISCARD.prepare_invoke();
        discard.key(&self.keys(user)[..]).arg(MAX_MISSES);
        self.redis.call(async |mut redis| discard.invoke_async(&mut redis).await).await
    }
}

fn broken() -> StoreError {
    StoreError::Broken { store: STORE, reason: "a script's answer is none of its own".to_owned() }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("writing to a string does not fail");
        hex
    })
}
