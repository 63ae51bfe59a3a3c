//! What the service makes of one core, how it answers while that is busy, and how it refuses what is too much.

use std::time::{Duration, Instant};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use futures_util::future::join_all;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use crate::machine::{CpuTime, peak_memory};
use crate::program::{Bench, HASH_COST, PASSWORD, Service, fresh_address, read};
use crate::report::Report;
use crate::samples::{median, millis, quantile};

/// The service and bare argon2 take turns, so that a slow minute of the machine is one of both.
const ROUNDS: usize = 7;
const BARE: Duration = Duration::from_secs(2);
const SERVED: Duration = Duration::from_secs(4);
/// More than one, so that the hasher is never without work; far below what it refuses.
const CLIENTS: usize = 8;
const ALIVE: Duration = Duration::from_secs(10);
const OVERLOAD: Duration = Duration::from_secs(8);

pub fn run(bench: &Bench, report: &mut Report) {
    let database = bench.runtime.block_on(bench.database("registration"));
    let (mail_url, mut mails) = bench.provider();
    let start = |flags: &[&str]| {
        let service = bench.cores.on_service_core(|| bench.serve("registration", &database, &mail_url, flags));
        bench.runtime.block_on(service.ready());
        service
    };
    let service = start(&[]);
    let capacity = throughput(bench, report, &service, &mut mails);
    let alive = bench.runtime.block_on(alive_under_load(&service));
    report.at_most("/livez while the hasher is saturated, p99", quantile(&alive, 0.99), "ms", 10.0);
    report.fact("/livez while the hasher is saturated, median", median(&alive), "ms");
    overload(bench, report, &service, capacity);
    drop(service);

    let service = start(&["--hash-threads=2"]);
    bench.runtime.block_on(load(&service, ALIVE));
    let what = "memory under load with 2 hasher threads, peak";
    match peak_memory(service.pid()) {
        Some(peak) => report.at_most(what, peak, "MiB", 100.0),
        None => report.not_measured(what, "it needs Linux's /proc"),
    }
}

/// Returns the registrations a second that the service's core is good for.
fn throughput(
    bench: &Bench,
    report: &mut Report,
    service: &Service,
    mails: &mut mpsc::UnboundedReceiver<Instant>,
) -> f64 {
    // Connections, prepared statements, the hasher's memory.
    bench.runtime.block_on(load(service, Duration::from_secs(1)));
    let (mut bare, mut served, mut ratios) = (vec![], vec![], vec![]);
    let (mut bare_cpu, mut hash_cpu, mut beyond, mut cpu_ratios) = (vec![], vec![], vec![], vec![]);
    let (mut registered, mut mailed) = (0, 0);
    for _ in 0..ROUNDS {
        let (a_second, cpu) = bench.cores.on_service_core(bare_argon2);
        bare.push(a_second);
        while mails.try_recv().is_ok() {}
        let before = CpuTime::of(service.pid());
        let answers = bench.runtime.block_on(load(service, SERVED));
        let after = CpuTime::of(service.pid());
        while mails.try_recv().is_ok() {
            mailed += 1;
        }
        registered += answers.len();
        // From answer to answer: the first one and the last one have waited in a queue that was filling or emptying.
        let (first, last) = (answers[CLIENTS], answers[answers.len() - 1 - CLIENTS]);
        served.push((answers.len() - 1 - 2 * CLIENTS) as f64 / (last - first).as_secs_f64());
        ratios.push(served[served.len() - 1] / bare[bare.len() - 1]);
        if let (Some(cpu), Some(before), Some(after)) = (cpu, before, after) {
            let each = |ns: u64| ns as f64 / 1e6 / answers.len() as f64;
            let (hash, other) = (each(after.hashers - before.hashers), each(after.others - before.others));
            bare_cpu.push(cpu);
            hash_cpu.push(hash);
            beyond.push(other);
            // Whichever hash was disturbed less: they are the same work.
            cpu_ratios.push(cpu.min(hash) / (hash + other));
        }
    }
    report.fact("bare argon2, median", median(&bare), "/s");
    report.fact("registrations, median", median(&served), "/s");
    let what = "CPU for a registration beyond the hash, its mail included";
    if beyond.is_empty() {
        report.not_measured(what, "it needs Linux's /proc");
    } else {
        report.at_most(what, median(&beyond), "ms", 0.25);
        report.fact("CPU for its hash", median(&hash_cpu), "ms");
        report.fact("CPU for a bare hash", median(&bare_cpu), "ms");
    }
    let what = "registrations over bare argon2, the lower of clock and CPU";
    if bench.cores.are_apart() {
        // Other programs on the core take more from the one thread of bare argon2 than from the service's several, and
        // then the clock flatters; CPU time knows of no gaps between hashes. Alone, the clock's ratio is the lower one.
        report.fact("registrations over bare argon2 by the clock", median(&ratios), "×");
        let by_cpu = if cpu_ratios.is_empty() { f64::INFINITY } else { median(&cpu_ratios) };
        report.at_least(what, by_cpu.min(median(&ratios)), "×", 0.95);
    } else {
        report.not_measured(what, "the service has no core for itself");
    }
    // A worker that falls behind would make registering look cheaper than it is.
    report.fact("mails at the provider for each registration meanwhile", f64::from(mailed) / registered as f64, "");
    median(&served)
}

