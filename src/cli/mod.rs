//! The command line: a file a command.

#[cfg(feature = "dev")]
mod addresses;
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
use crate::config::BadSetting;
#[cfg(feature = "dev")]
use dev_stack::guardian;

#[cfg(feature = "dev")]
const BEGIN: &str = "\
Begin with `sixty dev`: it needs no setting.

Every setting is a flag and an environment variable of the same name: --code-ttl 90s is CODE_TTL=90s. After a command \
-h lists its settings in short, --help with their variables and defaults.

Tab completes all of it after `source <(sixty completions bash)`; zsh and fish: `sixty completions -h`.";

#[cfg(not(feature = "dev"))]
const BEGIN: &str = "\
Every setting is a flag and an environment variable of the same name: --code-ttl 90s is CODE_TTL=90s. After a command \
-h lists its settings in short, --help with their variables and defaults.

Tab completes all of it after `source <(sixty completions bash)`; zsh and fish: `sixty completions -h`.";

const SETTINGS: &str = "Every setting is a flag and an environment variable of the same name; the flag wins.";

#[cfg(feature = "dev")]
const DEV_SETTINGS: &str = "\
Every setting is a flag and an environment variable of the same name: --code-ttl 90s is CODE_TTL=90s. The flag wins. \
A TIME is written like 250ms, 60s or 4h. None is needed.";

const SERVE_SETTINGS: &str = "\
Every setting is a flag and an environment variable of the same name: --code-ttl 90s is CODE_TTL=90s. The flag wins. \
A TIME is written like 250ms, 60s or 4h. DATABASE_URL, REDIS_URL, MAIL_URL and CODE_SECRET must be set.";

const COMPLETIONS: &str = "\
A line in the file that the shell reads at its start, or typed; `sixty` must be found in PATH:

  bash  source <(sixty completions bash)
  zsh   source <(sixty completions zsh)     after compinit
  fish  sixty completions fish | source";

/// User registration with an e-mailed code that lives for sixty seconds
#[derive(Parser)]
#[command(name = "sixty", version, after_help = BEGIN, subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Subcommand)]
enum Subcommands {
    /// Run all of it on this machine, stores and mail included
    ///
    /// A private PostgreSQL and Redis, a mock mail provider and the API, until Ctrl-C. What runs here already is not
    /// touched.
    #[cfg(feature = "dev")]
    #[command(after_help = DEV_SETTINGS)]
    Dev(Box<dev::DevArgs>),
    /// Run the API and the mail worker against existing stores
    #[command(override_usage = "sixty serve [OPTIONS]", after_help = SERVE_SETTINGS)]
    Serve(Box<crate::config::ServeArgs>),
    /// Run the mock mail provider alone
    #[cfg(feature = "dev")]
    #[command(after_help = SETTINGS)]
    MailMock(::mail_mock::cli::MailMockArgs),
    /// Apply, revert or list the database's migrations
    #[command(after_help = SETTINGS)]
    Migrate(migrate::MigrateArgs),
    /// Make, list, close, open and delete users; the first admin, too
    ///
    /// On the database alone: neither Redis nor a running service is needed. Who may connect to it may do all of it.
    #[command(after_help = SETTINGS)]
    Users(users::UsersArgs),
    /// Print the OpenAPI document
    Openapi(openapi::OpenapiArgs),
    /// Ask a running service whether it is ready: exit status 0 is yes
    Healthcheck(healthcheck::HealthcheckArgs),
    /// Print a shell's completion script
    #[command(after_help = COMPLETIONS)]
    Completions { shell: clap_complete::Shell },
    #[cfg(feature = "dev")]
    #[command(hide = true)]
    Guardian(guardian::Arguments),
}

/// Why a command failed, in one line.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    #[error("{0}")]
    Setting(#[from] BadSetting),
    #[error("{0}")]
    Failed(String),
}

impl From<AppError> for CliError {
    fn from(error: AppError) -> Self {
        match error {
            AppError::Setting { name, reason } => Self::Setting(BadSetting { name, reason }),
            other => Self::Failed(other.to_string()),
        }
    }
}

