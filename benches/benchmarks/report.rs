//! Prints one line for each figure, with its target.

use std::process::ExitCode;

#[derive(Default)]
pub struct Report {
    missed_targets: usize,
}

impl Report {
    pub fn at_most(&mut self, what: &str, measured: f64, unit: &str, target: f64) {
        self.compare(what, measured, unit, '≤', target, measured <= target);
    }

    pub fn at_least(&mut self, what: &str, measured: f64, unit: &str, target: f64) {
        self.compare(what, measured, unit, '≥', target, measured >= target);
    }

    fn compare(&mut self, what: &str, measured: f64, unit: &str, sign: char, target: f64, met: bool) {
        self.missed_targets += usize::from(!met);
        let verdict = if met { "met" } else { "MISSED" };
        println!("  {what:<68} {measured:>9.3} {unit:<4} {sign} {target:<6} {verdict}");
    }

    /// Prints a figure without a target, which explains other figures.
    pub fn figure(&self, what: &str, measured: f64, unit: &str) {
        println!("  {what:<68} {measured:>9.3} {unit}");
    }

    pub fn not_measured(&self, what: &str, why: &str) {
        println!("  {what:<68}         – not measured: {why}");
    }

    pub fn print_verdict(self) -> ExitCode {
        match self.missed_targets {
            0 => println!("\nAll targets are met."),
            missed => println!("\nMissed targets: {missed}. Was this machine idle during the run?"),
        }
        ExitCode::from(u8::from(self.missed_targets > 0))
    }
}
