//! The error about a setting.

use thiserror::Error;

/// A setting has an invalid value. The message is one line, names the setting, and never repeats the value: it may be a
/// secret.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{name}: {reason}")]
pub struct InvalidSetting {
    /// Name of the environment variable.
    pub name: &'static str,
    /// What the setting must be.
    pub reason: String,
}

impl InvalidSetting {
    pub fn new(name: &'static str, reason: impl ToString) -> Self {
        Self { name, reason: reason.to_string() }
    }
}
