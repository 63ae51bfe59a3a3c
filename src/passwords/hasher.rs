//! The hasher: a fixed number of threads that compute argon2id digests, and evaluate the hashes of other systems.
//!
//! One evaluation takes tens of milliseconds and 19 MiB, too much for the event loop. Each thread keeps its memory for the
//! next job, so all threads together hold threads × m. An address whose cost has a greater m takes that for one job only.
//! A request that would wait too long for a thread is refused at once: a client that gives up and retries makes an
//! overload worse. Client networks are served in turn ([`FairQueue`]), so a flood delays its own network.
//!
//! Rejected alternative: rayon's pool. It has no hook before a thread idles, so memory must be wiped after every job, which
//! costs a twentieth of each hash. Its queue has no bound, and by default a panic in a job aborts the process.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use argon2::{Algorithm, Argon2, Block, Version};
use metrics::{counter, histogram};
use thiserror::Error;
use tokio::sync::oneshot;
use tracing::Instrument as _;
use zeroize::Zeroize as _;

use super::fair_queue::{FairQueue, Refused};
#[cfg(feature = "testing")]
use super::foreign::ForeignCost;
use super::foreign::ForeignHash;
use super::params::{DIGEST_OCTETS, HashCost, HashParams, Salt};
use super::phc::{Digest, PasswordHash};
use crate::domain::network::Network;
use crate::domain::password::Password;
use crate::telemetry::spans;

/// The most jobs in the queue. The predicted wait bounds the queue of one network first, so only many networks fill it.
const QUEUE_CAPACITY: usize = 1024;

/// The duration of an evaluation that predictions assume before any was measured.
const INITIAL_EVALUATION: Duration = Duration::from_millis(20);

/// The niceness of the hashing threads (setpriority(2)), from 0 to 19.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// The refusal of a job that would wait too long for a thread.
#[derive(Debug, Error)]
#[error("the hasher is overloaded")]
pub struct Overloaded {
    pub retry_after: Duration,
}

/// A handle to the threads. Clones share them; they end when the last clone is dropped.
#[derive(Clone)]
pub struct Hasher {
    handle: Arc<Handle>,
    cost: HashCost,
    threads: usize,
    max_wait: Duration,
}

/// Ends the threads when it is dropped.
struct Handle(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Signalled when a job is queued, and when the threads shall end.
    changed: Condvar,
}

struct State {
    queue: FairQueue<Network, Job>,
    /// Threads that work on a job.
    busy: usize,
    /// A moving average of the duration of one job.
    average: Duration,
    closed: bool,
    /// The numbers of finished evaluations.
    #[cfg(feature = "testing")]
    evaluations: std::collections::BTreeMap<Evaluation, u64>,
}

/// What an evaluation costs. Tests count evaluations, because times vary.
#[cfg(feature = "testing")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Evaluation {
    Argon2id(HashCost),
    Foreign(ForeignCost),
}

struct Job {
    password: Password,
    work: Work,
    queued_at: Instant,
    reply: oneshot::Sender<Evaluated>,
}

enum Work {
    Argon2id(HashParams),
    Foreign(Box<ForeignHash>),
}

enum Evaluated {
    Digest(Digest),
    /// Whether the password has the foreign hash.
    Matches(bool),
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(feature = "testing")]
impl Work {
    fn evaluation(&self) -> Evaluation {
        match self {
            Self::Argon2id(params) => Evaluation::Argon2id(params.cost),
            Self::Foreign(hash) => Evaluation::Foreign(hash.cost()),
        }
    }
}

impl State {
    /// Returns how long a new job of a network will wait for a thread.
    fn predicted_wait(&self, network: &Network, threads: usize) -> Duration {
        // As many jobs as there are threads are worked on or can begin at once. Only the others wait.
        let ahead = (self.queue.jobs_before(network) + self.busy + 1).saturating_sub(threads);
        self.average.mul_f64(ahead as f64 / threads as f64)
    }

