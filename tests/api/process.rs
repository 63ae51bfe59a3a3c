//! The program as a process of its own: started with nothing but what a test gives it, watched from outside.
//!
//! What is told about processes is read from `/proc`; on other systems those tests are left out.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::support::eventually;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_sixty");
/// How long a process may take to end. Much longer than it does, because other tests run at the same time.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Hashing that costs a test nothing.
pub const CHEAP_HASHES: [&str; 4] = ["--argon2-memory-kib", "8", "--argon2-passes", "1"];

/// A folder of this test's own, empty at first and removed in the end.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(test: &str) -> Folder {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Folder(path)
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The program with these arguments and none of this process' settings.
pub fn sixty(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).env_clear().kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for name in ["PATH", "HOME"] {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    command
}

/// A script of shell, with its arguments still to come.
pub fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs a command that ends by itself.
pub async fn output(command: &mut Command) -> Output {
    // `Command::output` would take the place of an output that was chosen.
    let ending = command.spawn().unwrap().wait_with_output();
    timeout(PATIENCE, ending).await.expect("it does not end").unwrap()
}

/// Runs a command that is to fail with one line, and returns its exit status and the line.
pub async fn complaint(command: &mut Command) -> (i32, String) {
    let output = output(command).await;
    let line = String::from_utf8(output.stderr).unwrap();
    let status = output.status.code().unwrap_or_else(|| panic!("{}: {line}", output.status));
    assert!(status != 0 && output.stdout.is_empty() && line.lines().count() == 1, "{status}: {line}");
    (status, line)
}

/// A command that goes on until it is told to stop; killed when dropped.
pub struct Running {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Running {
    /// Starts it with what it writes going to files, which never fill up as pipes do.
    pub fn start(command: &mut Command) -> Running {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("running-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let (stdout, stderr) = (path.with_extension("out"), path.with_extension("err"));
        let child = command
            .stdout(File::create(&stdout).unwrap())
            .stderr(File::create(&stderr).unwrap())
            // As a shell starts a job, so that Ctrl-C can be sent to all of it.
            .process_group(0)
            .spawn()
            .unwrap();
        Running { child, stdout, stderr }
    }

    /// `sixty serve` on free ports, and the address of its API.
    pub async fn serve(command: &mut Command) -> (Running, String) {
        command.args(["--api-addr=127.0.0.1:0", "--ops-addr=127.0.0.1:0", "--log-format=json"]).args(CHEAP_HASHES);
        let mut running = Running::start(command);
        let api = running
            .until("it listens", async |running| {
                let lines = running.stderr();
                let mut events = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
                let event = events.find(|event| event["message"] == "listening")?;
                let api: SocketAddr = event["api"].as_str()?.parse().ok()?;
                Some(format!("http://{api}"))
            })
            .await;
        (running, api)
    }

    /// What `serve` said of its operators' port.
    pub fn ops(&self) -> String {
        let log = self.stderr();
        let mut events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let ops = events.find_map(|event| event["ops"].as_str().map(ToOwned::to_owned));
        format!("http://{}", ops.expect("it listens"))
    }

    /// What that port shows to Prometheus.
    pub async fn metrics(&self) -> String {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = http.get(format!("{}/metrics", self.ops())).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.text().await.unwrap()
    }

    /// Like [`eventually`], but a process that ended has no more to offer.
    pub async fn until<T>(&mut self, what: &str, check: impl AsyncFn(&Running) -> Option<T>) -> T {
        eventually(what, async || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("{status} instead of: {what}\n{}", self.stderr());
            }
            check(self).await
        })
        .await
    }

    pub fn pid(&self) -> u32 {
        self.child.id().expect("it was not waited for yet")
    }

    pub fn stdout(&self) -> String {
        fs::read_to_string(&self.stdout).unwrap()
    }

    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap()
    }

    /// Its status, once it has ended by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        let waiting = timeout(PATIENCE, self.child.wait());
        waiting.await.unwrap_or_else(|_| panic!("it does not end\n{}", self.stderr())).unwrap()
    }

    /// Sends the signal and waits for the end.
    pub async fn end(&mut self, signal: Signal) -> ExitStatus {
        send(self.pid(), signal);
        self.ended().await
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for path in [&self.stdout, &self.stderr] {
            let _ = fs::remove_file(path);
        }
    }
}

pub fn send(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
}

/// The process and all below it.
pub fn family(pid: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, status(pid)?.1)))
        .collect();
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(parent) = family.get(next).copied() {
        family.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(child, _)| child));
        next += 1;
    }
    family
}

/// The state letter and the parent of a process.
fn status(pid: u32) -> Option<(char, u32)> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name between the parentheses may hold anything.
    let mut fields = line.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// A dead process that nobody has waited for yet (state `Z`) runs no more.
fn running(pids: &[u32]) -> Vec<u32> {
    pids.iter().copied().filter(|pid| status(*pid).is_some_and(|(state, _)| !"ZX".contains(state))).collect()
}

/// Waits until none of the processes runs any more.
pub async fn all_end(pids: &[u32]) {
    eventually(&format!("the end of {pids:?}"), async || running(pids).is_empty().then_some(())).await;
}
