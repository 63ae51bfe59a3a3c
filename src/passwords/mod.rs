//! Password hashing with argon2id (RFC 9106).
//!
//! - `params.rs`: the salt and the cost of a hash.
//! - `phc.rs`: hashes and their PHC strings, the format in which PostgreSQL stores them.
//! - `foreign.rs`: hashes that another system has made.
//! - `hasher.rs`: the threads that compute hashes.
//! - `cost_draw.rs`: the costs of addresses without a hash.
//! - `verified.rs`: passwords that were verified a short time ago.
//! - `fair_queue.rs`: the queue of the threads, which serves client networks in turn.

mod cost_draw;
mod fair_queue;
mod foreign;
mod hasher;
mod params;
mod phc;
mod verified;

pub use cost_draw::{AddressCost, CostDistribution, CostDraw};
pub use foreign::{Argon2Variant, ForeignCost, ForeignHash, ForeignHashError};
#[cfg(feature = "testing")]
pub use hasher::Evaluation;
pub use hasher::{Hasher, Overloaded};
pub use params::{HashCost, HashCostError, HashParams, Salt};
pub use phc::{Digest, PasswordHash, PhcError};
pub use verified::VerifiedPasswords;
