//! The hasher: a fixed number of threads that compute argon2id digests.
//!
//! One evaluation takes tens of milliseconds and 19 MiB, too much for the event loop. Each thread keeps its memory for the
//! next job, so all threads together hold threads × m. An address whose cost has a greater m takes that for one job only.
//! A request that would wait too long for a thread is refused at once: a client that gives up and retries makes an
//! overload worse.
//!
//! Rejected alternative: rayon's pool. It has no hook before a thread idles, so memory must be wiped after every job, which
//! costs a twentieth of each hash. Its queue has no bound, and by default a panic in a job aborts the process.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use argon2::{Algorithm, Argon2, Block, Version};
use metrics::{counter, histogram};
use thiserror::Error;
use tokio::sync::oneshot;
use zeroize::Zeroize as _;

use super::params::{DIGEST_OCTETS, HashCost, HashParams, Salt};
use super::phc::{Digest, PasswordHash};
use crate::domain::password::Password;

/// The most jobs in the queue. The predicted wait bounds the queue first, unless predictions are far off.
const QUEUE_CAPACITY: usize = 1024;

/// The duration of an evaluation that predictions assume before any was measured.
const INITIAL_EVALUATION: Duration = Duration::from_millis(20);

/// The refusal of a job that would wait too long for a thread.
#[derive(Debug, Error)]
#[error("the hasher is overloaded")]
pub struct Overloaded {
    pub retry_after: Duration,
}

/// A handle to the threads. Clones share them; they end when the last clone is dropped.
#[derive(Clone)]
pub struct Hasher {
    jobs: SyncSender<Job>,
    load: Arc<Load>,
    cost: HashCost,
    max_wait: Duration,
}

struct Job {
    password: Password,
    params: HashParams,
    queued_at: Instant,
    reply: oneshot::Sender<Digest>,
}

struct Load {
    threads: usize,
    /// Jobs that are not finished: those in the queue and those that a thread works on.
    unfinished: AtomicUsize,
    /// A moving average of the duration of one job, in nanoseconds.
    average_nanos: AtomicU64,
}

impl Load {
    fn predicted_wait(&self) -> Duration {
        // A thread works on, or can begin, as many of the unfinished jobs as there are threads. Only the others wait.
        let ahead = (self.unfinished.load(Ordering::Relaxed) + 1).saturating_sub(self.threads) as u64;
        Duration::from_nanos(ahead * self.average_nanos.load(Ordering::Relaxed) / self.threads as u64)
    }

