//! Starts `sixty serve` as a process with its stores and a mail provider, and sends requests to it.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dev_stack::{Stack, StackOptions};
use mail_mock::{MailMock, MockOptions};
use poem::http::Method;
use poem::{Endpoint, EndpointExt as _};
use reqwest::{Client, Response};
use serde_json::json;
use sixty::http::server::{self, Port, ServerLimits};
use sixty::http::trusted_proxies::TrustedProxies;
use sqlx::{Connection as _, PgConnection};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::cpu::CpuCores;

const PROGRAM: &str = env!("CARGO_BIN_EXE_sixty");
pub const PASSWORD: &str = "correct horse battery";
/// The default cost of a password hash: argon2id's m (KiB) and t. The targets assume this cost.
pub const HASH_COST: (u32, u32) = (19456, 2);
const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// What all parts share: the CPU cores, a runtime that creates the load, PostgreSQL and Redis.
pub struct Bench {
    pub cores: CpuCores,
    pub runtime: Runtime,
    stack: Stack,
}

impl Bench {
    /// Starts PostgreSQL and Redis on the calling thread's cores, which exclude the service's core.
    pub fn start(cores: CpuCores) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(cores.other_count())
            .enable_all()
            .build()
            .unwrap();
        let options = StackOptions { program: PROGRAM.into(), folder: folder(), keep: false };
        let stack = Stack::start(&options, |_| ()).unwrap();
        Self { cores, runtime, stack }
    }

    /// Starts a mail provider in this process. Returns its URL and a channel of the times at which mails arrive.
    pub fn start_mail_provider(&self) -> (String, mpsc::UnboundedReceiver<Instant>) {
        let (arrival, arrivals) = mpsc::unbounded_channel();
        let endpoint = MailMock::new(MockOptions::default(), 60).endpoint().before(move |request| {
            // The service also asks, by GET, whether the provider accepts its account.
            if request.method() == Method::POST {
                // The benchmark may have dropped the receiver.
                let _ = arrival.send(Instant::now());
            }
            async { Ok(request) }
        });
        (self.serve_mail_api(endpoint), arrivals)
    }

    /// Serves the API of a mail provider in this process. Returns its URL.
    pub fn serve_mail_api(&self, endpoint: impl Endpoint<Output = poem::Response> + 'static) -> String {
        let (stall_timeout, idle_timeout) = (Duration::from_secs(60), Duration::from_secs(60));
        let limits = ServerLimits { max_connections: 256, stall_timeout, idle_timeout };
        let port = Port { name: "provider", limits, proxies: TrustedProxies::default() };
        let listener = self.runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        self.runtime.spawn(server::serve(listener, endpoint, port, CancellationToken::new(), CancellationToken::new()));
        url
    }

    pub fn redis_url(&self) -> &str {
        self.stack.redis_url()
    }

    /// Creates an empty database. Returns its URL.
    pub async fn create_database(&self, name: &str) -> String {
        let mut admin = PgConnection::connect(self.stack.database_url()).await.unwrap();
        let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
        sqlx::query(create).execute(&mut admin).await.unwrap();
        let (server, _) = self.stack.database_url().rsplit_once('/').unwrap();
        format!("{server}/{name}")
    }

    /// Starts `sixty serve` on the calling thread's cores, with default settings except for what is given here.
    pub fn serve(&self, name: &str, database_url: &str, mail_url: &str, flags: &[&str]) -> Service {
        let api = free_addr();
        let mut command = Command::new(PROGRAM);
        command.env_clear();
        // All requests come from one address. These are environment variables, so that `flags` can override them.
        command.env("CLIENT_LIMITS", "false");
        command.env("ARGON2_MEMORY_KIB", HASH_COST.0.to_string()).env("ARGON2_PASSES", HASH_COST.1.to_string());
        command.args(["serve", "--code-secret", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="]);
        command.args(["--api-addr", &api, "--ops-addr", "127.0.0.1:0", "--redis-prefix", name]);
        command.args(["--database-url", database_url, "--redis-url", self.stack.redis_url(), "--mail-url", mail_url]);
        command.args(flags);
        Service::start(name, &mut command, &api)
    }
}

/// The folder of logs and other files of the benchmark.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench")
}

/// Returns an address that was free a moment ago. A chosen port is simpler than reading the port from the log.
pub fn free_addr() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// A running `sixty serve`, or a service that it is compared with. Dropping it kills the process.
pub struct Service {
    process: Child,
    url: String,
    pub http: Client,
}

impl Service {
    /// Starts a command that serves at `addr`. Its log is `<name>.log`.
    pub fn start(name: &str, command: &mut Command, addr: &str) -> Self {
        let log = File::create(folder().join(format!("{name}.log"))).unwrap();
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let http = Client::builder().no_proxy().build().unwrap();
        Self { process, url: format!("http://{addr}"), http }
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    pub fn url_of(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Polls `/readyz` until it answers 200.
    pub async fn wait_until_ready(&self) {
        self.wait_until_answered("/readyz").await;
    }

    /// Polls a path until it answers 200.
    pub async fn wait_until_answered(&self, path: &str) {
        let ready = async {
            loop {
                let answer = self.http.get(self.url_of(path)).send().await;
                if answer.is_ok_and(|answer| answer.status().is_success()) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let result = tokio::time::timeout(READY_TIMEOUT, ready).await;
        result
            .unwrap_or_else(|_| panic!("the service did not get ready in time; its log is in {}", folder().display()));
    }

    pub async fn register(&self, email: &str, password: &str) -> Response {
        let body = json!({ "email": email, "password": password });
        let answer = self.http.post(self.url_of("/v1/users")).json(&body).send().await.unwrap();
        read_body(answer).await
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Reads the body and discards it. So measured times include the whole response, and the connection can be reused.
pub async fn read_body(mut answer: Response) -> Response {
    while answer.chunk().await.unwrap().is_some() {}
    answer
}

/// Returns an address that no other registration uses.
pub fn fresh_address() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("fresh-{}@example.com", COUNT.fetch_add(1, Ordering::Relaxed))
}
