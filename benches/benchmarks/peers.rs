//! Sixty beside a FastAPI service that does the same job (`benches/peers/fastapi`), each on one core.
//!
//! Both services run on the service's core, and only one of them gets requests at a time; the other one idles. They
//! alternate within one run, so that other load on the machine affects both.
//!
//! PostgreSQL, Redis, the mail provider and the load share the other cores. The load and the provider are the same for
//! both services, and their share of a core is printed: about a fortieth while users register at the real cost of a hash,
//! and a tenth at the trivial cost. At the trivial cost Sixty can wait for the other cores: the printed share of its own
//! core tells how much of it was left.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use poem::http::StatusCode;
use poem::{Request, Response, endpoint};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::cpu::{CpuTime, peak_memory};
use crate::report::Report;
use crate::service::{Bench, HASH_COST, PASSWORD, Service, folder, free_addr, fresh_address, read_body};
use crate::statistics::{median, millis, quantile};

const PEER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/fastapi");
const ROUNDS: usize = 3;
/// The load runs for so long before the first sample, so that its first requests are not measured.
const SETTLE_TIME: Duration = Duration::from_secs(1);
const LOAD_TIME: Duration = Duration::from_secs(3);
/// A pause after each load, in which its last mails are sent.
const PAUSE: Duration = Duration::from_millis(300);
const MAIL_TIMEOUT: Duration = Duration::from_secs(10);
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

/// A service with a database and a mail provider of its own.
pub struct Contender {
    name: &'static str,
    service: Service,
    provider: Arc<MailProvider>,
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

impl Contender {
    /// Starts Sixty on the service's core, with a database of this name.
    pub fn start_sixty(bench: &Bench, name: &str, flags: &[&str]) -> Self {
        let database = bench.runtime.block_on(bench.create_database(name));
        let (provider, mail_url) = MailProvider::start(bench);
        let service = bench.cores.on_service_core(|| bench.serve(name, &database, &mail_url, flags));
        bench.runtime.block_on(service.wait_until_ready());
        Self { name: "Sixty", service, provider }
    }

    /// Registers users. A client registers the next one when the mail of the last one has arrived: otherwise a service
    /// that puts its mails off would have the higher rate.
    async fn registrations(&self, clients: usize, time: Duration) -> Window {
        let done = AtomicUsize::new(0);
        let register = async |_| {
            self.register(&fresh_address()).await;
            done.fetch_add(1, Ordering::Relaxed);
        };
        self.load(clients, time, &done, register).await
    }

    pub async fn flows(&self, clients: usize) -> Window {
        let done = AtomicUsize::new(0);
        let flow = async |_| {
            self.flow().await;
            done.fetch_add(1, Ordering::Relaxed);
        };
        self.load(clients, LOAD_TIME, &done, flow).await
    }

    /// Registers and waits for the mail. Returns its code.
    async fn register(&self, address: &str) -> String {
        let code = self.provider.code_for(address);
        assert_eq!(self.service.register(address, PASSWORD).await.status(), 201);
        tokio::time::timeout(MAIL_TIMEOUT, code).await.unwrap().unwrap()
    }

    /// Registers, reads the code in the mail and activates. Returns the address of the account.
    pub async fn flow(&self) -> String {
        let address = fresh_address();
        let code = self.register(&address).await;
        let request = self.service.http.post(self.service.url_of("/v1/users/me/activation"));
        let request = request.basic_auth(&address, Some(PASSWORD)).json(&json!({ "code": code }));
        assert_eq!(read_body(request.send().await.unwrap()).await.status(), 200);
        address
    }

    pub async fn reads(&self, clients: usize, accounts: &[String]) -> Window {
        let done = AtomicUsize::new(0);
        let read = async |client: usize| {
            let request = self.service.http.get(self.service.url_of("/v1/users/me"));
            let request = request.basic_auth(&accounts[client % accounts.len()], Some(PASSWORD));
            assert_eq!(read_body(request.send().await.unwrap()).await.status(), 200);
            done.fetch_add(1, Ordering::Relaxed);
        };
        self.load(clients, LOAD_TIME, &done, read).await
    }

