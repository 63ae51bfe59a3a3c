//! The fault matrix: what a user experiences when the mail provider, a Sixty process, Redis or PostgreSQL fails. The
//! tests run real processes with real stores. `docs/faults.md` shows the results as tables.
//!
//! A case mostly waits. So each file has one test that runs the file's cases concurrently.

#[cfg(target_os = "linux")]
mod account_life;
pub mod environment;
#[cfg(target_os = "linux")]
mod kill;
#[cfg(target_os = "linux")]
mod postgres;
mod provider;
#[cfg(target_os = "linux")]
mod redis;
mod scripted_provider;
mod shutdown;
mod thousand;
