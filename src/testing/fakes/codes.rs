//! In-memory fake of Redis's live codes.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use time::OffsetDateTime;

use super::{ManualClock, lock};
use crate::accounts::errors::NoCodeReason;
use crate::accounts::ports::{Codes, PutOutcome, Redeemed, StoreError};
use crate::domain::code::{Code, CodeKey, CodeLifetimes, MAX_WRONG_GUESSES, MailAttempt};

/// Fake of `store/redis/codes.rs`.
pub struct InMemoryCodes {
    clock: ManualClock,
    lifetimes: CodeLifetimes,
    keys: Mutex<Keys>,
}

#[derive(Default)]
struct Keys {
    /// The live code of each key (`None` is a decoy), and when it expires.
    codes: HashMap<CodeKey, (Option<Code>, OffsetDateTime)>,
    guesses: HashMap<CodeKey, GuessCounter>,
}

/// Wrong guesses at the code of a key's latest grant.
#[derive(Clone, Copy)]
struct GuessCounter {
    attempt: MailAttempt,
    wrong_guesses: u8,
    withdrawn: bool,
    /// Whether the wrong guesses were lost.
    spent: bool,
    expires_at: OffsetDateTime,
}

/// Lifetime of a guess counter. It must exceed the time for which a mail is retried.
const GUESS_COUNTER_TTL: Duration = Duration::from_secs(60 * 60);

impl InMemoryCodes {
    pub fn new(clock: ManualClock, lifetimes: CodeLifetimes) -> Self {
        Self { clock, lifetimes, keys: Mutex::default() }
    }

    /// Loses all keys, as a Redis that restarts without persistence does.
    pub fn lose_all(&self) {
        *lock(&self.keys) = Keys::default();
    }

    /// Locks the keys and removes the expired ones.
    fn live_keys(&self) -> MutexGuard<'_, Keys> {
        let now = self.clock.now();
        let mut keys = lock(&self.keys);
        keys.codes.retain(|_, (_, expires_at)| *expires_at > now);
        keys.guesses.retain(|_, counter| counter.expires_at > now);
        keys
    }
}

impl Codes for InMemoryCodes {
    async fn put(
        &self,
        key: CodeKey,
        attempt: MailAttempt,
        code: Option<&Code>,
        first: bool,
    ) -> Result<PutOutcome, StoreError> {
        let mut keys = self.live_keys();
        let expires_at = self.clock.now() + GUESS_COUNTER_TTL;
        let wrong_guesses = match keys.guesses.get(&key) {
            Some(latest) if latest.attempt.grant > attempt.grant => return Ok(PutOutcome::Superseded),
            Some(latest) if latest.attempt.grant == attempt.grant => {
                if latest.attempt.number > attempt.number {
                    return Ok(PutOutcome::ClaimLost);
                }
                latest.wrong_guesses
            }
            _ if first => 0,
            _ => {
                let wrong_guesses = MAX_WRONG_GUESSES;
                let spent = GuessCounter { attempt, wrong_guesses, withdrawn: false, spent: true, expires_at };
                keys.guesses.insert(key, spent);
                keys.codes.remove(&key);
                return Ok(PutOutcome::Spent);
            }
        };
        if wrong_guesses >= MAX_WRONG_GUESSES {
            return Ok(PutOutcome::Invalidated);
        }
        let counter = GuessCounter { attempt, wrong_guesses, withdrawn: false, spent: false, expires_at };
        keys.guesses.insert(key, counter);
        keys.codes.insert(key, (code.cloned(), self.clock.now() + self.lifetimes.of(key)));
        Ok(PutOutcome::Live)
    }

    async fn withdraw(&self, key: CodeKey, attempt: MailAttempt) -> Result<(), StoreError> {
        let mut keys = self.live_keys();
        let is_latest = |counter: &&mut GuessCounter| {
            counter.attempt.grant == attempt.grant && counter.attempt.number <= attempt.number
        };
        if let Some(counter) = keys.guesses.get_mut(&key).filter(is_latest) {
            counter.withdrawn = true;
            keys.codes.remove(&key);
        }
        Ok(())
    }

    async fn redeem(&self, key: CodeKey, code: &Code) -> Result<Redeemed, StoreError> {
        let mut keys = self.live_keys();
        let Some((live, _)) = keys.codes.get(&key) else {
            return Ok(Redeemed::NoCode(match keys.guesses.get(&key) {
                None => NoCodeReason::NotMailed,
                Some(counter) if counter.spent => NoCodeReason::Expired,
                Some(counter) if counter.wrong_guesses >= MAX_WRONG_GUESSES => NoCodeReason::Destroyed,
                Some(counter) if counter.withdrawn => NoCodeReason::NotMailed,
                Some(_) => NoCodeReason::Expired,
            }));
        };
        if live.as_ref() == Some(code) {
            return Ok(Redeemed::Match);
        }
        let Some(GuessCounter { wrong_guesses, .. }) = keys.guesses.get_mut(&key) else {
            // The counter was lost. Without it the number of guesses has no limit, so the code is removed too.
            keys.codes.remove(&key);
            return Ok(Redeemed::NoCode(NoCodeReason::Expired));
        };
        *wrong_guesses += 1;
        let remaining = MAX_WRONG_GUESSES.saturating_sub(*wrong_guesses);
        if remaining == 0 {
            keys.codes.remove(&key);
        }
        Ok(Redeemed::WrongGuess { remaining })
    }

    async fn discard(&self, key: CodeKey) -> Result<(), StoreError> {
        let mut keys = self.live_keys();
        keys.codes.remove(&key);
        if let Some(counter) = keys.guesses.get_mut(&key) {
            counter.wrong_guesses = MAX_WRONG_GUESSES;
        }
        Ok(())
    }
}