    fn job_finished(&mut self, took: Duration) {
        self.average = (self.average * 7 + took) / 8;
        self.busy -= 1;
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.state().closed = true;
        self.0.changed.notify_all();
    }
}

impl Hasher {
    /// Starts `threads` threads that hash at `cost`. A job whose predicted wait exceeds `max_wait` is refused.
    pub fn start(cost: HashCost, threads: usize, max_wait: Duration) -> Self {
        let state = State {
            queue: FairQueue::new(QUEUE_CAPACITY),
            busy: 0,
            average: INITIAL_EVALUATION,
            closed: false,
            #[cfg(feature = "testing")]
            evaluations: std::collections::BTreeMap::new(),
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        for n in 0..threads {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name(format!("hasher-{n}"))
                .spawn(move || {
                    lower_priority();
                    run_jobs(&shared, cost);
                })
                .expect("the operating system starts a thread");
        }
        Self { handle: Arc::new(Handle(shared)), cost, threads, max_wait }
    }

    /// Returns the parameters for an address that has no hash yet: `salt` and the configured cost.
    pub fn params(&self, salt: Salt) -> HashParams {
        HashParams { salt, cost: self.cost }
    }

    pub fn threads(&self) -> usize {
        self.threads
    }

    /// The number of jobs that wait for a thread.
    pub fn queue_length(&self) -> usize {
        self.handle.0.state().queue.len()
    }

    /// Returns the predicted time in which the threads work off the jobs that wait now.
    pub fn backlog(&self) -> Duration {
        let state = self.handle.0.state();
        state.average.mul_f64(state.queue.len() as f64 / self.threads as f64)
    }

    /// The configured cost, for new hashes.
    pub fn cost(&self) -> HashCost {
        self.cost
    }

    /// Returns an error if a job of the network would be refused now.
    ///
    /// A request checks this before it asks a store: under a flood, most of its requests then cost no store call.
    pub fn check_wait(&self, network: Network) -> Result<(), Overloaded> {
        let wait = self.handle.0.state().predicted_wait(&network.fairness_key(), self.threads);
        if wait > self.max_wait { Err(refusal(wait)) } else { Ok(()) }
    }

    /// Computes the hash of a new password, in the queue of the client's network.
    pub async fn hash(
        &self,
        password: Password,
        params: HashParams,
        network: Network,
    ) -> Result<PasswordHash, Overloaded> {
        let digest = self.evaluate(password, params, network).await?;
        Ok(PasswordHash { params, digest })
    }

    /// Returns how many evaluations of each cost were finished.
    #[cfg(feature = "testing")]
    pub fn evaluations(&self) -> std::collections::BTreeMap<Evaluation, u64> {
        self.handle.0.state().evaluations.clone()
    }

    /// Computes the digest of a password.
    pub async fn evaluate(
        &self,
        password: Password,
        params: HashParams,
        network: Network,
    ) -> Result<Digest, Overloaded> {
        match self.run(password, Work::Argon2id(params), network).await? {
            Evaluated::Digest(digest) => Ok(digest),
            Evaluated::Matches(_) => unreachable!("argon2id work gives a digest"),
        }
    }

    /// Returns whether the password has a hash that another system has made.
    pub async fn evaluate_foreign(
        &self,
        password: Password,
        hash: ForeignHash,
        network: Network,
    ) -> Result<bool, Overloaded> {
        match self.run(password, Work::Foreign(Box::new(hash)), network).await? {
            Evaluated::Matches(matches) => Ok(matches),
            Evaluated::Digest(_) => unreachable!("the work of a foreign hash is a comparison"),
        }
    }

    async fn run(&self, password: Password, work: Work, network: Network) -> Result<Evaluated, Overloaded> {
        let span = spans::hash();
        let (reply, evaluated) = oneshot::channel();
        let queued = self.queue(network.fairness_key(), Job { password, work, queued_at: Instant::now(), reply });
        let evaluated = async {
            queued?;
            // Without an answer the job was refused to make room for another network, or it panicked.
            evaluated.await.map_err(|_| Overloaded { retry_after: self.max_wait })
        };
        let evaluated = evaluated.instrument(span.clone()).await;
        if evaluated.is_err() {
            spans::record_failure(&span);
        }
        evaluated
    }

    fn queue(&self, network: Network, job: Job) -> Result<(), Overloaded> {
        let shared = &self.handle.0;
        let mut state = shared.state();
        let wait = state.predicted_wait(&network, self.threads);
        if wait > self.max_wait {
            return Err(refusal(wait));
        }
        // A refused job, this one or another network's, learns of it when its reply channel is dropped.
        if let Err(Refused(_)) = state.queue.push(network, job) {
            counter!("sixty_hasher_refused_total").increment(1);
        }
        drop(state);
        shared.changed.notify_one();
        Ok(())
    }
}

fn refusal(retry_after: Duration) -> Overloaded {
    counter!("sixty_hasher_refused_total").increment(1);
    Overloaded { retry_after }
}

/// Lets the other threads of the process run first: a response must not wait for a hash. The hashing threads still get the
/// rest of the CPU. On Linux the niceness belongs to the thread, elsewhere to the whole process.
fn lower_priority() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::debug!(%error, "cannot lower the priority of a hashing thread");
    }
}

