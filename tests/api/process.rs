//! Runs `sixty` as a process, with no environment but what a test sets, and observes the process from outside.
//!
//! Process trees are read from `/proc`, so tests that need them run only on Linux.

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
/// Deadline for the exit of a process. It is generous, because other tests run at the same time.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Flags for password hashes that take no noticeable time.
pub const CHEAP_HASHES: [&str; 4] = ["--argon2-memory-kib", "8", "--argon2-passes", "1"];

/// A temporary folder of one test. `new` removes what an earlier run left; dropping removes the folder.
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

/// Returns a command that runs `sixty` without this process's environment, except `PATH` and `HOME`.
pub fn sixty(arguments: &[&str]) -> Command {
    program(Path::new(PROGRAM), arguments)
}

/// Does the same for another build of `sixty`.
pub fn program(path: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(path);
    command.args(arguments).env_clear().kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for name in ["PATH", "HOME"] {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    command
}

/// Returns a command that runs a shell script. Arguments that the caller adds become `$1`, `$2`, …
pub fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs a command until it exits. Panics after [`PATIENCE`].
pub async fn output(command: &mut Command) -> Output {
    // `Command::output` would replace a standard output that the caller has set.
    let output = command.spawn().unwrap().wait_with_output();
    timeout(PATIENCE, output).await.expect("the process must exit in time").unwrap()
}

/// Runs a command that must fail and print one line to standard error only. Returns the exit status and the line.
pub async fn failure_line(command: &mut Command) -> (i32, String) {
    let output = output(command).await;
    let line = String::from_utf8(output.stderr).unwrap();
    let status = output.status.code().unwrap_or_else(|| panic!("{}: {line}", output.status));
    assert!(status != 0 && output.stdout.is_empty() && line.lines().count() == 1, "{status}: {line}");
    (status, line)
}

/// A process that runs until it gets a signal. Dropping it kills the process.
pub struct Running {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Running {
    /// Starts the process. Its output goes to files, because a full pipe would block the process.
    pub fn start(command: &mut Command) -> Running {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("running-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let (stdout, stderr) = (path.with_extension("out"), path.with_extension("err"));
        let child = command
            .stdout(File::create(&stdout).unwrap())
            .stderr(File::create(&stderr).unwrap())
            // A process group of its own, like a shell's job, so that a test can send Ctrl-C to the whole group.
            .process_group(0)
            .spawn()
            .unwrap();
        Running { child, stdout, stderr }
    }

    /// Starts `sixty serve` on free ports. Returns the process and the URL of its API.
    pub async fn serve(command: &mut Command) -> (Running, String) {
        command.args(["--api-addr=127.0.0.1:0", "--ops-addr=127.0.0.1:0", "--log-format=json"]).args(CHEAP_HASHES);
        let mut running = Running::start(command);
        let api = running
            .until("log line \"listening\"", async |running| {
                let lines = running.stderr();
                let mut events = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
                let event = events.find(|event| event["message"] == "listening")?;
                let api: SocketAddr = event["api"].as_str()?.parse().ok()?;
                Some(format!("http://{api}"))
            })
            .await;
        (running, api)
    }

    /// Returns the URL of the operators' port, which `sixty serve` has logged.
    pub fn ops(&self) -> String {
        let log = self.stderr();
        let mut events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let ops = events.find_map(|event| event["ops"].as_str().map(ToOwned::to_owned));
        format!("http://{}", ops.expect("the process has logged its operators' port"))
    }

    /// Returns the body of `/metrics`.
    pub async fn metrics(&self) -> String {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = http.get(format!("{}/metrics", self.ops())).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.text().await.unwrap()
    }

    /// Like [`eventually`], but panics at once if the process has exited.
    pub async fn until<T>(&mut self, awaited: &str, check: impl AsyncFn(&Running) -> Option<T>) -> T {
        eventually(awaited, async || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the process exited with {status} instead of: {awaited}\n{}", self.stderr());
            }
            check(self).await
        })
        .await
    }

    pub fn pid(&self) -> u32 {
        self.child.id().expect("the process was not waited for yet")
    }

    pub fn stdout(&self) -> String {
        fs::read_to_string(&self.stdout).unwrap()
    }

    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap()
    }

    /// Waits until the process exits, and returns its status.
    pub async fn wait(&mut self) -> ExitStatus {
        let exit = timeout(PATIENCE, self.child.wait());
        exit.await.unwrap_or_else(|_| panic!("the process did not exit in time\n{}", self.stderr())).unwrap()
    }

    /// Sends the signal, waits until the process exits, and returns its status.
    pub async fn end(&mut self, signal: Signal) -> ExitStatus {
        send_signal(self.pid(), signal);
        self.wait().await
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for path in [&self.stdout, &self.stderr] {
            let _ = fs::remove_file(path);
        }
    }
}

pub fn send_signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
}

/// Returns the ids of a process and all its descendants. The process itself comes first.
pub fn process_tree(pid: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, status(pid)?.1)))
        .collect();
    let mut tree = vec![pid];
    let mut next = 0;
    while let Some(parent) = tree.get(next).copied() {
        tree.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(child, _)| child));
        next += 1;
    }
    tree
}

/// Returns the state letter and the parent of a process.
fn status(pid: u32) -> Option<(char, u32)> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program's name stands in parentheses and may contain any character, even `)`.
    let mut fields = line.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// Returns the processes that still run. A zombie (state `Z`), which nobody has waited for, does not.
fn running(pids: &[u32]) -> Vec<u32> {
    pids.iter().copied().filter(|pid| status(*pid).is_some_and(|(state, _)| !"ZX".contains(state))).collect()
}

/// Waits until none of the processes runs.
pub async fn wait_until_ended(pids: &[u32]) {
    eventually(&format!("exit of the processes {pids:?}"), async || running(pids).is_empty().then_some(())).await;
}
