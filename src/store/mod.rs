//! The real stores: PostgreSQL decides who is there, Redis lets codes die.

pub mod postgres;
pub mod redis;
