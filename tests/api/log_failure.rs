//! The log fails: nobody reads it, its reader has ended, or its disk is full. The service goes on.

use std::collections::HashSet;
use std::fs::{self, File};
use std::process::Stdio;

use nix::sys::signal::Signal;
use reqwest::Method;
use tokio::process::{Child, Command};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::process::{CHEAP_HASHES, PATIENCE, output, send_signal, sixty};
use crate::support::{CODE_SECRET, Service, create_database, eventually, stack, unique_name};

const ADA: &str = "ada@example.com";

/// A `sixty serve` whose log the test cannot read.
struct Unlogged {
    child: Child,
    service: Service,
    ops: String,
    _mock: Service,
}

impl Unlogged {
    async fn start(stdout: Stdio, stderr: Stdio) -> Self {
        // Only the mock mail provider of this service is used.
        let mock = Service::start().await;
        let (database_url, prefix) = (create_database().await, format!("t{}", unique_name()));
        let mut serve = sixty(&["serve", "--client-limits=false", "--code-secret", CODE_SECRET]);
        serve.args(["--database-url", &database_url, "--redis-url", stack().redis_url(), "--redis-prefix", &prefix]);
        serve
            .args(["--mail-url", &mock.mail_url, "--api-addr=127.0.0.1:0", "--ops-addr=127.0.0.1:0"])
            .args(CHEAP_HASHES);
        let child = serve.stdout(stdout).stderr(stderr).spawn().unwrap();
        let ports = eventually("two listening ports", async || {
            let ports = listening_ports(child.id().unwrap());
            <[u16; 2]>::try_from(ports).ok()
        })
        .await;
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let [mut api, mut ops] = ports.map(|port| format!("http://127.0.0.1:{port}"));
        if http.get(format!("{api}/metrics")).send().await.unwrap().status().is_success() {
            std::mem::swap(&mut api, &mut ops);
        }
        let service = Service::connect(api, &mock.mail_url, &database_url, &prefix, CancellationToken::new()).await;
        Self { child, service, ops, _mock: mock }
    }

    async fn dropped_lines(&self) -> f64 {
        let metrics =
            self.service.http.get(format!("{}/metrics", self.ops)).send().await.unwrap().text().await.unwrap();
        let dropped = metrics.lines().find_map(|line| line.strip_prefix("sixty_log_lines_dropped_total "));
        dropped.expect("the metric exists").parse().unwrap()
    }

    /// Registers and activates a user, and ends the process. Asserts that all of it succeeds.
    async fn assert_works_and_stops(mut self) {
        self.service.register_active(ADA).await;
        send_signal(self.child.id().unwrap(), Signal::SIGTERM);
        let exit = timeout(PATIENCE, self.child.wait()).await.expect("the process must exit in time").unwrap();
        assert!(exit.success(), "{exit}");
    }
}

/// Returns the TCP ports on which a process listens.
fn listening_ports(pid: u32) -> Vec<u16> {
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return vec![] };
    let targets = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok()?.to_str().map(str::to_owned));
    let sockets: HashSet<String> =
        targets.filter_map(|target| Some(target.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())).collect();
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let listening = table.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, local, _, "0A", ..] = fields[..] else { return None };
        let (_, port) = local.split_once(':')?;
        sockets.contains(*fields.get(9)?).then(|| u16::from_str_radix(port, 16).ok())?
    });
    listening.collect()
}

fn full_disk() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

#[tokio::test]
async fn a_full_disk_costs_only_the_lines() {
    let process = Unlogged::start(full_disk(), full_disk()).await;
    process.service.register_pending("bob@example.com").await;
    eventually("dropped lines", async || (process.dropped_lines().await > 0.0).then_some(())).await;
    process.assert_works_and_stops().await;
}

#[tokio::test]
async fn a_reader_that_ends_costs_only_the_lines() {
    let (reader, writer) = std::io::pipe().unwrap();
    let process = Unlogged::start(writer.try_clone().unwrap().into(), writer.into()).await;
    assert_eq!(process.dropped_lines().await, 0.0);
    drop(reader);
    process.service.register_pending("bob@example.com").await;
    eventually("dropped lines", async || (process.dropped_lines().await > 0.0).then_some(())).await;
    process.assert_works_and_stops().await;
}

#[tokio::test]
async fn a_reader_that_stops_reading_holds_nothing_up() {
    let (_reader, writer) = std::io::pipe().unwrap();
    let process = Unlogged::start(writer.try_clone().unwrap().into(), writer.into()).await;
    // More than a pipe holds (64 KiB).
    let path = format!("/{}", "x".repeat(50));
    for _ in 0..40 {
        let requests = (0..50).map(|_| process.service.request(Method::GET, &path).send());
        for answer in futures_util::future::join_all(requests).await {
            assert_eq!(answer.unwrap().status(), 404);
        }
    }
    assert!(process.dropped_lines().await > 0.0);
    process.assert_works_and_stops().await;
}

#[tokio::test]
async fn the_exit_status_is_right_without_standard_error() {
    let status = async |command: &mut Command| output(command.stderr(full_disk())).await.status.code();
    assert_eq!(status(&mut sixty(&["serve"])).await, Some(2));
    assert_eq!(status(sixty(&["serve"]).args(["--code-ttl", "soon"])).await, Some(2));
    assert_eq!(status(&mut sixty(&["healthcheck", "--api-addr=127.0.0.1:1"])).await, Some(1));
    assert_eq!(status(&mut sixty(&["openapi"])).await, Some(0));
}
