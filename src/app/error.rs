//! The errors of the service as a whole.

use std::net::SocketAddr;

use thiserror::Error;

use crate::store::postgres::MigrateError;

/// The service did not start, or had to stop. The message is one line.
#[derive(Debug, Error)]
pub enum AppError {
    #[error("{name}: {reason}")]
    Setting { name: &'static str, reason: String },
    #[error("{setting}: cannot listen on {addr}: {source}")]
    Listen { setting: &'static str, addr: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    Migrate(#[from] MigrateError),
}
