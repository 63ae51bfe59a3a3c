//! The command line. Each command has its own file.

#[cfg(feature = "dev")]
mod addresses;
mod database;
#[cfg(feature = "dev")]
pub mod dev;
pub mod healthcheck;
#[cfg(feature = "dev")]
pub mod mail_mock;
pub mod migrate;
pub mod openapi;
#[cfg(test)]
mod reference;
pub mod serve;
pub mod users;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, CommandFactory, FromArgMatches, Parser, Subcommand};
use tokio_util::sync::CancellationToken;

use crate::app::AppError;
use crate::config::InvalidSetting;
#[cfg(feature = "dev")]
use dev_stack::guardian;

#[cfg(feature = "dev")]
const ABOUT_SETTINGS: &str = "\
Start with `sixty dev`: it needs no settings.

Every setting is a flag and an environment variable of the same name: --code-ttl 90s is CODE_TTL=90s. After a \
command, -h lists the settings briefly, and --help adds their variables and defaults.

Tab completion: `source <(sixty completions bash)`. For zsh and fish see `sixty completions -h`.";

#[cfg(not(feature = "dev"))]
const ABOUT_SETTINGS: &str = "\
Every setting is a flag and an environment variable of the same name: --code-ttl 90s is CODE_TTL=90s. After a \
command, -h lists the settings briefly, and --help adds their variables and defaults.

Tab completion: `source <(sixty completions bash)`. For zsh and fish see `sixty completions -h`.";

const SETTINGS: &str = "Every setting is a flag and an environment variable of the same name; the flag wins.";

#[cfg(feature = "dev")]
const DEV_SETTINGS: &str = "\
Every setting is a flag and an environment variable of the same name: --code-ttl 90s is CODE_TTL=90s. The flag wins. \
A TIME is written like 250ms, 60s or 4h. No setting is required.";

const SERVE_SETTINGS: &str = "\
Every setting is a flag and an environment variable of the same name: --code-ttl 90s is CODE_TTL=90s. The flag wins. \
A TIME is written like 250ms, 60s or 4h. DATABASE_URL, REDIS_URL, MAIL_URL and CODE_SECRET must be set.";

const COMPLETIONS: &str = "\
Add one of these lines to the startup file of the shell, or type it. `sixty` must be in PATH:

  bash  source <(sixty completions bash)
  zsh   source <(sixty completions zsh)     after compinit
  fish  sixty completions fish | source";

/// User registration with an e-mailed code that lives for sixty seconds
#[derive(Parser)]
#[command(name = "sixty", version, after_help = ABOUT_SETTINGS, subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Subcommand)]
enum Subcommands {
    /// Run the service with its own stores and a mock mail provider
    ///
    /// Runs a private PostgreSQL, a private Redis, a mock mail provider and the API until Ctrl-C. Other servers on this
    /// machine stay untouched.
    #[cfg(feature = "dev")]
    #[command(after_help = DEV_SETTINGS)]
    Dev(Box<dev::DevArgs>),
    /// Run the API and the mail worker with existing stores
    #[command(override_usage = "sixty serve [OPTIONS]", after_help = SERVE_SETTINGS)]
    Serve(Box<crate::config::ServeArgs>),
    /// Run the mock mail provider alone
    #[cfg(feature = "dev")]
    #[command(after_help = SETTINGS)]
    MailMock(::mail_mock::cli::MailMockArgs),
    /// Apply, revert or list the database migrations
    #[command(after_help = SETTINGS)]
    Migrate(migrate::MigrateArgs),
    /// Create, list, change and delete users, including the first admin
    ///
    /// Needs the database only, neither Redis nor a running service. Everybody with access to the database can use it.
    #[command(after_help = SETTINGS)]
    Users(users::UsersArgs),
    /// Print the OpenAPI document
    Openapi(openapi::OpenapiArgs),
    /// Exit with status 0 if a running service is ready
    Healthcheck(healthcheck::HealthcheckArgs),
    /// Print a completion script for a shell
    #[command(after_help = COMPLETIONS)]
    Completions { shell: clap_complete::Shell },
    #[cfg(feature = "dev")]
    #[command(hide = true)]
    Guardian(guardian::GuardianArgs),
}

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

/// Runs the command of the command line and returns the exit status: 0, 1 for a failure, or 2 for an invalid setting.
pub fn run() -> ExitCode {
    // The short help of clap shows variables and defaults like the long help, so `-h` gets an edited command.
    let full = std::env::args_os().any(|arg| arg == "--help" || arg == "help");
    let command = if full { command() } else { brief_help(command()) };
    let parsed = command.try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    let command = match parsed {
        Ok(Cli { command }) => command,
        Err(error) => return print_parse_error(&error),
    };
    let outcome = match command {
        // The kernel kills the servers when the thread that started them ends. The guardian runs on the main thread.
        #[cfg(feature = "dev")]
        Subcommands::Guardian(args) => return guardian::run(&args),
        Subcommands::Completions { shell } => {
            let mut script = Vec::new();
            let visible = self::command();
            let visible = visible.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
            clap_complete::generate(shell, &mut Command::new("sixty").subcommands(visible), "sixty", &mut script);
            print(&String::from_utf8_lossy(&script))
        }
        #[cfg(feature = "dev")]
        Subcommands::Dev(args) => in_runtime(dev::run(*args)),
        Subcommands::Serve(args) => in_runtime(serve::run(*args)),
        #[cfg(feature = "dev")]
        Subcommands::MailMock(args) => in_runtime(mail_mock::run(args)),
        Subcommands::Migrate(args) => in_runtime(migrate::run(args)),
        Subcommands::Users(args) => in_runtime(users::run(args)),
        Subcommands::Openapi(args) => in_runtime(openapi::run(args)),
        Subcommands::Healthcheck(args) => in_runtime(healthcheck::run(args)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sixty: {error}");
            ExitCode::from(if matches!(error, CliError::Setting(_)) { 2 } else { 1 })
        }
    }
}

