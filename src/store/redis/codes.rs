//! The live codes: two keys for each user, under one hash tag, so that one script can change both in a cluster.
//!
//! - `sixty:code:{<user id>}` expires after `CODE_TTL`. Fields: `code` (with `CODE_STORAGE=plain`) or `mac`, and `grant`.
//! - `sixty:tries:{<user id>}` expires after an hour. Fields: `grant`, the latest one; `attempt`, the latest attempt to send
//!   its mail; `ends`, when its code expires, in milliseconds since 1970; `misses`, the wrong guesses at its code;
//!   `withdrawn`, which is set if the mail with its code could not be sent; and `spent`, which is set if Redis had lost the
//!   wrong guesses.
//!
//! The code of a password reset has keys of its own, `sixty:reset:{<id>}` and `sixty:reset-tries:{<id>}`, with the same
//! fields, and so has the code of a change of address: `sixty:email:{<user id>}` and `sixty:email-tries:{<user id>}`. The id of
//! a reset is a MAC of the address, since most addresses have no user. The first key expires after `RESET_CODE_TTL`.
//!
//! Redis ends the code by its own expiry. `ends` matters only after a failover from a server whose clock was ahead: without
//! it, such a code would live until its own clock reached that time. A code whose end is more than two seconds further away
//! than its lifetime has expired.

use std::panic::Location;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use deadpool_redis::redis::{Script, ScriptInvocation};
use tracing::{Instrument as _, Span};

use super::pauses::Pauses;
use super::{Redis, STORE, reason};
use crate::accounts::errors::NoCodeReason;
use crate::accounts::ports::{Codes, PutOutcome, Redeemed, StoreError};
use crate::domain::code::{Code, CodeKey, CodeLifetimes, CodeSecret, MAX_WRONG_GUESSES, MailAttempt};
use crate::store::batches::Batches;
use crate::telemetry::spans;

/// How long wrong guesses are remembered. It must exceed the time for which a mail is retried: otherwise a retry would
/// allow new guesses at the same code.
const TRIES_TTL: Duration = Duration::from_secs(60 * 60);

/// How long no code is put on a master of a cluster that did not respond.
const PUT_PAUSE: Duration = Duration::from_millis(500);

/// The form in which Redis stores a code.
#[derive(Debug, Clone)]
pub enum CodeStorage {
    /// The code itself, for demonstrations. Anybody who can read Redis can read codes.
    Plain,
    /// A MAC of the code. Without `CODE_SECRET`, nobody can test guesses against it.
    Hmac(CodeSecret),
}

pub struct RedisCodes {
    redis: Redis,
    storage: CodeStorage,
    lifetimes: CodeLifetimes,
    /// A master of a cluster that hangs must not keep the mail worker busy, which has mails of the other masters' users.
    put_pauses: Pauses,
    /// Puts that are made while others are in flight, if there is one master.
    puts: Batches<Arc<ScriptInvocation<'static>>, Result<Option<String>, StoreError>>,
}

/// Stores a code with a new lifetime, unless a later grant supersedes it, or wrong guesses or an activation have invalidated
/// it. A worker that lost its claim to a later attempt changes nothing.
///
/// If Redis has lost the wrong guesses of a code that was stored before, the code is spent. Otherwise each loss, for example
/// a restart without persistence, would allow three more guesses at the same code.
static PUT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local grant, field, value, ttl, tries_ttl, max_misses, first, attempt =
            tonumber(ARGV[1]), ARGV[2], ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6]), ARGV[7], tonumber(ARGV[8])
        local latest = tonumber(redis.call('HGET', KEYS[2], 'grant') or -1)
        if latest > grant then return 'superseded' end
        if latest < grant then
            -- HSET comes first: Redis refuses it when memory is full, unless the script has written before.
            if first == '0' then
                redis.call('HSET', KEYS[2], 'grant', grant, 'misses', max_misses, 'attempt', attempt, 'spent', 1)
                redis.call('PEXPIRE', KEYS[2], tries_ttl)
                redis.call('DEL', KEYS[1])
                return 'spent'
            end
            redis.call('HSET', KEYS[2], 'grant', grant, 'misses', 0)
            redis.call('HDEL', KEYS[2], 'spent')
        elseif tonumber(redis.call('HGET', KEYS[2], 'attempt') or 0) > attempt then
            return 'claim lost'
        elseif tonumber(redis.call('HGET', KEYS[2], 'misses') or 0) >= max_misses then
            return 'invalidated'
        end
        local time = redis.call('TIME')
        local ends = time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ttl)
        redis.call('HSET', KEYS[2], 'attempt', attempt, 'ends', string.format('%.0f', ends))
        redis.call('HDEL', KEYS[2], 'withdrawn')
        redis.call('PEXPIRE', KEYS[2], tries_ttl)
        redis.call('DEL', KEYS[1])
        redis.call('HSET', KEYS[1], field, value, 'grant', grant)
        redis.call('PEXPIRE', KEYS[1], ttl)
        return 'live'
        ",
    )
});

