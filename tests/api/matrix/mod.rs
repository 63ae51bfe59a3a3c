//! The fault matrix: what a person gets when the provider, one of our processes, Redis or PostgreSQL fails. The processes
//! are real, and so are their stores. `docs/faults.md` shows it as a table.
//!
//! Most of a case is waiting. So those of a file wait side by side, in one test, rather than for each other.

#[cfg(target_os = "linux")]
mod kill;
#[cfg(target_os = "linux")]
mod postgres;
mod provider;
#[cfg(target_os = "linux")]
mod redis;
mod scripted;
mod shutdown;
mod thousand;
mod world;
