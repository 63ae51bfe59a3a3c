//! How many threads hash passwords, and whether their memory fits the memory limit.

use tracing::{info, warn};

use super::memory_limit::memory_limit;
use crate::passwords::HashCost;

/// The memory that the process needs beside the threads' memory, under load.
const RESERVE: u64 = 64 << 20;

/// Returns the number of threads: `HASH_THREADS`, or one per core. Fewer than one per core if the memory limit has no room
/// for more.
///
/// A number that was set is kept, and a warning tells that the kernel may kill the process.
pub(super) fn hash_threads(configured: Option<usize>, cost: HashCost) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let limit = memory_limit();
    let threads = configured.unwrap_or_else(|| cores.min(limit.map_or(cores, |limit| most_threads(limit, cost))));
    let mib = |octets: u64| octets >> 20;
    let needed = threads as u64 * cost.memory();
    match limit {
        Some(limit) if needed + RESERVE > limit => warn!(
            "HASH_THREADS x ARGON2_MEMORY_KIB = {threads} x {} KiB = {} MiB, and about {} MiB for everything else, exceed the \
             memory limit of {} MiB: the kernel may kill this process; lower HASH_THREADS or raise the limit",
            cost.memory() >> 10,
            mib(needed),
            mib(RESERVE),
            mib(limit),
        ),
        Some(limit) if configured.is_none() && threads < cores => info!(
            "the number of hashing threads is {threads}, less than the {cores} cores: the memory limit of {} MiB has no room \
             for more (ARGON2_MEMORY_KIB is {}); HASH_THREADS sets another number",
            mib(limit),
            cost.memory() >> 10,
        ),
        _ => {}
    }
    threads
}

/// Returns how many threads fit the limit; at least one.
fn most_threads(limit: u64, cost: HashCost) -> usize {
    let threads = limit.saturating_sub(RESERVE) / cost.memory();
    usize::try_from(threads).unwrap_or(usize::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_threads_as_fit_beside_the_reserve_and_at_least_one() {
        let cost = HashCost::default();
        assert_eq!(most_threads(256 << 20, cost), 10);
        assert_eq!(most_threads(32 << 20, cost), 1);
        assert_eq!(most_threads(u64::MAX, HashCost::new(8, 1, 1).unwrap()), (u64::MAX - RESERVE) as usize / 8192);
    }
}
