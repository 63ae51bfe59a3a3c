//! The messages about an invalid command line.

use std::process::ExitCode;

use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::definition::command;

/// Prints an error about the form of the command line, the help, or the version.
pub(super) fn print(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    let is_request = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if is_request { ExitCode::SUCCESS } else { ExitCode::from(2) }
}

/// Returns the message about a setting or an argument. The message of clap repeats an invalid value, which may be a secret;
/// this one names the setting. `None` if the error is about the form of the command line.
pub(super) fn message(error: &clap::Error) -> Option<String> {
    let invalid: Vec<&String> = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(arg)) => vec![arg],
        Some(ContextValue::Strings(args)) => args.iter().collect(),
        _ => vec![],
    };
    let settings: Vec<String> = invalid.iter().filter_map(|arg| setting_name(arg)).collect();
    match (error.kind(), &invalid[..]) {
        (ErrorKind::InvalidUtf8, _) => Some("the arguments must be text in UTF-8".to_owned()),
        (ErrorKind::MissingRequiredArgument, _) if !settings.is_empty() => {
            Some(format!("{}: must be set", settings.join(", ")))
        }
        (ErrorKind::ValueValidation | ErrorKind::InvalidValue, [arg]) => {
            let setting = setting_name(arg).unwrap_or_else(|| arg.trim_matches(['<', '>', '[', ']']).to_owned());
            let reason = match (error.get(ContextKind::ValidValue), std::error::Error::source(error)) {
                (Some(ContextValue::Strings(names)), _) if !names.is_empty() => {
                    format!("must be one of: {}", names.join(", "))
                }
                (_, Some(reason)) => with_example(&setting, reason.to_string()),
                _ => with_example(&setting, "must have a value".to_owned()),
            };
            Some(format!("{setting}: {reason}"))
        }
        _ => None,
    }
}

/// Adds the default of a setting to a message without an example.
fn with_example(setting: &str, reason: String) -> String {
    let command = command();
    let mut arguments = command.get_subcommands().flat_map(Command::get_arguments);
    let default = arguments.find_map(|arg| match arg.get_default_values() {
        [default] if arg.get_env()? == setting => Some(default.to_string_lossy().into_owned()),
        _ => None,
    });
    let has_example = ["such as", " or ", "line break"].iter().any(|words| reason.contains(words));
    match default.filter(|default| !default.is_empty() && !has_example) {
        Some(default) => format!("{reason}, such as {default}"),
        None => reason,
    }
}

/// Converts the flag `--code-ttl <TIME>` to the setting `CODE_TTL`.
fn setting_name(arg: &str) -> Option<String> {
    let flag = arg.strip_prefix("--")?.split(' ').next()?;
    Some(flag.replace('-', "_").to_uppercase())
}

#[cfg(test)]
mod tests {
    use clap::Arg;

    use super::*;

    /// A value that only a free text accepts.
    const NONSENSE: &str = "c4n4ry \u{e9}:";
    /// The settings and arguments that the parser of the command line accepts as they are.
    const FREE_TEXTS: [&str; 16] = [
        "SERVICE_NAME",
        "MAIL_TEMPLATES",
        "DATABASE_URL",
        "REDIS_URL",
        "MAILJET_API_KEY",
        "MAILJET_API_SECRET",
        "POSTMARK_SERVER_TOKEN",
        "BREVO_API_KEY",
        "SENDGRID_API_KEY",
        "RESEND_API_KEY",
        "CODE_SECRET",
        "MAIL_FROM",
        "MAIL_FROM_NAME",
        "REDIS_PREFIX",
        "MAIL_MOCK_HOSTS",
        "DEV_FOLDER",
    ];

    fn is_free_text(arg: &Arg) -> bool {
        let name = arg.get_env().map(|name| name.to_string_lossy());
        name.is_some_and(|name| FREE_TEXTS.contains(&&*name) || name.ends_with("_FILE"))
    }

    fn parse(command: &str, arg: &Arg, value: &str) -> Result<clap::ArgMatches, clap::Error> {
        let flag = format!("--{}={value}", arg.get_long().expect("a setting is a flag"));
        super::command()
            .mut_subcommands(|command| command.mut_args(|arg| arg.required(false)))
            .try_get_matches_from(["sixty", command, &flag])
    }

    #[test]
    fn the_message_about_nonsense_says_in_our_words_what_was_expected() {
        let commands = command();
        for command in commands.get_subcommands().filter(|command| !command.has_subcommands()) {
            for arg in command.get_arguments().filter(|arg| arg.get_long().is_some() && arg.get_action().takes_values())
            {
                let name = arg
                    .get_env()
                    .map_or_else(|| arg.get_id().as_str().to_uppercase(), |name| name.to_string_lossy().into_owned());
                if is_free_text(arg) || command.is_hide_set() {
                    continue;
                }
                for value in [NONSENSE, "-1", "99999999999999999999"] {
                    let Err(error) = parse(command.get_name(), arg, value) else {
                        assert_ne!(value, NONSENSE, "{name} accepts everything");
                        continue;
                    };
                    let message = message(&error).unwrap_or_else(|| panic!("{name}: {error}"));
                    assert!(message.starts_with(&format!("{name}: must ")), "{message}");
                    assert!(!message.contains("c4n4ry") && !message.contains("invalid"), "{message}");
                    let says_what = ["such as", "one of", "from ", "true or false", "must begin with", "at least"];
                    assert!(says_what.iter().any(|words| message.contains(words)), "{message}");
                }
            }
        }
    }

    #[test]
    fn white_space_around_a_value_does_not_matter() {
        let commands = command();
        for command in commands.get_subcommands().filter(|command| !command.has_subcommands()) {
            for arg in command.get_arguments().filter(|arg| arg.get_env().is_some()) {
                let [default] = arg.get_default_values() else { continue };
                let written = format!(" {}\r\n", default.to_string_lossy());
                assert!(parse(command.get_name(), arg, &written).is_ok(), "{}", arg.get_id());
            }
        }
    }
}
