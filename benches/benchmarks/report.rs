//! Prints one line for each figure, with its target and the accepted value.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::accepted::{Context, Figure, Part, Results};
use crate::context;

/// The accepted figures. The file is committed.
const ACCEPTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/accepted.json");

/// Returns the file of the latest figures, in the folder `target`.
fn latest() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench").join("latest.json")
}

pub struct Report {
    context: Context,
    accepted: Results,
    results: Results,
    part: String,
    section: String,
    missed_targets: usize,
    worse: usize,
}

impl Report {
    /// Reads the accepted figures. Without the file there are none. Panics if the file is not valid.
    pub fn start() -> Self {
        let accepted = fs::read(ACCEPTED).map(|json| serde_json::from_slice(&json).unwrap());
        Self {
            context: context::of_this_run(),
            accepted: accepted.unwrap_or_default(),
            results: Results::default(),
            part: String::new(),
            section: String::new(),
            missed_targets: 0,
            worse: 0,
        }
    }

    /// Starts a part. The following figures belong to it.
    pub fn start_part(&mut self, name: &str) {
        println!("\n{name}");
        name.clone_into(&mut self.part);
        self.section.clear();
    }

    /// Starts a section of a part: the names of its figures need to differ only from each other.
    pub fn start_section(&mut self, name: &str) {
        println!("  {name}:");
        self.section = format!("{name}: ");
    }

    pub fn at_most(&mut self, what: &str, measured: f64, unit: &str, target: f64) {
        self.explained_at_most(what, "", measured, unit, target);
    }

    /// Like [`Report::at_most`]. The explanation is printed behind the name. It may differ in each run.
    pub fn explained_at_most(&mut self, what: &str, explanation: &str, measured: f64, unit: &str, target: f64) {
        self.add(what, explanation, measured, unit, Some((format!("≤ {target}"), measured <= target)));
    }

    pub fn at_least(&mut self, what: &str, measured: f64, unit: &str, target: f64) {
        self.add(what, "", measured, unit, Some((format!("≥ {target}"), measured >= target)));
    }

    /// A figure without a target, which explains other figures.
    pub fn figure(&mut self, what: &str, measured: f64, unit: &str) {
        self.add(what, "", measured, unit, None);
    }

    fn add(&mut self, what: &str, explanation: &str, value: f64, unit: &str, target: Option<(String, bool)>) {
        let figure = Figure::new(format!("{}{what}", self.section), value, unit, target);
        let verdict = figure.met.map_or("", |met| if met { "met" } else { "MISSED" });
        self.missed_targets += usize::from(figure.met == Some(false));
        let mut accepted = String::new();
        if let Some((accepted_value, same_machine)) = self.accepted.value(&self.part, &figure.name, &self.context) {
            accepted = format!("accepted {accepted_value:.3}");
            if figure.is_worse_than(accepted_value, same_machine) {
                self.worse += 1;
                accepted += ": WORSE than accepted";
            }
        }
        let target = figure.target.as_deref().unwrap_or_default();
        let line = format!(
            "  {:<68} {value:>9.3} {unit:<4} {target:<8} {verdict:<6} {accepted}",
            format!("{what}{explanation}")
        );
        println!("{}", line.trim_end());
        // JSON has no number for it, such as a share of no requests.
        if !value.is_finite() {
            return;
        }
        let part = self.results.0.entry(self.part.clone());
        part.or_insert_with(|| Part { context: self.context.clone(), figures: Vec::new() }).figures.push(figure);
    }

    pub fn not_measured(&self, what: &str, why: &str) {
        println!("  {what:<68}         – not measured: {why}");
    }

    /// Writes the figures, and with `accept` takes them over as the accepted ones. Prints whether the run was good.
    pub fn finish(mut self, accept: bool) -> ExitCode {
        write(&self.results, &latest());
        match self.missed_targets {
            0 => println!("\nAll targets are met."),
            missed => println!("\nMissed targets: {missed}. Was this machine idle during the run?"),
        }
        if self.worse > 0 {
            println!("Figures worse than accepted: {}.", self.worse);
        }
        if accept {
            self.accepted.accept(self.results);
            write(&self.accepted, Path::new(ACCEPTED));
            println!("These figures are now the accepted ones: benches/accepted.json.");
        }
        let good = self.missed_targets == 0 && (self.worse == 0 || accept);
        ExitCode::from(u8::from(!good))
    }
}

fn write(results: &Results, file: &Path) {
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, format!("{}\n", serde_json::to_string_pretty(results).unwrap())).unwrap();
}
