//! The definition of the commands and their arguments.

use clap::builder::Resettable;
use clap::{Arg, Command, CommandFactory, Parser, Subcommand};
#[cfg(feature = "dev")]
use dev_stack::guardian;

#[cfg(feature = "dev")]
use super::dev;
#[cfg(feature = "dev")]
use super::help::DEV_SETTINGS;
use super::help::{ABOUT_SETTINGS, COMPLETIONS, SERVE_SETTINGS, SETTINGS};
use super::{doctor, healthcheck, mail, migrate, openapi, secret_files, users};

/// User registration with an e-mailed code that lives for sixty seconds
#[derive(Parser)]
#[command(name = "sixty", version, after_help = ABOUT_SETTINGS, subcommand_required = true, arg_required_else_help = true)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub command: Subcommands,
}

#[derive(Subcommand)]
pub(super) enum Subcommands {
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
    /// Write the mails as files, to look at them and to change them
    #[command(after_help = SETTINGS)]
    Mail(mail::MailArgs),
    /// Apply, revert or list the database migrations
    #[command(after_help = SETTINGS)]
    Migrate(migrate::MigrateArgs),
    /// Create, list, change and delete users, including the first admin
    ///
    /// Needs the database only, neither Redis nor a running service. Everybody with access to the database can use it.
    #[command(after_help = SETTINGS)]
    Users(users::UsersArgs),
    /// Check the settings, the stores and the mail provider of `serve`
    ///
    /// Prints a table, or JSON. Sends no mail. Exit status 0: no check failed; 1: a check failed.
    #[command(override_usage = "sixty doctor [OPTIONS]", after_help = SERVE_SETTINGS)]
    Doctor(Box<doctor::DoctorArgs>),
    /// Print the OpenAPI document
    Openapi(openapi::OpenapiArgs),
    /// Exit with status 0 if a running service answers
    Healthcheck(healthcheck::HealthcheckArgs),
    /// Print a completion script for a shell
    #[command(after_help = COMPLETIONS)]
    Completions { shell: clap_complete::Shell },
    #[cfg(feature = "dev")]
    #[command(hide = true)]
    Guardian(guardian::GuardianArgs),
}

/// The command line of all commands.
pub(super) fn command() -> Command {
    complete(secret_files::add_settings(Cli::command()))
}

/// The command line without the settings that name files of secrets: they would stand beside each secret.
pub(super) fn command_for_completions() -> Command {
    complete(Cli::command())
}

fn complete(command: Command) -> Command {
    let optional_and_global = |arg: Arg| arg.required(false).global(true);
    let command = command
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
    command.mut_args(|arg| without_empty_variable(arg).hide_env_values(true)).mut_subcommands(hide_env_values)
}

/// An empty environment variable means that the setting is not set: Compose sets `NAME: ${NAME}` to an empty text.
fn without_empty_variable(arg: Arg) -> Arg {
    let value = arg.get_env().and_then(std::env::var_os);
    let is_empty = value.is_some_and(|value| value.to_str().is_some_and(|text| text.trim().is_empty()));
    if is_empty { arg.env(Resettable::Reset) } else { arg }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::help::brief_help;

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
