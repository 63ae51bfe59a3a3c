//! From the start of `sixty serve` to ready, with nothing left to migrate.

use std::time::Instant;

use crate::program::Bench;
use crate::report::Report;
use crate::samples::{median, millis, quantile};

const STARTS: usize = 20;

pub fn run(bench: &Bench, report: &mut Report) {
    let database = bench.runtime.block_on(bench.database("start"));
    let (mail_url, _) = bench.provider();
    let start = || {
        let begun = Instant::now();
        let service = bench.cores.anywhere(|| bench.serve("start", &database, &mail_url, &[]));
        bench.runtime.block_on(service.ready());
        millis(begun.elapsed())
    };
    report.fact("start to ready, all migrations to apply", start(), "ms");
    let times: Vec<f64> = (0..STARTS).map(|_| start()).collect();
    report.at_most("start to ready, median", median(&times), "ms", 300.0);
    report.fact("start to ready, slowest", quantile(&times, 1.0), "ms");
}
