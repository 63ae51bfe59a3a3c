//! What is printed: a line a figure, with its bar.

use std::process::ExitCode;

#[derive(Default)]
pub struct Report {
    missed: usize,
}

impl Report {
    pub fn at_most(&mut self, what: &str, measured: f64, unit: &str, bar: f64) {
        self.judged(what, measured, unit, '≤', bar, measured <= bar);
    }

    pub fn at_least(&mut self, what: &str, measured: f64, unit: &str, bar: f64) {
        self.judged(what, measured, unit, '≥', bar, measured >= bar);
    }

    fn judged(&mut self, what: &str, measured: f64, unit: &str, sign: char, bar: f64, met: bool) {
        self.missed += usize::from(!met);
        let verdict = if met { "met" } else { "MISSED" };
        println!("  {what:<68} {measured:>9.3} {unit:<4} {sign} {bar:<6} {verdict}");
    }

    /// A figure that explains others.
    pub fn fact(&self, what: &str, measured: f64, unit: &str) {
        println!("  {what:<68} {measured:>9.3} {unit}");
    }

    pub fn not_measured(&self, what: &str, why: &str) {
        println!("  {what:<68}         – not measured: {why}");
    }

    pub fn verdict(self) -> ExitCode {
        match self.missed {
            0 => println!("\nAll bars are met."),
            missed => println!("\nMissed: {missed}. Does this machine do anything else at the moment?"),
        }
        ExitCode::from(u8::from(self.missed > 0))
    }
}
