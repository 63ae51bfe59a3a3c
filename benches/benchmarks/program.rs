//! `sixty serve` as a process, what it needs around it, and who asks it.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dev_stack::{Stack, StackOptions};
use mail_mock::{MailMock, MockOptions};
use poem::EndpointExt as _;
use reqwest::{Client, Response};
use serde_json::json;
use sixty::http::server::{self, ServerLimits};
use sqlx::{Connection as _, PgConnection};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::machine::Cores;

const PROGRAM: &str = env!("CARGO_BIN_EXE_sixty");
pub const PASSWORD: &str = "correct horse battery";
/// argon2id's m and t: the defaults, and what the bars are meant for.
pub const HASH_COST: (u32, u32) = (19456, 2);
const READY_PATIENCE: Duration = Duration::from_secs(30);

/// What all parts share: a runtime for the load, the stores, and the cores of this machine.
pub struct Bench {
    pub cores: Cores,
    pub runtime: Runtime,
    stack: Stack,
}

impl Bench {
    /// The stores, like all that is started here, are on the cores beside the service's.
    pub fn start(cores: Cores) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(cores.others()).enable_all().build().unwrap();
        let options = StackOptions { program: PROGRAM.into(), folder: folder(), keep: false };
        let stack = Stack::start(&options, |_| ()).unwrap();
        Self { cores, runtime, stack }
    }

    /// A provider in this process, and the time at which each mail comes in.
    pub fn provider(&self) -> (String, mpsc::UnboundedReceiver<Instant>) {
        let (arrival, arrivals) = mpsc::unbounded_channel();
        let endpoint = MailMock::new(MockOptions::default(), 60).endpoint().before(move |request| {
            // Nobody may be counting.
            let _ = arrival.send(Instant::now());
            async { Ok(request) }
        });
        let limits = ServerLimits { max_connections: 256, stall_timeout: Duration::from_secs(60) };
        let listener = self.runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        self.runtime.spawn(server::serve(listener, endpoint, limits, CancellationToken::new()));
        (url, arrivals)
    }

    /// An empty database of this name.
    pub async fn database(&self, name: &str) -> String {
        let mut admin = PgConnection::connect(self.stack.database_url()).await.unwrap();
        let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
        sqlx::query(create).execute(&mut admin).await.unwrap();
        let (server, _) = self.stack.database_url().rsplit_once('/').unwrap();
        format!("{server}/{name}")
    }

    /// `sixty serve` with its defaults but for what is given here. Where it runs is where this is called.
    pub fn serve(&self, name: &str, database_url: &str, mail_url: &str, flags: &[&str]) -> Service {
        let api = free_addr();
        let log = File::create(folder().join(format!("{name}.log"))).unwrap();
        let mut command = Command::new(PROGRAM);
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        // All requests come from one address. As variables, which flags may overrule.
        command.env("CLIENT_LIMITS", "false");
        command.env("ARGON2_MEMORY_KIB", HASH_COST.0.to_string()).env("ARGON2_PASSES", HASH_COST.1.to_string());
        command.args(["serve", "--code-secret", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="]);
        command.args(["--api-addr", &api, "--ops-addr", "127.0.0.1:0", "--redis-prefix", name]);
        command.args(["--database-url", database_url, "--redis-url", self.stack.redis_url(), "--mail-url", mail_url]);
        command.args(flags);
        let http = Client::builder().no_proxy().build().unwrap();
        Service { process: command.spawn().unwrap(), url: format!("http://{api}"), http }
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench")
}

/// One that was free a moment ago. Who is told a port need not read it from a log.
fn free_addr() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// A running `sixty serve`, killed when dropped.
pub struct Service {
    process: Child,
    url: String,
    pub http: Client,
}

impl Service {
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Asks again and again until it is ready.
    pub async fn ready(&self) {
        let ready = async {
            loop {
                let answer = self.http.get(self.at("/readyz")).send().await;
                if answer.is_ok_and(|answer| answer.status().is_success()) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let waited = tokio::time::timeout(READY_PATIENCE, ready).await;
        waited.unwrap_or_else(|_| panic!("sixty serve is not ready; its log is in {}", folder().display()));
    }

    pub async fn register(&self, email: &str, password: &str) -> Response {
        let body = json!({ "email": email, "password": password });
        let answer = self.http.post(self.at("/v1/users")).json(&body).send().await.unwrap();
        read(answer).await
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Takes the body too, so that the time is that of the whole answer and the connection can be used again.
pub async fn read(mut answer: Response) -> Response {
    while answer.chunk().await.unwrap().is_some() {}
    answer
}

/// An address that no other registration has.
pub fn fresh_address() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("fresh-{}@example.com", COUNT.fetch_add(1, Ordering::Relaxed))
}
