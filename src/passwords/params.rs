//! The salt and the cost of a password hash.

use argon2::Params;
use thiserror::Error;

/// Octets of a digest.
pub(super) const DIGEST_OCTETS: usize = 32;

/// The most memory of one evaluation, in KiB: 1 GiB. It bounds what a stored hash can make a thread allocate.
const MAX_MEMORY_KIB: u32 = 1 << 20;
const MAX_LANES: u32 = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Salt(pub [u8; 16]);

/// The cost of one argon2id evaluation. The default is OWASP's (Password Storage Cheat Sheet): 19 MiB, two passes, one lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HashCost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

/// The salt and cost that all hashes of one address share. One evaluation can then be compared with each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashParams {
    pub salt: Salt,
    pub cost: HashCost,
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum HashCostError {
    #[error("must be within argon2's limits: m from 8 KiB a lane to 1 GiB, t from 1, p from 1 to 16")]
    OutOfRange,
}

impl HashCost {
    pub fn new(memory_kib: u32, passes: u32, lanes: u32) -> Result<Self, HashCostError> {
        if memory_kib > MAX_MEMORY_KIB || lanes > MAX_LANES {
            return Err(HashCostError::OutOfRange);
        }
        let cost = Self { memory_kib, passes, lanes };
        cost.checked_argon2_params().map(|_| cost).ok_or(HashCostError::OutOfRange)
    }

    /// Returns whether an evaluation at this cost does less work than one at `other`.
    pub fn is_below(self, other: Self) -> bool {
        self.work() < other.work()
    }

    /// The work of an evaluation, which its time is proportional to. Lanes divide the work; they do not add any.
    fn work(self) -> u64 {
        u64::from(self.memory_kib) * u64::from(self.passes)
    }

    /// Returns the octets of memory that one evaluation takes.
    pub fn memory(self) -> u64 {
        u64::from(self.memory_kib) << 10
    }

    pub(super) fn argon2_params(self) -> Params {
        self.checked_argon2_params().expect("`new` has checked the cost")
    }

    fn checked_argon2_params(self) -> Option<Params> {
        Params::new(self.memory_kib, self.passes, self.lanes, Some(DIGEST_OCTETS)).ok()
    }
}

impl Default for HashCost {
    fn default() -> Self {
        Self { memory_kib: 19456, passes: 2, lanes: 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_compare_by_their_work() {
        let cost = |m, t| HashCost::new(m, t, 1).unwrap();
        assert!(cost(19456, 2).is_below(cost(47104, 1)));
        assert!(!cost(47104, 1).is_below(cost(19456, 2)));
        assert!(!cost(8, 2).is_below(cost(16, 1)));
    }

    #[test]
    fn costs_outside_the_limits_are_rejected() {
        assert_eq!(HashCost::new(7, 1, 1), Err(HashCostError::OutOfRange));
        assert_eq!(HashCost::new(2 << 20, 1, 1), Err(HashCostError::OutOfRange));
        assert_eq!(HashCost::new(19456, 0, 1), Err(HashCostError::OutOfRange));
    }
}