/// Compares a guess, and counts it if it is wrong. The third wrong guess destroys the code. Returns the result and the
/// guesses that remain.
static REDEEM: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local field, value, max_misses, ttl = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
        local live = redis.call('HGET', KEYS[1], field)
        local misses = tonumber(redis.call('HGET', KEYS[2], 'misses') or -1)
        -- A replica gets the time of the expiry from its master, whose clock may have been ahead.
        local ends = tonumber(redis.call('HGET', KEYS[2], 'ends') or 0)
        local time = redis.call('TIME')
        local left = ends - (time[1] * 1000 + math.floor(time[2] / 1000))
        if live and ends > 0 and (left <= 0 or left > ttl + 2000) then
            redis.call('DEL', KEYS[1])
            live = false
        end
        if not live then
            if misses < 0 then return {'not mailed', 0} end
            if redis.call('HEXISTS', KEYS[2], 'spent') == 1 then return {'expired', 0} end
            if misses >= max_misses then return {'destroyed', 0} end
            if redis.call('HEXISTS', KEYS[2], 'withdrawn') == 1 then return {'not mailed', 0} end
            return {'expired', 0}
        end
        -- This write changes nothing, but fails if Redis cannot write (no memory, read-only replica). Without it, only wrong
        -- guesses would fail there, uncounted: an attacker could test all codes.
        redis.call('HSET', KEYS[1], field, live)
        if live == value then return {'match', 0} end
        if misses < 0 then
            -- The count was lost, for example evicted. Without a count the guesses have no limit, so the code is deleted.
            redis.call('DEL', KEYS[1])
            return {'expired', 0}
        end
        misses = redis.call('HINCRBY', KEYS[2], 'misses', 1)
        if misses >= max_misses then redis.call('DEL', KEYS[1]) end
        return {'wrong', math.max(max_misses - misses, 0)}
        ",
    )
});

/// Deletes the code of a grant whose mail was not sent, if the grant is the latest.
static WITHDRAW: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local attempt = tonumber(redis.call('HGET', KEYS[2], 'attempt') or 0)
        if redis.call('HGET', KEYS[2], 'grant') == ARGV[1] and attempt <= tonumber(ARGV[2]) then
            redis.call('DEL', KEYS[1])
            redis.call('HSET', KEYS[2], 'withdrawn', 1)
        end
        ",
    )
});

/// Deletes the live code, and leaves no guesses at the latest grant.
static DISCARD: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        redis.call('DEL', KEYS[1])
        if redis.call('EXISTS', KEYS[2]) == 1 then redis.call('HSET', KEYS[2], 'misses', ARGV[1]) end
        ",
    )
});

impl RedisCodes {
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn new(redis: Redis, storage: CodeStorage, lifetimes: CodeLifetimes) -> Self {
        let putting = redis.clone();
        let puts = Batches::start(move |puts: Vec<Arc<ScriptInvocation<'static>>>| {
            let redis = putting.clone();
            async move { redis.run_together(&puts).await }
        });
        Self { redis, storage, lifetimes, put_pauses: Pauses::new(PUT_PAUSE), puts }
    }

    pub(super) fn keys(&self, key: CodeKey) -> [String; 2] {
        let prefix = &self.redis.prefix;
        match key {
            CodeKey::Registration(user) => [format!("{prefix}:code:{{{user}}}"), format!("{prefix}:tries:{{{user}}}")],
            CodeKey::AddressChange(user) => {
                [format!("{prefix}:email:{{{user}}}"), format!("{prefix}:email-tries:{{{user}}}")]
            }
            CodeKey::PasswordReset(id) => {
                [format!("{prefix}:reset:{{{id}}}"), format!("{prefix}:reset-tries:{{{id}}}")]
            }
        }
    }

    /// Runs a put, together with others if there is one master. The nodes of a cluster do not wait for each other.
    async fn run_put(&self, put: ScriptInvocation<'static>) -> Result<String, StoreError> {
        if self.redis.is_cluster() {
            return self.redis.run(&put).await;
        }
        let put = Arc::new(put);
        // The span belongs to the mail: the puts have several traces.
        let together = async {
            let result = self.puts.call(Arc::clone(&put)).await.unwrap_or(Ok(None));
            if result.is_err() {
                spans::record_failure(&Span::current());
            }
            result
        };
        match together.instrument(spans::store("redis", Location::caller())).await? {
            Some(result) => Ok(result),
            None => self.redis.run(&put).await,
        }
    }

    fn ttl_millis(&self, key: CodeKey) -> u64 {
        self.lifetimes.of(key).as_millis() as u64
    }

    /// Returns the field and the value that store a code. `None`: those of a decoy, which no code matches.
    fn stored_code(&self, key: CodeKey, code: Option<&Code>) -> (&'static str, String) {
        match (&self.storage, code) {
            (CodeStorage::Plain, Some(code)) => ("code", code.expose().to_owned()),
            (CodeStorage::Plain, None) => ("code", "decoy".to_owned()),
            (CodeStorage::Hmac(secret), Some(code)) => ("mac", hex::encode(secret.verifier(key, code))),
            (CodeStorage::Hmac(secret), None) => ("mac", hex::encode(secret.decoy(key))),
        }
    }
}

