//! The real stores: PostgreSQL holds users, grants and the outbox; Redis holds live codes and rate limits.

pub mod fault;
pub mod postgres;
pub mod redis;
pub mod url;
pub mod waiting;

/// The size of a connection pool: how many connections are open, and how many may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolState {
    pub idle: usize,
    pub used: usize,
    pub max: usize,
}
