//! Time from the response 201 to the mail's arrival at the provider.

use std::time::{Duration, Instant};

use crate::report::Report;
use crate::service::{Bench, PASSWORD, fresh_address};
use crate::statistics::{median, millis, quantile};

const MAILS: usize = 200;

pub fn run(bench: &Bench, report: &mut Report) {
    let database = bench.runtime.block_on(bench.create_database("mail"));
    let (mail_url, mut arrivals) = bench.start_mail_provider();
    let service = bench.cores.on_any_core(|| bench.serve("mail", &database, &mail_url, &[]));
    let times: Vec<f64> = bench.runtime.block_on(async {
        service.wait_until_ready().await;
        let mut times = Vec::new();
        for _ in 0..MAILS {
            assert_eq!(service.register(&fresh_address(), PASSWORD).await.status(), 201);
            let answered = Instant::now();
            let arrived = tokio::time::timeout(Duration::from_secs(10), arrivals.recv()).await.unwrap().unwrap();
            // Zero if the mail arrived before the response.
            times.push(millis(arrived.saturating_duration_since(answered)));
        }
        times
    });
    report.at_most("time from 201 to the mail at the provider, median", median(&times), "ms", 5.0);
    report.figure("time from 201 to the mail at the provider, p99", quantile(&times, 0.99), "ms");
}
