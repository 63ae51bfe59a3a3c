//! Time from the start of the process `sixty serve` until `/readyz` answers 200, with all migrations applied.

use std::time::Instant;

use crate::report::Report;
use crate::service::Bench;
use crate::statistics::{median, millis, quantile};

const STARTS: usize = 20;

pub fn run(bench: &Bench, report: &mut Report) {
    let database = bench.runtime.block_on(bench.create_database("start"));
    let (mail_url, _) = bench.start_mail_provider();
    let start = || {
        let started = Instant::now();
        let service = bench.cores.on_any_core(|| bench.serve("start", &database, &mail_url, &[]));
        bench.runtime.block_on(service.wait_until_ready());
        millis(started.elapsed())
    };
    report.figure("time from start to ready, with all migrations to apply", start(), "ms");
    let times: Vec<f64> = (0..STARTS).map(|_| start()).collect();
    report.at_most("time from start to ready, median", median(&times), "ms", 150.0);
    report.figure("time from start to ready, slowest", quantile(&times, 1.0), "ms");
}
