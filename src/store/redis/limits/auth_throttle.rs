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

use std::time::Duration;

use super::auth_scripts::{ADMIT, DEFER, RECORD_FAILURE, RELEASE};
use super::clock::LimitsClock;
use super::fail_open::FailOpen;
use super::keyed_semaphore::{KeyedPermit, KeyedSemaphore};
use super::levels::NetworkKeys;
use super::local::LocalLimits;
use super::quota::Quota;
use crate::domain::code::CodeSecret;
use crate::domain::email::Address;
use crate::domain::network::Network;

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

/// The longest time for which [`AuthThrottle::defer`] is called: the window of a quota.
const LONGEST_DEFER: Duration = Duration::from_secs(60 * 60);

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
        admit.arg(LONGEST_DEFER.as_micros() as u64);
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
        self.run_release(&attempt.keys, &reserved).await;
    }

    /// Ends all reservations of the address and its network, for a check of the script.
    pub(super) async fn release_all(&self, network: Network, address: &Address) {
        let keys = self.keys(network, Some(address));
        let reserved = vec![String::new(); keys.throttled.len()];
        self.run_release(&keys, &reserved).await;
    }

    async fn run_release(&self, keys: &Keys, reserved: &[String]) {
        let mut release = RELEASE.prepare_invoke();
        release.key(&keys.throttled[..]).arg(reserved);
        let _: Option<()> = self.redis.run(&keys.throttled[0], &release).await;
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