    /// Returns the latencies of `/livez` while users register, in milliseconds.
    async fn livez(&self, clients: usize) -> Vec<f64> {
        let livez = async {
            let mut times = Vec::new();
            tokio::time::sleep(SETTLE_TIME).await;
            let mut ticks = tokio::time::interval(Duration::from_millis(10));
            let end = Instant::now() + LOAD_TIME;
            while Instant::now() < end {
                ticks.tick().await;
                let started = Instant::now();
                let answer = self.service.http.get(self.service.url_of("/livez")).send().await.unwrap();
                assert_eq!(read_body(answer).await.status(), 200);
                times.push(millis(started.elapsed()));
            }
            times
        };
        tokio::join!(livez, self.registrations(clients, LOAD_TIME)).0
    }

    /// Runs clients that repeat a request without a pause. Returns by how much `done` rose, and the CPU time.
    async fn load(&self, clients: usize, time: Duration, done: &AtomicUsize, request: impl AsyncFn(usize)) -> Window {
        let settled = Instant::now() + SETTLE_TIME;
        let end = settled + time;
        let client = async |client| {
            while Instant::now() < end {
                request(client).await;
            }
        };
        let samples = async {
            tokio::time::sleep_until(settled).await;
            let first = self.sample(done);
            tokio::time::sleep_until(end).await;
            (first, self.sample(done))
        };
        let ((first, last), _) = tokio::join!(samples, join_all((0..clients).map(client)));
        tokio::time::sleep(PAUSE).await;
        Window { first, last }
    }

    fn sample(&self, done: &AtomicUsize) -> Sample {
        let service = CpuTime::of_process(self.service.pid());
        let load = CpuTime::of_process(std::process::id());
        Sample { time: Instant::now(), done: done.load(Ordering::Relaxed), service, load }
    }
}

/// What has been done and used up to a moment.
struct Sample {
    time: Instant,
    done: usize,
    service: Option<CpuTime>,
    load: Option<CpuTime>,
}

/// The time between two samples.
pub struct Window {
    first: Sample,
    last: Sample,
}

impl Window {
    pub fn rate(&self) -> f64 {
        self.done() / self.seconds()
    }

    fn seconds(&self) -> f64 {
        (self.last.time - self.first.time).as_secs_f64()
    }

    fn done(&self) -> f64 {
        (self.last.done - self.first.done) as f64
    }

    /// Returns the CPU time within the window, in milliseconds.
    fn cpu(&self, process: fn(&Sample) -> Option<CpuTime>, threads: fn(CpuTime) -> u64) -> Option<f64> {
        let (first, last) = process(&self.first).zip(process(&self.last))?;
        Some((threads(last) as f64 - threads(first) as f64) / 1e6)
    }
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

/// A mail provider that hands the codes of its mails to the flows that wait for them. It keeps no mails, so that it costs
/// little beside the load.
#[derive(Default)]
struct MailProvider {
    waiting: Mutex<HashMap<String, oneshot::Sender<String>>>,
}

/// The part of a mail that the provider reads.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Mail {
    to: [Recipient; 1],
    text: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Recipient {
    email: String,
}

impl MailProvider {
    /// Serves Mailpit's API. Returns the provider and its URL.
    fn start(bench: &Bench) -> (Arc<Self>, String) {
        let provider = Arc::new(Self::default());
        let shared = Arc::clone(&provider);
        let endpoint = endpoint::make(move |mut request: Request| {
            let provider = Arc::clone(&shared);
            async move {
                // Sixty also asks whether the provider accepts its account.
                if request.uri().path() == "/api/v1/send" {
                    provider.accept(&request.take_body().into_bytes().await?);
                }
                let answer = Response::builder().status(StatusCode::OK).content_type("application/json");
                Ok::<_, poem::Error>(answer.body(r#"{"ID":"1"}"#))
            }
        });
        let url = bench.serve_mail_api(endpoint);
        (provider, url)
    }

    fn accept(&self, body: &[u8]) {
        let Mail { to: [to], text } = serde_json::from_slice(body).unwrap();
        let is_code = |word: &&str| word.len() == 4 && word.bytes().all(|byte| byte.is_ascii_digit());
        // Sixty also sends a mail without a code after an activation.
        if let Some(code) = text.split_whitespace().find(is_code)
            && let Some(flow) = self.waiting.lock().unwrap().remove(&to.email)
        {
            // The flow may have ended.
            let _ = flow.send(code.to_owned());
        }
    }

    /// Returns the code of the next mail to an address.
    fn code_for(&self, address: &str) -> oneshot::Receiver<String> {
        let (sender, receiver) = oneshot::channel();
        self.waiting.lock().unwrap().insert(address.to_owned(), sender);
        receiver
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
