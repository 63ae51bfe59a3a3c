//! The hasher: argon2id on threads of its own.
//!
//! Hashing takes tens of milliseconds and 19 MiB, so it runs beside the event loop, on a fixed number of threads that
//! each keep their memory: threads × m in all (an address hashed at a greater m takes that for the moment). Work that would have to wait longer than a limit
//! is refused at once, because a client that gives up and tries again makes an overload worse.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use metrics::{counter, histogram};
use subtle::ConstantTimeEq as _;
use thiserror::Error;
use tokio::sync::oneshot;
use zeroize::Zeroize as _;

use crate::domain::password::Password;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Salt(pub [u8; 16]);

/// The cost of one evaluation. The default is OWASP's (Password Storage Cheat Sheet): 19 MiB, two passes, one lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashCost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

/// How the hashes of an address are made. All of its rows share it, so that one evaluation is compared with each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashParams {
    pub salt: Salt,
    pub cost: HashCost,
}

/// The octets that argon2id gives.
#[derive(Clone)]
pub struct Digest([u8; 32]);

/// A digest with all that is needed to make it again, as in a PHC string.
#[derive(Clone)]
pub struct PasswordHash {
    pub params: HashParams,
    digest: Digest,
}

#[derive(Debug, Error)]
#[error("the hasher is overloaded")]
pub struct Overloaded {
    pub retry_after: Duration,
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum HashCostError {
    #[error("must be within argon2's limits: m from 8 KiB a lane to 1 GiB, t from 1, p from 1 to 16")]
    OutOfRange,
}

#[derive(Debug, Error)]
#[error("not a PHC string of argon2id, version 19")]
pub struct PhcError;

impl HashCost {
    pub fn new(memory_kib: u32, passes: u32, lanes: u32) -> Result<Self, HashCostError> {
        let cost = Self { memory_kib, passes, lanes };
        // 1 GiB bounds what a row from elsewhere can make a thread allocate.
        let sane = memory_kib <= 1 << 20 && lanes <= 16;
        cost.params().filter(|_| sane).map(|_| cost).ok_or(HashCostError::OutOfRange)
    }

    /// Whether an evaluation does less work than another's.
    pub fn is_below(self, other: Self) -> bool {
        self.work() < other.work()
    }

    /// What the time of an evaluation is proportional to. Lanes only divide it.
    fn work(self) -> u64 {
        u64::from(self.memory_kib) * u64::from(self.passes)
    }

    /// What is missing from an evaluation to as much work as another's, within the other's memory. `None`: too little to
    /// be an evaluation.
    fn up_to(self, other: Self) -> Option<Self> {
        let missing = other.work().saturating_sub(self.work());
        let passes = missing.div_ceil(u64::from(other.memory_kib)).max(1);
        Self::new((missing / passes).try_into().ok()?, passes.try_into().ok()?, other.lanes).ok()
    }

    fn params(self) -> Option<Params> {
        Params::new(self.memory_kib, self.passes, self.lanes, Some(32)).ok()
    }
}

impl HashParams {
    fn evaluate(self, password: &Password, memory: &mut Vec<Block>) -> Digest {
        let params = self.cost.params().expect("checked by new");
        let blocks = params.block_count();
        memory.resize_with(blocks.max(memory.len()), Block::default);
        let mut digest = [0; 32];
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into_with_memory(
                password.expose().as_bytes(),
                &self.salt.0,
                &mut digest,
                &mut memory[..blocks],
            )
            .expect("lengths and parameters are within argon2's limits");
        Digest(digest)
    }
}

/// The parameters as a PHC string has them: `m=19456,t=2,p=1`.
impl std::fmt::Display for HashCost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { memory_kib, passes, lanes } = self;
        write!(f, "m={memory_kib},t={passes},p={lanes}")
    }
}

impl std::str::FromStr for HashCost {
    type Err = PhcError;

    fn from_str(text: &str) -> Result<Self, PhcError> {
        let parse = || {
            let mut parameters = text.split(',');
            let mut parameter = |name: &str| parameters.next()?.strip_prefix(name)?.parse().ok();
            let cost = Self::new(parameter("m=")?, parameter("t=")?, parameter("p=")?).ok()?;
            parameters.next().is_none().then_some(cost)
        };
        parse().ok_or(PhcError)
    }
}

impl Default for HashCost {
    fn default() -> Self {
        Self { memory_kib: 19456, passes: 2, lanes: 1 }
    }
}

impl PasswordHash {
    /// Whether the digest is this hash's, in constant time. It must have been made by this params.
    pub fn matches(&self, digest: &Digest) -> bool {
        self.digest.0.ct_eq(&digest.0).into()
    }

    /// `$argon2id$v=19$m=…,t=…,p=…$salt$digest`
    pub fn to_phc(&self) -> String {
        let HashParams { salt, cost } = self.params;
        let (salt, digest) = (STANDARD_NO_PAD.encode(salt.0), STANDARD_NO_PAD.encode(self.digest.0));
        format!("$argon2id$v=19${cost}${salt}${digest}")
    }

