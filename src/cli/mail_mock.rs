//! `sixty mail-mock`: runs the mock mail provider alone.

use mail_mock::cli::{MailMockArgs, StartError};

use super::error::CliError;
use super::process::{on_signal, print};
use crate::config::InvalidSetting;

pub async fn run(args: MailMockArgs) -> Result<(), CliError> {
    let on_listening = |addr| {
        // The server keeps running if standard output is closed.
        let _ = print(&format!("The mock mail provider listens on http://{addr}\n"));
    };
    mail_mock::cli::run(args, on_listening, on_signal()?).await?;
    Ok(())
}

impl From<StartError> for CliError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Setting { name, reason } => Self::Setting(InvalidSetting { name, reason }),
            other => Self::Failed(other.to_string()),
        }
    }
}
