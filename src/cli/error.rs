//! The error of a command.

use crate::app::AppError;
use crate::config::InvalidSetting;

/// The reason why a command failed, in one line.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    #[error("{0}")]
    Setting(#[from] InvalidSetting),
    #[error("{0}")]
    Failed(String),
}

impl From<AppError> for CliError {
    fn from(error: AppError) -> Self {
        match error {
            AppError::Setting { name, reason } => Self::Setting(InvalidSetting { name, reason }),
            other => Self::Failed(other.to_string()),
        }
    }
}