    pub fn from_phc(phc: &str) -> Result<Self, PhcError> {
        let parse = || {
            let mut parts = phc.strip_prefix("$argon2id$v=19$")?.split('$');
            let cost = parts.next()?.parse().ok()?;
            let salt = STANDARD_NO_PAD.decode(parts.next()?).ok()?.try_into().ok()?;
            let digest = STANDARD_NO_PAD.decode(parts.next()?).ok()?.try_into().ok()?;
            let params = HashParams { salt: Salt(salt), cost };
            parts.next().is_none().then_some(Self { params, digest: Digest(digest) })
        };
        parse().ok_or(PhcError)
    }
}

/// Without salt or digest: a hash in a log is half a password.
impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PasswordHash").field("cost", &self.params.cost).finish_non_exhaustive()
    }
}

struct Job {
    password: Password,
    params: HashParams,
    since: Instant,
    answer: oneshot::Sender<Digest>,
}

/// Clones share the threads; the threads end when the last clone is gone.
#[derive(Clone)]
pub struct Hasher {
    jobs: SyncSender<Job>,
    load: Arc<Load>,
    cost: HashCost,
    max_wait: Duration,
}

struct Load {
    threads: usize,
    waiting: AtomicUsize,
    /// A moving average of one evaluation, in nanoseconds.
    evaluation: AtomicU64,
}

impl Load {
    fn predicted_wait(&self) -> Duration {
        // Of those not done yet, as many as there are threads have begun, or can at once.
        let ahead = (self.waiting.load(Ordering::Relaxed) + 1).saturating_sub(self.threads) as u64;
        Duration::from_nanos(ahead * self.evaluation.load(Ordering::Relaxed) / self.threads as u64)
    }
}

impl Hasher {
    /// Starts `threads` threads. A request that would wait longer than `max_wait` for one is refused.
    pub fn start(cost: HashCost, threads: usize, max_wait: Duration) -> Self {
        // The queue is bounded by the predicted wait; its capacity only bounds memory if predictions are far off.
        let (jobs, queue) = mpsc::sync_channel(1024);
        let queue = Arc::new(Mutex::new(queue));
        let load = Arc::new(Load { threads, waiting: AtomicUsize::new(0), evaluation: AtomicU64::new(20_000_000) });
        for n in 0..threads {
            let (queue, load) = (Arc::clone(&queue), Arc::clone(&load));
            std::thread::Builder::new()
                .name(format!("hasher-{n}"))
                .spawn(move || work(&queue, &load, cost))
                .expect("the operating system gives a thread");
        }
        Self { jobs, load, cost, max_wait }
    }

    /// The params of an address that has none yet.
    pub fn params(&self, salt: Salt) -> HashParams {
        HashParams { salt, cost: self.cost }
    }

    pub fn threads(&self) -> usize {
        self.load.threads
    }

    /// How many evaluations wait for a thread.
    pub fn queue_length(&self) -> usize {
        self.load.waiting.load(Ordering::Relaxed).saturating_sub(self.load.threads)
    }

    /// What hashes cost that are made now.
    pub fn cost(&self) -> HashCost {
        self.cost
    }

    pub async fn hash(&self, password: Password, params: HashParams) -> Result<PasswordHash, Overloaded> {
        let digest = self.evaluate(password, params).await?;
        Ok(PasswordHash { params, digest })
    }

    /// Does no less work than an evaluation at today's cost: an address that is still hashed at a lower one takes as long
    /// as an unknown one.
    pub async fn evaluate(&self, password: Password, params: HashParams) -> Result<Digest, Overloaded> {
        let wait = self.load.predicted_wait();
        if wait > self.max_wait {
            return Err(refused(wait));
        }
        let (answer, digest) = oneshot::channel();
        self.load.waiting.fetch_add(1, Ordering::Relaxed);
        if self.jobs.try_send(Job { password, params, since: Instant::now(), answer }).is_err() {
            self.load.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(refused(self.max_wait));
        }
        digest.await.map_err(|_| Overloaded { retry_after: self.max_wait })
    }
}

fn refused(retry_after: Duration) -> Overloaded {
    counter!("sixty_hasher_refused_total").increment(1);
    Overloaded { retry_after }
}

