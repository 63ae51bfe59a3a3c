//! The settings, one struct a section. Each field is an environment variable and a flag of the same name; the field's doc
//! comment is the help text.

mod accounts;
mod mail;
mod network;
mod stores;

use clap::Args;

pub use self::accounts::*;
pub use self::mail::*;
pub use self::network::*;
pub use self::stores::*;
use crate::telemetry::log::{LogFilter, LogFormat};

/// Settings of the log on standard error.
#[derive(Clone, Args)]
#[command(next_help_heading = "Log")]
pub struct LogArgs {
    /// Log filter, such as info or info,sixty=debug
    #[arg(long, env, value_name = "FILTER", default_value = "info,sqlx=warn")]
    pub log_level: LogFilter,
    /// Log format: pretty or json
    #[arg(long, env, value_name = "FORMAT", default_value = "pretty")]
    pub log_format: LogFormat,
}

/// Settings that do not depend on where the service, its stores and its mail provider run.
#[derive(Clone, Args)]
pub struct ServiceArgs {
    #[command(flatten)]
    pub codes: CodeArgs,
    #[command(flatten)]
    pub registrations: RegistrationArgs,
    #[command(flatten)]
    pub passwords: PasswordArgs,
    #[command(flatten)]
    pub hash: HashArgs,
    #[command(flatten)]
    pub mail: MailArgs,
    #[command(flatten)]
    pub clients: ClientArgs,
    #[command(flatten)]
    pub limits: LimitArgs,
    #[command(flatten)]
    pub log: LogArgs,
}

/// All settings of `sixty serve`.
#[derive(Clone, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    pub listen: ListenArgs,
    #[command(flatten)]
    pub stores: StoreArgs,
    #[command(flatten)]
    pub provider: ProviderArgs,
    #[command(flatten)]
    pub service: ServiceArgs,
}
