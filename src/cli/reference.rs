//! Generates `docs/settings.md` and `.env.example` from the definitions of the command line, and tests that both files
//! match `--help`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use clap::{Arg, Command};

use super::definition::command;
use super::secret_files::{is_secret, names_file};

/// The command that rewrites both files.
const UPDATE_COMMAND: &str = "UPDATE_SETTINGS=1 cargo test --lib settings";

const INTRODUCTION: &str = "\
# Every setting with its default. Each is also a flag of the same name: CODE_TTL is --code-ttl.
# `sixty dev` needs none of them. `sixty serve` needs the four that are not commented out.
# The program reads the environment, not this file: set -a; . ./.env; set +a; cargo run -- serve
# NAME_FILE is the path of a file that contains the value of NAME, and takes the place of NAME.
";

/// Example values in `.env.example` for required settings. Secrets have no example value.
const EXAMPLE_VALUES: [(&str, &str); 3] = [
    ("DATABASE_URL", "postgres://sixty:change-me@127.0.0.1:5432/sixty"),
    ("REDIS_URL", "redis://127.0.0.1:6379/0"),
    ("MAIL_URL", "http://127.0.0.1:8025"),
];

struct Setting {
    section: String,
    name: String,
    /// `None` if the setting has no default, or if its default depends on the machine.
    default: Option<String>,
    required: bool,
    sentences: Vec<String>,
    /// Whether a file can contain the value.
    secret: bool,
}

impl Setting {
    /// Returns `None` for an argument that no environment variable sets.
    fn from_arg(arg: &Arg) -> Option<Self> {
        let help = arg.get_long_help().or(arg.get_help()).expect("every setting has a doc comment").to_string();
        Some(Self {
            section: arg.get_help_heading().unwrap_or("`sixty dev` and `sixty mail-mock`").to_owned(),
            name: arg.get_env()?.to_string_lossy().into_owned(),
            default: default_value(arg),
            required: arg.is_required_set(),
            sentences: help.split("\n\n").map(str::to_owned).collect(),
            secret: is_secret(arg),
        })
    }
}

fn default_value(arg: &Arg) -> Option<String> {
    let values: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    (!values.is_empty()).then(|| values.join(","))
}

/// Returns all settings, grouped by section. A setting that several commands share is listed once.
fn settings() -> Vec<Setting> {
    let command = command();
    let subcommand = |name| command.get_subcommands().find(|command: &&Command| command.get_name() == name);
    let [serve, mock, dev] =
        ["serve", "mail-mock", "dev"].map(|name| subcommand(name).expect("the command line has this subcommand"));
    let mut settings: Vec<Setting> = vec![];
    let arguments = |command: &'_ Command| -> Vec<Arg> {
        command.get_arguments().filter(|arg| !names_file(arg, command)).cloned().collect()
    };
    for arg in &[serve, mock, dev].map(arguments).concat() {
        let Some(setting) = Setting::from_arg(arg) else { continue };
        let Some(listed) = settings.iter_mut().find(|listed| listed.name == setting.name) else {
            let last_of_section = settings.iter().rposition(|other| other.section == setting.section);
            settings.insert(last_of_section.map_or(settings.len(), |last| last + 1), setting);
            continue;
        };
        match &setting.default {
            Some(default) if setting.default != listed.default => {
                listed.sentences.push(format!("`sixty dev`: {default}"));
            }
            _ => {}
        }
    }
    settings
}

fn sections(settings: &[Setting]) -> impl Iterator<Item = &[Setting]> {
    settings.chunk_by(|one, next| one.section == next.section)
}

/// The Markdown table in `docs/settings.md`.
fn markdown_table() -> String {
    let mut table = "\n| setting | default | meaning |\n|---|---|---|\n".to_owned();
    for section in sections(&settings()) {
        writeln!(table, "| **{}** | | |", section[0].section).unwrap();
        for Setting { name, default, required, sentences, secret, .. } in section {
            let file = if *secret { format!(" Or `{name}_FILE`: a file that contains it.") } else { String::new() };
            let default = match default {
                Some(default) => format!("`{default}`"),
                None if *required => "required".to_owned(),
                None => String::new(),
            };
            writeln!(table, "| `{name}` | {default} | {}.{file} |", sentences.join(". ")).unwrap();
        }
    }
    table + "\n"
}

fn example_file() -> String {
    let mut file = INTRODUCTION.to_owned();
    for section in sections(&settings()) {
        let title = format!("# --- {} ", section[0].section);
        writeln!(file, "\n{title:-<120}").unwrap();
        for Setting { name, default, required, sentences, secret, .. } in section {
            writeln!(file, "# {}", sentences.join(". ")).unwrap();
            let example = EXAMPLE_VALUES.iter().find(|(setting, _)| setting == name).map(|(_, example)| *example);
            let value = default.as_deref().or(example).unwrap_or_default();
            writeln!(file, "{}{name}={value}", if *required { "" } else { "#" }).unwrap();
            if *secret {
                writeln!(file, "#{name}_FILE=").unwrap();
            }
        }
    }
    file
}

/// Asserts that a file of the repository has the expected content. Writes that content if `UPDATE_SETTINGS` is set.
/// `expected` gets the file's present content.
fn assert_matches_or_update(path: &str, expected: impl Fn(&str) -> String) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let found = fs::read_to_string(&file).unwrap();
    let expected = expected(&found);
    if std::env::var_os("UPDATE_SETTINGS").is_some() {
        fs::write(file, expected).unwrap();
        return;
    }
    let difference = found.lines().zip(expected.lines()).find(|(found, expected)| found != expected);
    assert!(
        found == expected,
        "{path} differs from --help; first different line (file, help): {difference:?}. To update: {UPDATE_COMMAND}"
    );
}

#[test]
fn the_settings_page_matches_help() {
    assert_matches_or_update("docs/settings.md", |page| {
        let (before, rest) = page.split_once("<!-- settings -->\n").expect("the page has the opening marker");
        let (_, after) = rest.split_once("<!-- /settings -->").expect("the page has the closing marker");
        format!("{before}<!-- settings -->\n{}<!-- /settings -->{after}", markdown_table())
    });
}

#[test]
fn the_example_file_lists_all_settings() {
    assert_matches_or_update(".env.example", |_| example_file());
}