/// Hashes a second, and the CPU time of one in milliseconds: the same code, with the same memory again and again, as the
/// service has it.
fn bare_argon2() -> (f64, Option<f64>) {
    let params = Params::new(HASH_COST.0, HASH_COST.1, 1, Some(32)).unwrap();
    let mut memory = vec![Block::default(); params.block_count()];
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let mut hash = || {
        let mut digest = [0; 32];
        argon2.hash_password_into_with_memory(PASSWORD.as_bytes(), &[60; 16], &mut digest, &mut memory).unwrap();
        std::hint::black_box(digest);
    };
    hash();
    let (begun, before) = (Instant::now(), CpuTime::of_this_thread());
    let mut hashes = 0;
    while begun.elapsed() < BARE {
        hash();
        hashes += 1;
    }
    let (time, after) = (begun.elapsed(), CpuTime::of_this_thread());
    let cpu = before.zip(after).map(|(before, after)| (after - before) as f64 / 1e6 / f64::from(hashes));
    (f64::from(hashes) / time.as_secs_f64(), cpu)
}

/// Some clients, each of which registers again as soon as it is answered. Returns when each answer came, in order.
async fn load(service: &Service, time: Duration) -> Vec<Instant> {
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

/// How long `/livez` takes while registrations keep the hasher busy, in milliseconds.
async fn alive_under_load(service: &Service) -> Vec<f64> {
    let alive = async {
        let mut times = Vec::new();
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        let end = Instant::now() + ALIVE;
        while Instant::now() < end {
            ticks.tick().await;
            let begun = Instant::now();
            let answer = service.http.get(service.at("/livez")).send().await.unwrap();
            assert_eq!(read(answer).await.status(), 200);
            times.push(millis(begun.elapsed()));
        }
        times
    };
    tokio::join!(alive, load(service, ALIVE)).0
}

/// Offers ten times what the core is good for, whether or not it answers.
fn overload(bench: &Bench, report: &mut Report, service: &Service, capacity: f64) {
    let request = async |due: tokio::time::Instant| {
        let answer = service.register(&fresh_address(), PASSWORD).await;
        let told = answer.headers().contains_key("retry-after");
        (answer.status().as_u16(), told, millis(due.elapsed()))
    };
    let answers = bench.runtime.block_on(async {
        let mut ticks = tokio::time::interval(Duration::from_secs_f64(0.1 / capacity));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let end = tokio::time::Instant::now() + OVERLOAD;
        let mut under_way = futures_util::stream::FuturesUnordered::new();
        let mut answers = Vec::new();
        loop {
            use futures_util::StreamExt as _;
            tokio::select! {
                // From when it was due, so that a sender that falls behind hides nothing.
                due = ticks.tick(), if tokio::time::Instant::now() < end => under_way.push(request(due)),
                Some(answer) = under_way.next() => answers.push(answer),
                else => break answers,
            }
        }
    });
    let times = |accepted: bool| -> Vec<f64> {
        answers.iter().filter(|(status, ..)| (*status == 201) == accepted).map(|(.., time)| *time).collect()
    };
    let (accepted, refused) = (times(true), times(false));
    let excess = answers.iter().filter(|(status, ..)| *status != 201);
    let well = excess.filter(|(status, told, _)| *status == 503 && *told).count() as f64;
    report.fact("overload: offered", answers.len() as f64 / OVERLOAD.as_secs_f64(), "/s");
    report.fact("overload: accepted", accepted.len() as f64 / OVERLOAD.as_secs_f64(), "/s");
    report.at_least("overload: of the excess, answered 503 with Retry-After", well / refused.len() as f64, "×", 1.0);
    report.at_most("overload: refusal, p99", quantile(&refused, 0.99), "ms", 100.0);
    report.at_most("overload: accepted, p99", quantile(&accepted, 0.99), "ms", 2000.0);
}
