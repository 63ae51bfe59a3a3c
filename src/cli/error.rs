//! The error of a command.

use crate::app::AppError;
use crate::config::InvalidSetting;
use crate::store::postgres::MigrateError;

/// The reason why a command failed, in one line.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    #[error("{0}")]
    Setting(#[from] InvalidSetting),
    /// The service cannot start with its settings and stores.
    #[error("{0}")]
    Start(String),
    #[error("{0}")]
    Failed(String),
}

impl From<AppError> for CliError {
    fn from(error: AppError) -> Self {
        match error {
            AppError::Setting { name, reason } => Self::Setting(InvalidSetting { name, reason }),
            AppError::Store(fault) => Self::Start(fault.to_string()),
            // Only another release or another file cures these.
            AppError::Migrate(error @ (MigrateError::Edited(_) | MigrateError::Half(_))) => {
                Self::Start(error.to_string())
            }
            other => Self::Failed(other.to_string()),
        }
    }
}