fn work(queue: &Mutex<Receiver<Job>>, load: &Load, cost: HashCost) {
    let blocks = cost.params().expect("checked by new").block_count();
    let mut memory = Vec::new();
    while let Some(Job { password, params, since, answer }) = next(queue, &mut memory) {
        let start = Instant::now();
        histogram!("sixty_hasher_wait_seconds").record(start - since);
        // A panic here would take the thread for good; its message goes to the log by way of the panic hook.
        let digest = catch_unwind(AssertUnwindSafe(|| {
            if let Some(missing) = params.cost.up_to(cost) {
                HashParams { cost: missing, ..params }.evaluate(&password, &mut memory);
            }
            params.evaluate(&password, &mut memory)
        }));
        let took = start.elapsed();
        histogram!("sixty_hasher_evaluation_seconds").record(took);
        // An address from before the cost was lowered needs more than is kept.
        memory.truncate(blocks);
        memory.shrink_to(blocks);
        let average = load.evaluation.load(Ordering::Relaxed);
        load.evaluation.store((average * 7 + took.as_nanos() as u64) / 8, Ordering::Relaxed);
        load.waiting.fetch_sub(1, Ordering::Relaxed);
        if let Ok(digest) = digest {
            // Whoever asked may have gone.
            let _ = answer.send(digest);
        }
    }
}

/// The next job; `None` when nobody can ask any more. The memory is wiped before a wait for it: a job that is there
/// already overwrites it anyhow, and wiping costs a twentieth of a hash.
fn next(queue: &Mutex<Receiver<Job>>, memory: &mut [Block]) -> Option<Job> {
    // Who holds the lock for long is another idle thread, so there is no job either.
    if let Ok(Ok(job)) = queue.try_lock().map(|queue| queue.try_recv()) {
        return Some(job);
    }
    memory.iter_mut().for_each(|block| block.zeroize());
    queue.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cheap() -> HashCost {
        HashCost::new(8, 1, 1).unwrap()
    }

    fn password(text: &str) -> Password {
        Password::present(text).unwrap()
    }

    #[tokio::test]
    async fn a_hash_matches_its_password_and_no_other() {
        let hasher = Hasher::start(cheap(), 2, Duration::from_secs(1));
        let params = hasher.params(Salt([1; 16]));
        let hash = hasher.hash(password("correct horse"), params).await.unwrap();
        let again = hasher.evaluate(password("correct horse"), params).await.unwrap();
        let other = hasher.evaluate(password("battery staple"), params).await.unwrap();
        assert!(hash.matches(&again));
        assert!(!hash.matches(&other));
    }

    #[tokio::test]
    async fn a_phc_string_survives_the_round_trip_and_reused_memory_changes_nothing() {
        let hasher = Hasher::start(cheap(), 1, Duration::from_secs(1));
        let params = hasher.params(Salt(*b"sixteen octets!!"));
        let bigger = HashParams { cost: HashCost::new(64, 1, 1).unwrap(), ..params };
        hasher.evaluate(password("the memory is dirty now"), bigger).await.unwrap();
        let phc = hasher.hash(password("correct horse"), params).await.unwrap().to_phc();
        let hash = PasswordHash::from_phc(&phc).unwrap();
        assert_eq!(hash.to_phc(), phc);
        let fresh = params.evaluate(&password("correct horse"), &mut Vec::new());
        assert!(hash.matches(&fresh));
    }

    #[test]
    fn what_is_no_hash_of_ours_is_refused() {
        for phc in ["", "$argon2i$v=19$m=8,t=1,p=1$AA$AA", "$argon2id$v=19$m=99999999,t=1,p=1$AA$AA", "$2b$12$x"] {
            assert!(PasswordHash::from_phc(phc).is_err());
        }
    }

    #[test]
    fn a_lower_cost_is_made_up_for() {
        let cost = |m, t| HashCost::new(m, t, 1).unwrap();
        for (low, high) in [((19456, 2), (47104, 1)), ((8, 1), (19456, 2)), ((19456, 1), (19456, 3)), ((8, 1), (17, 3))]
        {
            let (low, high) = (cost(low.0, low.1), cost(high.0, high.1));
            let missing = low.up_to(high).unwrap();
            assert!(missing.memory_kib <= high.memory_kib);
            let made_up = low.work() + missing.work();
            assert!(made_up <= high.work() && made_up + u64::from(missing.passes) > high.work(), "{low}, {missing}");
        }
        for (high, low) in [((47104, 1), (19456, 2)), ((8, 1), (8, 1))] {
            assert_eq!(cost(high.0, high.1).up_to(cost(low.0, low.1)), None);
        }
    }

    #[test]
    fn the_cost_has_limits() {
        assert_eq!(HashCost::new(7, 1, 1), Err(HashCostError::OutOfRange));
        assert_eq!(HashCost::new(2 << 20, 1, 1), Err(HashCostError::OutOfRange));
        assert_eq!(HashCost::new(19456, 0, 1), Err(HashCostError::OutOfRange));
    }

    #[tokio::test]
    async fn what_would_wait_too_long_is_refused_at_once() {
        let hasher = Hasher::start(HashCost::new(19456, 2, 1).unwrap(), 1, Duration::from_millis(30));
        let hashes = (0..50).map(|_| hasher.hash(password("correct horse"), hasher.params(Salt([0; 16]))));
        let results = futures_util::future::join_all(hashes).await;
        assert!(results.iter().any(Result::is_ok));
        assert!(results.iter().any(Result::is_err));
    }
}
