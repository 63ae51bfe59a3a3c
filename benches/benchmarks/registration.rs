//! Registrations per second on one core, latency under that load, and refusals under overload.

use std::time::{Duration, Instant};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use futures_util::future::join_all;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use crate::cpu::{CpuTime, peak_memory};
use crate::report::Report;
use crate::service::{Bench, HASH_COST, PASSWORD, Service, fresh_address, read_body};
use crate::statistics::{median, millis, quantile};

/// The service and bare argon2 alternate for so many rounds, so that other load on the machine affects both.
const ROUNDS: usize = 7;
const BARE_ARGON2_TIME: Duration = Duration::from_secs(2);
const LOAD_TIME: Duration = Duration::from_secs(4);
/// Concurrent clients: enough to keep the hasher busy, and far fewer than the service refuses.
const CLIENTS: usize = 8;
const LIVEZ_TIME: Duration = Duration::from_secs(10);
const OVERLOAD_TIME: Duration = Duration::from_secs(8);

pub fn run(bench: &Bench, report: &mut Report) {
    let database = bench.runtime.block_on(bench.create_database("registration"));
    let (mail_url, mut mails) = bench.start_mail_provider();
    let start = |flags: &[&str]| {
        let service = bench.cores.on_service_core(|| bench.serve("registration", &database, &mail_url, flags));
        bench.runtime.block_on(service.wait_until_ready());
        service
    };
    let service = start(&[]);
    let capacity = measure_throughput(bench, report, &service, &mut mails);
    let livez = bench.runtime.block_on(livez_under_load(&service));
    report.at_most("/livez while the hasher is saturated, p99", quantile(&livez, 0.99), "ms", 5.0);
    report.figure("/livez while the hasher is saturated, median", median(&livez), "ms");
    measure_overload(bench, report, &service, capacity);
    drop(service);

    let service = start(&["--hash-threads=2"]);
    bench.runtime.block_on(register_for(&service, LIVEZ_TIME));
    let what = "peak memory under load, 2 hasher threads";
    match peak_memory(service.pid()) {
        Some(peak) => report.at_most(what, peak, "MiB", 70.0),
        None => report.not_measured(what, "requires Linux's /proc"),
    }
}

/// Measures registrations against bare argon2. Returns the registrations per second of the service's core.
fn measure_throughput(
    bench: &Bench,
    report: &mut Report,
    service: &Service,
    mails: &mut mpsc::UnboundedReceiver<Instant>,
) -> f64 {
    // Warm-up: opens connections, prepares statements and allocates the hasher's memory.
    bench.runtime.block_on(register_for(service, Duration::from_secs(1)));
    let (mut bare_rates, mut served_rates, mut clock_ratios) = (vec![], vec![], vec![]);
    let (mut bare_cpu, mut hash_cpu, mut other_cpu, mut cpu_ratios) = (vec![], vec![], vec![], vec![]);
    let (mut registered, mut mailed) = (0, 0);
    for _ in 0..ROUNDS {
        let (rate, cpu) = bench.cores.on_service_core(bare_argon2);
        bare_rates.push(rate);
        while mails.try_recv().is_ok() {}
        let before = CpuTime::of_process(service.pid());
        let answers = bench.runtime.block_on(register_for(service, LOAD_TIME));
        let after = CpuTime::of_process(service.pid());
        while mails.try_recv().is_ok() {
            mailed += 1;
        }
        registered += answers.len();
        // Leaves out the first and the last responses, during which the hasher's queue fills and empties.
        let (first, last) = (answers[CLIENTS], answers[answers.len() - 1 - CLIENTS]);
        served_rates.push((answers.len() - 1 - 2 * CLIENTS) as f64 / (last - first).as_secs_f64());
        clock_ratios.push(served_rates[served_rates.len() - 1] / bare_rates[bare_rates.len() - 1]);
        if let (Some(cpu), Some(before), Some(after)) = (cpu, before, after) {
            let per_registration = |ns: u64| ns as f64 / 1e6 / answers.len() as f64;
            let (hash, other) =
                (per_registration(after.hashers - before.hashers), per_registration(after.others - before.others));
            bare_cpu.push(cpu);
            hash_cpu.push(hash);
            other_cpu.push(other);
            // Both hashes are the same work, so the faster of the two was disturbed less.
            cpu_ratios.push(cpu.min(hash) / (hash + other));
        }
    }
    report.figure("bare argon2 hashes per second, median", median(&bare_rates), "/s");
    report.figure("registrations per second, median", median(&served_rates), "/s");
    let what = "CPU time of a registration beyond the hash, its mail included";
    if other_cpu.is_empty() {
        report.not_measured(what, "requires Linux's /proc");
    } else {
        report.figure(what, median(&other_cpu), "ms");
        report.figure("CPU time of a registration's hash", median(&hash_cpu), "ms");
        report.figure("CPU time of a bare argon2 hash", median(&bare_cpu), "ms");
    }
    let what = "registrations / bare argon2, the lower of clock and CPU ratio";
    if bench.cores.are_separate() {
        // Other programs on the core slow the single thread of bare argon2 more than the service's several threads. The
        // clock ratio is then too high. The CPU ratio ignores idle gaps between hashes. On an idle core the clock ratio
        // is the lower one.
        report.figure("registrations / bare argon2, clock ratio", median(&clock_ratios), "×");
        let by_cpu = if cpu_ratios.is_empty() { f64::INFINITY } else { median(&cpu_ratios) };
        report.at_least(what, by_cpu.min(median(&clock_ratios)), "×", 0.97);
    } else {
        report.not_measured(what, "the service has no core of its own");
    }
    // A value below 1 means that the worker fell behind, so that registrations look cheaper than they are.
    report.figure("mails at the provider per registration, during the load", f64::from(mailed) / registered as f64, "");
    median(&served_rates)
}

