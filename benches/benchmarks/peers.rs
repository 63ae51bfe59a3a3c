//! Sixty beside a FastAPI service that does the same job (`benches/peers/fastapi`), each on one core.
//!
//! Both services run on the service's core, and only one of them gets requests at a time; the other one idles. They
//! alternate within one run, so that other load on the machine affects both.
//!
//! PostgreSQL, Redis, the mail provider and the load share the other cores. The load and the provider are the same for
//! both services, and their share of a core is printed: about a fortieth while users register at the real cost of a hash,
//! and a tenth at the trivial cost. At the trivial cost Sixty can wait for the other cores: the printed share of its own
//! core tells how much of it was left.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use futures_util::future::join_all;

use crate::contender::{Contender, LOAD_TIME, MailProvider, SETTLE_TIME, Sample, Window};
use crate::cpu::{CpuTime, peak_memory};
use crate::report::Report;
use crate::service::{Bench, HASH_COST, Service, folder, free_addr};
use crate::statistics::{median, quantile};

const PEER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/fastapi");
const ROUNDS: usize = 3;
/// Accounts whose credentials are checked again and again.
const ACCOUNTS: usize = 4;

/// A cost of the password hashes, and the load that keeps the service's core busy at this cost.
struct Cost {
    name: &'static str,
    memory_kib: u32,
    passes: u32,
    clients: usize,
}

/// With the trivial hash the rest of the work decides.
const COSTS: [Cost; 2] = [
    Cost { name: "real hash", memory_kib: HASH_COST.0, passes: HASH_COST.1, clients: 8 },
    Cost { name: "trivial hash", memory_kib: 8, passes: 1, clients: 32 },
];

pub fn run(bench: &Bench, report: &mut Report) {
    let python = match install() {
        Ok(python) => python,
        Err(why) => return report.not_measured("Sixty beside a FastAPI service", &why),
    };
    for cost in &COSTS {
        compare(bench, report, cost, &python);
    }
}

fn compare(bench: &Bench, report: &mut Report, cost: &Cost, python: &Path) {
    let contenders = [start_sixty(bench, cost), start_peer(bench, cost, python)];
    let accounts = contenders.each_ref().map(|contender| {
        bench.runtime.block_on(async {
            // Warm-up: opens connections, prepares statements and allocates the hasher's memory.
            contender.registrations(cost.clients, SETTLE_TIME).await;
            join_all((0..ACCOUNTS).map(|_| contender.flow())).await
        })
    });
    let mut measured = [Measured::default(), Measured::default()];
    for _ in 0..ROUNDS {
        for ((contender, accounts), measured) in contenders.iter().zip(&accounts).zip(&mut measured) {
            bench.runtime.block_on(measured.add_round(contender, accounts, cost.clients));
        }
    }
    let memory = contenders.each_ref().map(|contender| peak_memory(contender.service.pid()));

    let names = contenders.each_ref().map(|contender| contender.name);
    let print = |report: &mut Report, what: &str, unit: &str, values: [Option<f64>; 2]| {
        for (name, value) in names.iter().zip(values) {
            let what = format!("{}, {name}: {what}", cost.name);
            match value {
                Some(value) => report.figure(&what, value, unit),
                None => report.not_measured(&what, "requires Linux's /proc"),
            }
        }
    };
    let ratio = |report: &mut Report, what: &str, values: [Option<f64>; 2]| {
        if let [Some(sixty), Some(peer)] = values {
            report.figure(&format!("{}: {what}", cost.name), sixty / peer, "×");
        }
    };
    let of =
        |values: Values| measured.each_ref().map(|measured| Some(values(measured)).filter(|values| !values.is_empty()));
    let medians = |values: Values| of(values).map(|values| values.map(|values| median(&values)));

    for (what, values) in [
        ("registrations per second", (|m| m.rates(|round| &round.registrations)) as Values),
        ("whole flows per second", |m| m.rates(|round| &round.flows)),
        ("GET /v1/users/me per second", |m| m.rates(|round| &round.reads)),
    ] {
        print(report, what, "/s", medians(values));
        ratio(report, &format!("{what}, Sixty / FastAPI"), medians(values));
    }
    // All threads of the process, its mail included. At the trivial cost this is what a registration costs beyond the hash,
    // derived without the names of threads.
    print(report, "CPU time of a registration", "ms", medians(|m| m.cpu(|cpu| cpu.hashers + cpu.others)));
    // The threads that do not hash. The peer gives its hashing threads the name of Sixty's.
    let beyond_hash: Values = |m| m.cpu(|cpu| cpu.others);
    print(report, "CPU time of a registration beyond the hash", "ms", medians(beyond_hash));
    ratio(report, "CPU time beyond the hash, FastAPI / Sixty", {
        let [sixty, peer] = medians(beyond_hash);
        [peer, sixty]
    });
    let livez = measured.each_ref().map(|measured| Some(quantile(&measured.livez, 0.99)));
    print(report, "GET /livez while users register, p99", "ms", livez);
    print(report, "peak of the resident memory", "MiB", memory);
    let used: [(&str, Values, Values); 2] = [
        (
            "while users register",
            |m| m.shares(|round| &round.registrations, |sample| sample.service),
            |m| m.shares(|round| &round.registrations, |sample| sample.load),
        ),
        (
            "by GET /v1/users/me",
            |m| m.shares(|round| &round.reads, |sample| sample.service),
            |m| m.shares(|round| &round.reads, |sample| sample.load),
        ),
    ];
    for (when, service, load) in used {
        print(report, &format!("share of its core {when}"), "×", medians(service));
        print(report, &format!("load's share of a core {when}"), "×", medians(load));
    }
}

