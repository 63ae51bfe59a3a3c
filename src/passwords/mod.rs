//! Password hashing with argon2id (RFC 9106).
//!
//! - `params.rs`: the salt and the cost of a hash.
//! - `phc.rs`: hashes and their PHC strings, the format in which PostgreSQL stores them.
//! - `hasher.rs`: the threads that compute hashes.
//! - `fair_queue.rs`: the queue of the threads, which serves client networks in turn.

mod fair_queue;
mod hasher;
mod params;
mod phc;

pub use hasher::{Hasher, Overloaded};
pub use params::{HashCost, HashCostError, HashParams, Salt};
pub use phc::{Digest, PasswordHash, PhcError};
