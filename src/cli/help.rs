//! The texts after the help of each command, and the short help of `-h`.

use clap::{Arg, Command};

#[cfg(feature = "dev")]
pub(super) const ABOUT_SETTINGS: &str = "\
Start with `sixty dev`: it needs no settings.

Every setting is a flag and an environment variable of the same name: --code-ttl 90s is CODE_TTL=90s. After a \
command, -h lists the settings briefly, and --help adds their variables and defaults.

Tab completion: `source <(sixty completions bash)`. For zsh and fish see `sixty completions -h`.";

#[cfg(not(feature = "dev"))]
pub(super) const ABOUT_SETTINGS: &str = "\
Every setting is a flag and an environment variable of the same name: --code-ttl 90s is CODE_TTL=90s. After a \
command, -h lists the settings briefly, and --help adds their variables and defaults.

Tab completion: `source <(sixty completions bash)`. For zsh and fish see `sixty completions -h`.";

pub(super) const SETTINGS: &str =
    "Every setting is a flag and an environment variable of the same name; the flag wins.";

#[cfg(feature = "dev")]
pub(super) const DEV_SETTINGS: &str = "\
Every setting is a flag and an environment variable of the same name: --code-ttl 90s is CODE_TTL=90s. The flag wins. \
A TIME is written like 250ms, 60s or 4h. No setting is required.";

pub(super) const SERVE_SETTINGS: &str = "\
Every setting is a flag and an environment variable of the same name: --code-ttl 90s is CODE_TTL=90s. The flag wins. \
A TIME is written like 250ms, 60s or 4h. DATABASE_URL, REDIS_URL, MAIL_URL and CODE_SECRET must be set.";

pub(super) const COMPLETIONS: &str = "\
Add one of these lines to the startup file of the shell, or type it. `sixty` must be in PATH:

  bash  source <(sixty completions bash)
  zsh   source <(sixty completions zsh)     after compinit
  fish  sixty completions fish | source";

/// Shortens the help to one line for each setting.
pub(super) fn brief_help(command: Command) -> Command {
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
