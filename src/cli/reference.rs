//! The README's table of settings and `.env.example`, written from the same definitions as `--help`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use clap::{Arg, Command};

use super::command;

const ACCEPT: &str = "UPDATE_SETTINGS=1 cargo test --lib settings";

const INTRODUCTION: &str = "\
# Every setting with its default. Each is also a flag of the same name: CODE_TTL is --code-ttl.
# `sixty dev` needs none of them. `sixty serve` needs the four that are not commented out.
# The program reads the environment, not this file: set -a; . ./.env; set +a; cargo run -- serve
";

/// What stands in `.env.example` for a setting that must be set. A secret is never among them.
const EXAMPLES: [(&str, &str); 3] = [
    ("DATABASE_URL", "postgres://sixty:change-me@127.0.0.1:5432/sixty"),
    ("REDIS_URL", "redis://127.0.0.1:6379/0"),
    ("MAIL_URL", "http://127.0.0.1:8025"),
];

struct Setting {
    section: String,
    name: String,
    /// `None`: it has none, or one that only the machine knows.
    default: Option<String>,
    required: bool,
    sentences: Vec<String>,
}

impl Setting {
    fn of(arg: &Arg) -> Option<Self> {
        let help = arg.get_long_help().or(arg.get_help()).expect("every setting has a doc comment").to_string();
        Some(Self {
            section: arg.get_help_heading().unwrap_or("`sixty dev` and `sixty mail-mock`").to_owned(),
            name: arg.get_env()?.to_string_lossy().into_owned(),
            default: default(arg),
            required: arg.is_required_set(),
            sentences: help.split("\n\n").map(str::to_owned).collect(),
        })
    }
}

fn default(arg: &Arg) -> Option<String> {
    let values: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    (!values.is_empty()).then(|| values.join(","))
}

/// All settings, those of one section after each other.
fn settings() -> Vec<Setting> {
    let command = command();
    let of = |name| command.get_subcommands().find(|command: &&Command| command.get_name() == name);
    let [serve, mock, dev] = ["serve", "mail-mock", "dev"].map(|name| of(name).expect("it is a command"));
    let mut settings: Vec<Setting> = vec![];
    for arg in [serve, mock, dev].iter().flat_map(|command| command.get_arguments()) {
        let Some(setting) = Setting::of(arg) else { continue };
        let Some(known) = settings.iter_mut().find(|known| known.name == setting.name) else {
            let place = settings.iter().rposition(|other| other.section == setting.section);
            settings.insert(place.map_or(settings.len(), |last| last + 1), setting);
            continue;
        };
        match &setting.default {
            Some(default) if setting.default != known.default => {
                known.sentences.push(format!("`sixty dev`: {default}"));
            }
            _ => {}
        }
    }
    settings
}

fn sections(settings: &[Setting]) -> impl Iterator<Item = &[Setting]> {
    settings.chunk_by(|one, next| one.section == next.section)
}

fn table() -> String {
    let mut table = "\n| | default | |\n|---|---|---|\n".to_owned();
    for section in sections(&settings()) {
        writeln!(table, "| **{}** | | |", section[0].section).unwrap();
        for Setting { name, default, required, sentences, .. } in section {
            let default = match default {
                Some(default) => format!("`{default}`"),
                None if *required => "must be set".to_owned(),
                None => String::new(),
            };
            writeln!(table, "| `{name}` | {default} | {}. |", sentences.join(". ")).unwrap();
        }
    }
    table + "\n"
}

fn example_file() -> String {
    let mut file = INTRODUCTION.to_owned();
    for section in sections(&settings()) {
        let title = format!("# --- {} ", section[0].section);
        writeln!(file, "\n{title:-<120}").unwrap();
        for Setting { name, default, required, sentences, .. } in section {
            writeln!(file, "# {}", sentences.join(". ")).unwrap();
            let example = EXAMPLES.iter().find(|(of, _)| of == name).map(|(_, example)| *example);
            let value = default.as_deref().or(example).unwrap_or_default();
            writeln!(file, "{}{name}={value}", if *required { "" } else { "#" }).unwrap();
        }
    }
    file
}

/// Compares a file with what it is to be, or writes it when that is asked for.
fn assert_is(path: &str, wanted: impl Fn(&str) -> String) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let found = fs::read_to_string(&file).unwrap();
    let wanted = wanted(&found);
    if std::env::var_os("UPDATE_SETTINGS").is_some() {
        fs::write(file, wanted).unwrap();
        return;
    }
    let differs = found.lines().zip(wanted.lines()).find(|(found, wanted)| found != wanted);
    assert!(found == wanted, "{path} does not say what --help says; first {differs:?}. To accept: {ACCEPT}");
}

#[test]
fn the_readme_has_the_settings_as_help_has_them() {
    assert_is("README.md", |readme| {
        let (before, rest) = readme.split_once("<!-- settings -->\n").expect("the table has a beginning");
        let (_, after) = rest.split_once("<!-- /settings -->").expect("the table has an end");
        format!("{before}<!-- settings -->\n{}<!-- /settings -->{after}", table())
    });
}

#[test]
fn the_example_file_has_the_settings_as_help_has_them() {
    assert_is(".env.example", |_| example_file());
}
