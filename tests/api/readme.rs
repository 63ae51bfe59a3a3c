//! Types the README's tour into a shell and compares the real output with the output in the README.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use regex::{Captures, Regex};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;

use super::dev::{Dev, on_free_ports};
use super::process::{Folder, shell};

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
/// Timeout of one command. The tour contains a `sleep 60`.
const PATIENCE: Duration = Duration::from_secs(120);
/// ASCII record separator, printed after each command's output. No command prints it.
const END: u8 = 0x1e;

/// Escape sequences of colours and links, which curl prints on a terminal.
const ESCAPE_SEQUENCES: &str = r"\x1b\[[0-9;]*m|\x1b\]8;[^\x1b]*\x1b\\";

/// The programs that the tour uses, each with its Debian package.
const PROGRAMS: [(&str, &str); 4] =
    [("bash", "bash"), ("curl", "curl"), ("psql", "postgresql-client"), ("redis-cli", "redis-tools")];

/// Values that differ from run to run.
const VARYING: &str = r#"(?x)
    (?<id>      [0-9a-f]{8} (-[0-9a-f]{4}){3} -[0-9a-f]{12} | \b[0-9a-f]{32}\b )
  | (?<time>    \d{4}-\d\d-\d\dT[\d:.]+Z )
  | (?<code>    \b\d{4}\b )
  | (?<spelled> \b\d(\ \d){3}\b )
  | (?<date>    \w{3},\ \d\d\ \w{3}\ \d{4}\ [\d:]+\ GMT )
  | (?<link>    http://127\.0\.0\.1:\d+\S* )
  | (?<length>  content-length:\ \d+ )
    # The remaining seconds of a minute depend on the machine's speed. Zero and two minutes do not.
  | (?<seconds> (\(integer\)\ |\ in\ |"retry_after":) ([2-9]|[1-5]\d|60)\b )"#;
/// Varying values that must stay equal to each other within one run: the code in Redis equals the code in the mail.
const CONSISTENT: [&str; 3] = ["id", "time", "code"];

#[tokio::test]
async fn the_tour_in_the_readme_matches_the_real_output() {
    assert_installed().await;
    let readme = fs::read_to_string(README).unwrap();
    let shown = steps(&readme);
    assert!(!shown.is_empty(), "the README has no ```console blocks");

    let home = Folder::new("readme");
    fs::create_dir_all(&home.0).unwrap();
    let mut dev = Dev::run(on_free_ports().current_dir(&home.0), home.join("target/dev/env")).await;
    let service = dev.own_service().await;
    let mut terminal = Terminal::open(&home.0);
    let mut actual = Vec::new();
    for Step { command, .. } in &shown {
        // A typing user never waits for a mail, but this test must.
        service.wait_for_empty_outbox().await;
        let output = terminal.type_in(command).await;
        actual.push(Step { command: command.clone(), output });
    }
    drop(terminal);
    dev.stop().await;

    if std::env::var_os("UPDATE_README").is_some() {
        fs::write(README, rewritten(&readme, &actual)).unwrap();
        return;
    }
    let differences = differences(&shown, &actual);
    assert!(
        differences.is_empty(),
        "The tour in README.md differs from the real output.\n{differences}\n\
         To update the README: just readme, or UPDATE_README=1 cargo test --test api readme::\n"
    );
}

/// A command of the tour and its output.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    command: String,
    output: String,
}

/// Returns the commands in the ```console blocks, with the output shown below each.
fn steps(readme: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for line in readme.lines() {
        if line.starts_with("```") {
            inside = line == "```console";
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| inside) {
            steps.push(Step { command: command.to_owned(), output: String::new() });
        } else if let Some(step) = steps.last_mut().filter(|_| inside) {
            writeln!(step.output, "{line}").unwrap();
        }
    }
    steps
}

/// Returns the README with its outputs replaced by the real ones.
fn rewritten(readme: &str, actual: &[Step]) -> String {
    let (mut text, mut actual) = (String::new(), actual.iter());
    let mut inside = false;
    for line in readme.lines() {
        if line.starts_with("```") {
            inside = line == "```console";
        }
        if inside && line.starts_with("$ ") {
            let output = &actual.next().expect("a step for each command").output;
            write!(text, "{line}\n{output}").unwrap();
        } else if !inside || line.starts_with("```") {
            writeln!(text, "{line}").unwrap();
        }
    }
    text
}

/// Returns a readable list of differences, apart from values that differ from run to run.
fn differences(shown: &[Step], actual: &[Step]) -> String {
    let varying = Regex::new(VARYING).unwrap();
    let mut replacements = HashMap::new();
    let mut differences = String::new();
    for (shown, actual) in shown.iter().zip(actual) {
        let expected = with_values_of_this_run(&actual.output, &shown.output, &varying, &mut replacements);
        if expected == actual.output {
            continue;
        }
        writeln!(differences, "\n$ {}", shown.command).unwrap();
        for (side, text) in [("README", &expected), ("now", &actual.output)] {
            text.lines().for_each(|line| writeln!(differences, "{side:>6} | {line}").unwrap());
        }
    }
    differences
}

