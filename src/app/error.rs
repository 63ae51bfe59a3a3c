//! The errors of the service as a whole.

use listen_address::ListenAddress;
use thiserror::Error;

use crate::store::fault::Fault;
use crate::store::postgres::MigrateError;

/// The service did not start, or had to stop. The message is one line.
#[derive(Debug, Error)]
pub enum AppError {
    #[error("{name}: {reason}")]
    Setting { name: &'static str, reason: String },
    #[error("{setting}: cannot listen on {addr}: {source}")]
    Listen { setting: &'static str, addr: ListenAddress, source: std::io::Error },
    /// No patience cures the fault.
    #[error("{0}")]
    Store(Fault),
    #[error(transparent)]
    Migrate(#[from] MigrateError),
}