/// Runs what the command line says.
pub fn run() -> ExitCode {
    // clap's own short page is as loud as the full one.
    let full = std::env::args_os().any(|arg| arg == "--help" || arg == "help");
    let command = if full { command() } else { brief_help(command()) };
    let parsed = command.try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    let command = match parsed {
        Ok(Cli { command }) => command,
        Err(error) => return refuse(&error),
    };
    let outcome = match command {
        // Its children are tied to the main thread's life, so it makes its own runtime there.
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

fn command() -> Command {
    let command = Cli::command()
        // Before the action and after it.
        .mut_subcommand("migrate", |migrate| migrate.mut_args(|arg| arg.global(true)))
        .mut_subcommand("users", |users| users.mut_args(|arg| arg.global(true)));
    // A help page is pasted into mails and issues, and some values are secrets.
    with_dev_defaults(command).mut_subcommands(without_values)
}

#[cfg(feature = "dev")]
fn with_dev_defaults(command: Command) -> Command {
    command.mut_subcommand("dev", |dev| {
        // Codes are shown there, that is the point of it; and one person tries out what a whole network may not.
        dev.mut_arg("code_storage", |storage| storage.default_value("plain"))
            .mut_arg("client_limits", |limits| limits.default_value("false"))
            // It draws one of its own.
            .mut_arg("code_secret", |secret| secret.required(false))
    })
}

#[cfg(not(feature = "dev"))]
fn with_dev_defaults(command: Command) -> Command {
    command
}

fn without_values(command: Command) -> Command {
    command.mut_args(|arg| arg.hide_env_values(true)).mut_subcommands(without_values)
}

/// A line a setting.
fn brief_help(command: Command) -> Command {
    let brief = |arg: Arg| match arg.get_env() {
        Some(_) => arg.hide_env(true).hide_default_value(true).hide_possible_values(true),
        None => arg,
    };
    brief_dev_help(command.mut_subcommands(|command| command.mut_args(brief)))
}

/// Of dev's settings those that one changes there.
#[cfg(feature = "dev")]
fn brief_dev_help(command: Command) -> Command {
    command.mut_subcommand("dev", |dev| {
        let rare = |arg: &Arg| arg.get_help_heading().is_some_and(|it| ["Passwords", "Mail", "Limits"].contains(&it));
        dev.mut_args(|arg| if rare(&arg) { arg.hide_short_help(true) } else { arg })
            .after_help(format!("{DEV_SETTINGS} --help also lists those of passwords, mail and limits."))
    })
}

#[cfg(not(feature = "dev"))]
fn brief_dev_help(command: Command) -> Command {
    command
}

fn in_runtime(command: impl Future<Output = Result<(), CliError>>) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CliError::Failed(format!("the runtime cannot start: {error}")))?;
    let outcome = runtime.block_on(command);
    // Whatever still hangs has had its grace.
    runtime.shutdown_background();
    outcome
}

/// Writes to standard output. A reader who has seen enough (`sixty openapi | head`) is no failure.
fn print(text: &str) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CliError::Failed(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Resolves when this process is told to stop, by Ctrl-C or a signal.
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

/// clap's own words for a bad value repeat it, and it may be a secret: this line names the setting instead.
fn refuse(error: &clap::Error) -> ExitCode {
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
                Some(ContextValue::Strings(words)) => format!("must be one of: {}", words.join(", ")),
                _ => std::error::Error::source(error).map_or_else(|| "has a bad value".to_owned(), plain_reason),
            };
            eprintln!("sixty: {setting}: {reason}");
        }
        _ => {
            let _ = error.print();
        }
    }
    ExitCode::from(2)
}

/// Messages of number, address and URL parsers do not repeat what they parsed; clap's range check does.
fn plain_reason(reason: &(dyn std::error::Error + 'static)) -> String {
    let text = reason.to_string();
    match text.split_once(" is not in ") {
        Some((_, range)) => format!("must be in {range}"),
        None => text,
    }
}

/// `--code-ttl <TIME>` is the setting `CODE_TTL`.
fn setting_name(arg: &str) -> Option<String> {
    let flag = arg.strip_prefix("--")?.split(' ').next()?;
    Some(flag.replace('-', "_").to_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_are_well_formed() {
        command().debug_assert();
    }

    #[test]
    fn a_short_page_has_a_line_for_each_setting() {
        let mut brief = brief_help(command()).term_width(80);
        brief.build();
        for command in brief.get_subcommands_mut().filter(|command| !command.is_hide_set()) {
            let page = command.render_help().to_string();
            // What does not fit goes on in the column of the descriptions.
            let broken: Vec<&str> = page.lines().filter(|line| line.starts_with("          ")).collect();
            assert!(broken.is_empty() && !page.contains("[env:"), "{page}");
        }
    }
}
