//! `sixty mail-mock`: the mock mail provider, as a server of its own.

use mail_mock::cli::{MailMockArgs, StartError};

use super::{CliError, on_signal, print};
use crate::config::BadSetting;

pub async fn run(args: MailMockArgs) -> Result<(), CliError> {
    let listening = |addr| {
        // A closed standard output stops no server.
        let _ = print(&format!("The mock mail provider listens on http://{addr}\n"));
    };
    mail_mock::cli::run(args, listening, on_signal()?).await?;
    Ok(())
}

impl From<StartError> for CliError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Setting { name, reason } => Self::Setting(BadSetting { name, reason }),
            other => Self::Failed(other.to_string()),
        }
    }
}