/// Returns the README's output with each varying value replaced by the value of this run. A consistent value is always
/// replaced by the same value, which `replacements` stores.
fn with_values_of_this_run(
    actual: &str,
    shown: &str,
    varying: &Regex,
    replacements: &mut HashMap<String, String>,
) -> String {
    let group_name =
        |found: &Captures| varying.capture_names().flatten().find(|name| found.name(name).is_some()).unwrap();
    let mut values = varying.captures_iter(actual);
    let translated = varying.replace_all(shown, |found: &Captures| match values.next() {
        Some(value) if group_name(&value) != group_name(found) => found[0].to_owned(),
        Some(value) if CONSISTENT.contains(&group_name(found)) => {
            replacements.entry(found[0].to_owned()).or_insert_with(|| value[0].to_owned()).clone()
        }
        Some(value) => value[0].to_owned(),
        None => found[0].to_owned(),
    });
    translated.into_owned()
}

async fn assert_installed() {
    for (program, package) in PROGRAMS {
        let found = shell(r#"command -v "$1""#).arg(program).output().await.unwrap();
        assert!(found.status.success(), "the README's tour needs {program}: apt-get install {package}");
    }
}

/// A shell with a pseudo-terminal, because `redis-cli` prints another format into a pipe.
struct Terminal {
    input: ChildStdin,
    screen: BufReader<tokio::fs::File>,
    _shell: Child,
}

impl Terminal {
    fn open(folder: &Path) -> Terminal {
        let pty = nix::pty::openpty(None, None).unwrap();
        let mut command = Command::new("bash");
        // HOME is an empty folder, so personal settings of psql and curl do not apply.
        command.arg("--norc").current_dir(folder).env_clear().env("HOME", folder);
        command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.stdin(Stdio::piped()).stdout(pty.slave.try_clone().unwrap()).stderr(pty.slave);
        let mut shell = command.kill_on_drop(true).spawn().unwrap();
        let screen = tokio::fs::File::from_std(pty.master.into());
        Terminal { input: shell.stdin.take().unwrap(), screen: BufReader::new(screen), _shell: shell }
    }

    /// Types a command and returns its output, without colours, links and trailing blanks.
    async fn type_in(&mut self, command: &str) -> String {
        let typed = format!("{command}\nprintf '\\{END:03o}'\n");
        self.input.write_all(typed.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        let reading = self.screen.read_until(END, &mut bytes);
        timeout(PATIENCE, reading)
            .await
            .unwrap_or_else(|_| panic!("the command did not end in time: {command}"))
            .unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let text = Regex::new(ESCAPE_SEQUENCES).unwrap().replace_all(&text, "");
        let lines = text.trim_end_matches(char::from(END)).trim_end().lines();
        lines.fold(String::new(), |text, line| text + line.trim_end() + "\n")
    }
}

const SAMPLE: &str = "\
Text
```console
$ echo a; date
a

2026-11-20T23:21:11.785631Z
$ true
```
$ none
```sh
$ none either
```
";

#[test]
fn only_console_blocks_are_typed_and_rewritten() {
    let shown = steps(SAMPLE);
    let step = |command: &str, output: &str| Step { command: command.to_owned(), output: output.to_owned() };
    assert_eq!(shown, [step("echo a; date", "a\n\n2026-11-20T23:21:11.785631Z\n"), step("true", "")]);
    assert_eq!(rewritten(SAMPLE, &shown), SAMPLE);
    let actual = [step("echo a; date", "b\n"), step("true", "c\n")];
    assert_eq!(steps(&rewritten(SAMPLE, &actual)), actual);
}

#[test]
fn only_varying_values_may_differ() {
    let step = |output: &str| [Step { command: "say".to_owned(), output: output.to_owned() }];
    for (shown, actual) in [
        ("code is 9054\n2) \"9054\"", "code is 0042\n2) \"0042\""),
        (r#""created_at":"2026-11-20T23:21:11.785631Z""#, r#""created_at":"2027-01-02T03:04:05Z""#),
        ("(integer) 60", "(integer) 58"),
        ("see http://127.0.0.1:8000/docs", "see http://127.0.0.1:8001/docs"),
        (r#"asked for in 60 s.","retry_after":60"#, r#"asked for in 59 s.","retry_after":59"#),
    ] {
        assert_eq!(differences(&step(shown), &step(actual)), "", "{shown}");
    }
    for (shown, actual) in [
        ("code is 9054\n2) \"9054\"", "code is 0042\n2) \"0043\""),
        ("(integer) 0", "(integer) 1"),
        (r#"{"retry_after":120}"#, r#"{"retry_after":60}"#),
        (r#""status":422"#, r#""status":410"#),
    ] {
        assert_ne!(differences(&step(shown), &step(actual)), "", "{shown}");
    }
}