impl Codes for RedisCodes {
    async fn put(
        &self,
        key: CodeKey,
        attempt: MailAttempt,
        code: Option<&Code>,
        first: bool,
    ) -> Result<PutOutcome, StoreError> {
        let keys = self.keys(key);
        let node = self.redis.node_of(&keys[0]);
        if node.is_some() && !self.put_pauses.may_call(node.as_ref()) {
            return Err(reason::paused(PUT_PAUSE).into());
        }
        let (field, value) = self.stored_code(key, code);
        let mut put = PUT.prepare_invoke();
        put.key(&keys[..])
            .arg(attempt.grant.0)
            .arg(field)
            .arg(value)
            .arg(self.ttl_millis(key))
            .arg(TRIES_TTL.as_millis() as u64)
            .arg(MAX_WRONG_GUESSES)
            .arg(u8::from(first))
            .arg(attempt.number);
        let result = self.run_put(put).await;
        match &result {
            Ok(_) => drop(self.put_pauses.end(node)),
            Err(StoreError::Unavailable { summary, .. }) if reason::is_out_of_reach(summary) => {
                self.put_pauses.begin(node);
            }
            Err(_) => {}
        }
        match result?.as_str() {
            "live" => Ok(PutOutcome::Live),
            "superseded" => Ok(PutOutcome::Superseded),
            "invalidated" => Ok(PutOutcome::Invalidated),
            "spent" => Ok(PutOutcome::Spent),
            "claim lost" => Ok(PutOutcome::ClaimLost),
            _ => Err(unknown_result()),
        }
    }

    async fn withdraw(&self, key: CodeKey, attempt: MailAttempt) -> Result<(), StoreError> {
        let mut withdraw = WITHDRAW.prepare_invoke();
        withdraw.key(&self.keys(key)[..]).arg(attempt.grant.0).arg(attempt.number);
        self.redis.run(&withdraw).await
    }

    async fn redeem(&self, key: CodeKey, code: &Code) -> Result<Redeemed, StoreError> {
        let (field, value) = self.stored_code(key, Some(code));
        let mut redeem = REDEEM.prepare_invoke();
        let ttl = self.ttl_millis(key);
        redeem.key(&self.keys(key)[..]).arg(field).arg(value).arg(MAX_WRONG_GUESSES).arg(ttl);
        let (result, remaining): (String, u8) = self.redis.run(&redeem).await?;
        match result.as_str() {
            "match" => Ok(Redeemed::Match),
            "wrong" => Ok(Redeemed::WrongGuess { remaining }),
            "not mailed" => Ok(Redeemed::NoCode(NoCodeReason::NotMailed)),
            "expired" => Ok(Redeemed::NoCode(NoCodeReason::Expired)),
            "destroyed" => Ok(Redeemed::NoCode(NoCodeReason::Destroyed)),
            _ => Err(unknown_result()),
        }
    }

    async fn discard(&self, key: CodeKey) -> Result<(), StoreError> {
        let mut discard = DISCARD.prepare_invoke();
        discard.key(&self.keys(key)[..]).arg(MAX_WRONG_GUESSES);
        self.redis.run(&discard).await
    }
}

fn unknown_result() -> StoreError {
    StoreError::Broken { store: STORE, reason: "a Lua script returned an unknown result".to_owned() }
}
