//! Logs, metrics and traces of the whole process.

pub mod log;
pub mod metrics;
pub mod trace;
