//! Secrets from files: `DATABASE_URL_FILE` names a file that contains `DATABASE_URL`, as orchestrators mount secrets. Every
//! setting whose value is a secret has such a second setting.

use std::any::TypeId;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use clap::{Arg, Command, value_parser};
use secrecy::SecretString;

/// No secret is longer. A wrong path may lead to a device that never ends.
const MAX_OCTETS: u64 = 64 * 1024;

/// Whether the value of a setting is a secret. URLs may contain a password.
pub(super) fn is_secret(arg: &Arg) -> bool {
    arg.get_env().is_some()
        && (arg.get_value_parser().type_id() == TypeId::of::<SecretString>()
            || ["mail_url", "mail_fallback_url"].contains(&arg.get_id().as_str()))
}

/// Whether a setting names the file of another one.
#[cfg(test)]
pub(super) fn names_file(arg: &Arg, command: &Command) -> bool {
    command.get_arguments().any(|secret| is_secret(secret) && file_id(secret) == arg.get_id().as_str())
}

fn file_id(secret: &Arg) -> String {
    format!("{}_file", secret.get_id())
}

/// Adds the setting of the file for every secret of every command.
pub(super) fn add_settings(command: Command) -> Command {
    let secrets: Vec<Arg> = command.get_arguments().filter(|arg| is_secret(arg)).cloned().collect();
    let file_setting = |secret: &Arg| -> Option<Arg> {
        let name = secret.get_env()?.to_str()?;
        let arg = Arg::new(file_id(secret))
            .long(format!("{}-file", secret.get_long()?))
            .env(format!("{name}_FILE"))
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help(format!("File that contains {name}"))
            .hide_short_help(true);
        Some(match secret.get_help_heading() {
            Some(heading) => arg.help_heading(heading.to_owned()),
            None => arg,
        })
    };
    command.args(secrets.iter().filter_map(file_setting).collect::<Vec<_>>()).mut_subcommands(add_settings)
}

/// Adds a flag with the content of each file to the arguments of the process.
///
/// # Errors
/// A line that names the setting: a secret is set twice, a file cannot be read, or a value is not text.
pub(super) fn insert_contents(command: &Command, mut arguments: Vec<OsString>) -> Result<Vec<OsString>, String> {
    let Some(command) = arguments.get(1).and_then(|name| command.find_subcommand(name)) else {
        return Ok(arguments);
    };
    if arguments.iter().any(|argument| argument == "-h" || argument == "--help") {
        return Ok(arguments);
    }
    let mut flags = vec![];
    for arg in command.get_arguments() {
        let value = value_of(arg, &arguments);
        let is_path = arg.get_value_parser().type_id() == TypeId::of::<PathBuf>();
        if value.as_ref().is_some_and(|value| value.to_str().is_none()) && !is_path {
            return Err(format!("{}: must be text in UTF-8", name_of(arg)));
        }
        let file = command.get_arguments().find(|file| file.get_id().as_str() == file_id(arg));
        let Some((file, path)) = file.and_then(|file| Some((file, value_of(file, &arguments)?))) else { continue };
        let (name, long) = (name_of(file), arg.get_long().unwrap_or_default());
        if value.is_some() {
            return Err(format!("{name}: must not be set, because {} is set too", name_of(arg)));
        }
        let content = read(path.as_ref()).map_err(|reason| {
            format!("{name}: cannot use {}: {reason}", Path::new(&path).display().to_string().escape_debug())
        })?;
        flags.push(OsString::from(format!("--{long}={content}")));
    }
    arguments.splice(2..2, flags);
    Ok(arguments)
}

fn name_of(arg: &Arg) -> String {
    arg.get_env().unwrap_or(arg.get_id().as_str().as_ref()).to_string_lossy().into_owned()
}

/// Returns the value of a flag, or else of its environment variable. An empty variable is not set.
fn value_of(arg: &Arg, arguments: &[OsString]) -> Option<OsString> {
    let flag = format!("--{}", arg.get_long()?);
    let mut words = arguments.iter().take_while(|word| *word != "--");
    while let Some(word) = words.next() {
        if *word == *flag {
            return words.next().cloned();
        }
        let value = word.to_str().and_then(|word| word.strip_prefix(&flag)?.strip_prefix('='));
        if let Some(value) = value {
            return Some(value.into());
        }
    }
    let is_empty = |value: &OsStr| value.to_str().is_some_and(|text| text.trim().is_empty());
    arg.get_env().and_then(std::env::var_os).filter(|value| !is_empty(value))
}

/// Returns the content of a file without the white space at its ends. The error is the reason without the content.
fn read(path: &OsStr) -> Result<String, &'static str> {
    // A path in an environment file may end with a line break, too.
    let path = path.to_str().map_or(Path::new(path), |text| Path::new(text.trim()));
    let mut content = vec![];
    let read = File::open(path).and_then(|file| file.take(MAX_OCTETS + 1).read_to_end(&mut content));
    read.map_err(|error| match error.kind() {
        ErrorKind::NotFound => "there is no such file",
        ErrorKind::PermissionDenied => "this process may not read it",
        ErrorKind::IsADirectory => "it is a folder, not a file",
        _ => "it cannot be read",
    })?;
    if content.len() as u64 > MAX_OCTETS {
        return Err("it is longer than 64 KiB");
    }
    let text = String::from_utf8(content).map_err(|_| "it is not text in UTF-8")?;
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.is_empty() { Err("it is empty") } else { Ok(text.to_owned()) }
}