/// The command line of all commands.
fn command() -> Command {
    let optional_and_global = |arg: Arg| arg.required(false).global(true);
    let command = Cli::command()
        // Allow the settings before and after the action. A global argument cannot be required.
        .mut_subcommand("migrate", |migrate| migrate.mut_args(optional_and_global))
        .mut_subcommand("users", |users| users.mut_args(optional_and_global));
    // People paste help texts into mails and issues, and some values are secrets.
    with_dev_defaults(command).mut_subcommands(hide_env_values)
}

#[cfg(feature = "dev")]
fn with_dev_defaults(command: Command) -> Command {
    command.mut_subcommand("dev", |dev| {
        // A developer wants to see the codes in Redis, and sends more requests than the limits of one network allow.
        dev.mut_arg("code_storage", |storage| storage.default_value("plain"))
            .mut_arg("client_limits", |limits| limits.default_value("false"))
            // `sixty dev` generates a secret.
            .mut_arg("code_secret", |secret| secret.required(false))
    })
}

#[cfg(not(feature = "dev"))]
fn with_dev_defaults(command: Command) -> Command {
    command
}

fn hide_env_values(command: Command) -> Command {
    command.mut_args(|arg| arg.hide_env_values(true)).mut_subcommands(hide_env_values)
}

/// Shortens the help to one line for each setting.
fn brief_help(command: Command) -> Command {
    let shorten = |arg: Arg| match arg.get_env() {
        Some(_) => arg.hide_env(true).hide_default_value(true).hide_possible_values(true),
        None => arg,
    };
    brief_dev_help(command.mut_subcommands(|command| command.mut_args(shorten)))
}

/// Hides the settings that developers rarely change from the short help of `sixty dev`.
#[cfg(feature = "dev")]
fn brief_dev_help(command: Command) -> Command {
    command.mut_subcommand("dev", |dev| {
        let rare = |arg: &Arg| arg.get_help_heading().is_some_and(|it| ["Passwords", "Mail", "Limits"].contains(&it));
        dev.mut_args(|arg| if rare(&arg) { arg.hide_short_help(true) } else { arg })
            .after_help(format!("{DEV_SETTINGS} --help also lists the settings of passwords, mail and limits."))
    })
}

#[cfg(not(feature = "dev"))]
fn brief_dev_help(command: Command) -> Command {
    command
}

fn in_runtime(command: impl Future<Output = Result<(), CliError>>) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CliError::Failed(format!("cannot start the async runtime: {error}")))?;
    let outcome = runtime.block_on(command);
    // The command has waited for its tasks; do not wait for blocked threads.
    runtime.shutdown_background();
    outcome
}

/// Writes to standard output. A closed pipe, as in `sixty openapi | head`, is not an error.
fn print(text: &str) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CliError::Failed(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Returns a token that SIGINT (Ctrl-C), SIGTERM or SIGHUP cancels.
fn on_signal() -> Result<CancellationToken, CliError> {
    use tokio::signal::unix::{SignalKind, signal};
    let stop = CancellationToken::new();
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        let mut signal =
            signal(kind).map_err(|error| CliError::Failed(format!("cannot listen for signals: {error}")))?;
        let stop = stop.clone();
        tokio::spawn(async move {
            signal.recv().await;
            stop.cancel();
        });
    }
    Ok(stop)
}

/// Prints a parse error. The message of clap repeats an invalid value, which may be a secret; this one names the setting.
fn print_parse_error(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let settings: Vec<String> = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(arg)) => setting_name(arg).into_iter().collect(),
        Some(ContextValue::Strings(args)) => args.iter().filter_map(|arg| setting_name(arg)).collect(),
        _ => vec![],
    };
    match (error.kind(), &settings[..]) {
        (ErrorKind::MissingRequiredArgument, [_, ..]) => eprintln!("sixty: {}: must be set", settings.join(", ")),
        (ErrorKind::ValueValidation | ErrorKind::InvalidValue, [setting]) => {
            let reason = match error.get(ContextKind::ValidValue) {
                Some(ContextValue::Strings(names)) => format!("must be one of: {}", names.join(", ")),
                _ => std::error::Error::source(error).map_or_else(|| "is invalid".to_owned(), reason_without_value),
            };
            eprintln!("sixty: {setting}: {reason}");
        }
        _ => {
            let _ = error.print();
        }
    }
    ExitCode::from(2)
}

/// Returns the message of a value parser. Only the range check of clap repeats the value; its message is replaced.
fn reason_without_value(reason: &(dyn std::error::Error + 'static)) -> String {
    let text = reason.to_string();
    match text.split_once(" is not in ") {
        Some((_, range)) => format!("must be in {range}"),
        None => text,
    }
}

/// Converts the flag `--code-ttl <TIME>` to the setting `CODE_TTL`.
fn setting_name(arg: &str) -> Option<String> {
    let flag = arg.strip_prefix("--")?.split(' ').next()?;
    Some(flag.replace('-', "_").to_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_definitions_are_valid() {
        command().debug_assert();
    }

    #[test]
    fn the_short_help_has_one_line_per_setting() {
        let mut brief = brief_help(command()).term_width(80);
        brief.build();
        for command in brief.get_subcommands_mut().filter(|command| !command.is_hide_set()) {
            let help = command.render_help().to_string();
            // clap continues a line that is too long in the column of the descriptions.
            let wrapped: Vec<&str> = help.lines().filter(|line| line.starts_with("          ")).collect();
            assert!(wrapped.is_empty() && !help.contains("[env:"), "{help}");
        }
    }
}
