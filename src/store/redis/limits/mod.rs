//! Rate limits of client networks, counted in Redis.
//!
//! - `levels.rs`: the networks that a client counts for, and their keys.
//! - `quota.rs`, `quotas.rs`: quotas by the generic cell rate algorithm (GCRA).
//! - `auth_throttle.rs`, `auth_scripts.rs`: waits after failed authentications.
//! - `flood.rs`: more wrong codes over all networks than people make.
//! - `fail_open.rs`, `local.rs`: what holds while Redis does not respond.
//!
//! The rules and what they bound: `docs/design/0011-client-networks-have-limits.md`.

mod auth_scripts;
mod auth_throttle;
mod clock;
mod fail_open;
mod flood;
mod keyed_semaphore;
mod levels;
mod local;
mod quota;
mod quotas;
mod script_check;

use std::time::Duration;

pub use self::auth_throttle::{Attempt, AuthThrottle, NotAdmitted};
pub use self::clock::LimitsClock;
use self::fail_open::FailOpen;
use self::flood::FloodDetector;
use self::local::LocalLimits;
pub use self::quota::{Quota, QuotaName, QuotaState};
pub use self::quotas::{ConsumedUnits, Quotas};
pub(super) use self::script_check::run_each_script;
use super::Redis;
use crate::domain::code::CodeSecret;

#[derive(Debug, Clone, Copy)]
pub struct LimitsConfig {
    /// Registrations, requests for another code and changes of password, for each network.
    pub codes: Quota,
    /// Wrong codes, for each network. In a day a network has ten times as many.
    pub misses: Quota,
    /// Authentications by pending registrations, for each network.
    pub pending_logins: Quota,
    /// The rate of wrong codes, over all networks, above which flood mode is on.
    pub flood: Quota,
    /// The longest wait for other attempts at the same address from the same network.
    pub max_wait: Duration,
}

/// Small quotas, for a check of the scripts.
impl Default for LimitsConfig {
    fn default() -> Self {
        let quota = Quota::per_hour(100);
        Self { codes: quota, misses: quota, pending_logins: quota, flood: quota, max_wait: Duration::from_secs(1) }
    }
}

#[derive(Clone)]
pub struct RedisLimits {
    pub quotas: Quotas,
    pub auth_throttle: AuthThrottle,
    redis: FailOpen,
}

impl RedisLimits {
    /// `secret` hides the addresses that are part of key names.
    pub fn new(redis: Redis, secret: CodeSecret, config: LimitsConfig) -> Self {
        Self::with_clock(redis, secret, config, LimitsClock::default())
    }

    /// The same, with a clock that a test may script.
    pub fn with_clock(redis: Redis, secret: CodeSecret, config: LimitsConfig, clock: LimitsClock) -> Self {
        Self::on(FailOpen::new(redis), secret, config, clock)
    }

    fn on(redis: FailOpen, secret: CodeSecret, config: LimitsConfig, clock: LimitsClock) -> Self {
        let local = LocalLimits::new(&config);
        let flood = FloodDetector::new(redis.clone(), config.flood, clock.clone());
        Self {
            quotas: Quotas::new(redis.clone(), secret.clone(), config, flood, local.clone(), clock.clone()),
            auth_throttle: AuthThrottle::new(redis.clone(), secret, config.max_wait, local, clock),
            redis,
        }
    }
}
