//! Measures speed, memory and timing side channels of `sixty serve`: `cargo bench`. `cargo bench -- registration mail`
//! runs only the parts that it names.
//!
//! Each part starts `sixty serve` as a process, with a PostgreSQL and a Redis of its own, and prints each figure with
//! its target. A target is a ratio within one run where an absolute time would depend on the machine. A busy machine
//! can still miss a target, so no test asserts them.
//!
//! The figures are written to `target/bench/latest.json`. Beside each figure stands the accepted one, from
//! `benches/accepted.json`. `cargo bench -- --accept` makes the figures of its run the accepted ones. The exit status is
//! 1 if a target was missed, or if a figure is worse than accepted by more than a tolerance.
#![expect(clippy::unwrap_used, reason = "an unexpected failure must end the benchmark")]

mod accepted;
mod contender;
mod context;
mod cpu;
mod credentials;
mod fairness;
mod growth;
mod mail;
mod peers;
mod registration;
mod report;
mod round_trips;
mod scaling;
mod secrecy;
mod service;
mod start;
mod statistics;

use std::process::ExitCode;

use clap::Parser;
use clap::builder::PossibleValuesParser;
use cpu::CpuCores;
use report::Report;
use service::Bench;

type Part = fn(&Bench, &mut Report);

/// The parts that suffer most from a warm CPU or a full disk come first.
const PARTS: [(&str, Part); 10] = [
    ("registration", registration::run),
    ("round-trips", round_trips::run),
    ("credentials", credentials::run),
    ("mail", mail::run),
    ("peers", peers::run),
    ("start", start::run),
    ("fairness", fairness::run),
    ("secrecy", secrecy::run),
    ("growth", growth::run),
    ("scaling", scaling::run),
];

/// Measures speed, memory and timing side channels of `sixty serve`.
#[derive(Parser)]
#[command(bin_name = "cargo bench --")]
struct Arguments {
    /// Parts to run. Without any, all parts run.
    #[arg(value_parser = PossibleValuesParser::new(PARTS.map(|(name, _)| name)))]
    parts: Vec<String>,
    /// Writes the figures into benches/accepted.json. Those of other parts stay.
    #[arg(long)]
    accept: bool,
    /// Cargo passes it.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let cores = CpuCores::reserve_one_for_service();
    println!("{}", cores.description());
    let bench = Bench::start(cores);
    let mut report = Report::start();
    for (name, part) in PARTS {
        if arguments.parts.is_empty() || arguments.parts.iter().any(|wanted| wanted == name) {
            report.start_part(name);
            part(&bench, &mut report);
        }
    }
    report.finish(arguments.accept)
}
