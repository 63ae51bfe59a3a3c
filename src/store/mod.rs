//! The real stores: PostgreSQL decides who is there, Redis lets codes die.

pub mod postgres;
pub mod redis;

/// How many connections a pool has, and may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolState {
    pub idle: usize,
    pub used: usize,
    pub max: usize,
}
