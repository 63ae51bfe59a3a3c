//! What a registration costs beyond its hash: CPU time, round trips to the stores, and wake-ups of the process.
//!
//! The costs include the mail. With a trivial hash nothing hides them. With the real hash each wake-up costs more, because
//! the hash has emptied the caches of the core.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use sqlx::PgPool;

use crate::cpu::{CpuTime, wake_ups};
use crate::report::Report;
use crate::service::{Bench, HASH_COST, PASSWORD, fresh_address};
use crate::statistics::median;

const ROUNDS: usize = 3;
const LOAD_TIME: Duration = Duration::from_secs(4);
const CLIENTS: usize = 8;

pub fn run(bench: &Bench, report: &mut Report) {
    let trivial = measure(bench, "trivial hash", 8, 1);
    let real = measure(bench, "real hash", HASH_COST.0, HASH_COST.1);
    for (name, costs) in [("trivial hash", &trivial), ("real hash", &real)] {
        let mut figure = |what: &str, values: &dyn Fn(&Cost) -> f64, unit: &str| {
            let values: Vec<f64> = costs.iter().map(values).collect();
            report.figure(&format!("{name}: {what} of a registration"), median(&values), unit);
        };
        figure("statements of PostgreSQL", &|cost| cost.statements, "");
        figure("commands of Redis", &|cost| cost.commands, "");
        figure("wake-ups", &|cost| cost.wake_ups, "");
        figure("registrations per second beside the cost", &|cost| cost.rate, "/s");
    }
    let cpu = |costs: &[Cost]| median(&costs.iter().map(|cost| cost.cpu).collect::<Vec<_>>());
    report.at_most("trivial hash: CPU time beyond the hash", cpu(&trivial), "ms", 0.3);
    report.figure("real hash: CPU time beyond the hash", cpu(&real), "ms");
}

/// The cost of one registration with its mail.
struct Cost {
    rate: f64,
    /// Milliseconds of the threads that do not hash.
    cpu: f64,
    statements: f64,
    commands: f64,
    wake_ups: f64,
}

fn measure(bench: &Bench, name: &str, memory_kib: u32, passes: u32) -> Vec<Cost> {
    let name = name.replace(' ', "_");
    let database = bench.runtime.block_on(bench.create_database(&name));
    let (mail_url, mut mails) = bench.start_mail_provider();
    let flags = [format!("--argon2-memory-kib={memory_kib}"), format!("--argon2-passes={passes}")];
    let flags = flags.each_ref().map(String::as_str);
    let service = bench.cores.on_service_core(|| bench.serve(&name, &database, &mail_url, &flags));
    bench.runtime.block_on(async {
        service.wait_until_ready().await;
        let db = PgPool::connect(&database).await.unwrap();
        let mut redis = redis::Client::open(bench.redis_url()).unwrap().get_connection().unwrap();
        let mut costs = Vec::new();
        for round in 0..=ROUNDS {
            let before = (CpuTime::of_process(service.pid()), wake_ups(service.pid()));
            let (statements, commands) = (count_statements(&db).await, count_commands(&mut redis));
            let begun = Instant::now();
            let client = async || {
                let mut registered = 0;
                while begun.elapsed() < LOAD_TIME {
                    assert_eq!(service.register(&fresh_address(), PASSWORD).await.status(), 201);
                    registered += 1;
                }
                registered
            };
            let registered: u32 = join_all((0..CLIENTS).map(|_| client())).await.iter().sum();
            let time = begun.elapsed();
            for _ in 0..registered {
                mails.recv().await.unwrap();
            }
            wait_for_empty_outbox(&db).await;
            let after = (CpuTime::of_process(service.pid()), wake_ups(service.pid()));
            let each = |n: u64| n as f64 / f64::from(registered);
            let cpu =
                before.0.zip(after.0).map_or(f64::NAN, |(before, after)| each(after.others - before.others) / 1e6);
            let wake_ups = before.1.zip(after.1).map_or(f64::NAN, |(before, after)| each(after - before));
            // The first round is the warm-up: it opens connections and prepares statements.
            if round > 0 {
                costs.push(Cost {
                    rate: f64::from(registered) / time.as_secs_f64(),
                    cpu,
                    statements: each(count_statements(&db).await - statements),
                    commands: each(count_commands(&mut redis) - commands),
                    wake_ups,
                });
            }
        }
        costs
    })
}

/// Returns the statements that PostgreSQL has run in this database, each in a transaction of its own. Includes pings.
async fn count_statements(db: &PgPool) -> u64 {
    // A server process reports its statements when it has been idle for a second.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let count = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()";
    sqlx::query_scalar::<_, i64>(count).fetch_one(db).await.unwrap().cast_unsigned()
}

/// Returns the commands that clients have sent to Redis, without those inside scripts.
fn count_commands(redis: &mut redis::Connection) -> u64 {
    let stats: redis::InfoDict = redis::cmd("INFO").arg("commandstats").query(redis).unwrap();
    let calls = |command: &str| {
        let stats: String = stats.get(&format!("cmdstat_{command}")).unwrap_or_default();
        stats.split(',').find_map(|part| part.strip_prefix("calls=")?.parse::<u64>().ok()).unwrap_or(0)
    };
    ["evalsha", "ping", "set"].into_iter().map(calls).sum()
}

async fn wait_for_empty_outbox(db: &PgPool) {
    while sqlx::query_scalar::<_, bool>("SELECT EXISTS (SELECT FROM outbox)").fetch_one(db).await.unwrap() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