fn run_jobs(shared: &Shared, cost: HashCost) {
    let kept_blocks = cost.argon2_params().block_count();
    let mut memory = Vec::new();
    while let Some(Job { password, work, queued_at, reply }) = next_job(shared, &mut memory) {
        let start = Instant::now();
        histogram!("sixty_hasher_wait_seconds").record(start - queued_at);
        // A panic would end this thread for good. The panic hook logs its message.
        let evaluated = catch_unwind(AssertUnwindSafe(|| match &work {
            Work::Argon2id(params) => Evaluated::Digest(compute(*params, &password, &mut memory)),
            Work::Foreign(hash) => Evaluated::Matches(hash.evaluate(&password, &mut memory)),
        }));
        let took = start.elapsed();
        histogram!("sixty_hasher_evaluation_seconds").record(took);
        // An address with a higher cost, from before the configured one was lowered, has needed more.
        memory.truncate(kept_blocks);
        memory.shrink_to(kept_blocks);
        let mut state = shared.state();
        state.job_finished(took);
        #[cfg(feature = "testing")]
        {
            *state.evaluations.entry(work.evaluation()).or_default() += 1;
        }
        drop(state);
        if let Ok(evaluated) = evaluated {
            // The request may have been cancelled.
            let _ = reply.send(evaluated);
        }
    }
}

/// Returns the next job, or `None` when the last [`Hasher`] was dropped. Jobs whose request was cancelled are skipped.
///
/// Memory is wiped only before the thread waits. A job that is already queued overwrites the memory anyway, and wiping
/// costs a twentieth of a hash.
fn next_job(shared: &Shared, memory: &mut [Block]) -> Option<Job> {
    let mut wiped = false;
    let mut state = shared.state();
    loop {
        while let Some(job) = state.queue.pop() {
            if !job.reply.is_closed() {
                state.busy += 1;
                return Some(job);
            }
        }
        if state.closed {
            return None;
        }
        if wiped {
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        } else {
            drop(state);
            memory.iter_mut().for_each(|block| block.zeroize());
            wiped = true;
            state = shared.state();
        }
    }
}