/// Returns argon2 hashes per second, and the CPU time of a hash in milliseconds. Like the service, it reuses one memory
/// block.
pub fn bare_argon2() -> (f64, Option<f64>) {
    let params = Params::new(HASH_COST.0, HASH_COST.1, 1, Some(32)).unwrap();
    let mut memory = vec![Block::default(); params.block_count()];
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let mut hash = || {
        let mut digest = [0; 32];
        argon2.hash_password_into_with_memory(PASSWORD.as_bytes(), &[60; 16], &mut digest, &mut memory).unwrap();
        std::hint::black_box(digest);
    };
    hash();
    let (started, before) = (Instant::now(), CpuTime::of_this_thread());
    let mut hashes = 0;
    while started.elapsed() < BARE_ARGON2_TIME {
        hash();
        hashes += 1;
    }
    let (time, after) = (started.elapsed(), CpuTime::of_this_thread());
    let cpu = before.zip(after).map(|(before, after)| (after - before) as f64 / 1e6 / f64::from(hashes));
    (f64::from(hashes) / time.as_secs_f64(), cpu)
}

/// Runs [`CLIENTS`] clients that register without a pause. Returns the times of all responses, in order.
async fn register_for(service: &Service, time: Duration) -> Vec<Instant> {
    let end = Instant::now() + time;
    let client = async || {
        let mut answers = Vec::new();
        while Instant::now() < end {
            assert_eq!(service.register(&fresh_address(), PASSWORD).await.status(), 201);
            answers.push(Instant::now());
        }
        answers
    };
    let mut answers = join_all((0..CLIENTS).map(|_| client())).await.concat();
    answers.sort();
    answers
}

/// Returns the latencies of `/livez` while registrations keep the hasher busy, in milliseconds.
async fn livez_under_load(service: &Service) -> Vec<f64> {
    let livez = async {
        let mut times = Vec::new();
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        let end = Instant::now() + LIVEZ_TIME;
        while Instant::now() < end {
            ticks.tick().await;
            let started = Instant::now();
            let answer = service.http.get(service.url_of("/livez")).send().await.unwrap();
            assert_eq!(read_body(answer).await.status(), 200);
            times.push(millis(started.elapsed()));
        }
        times
    };
    tokio::join!(livez, register_for(service, LIVEZ_TIME)).0
}

/// Sends registrations at ten times the capacity, at a fixed rate that does not wait for responses.
fn measure_overload(bench: &Bench, report: &mut Report, service: &Service, capacity: f64) {
    let request = async |due: tokio::time::Instant| {
        let answer = service.register(&fresh_address(), PASSWORD).await;
        let has_retry_after = answer.headers().contains_key("retry-after");
        (answer.status().as_u16(), has_retry_after, millis(due.elapsed()))
    };
    let answers = bench.runtime.block_on(async {
        let mut ticks = tokio::time::interval(Duration::from_secs_f64(0.1 / capacity));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let end = tokio::time::Instant::now() + OVERLOAD_TIME;
        let mut in_flight = futures_util::stream::FuturesUnordered::new();
        let mut answers = Vec::new();
        loop {
            use futures_util::StreamExt as _;
            tokio::select! {
                // The latency counts from the time at which the request was due, even if the sender falls behind.
                due = ticks.tick(), if tokio::time::Instant::now() < end => in_flight.push(request(due)),
                Some(answer) = in_flight.next() => answers.push(answer),
                else => break answers,
            }
        }
    });
    let times = |accepted: bool| -> Vec<f64> {
        answers.iter().filter(|(status, ..)| (*status == 201) == accepted).map(|(.., time)| *time).collect()
    };
    let (accepted, refused) = (times(true), times(false));
    let excess = answers.iter().filter(|(status, ..)| *status != 201);
    let proper = excess.filter(|(status, has_retry_after, _)| *status == 503 && *has_retry_after).count() as f64;
    report.figure("overload: requests per second", answers.len() as f64 / OVERLOAD_TIME.as_secs_f64(), "/s");
    report.figure("overload: accepted per second", accepted.len() as f64 / OVERLOAD_TIME.as_secs_f64(), "/s");
    report.at_least(
        "overload: share of refusals that are 503 with Retry-After",
        proper / refused.len() as f64,
        "×",
        1.0,
    );
    report.at_most("overload: latency of a refusal, p99", quantile(&refused, 0.99), "ms", 100.0);
    report.at_most("overload: latency of an accepted registration, p99", quantile(&accepted, 0.99), "ms", 2000.0);
}
