//! Whether Sixty is as fast, as small and as silent as it means to be: `cargo bench`, or a part of it by name, `cargo
//! bench -- registration mail`. One binary, which links once.
//!
//! Each part starts `sixty serve` as a process, over a PostgreSQL and a Redis of its own, and prints what it measured
//! beside its bar. A bar is a ratio within one run where a machine's speed would decide otherwise. All the same these are
//! times: a machine that does something else meanwhile misses bars that it would meet alone. So no test asserts them; the
//! exit status is 1 when a bar was missed, for who runs this by hand.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on fails, in all of its parts")]

mod growth;
mod machine;
mod mail;
mod program;
mod registration;
mod report;
mod samples;
mod secrecy;
mod start;

use std::process::ExitCode;

use machine::Cores;
use program::Bench;
use report::Report;

type Part = fn(&Bench, &mut Report);

/// In this order: what suffers most from a machine that is warm or full comes first.
const PARTS: [(&str, Part); 5] = [
    ("registration", registration::run),
    ("mail", mail::run),
    ("start", start::run),
    ("secrecy", secrecy::run),
    ("growth", growth::run),
];

fn main() -> ExitCode {
    // cargo adds `--bench`.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    if let Some(unknown) = wanted.iter().find(|name| PARTS.iter().all(|(part, _)| part != name)) {
        eprintln!("There is no part {unknown}; there are {}.", PARTS.map(|(part, _)| part).join(", "));
        return ExitCode::from(2);
    }
    let cores = Cores::of_this_machine();
    println!("{}", cores.described());
    let bench = Bench::start(cores);
    let mut report = Report::default();
    for (name, part) in PARTS {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            println!("\n{name}");
            part(&bench, &mut report);
        }
    }
    report.verdict()
}
