//! The command line. Each command has its own file.

#[cfg(feature = "dev")]
mod addresses;
mod database;
mod definition;
#[cfg(feature = "dev")]
pub mod dev;
pub mod doctor;
mod error;
pub mod healthcheck;
mod help;
pub mod mail;
#[cfg(feature = "dev")]
pub mod mail_mock;
pub mod migrate;
pub mod openapi;
mod parse_error;
mod process;
#[cfg(test)]
mod reference;
mod secret_files;
pub mod serve;
pub mod users;

use std::process::ExitCode;

use clap::{Command, FromArgMatches};
#[cfg(feature = "dev")]
use dev_stack::guardian;

use self::definition::{Cli, Subcommands, command, command_for_completions};
pub use self::error::CliError;
use self::help::brief_help;
use self::process::{in_runtime, print, print_error};
use crate::telemetry;

/// Runs the command of the command line and returns the exit status: 0, 1 for a failure, or 2 for an invalid setting
/// or a store that cannot be used with the settings.
pub fn run() -> ExitCode {
    // The short help of clap shows variables and defaults like the long help, so `-h` gets an edited command.
    let full = std::env::args_os().any(|arg| arg == "--help" || arg == "help");
    let definition = if full { command() } else { brief_help(command()) };
    let arguments = match secret_files::insert_contents(&definition, std::env::args_os().collect()) {
        Ok(arguments) => arguments,
        Err(error) => return refuse(&error),
    };
    let parsed = definition.try_get_matches_from(arguments).and_then(|matches| Cli::from_arg_matches(&matches));
    let command = match parsed {
        Ok(Cli { command }) => command,
        Err(error) => {
            return parse_error::message(&error).map_or_else(|| parse_error::print(&error), |message| refuse(&message));
        }
    };
    let outcome = match command {
        // The kernel kills the servers when the thread that started them ends. The guardian runs on the main thread.
        #[cfg(feature = "dev")]
        Subcommands::Guardian(args) => return guardian::run(&args),
        Subcommands::Completions { shell } => print(&completion_script(shell)),
        #[cfg(feature = "dev")]
        Subcommands::Dev(args) => in_runtime(dev::run(*args)),
        Subcommands::Serve(args) => in_runtime(serve::run(*args)),
        #[cfg(feature = "dev")]
        Subcommands::MailMock(args) => in_runtime(mail_mock::run(args)),
        Subcommands::Mail(args) => mail::run(args),
        Subcommands::Migrate(args) => in_runtime(migrate::run(args)),
        Subcommands::Users(args) => in_runtime(users::run(args)),
        Subcommands::Doctor(args) => in_runtime(doctor::run(*args)),
        Subcommands::Openapi(args) => in_runtime(openapi::run(args)),
        Subcommands::Healthcheck(args) => in_runtime(healthcheck::run(args)),
    };
    telemetry::finish();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error(format_args!("sixty: {error}"));
            ExitCode::from(if matches!(error, CliError::Setting(_) | CliError::Start(_)) { 2 } else { 1 })
        }
    }
}

/// Reports settings or arguments that cannot be used: `doctor` as its result, other commands as an error.
fn refuse(message: &str) -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    if arguments.first().is_some_and(|command| command == "doctor") {
        if let Err(error) = doctor::report_refused(message, arguments.iter().any(|flag| flag == "--json")) {
            print_error(format_args!("sixty: {error}"));
        }
        return ExitCode::from(1);
    }
    print_error(format_args!("sixty: {message}"));
    ExitCode::from(2)
}

fn completion_script(shell: clap_complete::Shell) -> String {
    let commands = command_for_completions();
    let visible = commands.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Command::new("sixty").subcommands(visible), "sixty", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}