/// Computes a digest in `memory`, which grows if the cost needs more.
fn compute(params: HashParams, password: &Password, memory: &mut Vec<Block>) -> Digest {
    let argon2_params = params.cost.argon2_params();
    let blocks = argon2_params.block_count();
    if let Some(more) = blocks.checked_sub(memory.len()).filter(|more| *more > 0) {
        memory.reserve_exact(more);
        // With huge pages a hash takes up to a tenth less time. Without them it is still right.
        let _ = huge_pages::advise(memory.spare_capacity_mut());
        memory.resize_with(blocks, Block::default);
    }
    let mut digest = [0; DIGEST_OCTETS];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, argon2_params)
        .hash_password_into_with_memory(
            password.expose().as_bytes(),
            &params.salt.0,
            &mut digest,
            &mut memory[..blocks],
        )
        .expect("lengths and parameters are within argon2's limits");
    Digest::new(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lowest_cost() -> HashCost {
        HashCost::new(8, 1, 1).unwrap()
    }

    fn password(text: &str) -> Password {
        Password::present(text).unwrap()
    }

    #[tokio::test]
    async fn a_hash_matches_its_password_and_no_other() {
        let hasher = Hasher::start(lowest_cost(), 2, Duration::from_secs(1));
        let params = hasher.params(Salt([1; 16]));
        let hash = hasher.hash(password("correct horse"), params, Network::LOCAL).await.unwrap();
        let again = hasher.evaluate(password("correct horse"), params, Network::LOCAL).await.unwrap();
        let other = hasher.evaluate(password("battery staple"), params, Network::LOCAL).await.unwrap();
        assert!(hash.matches(&again));
        assert!(!hash.matches(&other));
    }

    #[tokio::test]
    async fn reused_memory_does_not_change_a_digest() {
        let hasher = Hasher::start(lowest_cost(), 1, Duration::from_secs(1));
        let params = hasher.params(Salt(*b"sixteen octets!!"));
        let bigger = HashParams { cost: HashCost::new(64, 1, 1).unwrap(), ..params };
        hasher.evaluate(password("the memory is dirty now"), bigger, Network::LOCAL).await.unwrap();
        let phc = hasher.hash(password("correct horse"), params, Network::LOCAL).await.unwrap().to_phc();
        let hash = PasswordHash::from_phc(&phc).unwrap();
        assert_eq!(hash.to_phc(), phc);
        let fresh = compute(params, &password("correct horse"), &mut Vec::new());
        assert!(hash.matches(&fresh));
    }

    #[tokio::test]
    async fn jobs_that_would_wait_too_long_are_refused_at_once() {
        let hasher = Hasher::start(HashCost::new(19456, 2, 1).unwrap(), 1, Duration::from_millis(30));
        let hashes =
            (0..50).map(|_| hasher.hash(password("correct horse"), hasher.params(Salt([0; 16])), Network::LOCAL));
        let results = futures_util::future::join_all(hashes).await;
        assert!(results.iter().any(Result::is_ok));
        assert!(results.iter().any(Result::is_err));
    }

    #[tokio::test]
    async fn a_full_queue_of_one_network_is_visible_before_a_job_is_queued() {
        // So slow that no hash is ready, and no measured time counts, before the checks.
        let hasher = Hasher::start(HashCost::new(19456, 1000, 1).unwrap(), 1, Duration::from_millis(100));
        let (flood, other) = (Network::LOCAL, Network::of("192.0.2.1".parse().unwrap()));
        assert!(hasher.check_wait(flood).is_ok());
        assert_eq!(hasher.backlog(), Duration::ZERO);
        let hashes = (0..50).map(|_| hasher.hash(password("correct horse"), hasher.params(Salt([0; 16])), flood));
        let hashes = futures_util::future::join_all(hashes);
        // Nothing is awaited between the first poll, which queues the jobs, and the checks.
        let mut hashes = std::pin::pin!(hashes);
        assert!(futures_util::poll!(&mut hashes).is_pending());
        assert!(hasher.check_wait(flood).is_err());
        // The thread may have taken a job from the queue.
        assert!(hasher.backlog() >= Duration::from_millis(50));
        assert!(hasher.check_wait(other).is_ok());
    }
}
