//! The messages about an invalid command line.

use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::process::print_error;

/// Prints a parse error. The message of clap repeats an invalid value, which may be a secret; this one names the setting.
pub(super) fn print(error: &clap::Error) -> ExitCode {
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
        (ErrorKind::MissingRequiredArgument, [_, ..]) => {
            print_error(format_args!("sixty: {}: must be set", settings.join(", ")))
        }
        (ErrorKind::ValueValidation | ErrorKind::InvalidValue, [setting]) => {
            let reason = match error.get(ContextKind::ValidValue) {
                Some(ContextValue::Strings(names)) => format!("must be one of: {}", names.join(", ")),
                _ => std::error::Error::source(error).map_or_else(|| "is invalid".to_owned(), reason_without_value),
            };
            print_error(format_args!("sixty: {setting}: {reason}"));
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