    fn job_finished(&self, took: Duration) {
        let average = self.average_nanos.load(Ordering::Relaxed);
        self.average_nanos.store((average * 7 + took.as_nanos() as u64) / 8, Ordering::Relaxed);
        self.unfinished.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Hasher {
    /// Starts `threads` threads that hash at `cost`. A job whose predicted wait exceeds `max_wait` is refused.
    pub fn start(cost: HashCost, threads: usize, max_wait: Duration) -> Self {
        let (jobs, queue) = mpsc::sync_channel(QUEUE_CAPACITY);
        let queue = Arc::new(Mutex::new(queue));
        let load = Arc::new(Load {
            threads,
            unfinished: AtomicUsize::new(0),
            average_nanos: AtomicU64::new(INITIAL_EVALUATION.as_nanos() as u64),
        });
        for n in 0..threads {
            let (queue, load) = (Arc::clone(&queue), Arc::clone(&load));
            std::thread::Builder::new()
                .name(format!("hasher-{n}"))
                .spawn(move || run_jobs(&queue, &load, cost))
                .expect("the operating system starts a thread");
        }
        Self { jobs, load, cost, max_wait }
    }

    /// Returns the parameters for an address that has no hash yet: `salt` and the configured cost.
    pub fn params(&self, salt: Salt) -> HashParams {
        HashParams { salt, cost: self.cost }
    }

    pub fn threads(&self) -> usize {
        self.load.threads
    }

    /// The number of jobs that wait for a thread.
    pub fn queue_length(&self) -> usize {
        self.load.unfinished.load(Ordering::Relaxed).saturating_sub(self.load.threads)
    }

    /// The configured cost, for new hashes.
    pub fn cost(&self) -> HashCost {
        self.cost
    }

    pub async fn hash(&self, password: Password, params: HashParams) -> Result<PasswordHash, Overloaded> {
        let digest = self.evaluate(password, params).await?;
        Ok(PasswordHash { params, digest })
    }

    /// Computes the digest of a password, with at least as much work as the configured cost.
    ///
    /// Without the extra work, an address that is still hashed at a lower cost would answer faster than an unknown one.
    pub async fn evaluate(&self, password: Password, params: HashParams) -> Result<Digest, Overloaded> {
        let wait = self.load.predicted_wait();
        if wait > self.max_wait {
            return Err(refusal(wait));
        }
        let (reply, digest) = oneshot::channel();
        self.load.unfinished.fetch_add(1, Ordering::Relaxed);
        if self.jobs.try_send(Job { password, params, queued_at: Instant::now(), reply }).is_err() {
            self.load.unfinished.fetch_sub(1, Ordering::Relaxed);
            return Err(refusal(self.max_wait));
        }
        digest.await.map_err(|_| Overloaded { retry_after: self.max_wait })
    }
}

fn refusal(retry_after: Duration) -> Overloaded {
    counter!("sixty_hasher_refused_total").increment(1);
    Overloaded { retry_after }
}

fn run_jobs(queue: &Mutex<Receiver<Job>>, load: &Load, cost: HashCost) {
    let kept_blocks = cost.argon2_params().block_count();
    let mut memory = Vec::new();
    while let Some(Job { password, params, queued_at, reply }) = next_job(queue, &mut memory) {
        let start = Instant::now();
        histogram!("sixty_hasher_wait_seconds").record(start - queued_at);
        // A panic would end this thread for good. The panic hook logs its message.
        let digest = catch_unwind(AssertUnwindSafe(|| {
            if let Some(extra) = params.cost.extra_cost_to_match(cost) {
                compute(HashParams { cost: extra, ..params }, &password, &mut memory);
            }
            compute(params, &password, &mut memory)
        }));
        let took = start.elapsed();
        histogram!("sixty_hasher_evaluation_seconds").record(took);
        // An address whose cost is from before the configured one was lowered has needed more.
        memory.truncate(kept_blocks);
        memory.shrink_to(kept_blocks);
        load.job_finished(took);
        if let Ok(digest) = digest {
            // The request may have been cancelled.
            let _ = reply.send(digest);
        }
    }
}

/// Returns the next job, or `None` when the last [`Hasher`] was dropped.
///
/// Memory is wiped only before the thread waits. A job that is already queued overwrites the memory anyway, and wiping
/// costs a twentieth of a hash.
fn next_job(queue: &Mutex<Receiver<Job>>, memory: &mut [Block]) -> Option<Job> {
    // Only an idle thread holds the lock for long, and an idle thread means that the queue is empty.
    if let Ok(Ok(job)) = queue.try_lock().map(|queue| queue.try_recv()) {
        return Some(job);
    }
    memory.iter_mut().for_each(|block| block.zeroize());
    queue.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

/// Computes a digest in `memory`, which grows if the cost needs more.
fn compute(params: HashParams, password: &Password, memory: &mut Vec<Block>) -> Digest {
    let argon2_params = params.cost.argon2_params();
    let blocks = argon2_params.block_count();
    memory.resize_with(blocks.max(memory.len()), Block::default);
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
        let hash = hasher.hash(password("correct horse"), params).await.unwrap();
        let again = hasher.evaluate(password("correct horse"), params).await.unwrap();
        let other = hasher.evaluate(password("battery staple"), params).await.unwrap();
        assert!(hash.matches(&again));
        assert!(!hash.matches(&other));
    }

    #[tokio::test]
    async fn reused_memory_does_not_change_a_digest() {
        let hasher = Hasher::start(lowest_cost(), 1, Duration::from_secs(1));
        let params = hasher.params(Salt(*b"sixteen octets!!"));
        let bigger = HashParams { cost: HashCost::new(64, 1, 1).unwrap(), ..params };
        hasher.evaluate(password("the memory is dirty now"), bigger).await.unwrap();
        let phc = hasher.hash(password("correct horse"), params).await.unwrap().to_phc();
        let hash = PasswordHash::from_phc(&phc).unwrap();
        assert_eq!(hash.to_phc(), phc);
        let fresh = compute(params, &password("correct horse"), &mut Vec::new());
        assert!(hash.matches(&fresh));
    }

    #[tokio::test]
    async fn jobs_that_would_wait_too_long_are_refused_at_once() {
        let hasher = Hasher::start(HashCost::new(19456, 2, 1).unwrap(), 1, Duration::from_millis(30));
        let hashes = (0..50).map(|_| hasher.hash(password("correct horse"), hasher.params(Salt([0; 16]))));
        let results = futures_util::future::join_all(hashes).await;
        assert!(results.iter().any(Result::is_ok));
        assert!(results.iter().any(Result::is_err));
    }
}
