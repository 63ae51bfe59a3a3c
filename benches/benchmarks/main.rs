//! Measures speed, memory and timing side channels of `sixty serve`: `cargo bench`. `cargo bench -- registration mail`
//! runs only the parts that it names.
//!
//! Each part starts `sixty serve` as a process, with a PostgreSQL and a Redis of its own, and prints each figure with
//! its target. A target is a ratio within one run where an absolute time would depend on the machine. A busy machine
//! can still miss a target, so no test asserts them. The exit status is 1 if a target was missed.
#![expect(clippy::unwrap_used, reason = "an unexpected failure must end the benchmark")]

mod cpu;
mod credentials;
mod fairness;
mod growth;
mod mail;
mod peers;
mod registration;
mod report;
mod round_trips;
mod secrecy;
mod service;
mod start;
mod statistics;

use std::process::ExitCode;

use cpu::CpuCores;
use report::Report;
use service::Bench;

type Part = fn(&Bench, &mut Report);

/// The parts that suffer most from a warm CPU or a full disk come first.
const PARTS: [(&str, Part); 9] = [
    ("registration", registration::run),
    ("round-trips", round_trips::run),
    ("credentials", credentials::run),
    ("mail", mail::run),
    ("peers", peers::run),
    ("start", start::run),
    ("fairness", fairness::run),
    ("secrecy", secrecy::run),
    ("growth", growth::run),
];

fn main() -> ExitCode {
    // Ignores the flag `--bench`, which cargo passes.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    if let Some(unknown) = wanted.iter().find(|name| PARTS.iter().all(|(part, _)| part != name)) {
        eprintln!("Unknown benchmark {unknown:?}; expected some of: {}.", PARTS.map(|(part, _)| part).join(", "));
        return ExitCode::from(2);
    }
    let cores = CpuCores::reserve_one_for_service();
    println!("{}", cores.description());
    let bench = Bench::start(cores);
    let mut report = Report::default();
    for (name, part) in PARTS {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            println!("\n{name}");
            part(&bench, &mut report);
        }
    }
    report.print_verdict()
}