fn start_sixty(bench: &Bench, cost: &Cost) -> Contender {
    // Sixty gives new addresses the cost of existing ones, so each cost has a database of its own.
    let flags = [format!("--argon2-memory-kib={}", cost.memory_kib), format!("--argon2-passes={}", cost.passes)];
    Contender::start_sixty(bench, &format!("sixty_{}", cost.memory_kib), &flags.each_ref().map(String::as_str))
}

fn start_peer(bench: &Bench, cost: &Cost, python: &Path) -> Contender {
    let name = format!("fastapi_{}", cost.memory_kib);
    let database = bench.runtime.block_on(bench.create_database(&name));
    let (provider, mail_url) = MailProvider::start(bench);
    let addr = free_addr();
    let (_, port) = addr.rsplit_once(':').unwrap();
    let mut command = Command::new(python);
    command.arg(format!("{PEER}/service.py")).env_clear();
    command.envs([("PORT", port), ("DATABASE_URL", &database), ("REDIS_URL", bench.redis_url())]);
    // Sixty hashes in one thread for each core, and has one core here.
    command.envs([("MAIL_URL", mail_url.as_str()), ("HASH_THREADS", "1")]);
    command.env("ARGON2_MEMORY_KIB", cost.memory_kib.to_string()).env("ARGON2_PASSES", cost.passes.to_string());
    let service = bench.cores.on_service_core(|| Service::start(&name, &mut command, &addr));
    bench.runtime.block_on(service.wait_until_answered("/livez"));
    Contender { name: "FastAPI", service, provider }
}

struct Round {
    registrations: Window,
    flows: Window,
    reads: Window,
}

/// A figure of each round.
type Values = fn(&Measured) -> Vec<f64>;

/// All rounds of a service.
#[derive(Default)]
struct Measured {
    rounds: Vec<Round>,
    livez: Vec<f64>,
}

impl Measured {
    async fn add_round(&mut self, contender: &Contender, accounts: &[String], clients: usize) {
        let registrations = contender.registrations(clients, LOAD_TIME).await;
        let flows = contender.flows(clients).await;
        let reads = contender.reads(clients, accounts).await;
        self.rounds.push(Round { registrations, flows, reads });
        self.livez.extend(contender.livez(clients).await);
    }

    fn rates(&self, of: fn(&Round) -> &Window) -> Vec<f64> {
        self.rounds.iter().map(of).map(Window::rate).collect()
    }

    /// Returns the CPU time of a registration in each round, in milliseconds.
    fn cpu(&self, threads: fn(CpuTime) -> u64) -> Vec<f64> {
        let windows = self.rounds.iter().map(|round| &round.registrations);
        windows.filter_map(|window| Some(window.cpu(|sample| sample.service, threads)? / window.done())).collect()
    }

    /// Returns the share of a core that a process used in each round.
    fn shares(&self, of: fn(&Round) -> &Window, process: fn(&Sample) -> Option<CpuTime>) -> Vec<f64> {
        let share =
            |window: &Window| Some(window.cpu(process, |cpu| cpu.hashers + cpu.others)? / 1e3 / window.seconds());
        self.rounds.iter().map(of).filter_map(share).collect()
    }
}

/// Installs the peer's packages in a virtual environment, unless an earlier run has. Returns its interpreter. The error is
/// the reason why there is none.
///
/// The environment variable `PYTHON` names another Python than `python3`.
#[expect(clippy::disallowed_methods, reason = "the service has no such setting")]
fn install() -> Result<PathBuf, String> {
    let base = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let lock = format!("{PEER}/requirements.txt");
    let version = output(Command::new(&base).arg("-VV"))?;
    println!("  the peer runs on {}", version.trim());
    let installed = format!("{base}\n{version}{}", std::fs::read_to_string(&lock).unwrap());
    let environment = folder().join("peers");
    let (python, stamp) = (environment.join("bin/python"), environment.join("installed"));
    if std::fs::read_to_string(&stamp).is_ok_and(|text| text == installed) {
        return Ok(python);
    }
    output(Command::new(&base).args(["-m", "venv", "--clear"]).arg(&environment))?;
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries=1", "--timeout=20"]);
    output(pip.args(["--require-hashes", "-r", &lock]))?;
    std::fs::write(&stamp, installed).unwrap();
    Ok(python)
}

/// Runs a command. Returns what it wrote to its standard output. The error is one line.
fn output(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().display().to_string();
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("cannot run {program}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program}: {}", errors.lines().last().unwrap_or("failed")))
}
