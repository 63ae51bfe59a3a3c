//! A private PostgreSQL and Redis, started from the programs installed on this machine: for `sixty dev` and the tests.
//!
//! [`Stack::start`] spawns the [`guardian`], which owns the servers. No server outlives the process that holds the
//! [`Stack`], however that ends, and no server is touched that was not started here.

use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::mpsc;

use guardian::Report;

mod account;
mod binaries;
mod error;
mod folder;
pub mod guardian;
mod leftovers;
mod postgres;
mod redis;
mod server;

/// The file in a folder that is kept where `sixty dev` says where everything is. It goes with the servers.
pub const ENV_FILE: &str = "env";

/// More than the guardian's own limits together: it is killed only when it hangs.
const STOP_PATIENCE: Duration = Duration::from_secs(20);

/// What to start.
#[derive(Debug, Clone)]
pub struct StackOptions {
    /// The `sixty` binary, which is spawned as `<program> guardian …`.
    pub program: PathBuf,
    /// Where the data live; created when missing. One folder serves one stack at a time.
    pub folder: PathBuf,
    /// Whether PostgreSQL's data are kept, durably, for the next start (`sixty dev`). Otherwise (tests) everything is
    /// new, fast rather than safe, in a sub-folder that is removed in the end; then stacks can share the folder.
    pub keep: bool,
}

/// A running PostgreSQL and Redis. They end when this is dropped or when the process that holds it ends in any way.
pub struct Stack {
    database_url: String,
    redis_url: String,
    postgres_pid: u32,
    redis_pid: u32,
    guardian_pid: u32,
    events: mpsc::UnboundedReceiver<Event>,
    watcher: JoinHandle<()>,
    /// Never written to: it is its end that speaks.
    lifeline: ChildStdin,
}

/// What became of a running [`Stack`], in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// One of the servers has ended by itself. The other runs on, and so does this.
    ServerDied(String),
    /// The guardian has ended, and the servers with it.
    Ended(String),
}

/// Why there is no [`Stack`]; each is one line for a person to read.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// The folder, or the guardian's log in it, cannot be written.
    #[error("cannot write to {folder}: {source}")]
    Folder {
        /// The folder in question.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The guardian could not be started.
    #[error("cannot run {program}: {source}")]
    Spawn {
        /// The program in question.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The guardian said why it could not start the servers: a missing program, a folder in use, a failing server.
    #[error("{0}")]
    Servers(String),
    /// The guardian ended without a word.
    #[error("the guardian of PostgreSQL and Redis ended without a word (its log: {log})")]
    Silent {
        /// Where it writes what it cannot report.
        log: PathBuf,
    },
}

impl Stack {
    /// Starts both servers and returns when they answer. Blocking, usually for a second or two; it needs no runtime.
    /// `tell` gets a line for each step that takes a moment.
    ///
    /// # Errors
    ///
    /// One line that says what is missing or what went wrong; nothing is left running then.
    pub fn start(options: &StackOptions, tell: impl Fn(&str)) -> Result<Stack, StackError> {
        let in_folder = |source| StackError::Folder { folder: options.folder.clone(), source };
        let spawning = |source| StackError::Spawn { program: options.program.clone(), source };
        fs::create_dir_all(&options.folder).map_err(in_folder)?;
        let log = options.folder.join("guardian.log");
        let log_file = OpenOptions::new().append(true).create(true).open(&log).map_err(in_folder)?;

        let mut command = Command::new(&options.program);
        command.arg("guardian").arg("--folder").arg(&options.folder);
        if options.keep {
            command.arg("--keep");
        }
        // `PGPORT` and its kin are meant for another server than this one.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PG")) {
            command.env_remove(name);
        }
        // In a process group of its own, so that the terminal's Ctrl-C reaches only us, who stop things in order.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log_file);
        let mut guardian = command.spawn().map_err(spawning)?;
        let lifeline = guardian.stdin.take().expect("stdin is piped");
        let mut reports = BufReader::new(guardian.stdout.take().expect("stdout is piped"));
        let guardian_pid = guardian.id();

        let outcome = loop {
            match next_report(&mut reports) {
                Some(Report::Step(line)) => tell(&line),
                outcome => break outcome,
            }
        };
        let Some(Report::Ready { database_url, redis_url, postgres_pid, redis_pid }) = outcome else {
            drop(lifeline);
            // Only so that no zombie stays.
            let _ = guardian.wait();
            return Err(match outcome {
                Some(Report::Error(line) | Report::Died(line) | Report::Ended(line)) => StackError::Servers(line),
                _ => StackError::Silent { log },
            });
        };
        let (tell, events) = mpsc::unbounded_channel();
        let watcher = std::thread::Builder::new()
            .name("guardian-watcher".into())
            .spawn(move || watch_guardian(guardian, &mut reports, &tell))
            .map_err(spawning)?;
        Ok(Stack { database_url, redis_url, postgres_pid, redis_pid, guardian_pid, events, watcher, lifeline })
    }

    /// `postgres://sixty:<password>@127.0.0.1:<port>/sixty`, of a superuser.
    pub fn database_url(&self) -> &str {
        &self.database_url
    }

    /// `redis://127.0.0.1:<port>/0`
    pub fn redis_url(&self) -> &str {
        &self.redis_url
    }

    /// The process id of PostgreSQL's first process.
    pub fn postgres_pid(&self) -> u32 {
        self.postgres_pid
    }

    /// The process id of Redis.
    pub fn redis_pid(&self) -> u32 {
        self.redis_pid
    }

    /// The process id of the guardian.
    pub fn guardian_pid(&self) -> u32 {
        self.guardian_pid
    }

    /// Resolves when a server or the guardian has ended unexpectedly. Cancel safe.
    pub async fn event(&mut self) -> Event {
        let lost = || Event::Ended(format!("the guardian of PostgreSQL and Redis (pid {}) is lost", self.guardian_pid));
        self.events.recv().await.unwrap_or_else(lost)
    }

    /// Stops both servers and returns when they are gone. Blocking: some hundred milliseconds, twenty seconds at worst.
    pub fn stop(self) {
        drop(self.lifeline);
        let deadline = Instant::now() + STOP_PATIENCE;
        while !self.watcher.is_finished() {
            if Instant::now() >= deadline {
                // The kernel takes the servers along. The watcher has not waited for it yet, so the pid is still its own.
                if let Ok(pid) = i32::try_from(self.guardian_pid) {
                    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
                }
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.watcher.join();
    }
}

/// Passes on what the guardian says, or notices that it ended without a word.
fn watch_guardian(mut guardian: Child, reports: &mut BufReader<ChildStdout>, tell: &mpsc::UnboundedSender<Event>) {
    let mut last_words = None;
    // Nobody may be listening, and then nobody needs to know.
    while let Some(report) = next_report(reports) {
        match report {
            Report::Died(line) => drop(tell.send(Event::ServerDied(line))),
            Report::Error(line) | Report::Ended(line) => last_words = Some(line),
            Report::Step(_) | Report::Ready { .. } => {}
        }
    }
    let pid = guardian.id();
    let status = guardian.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
    let line = last_words
        .unwrap_or_else(|| format!("the guardian of PostgreSQL and Redis (pid {pid}) ended unexpectedly, {status}"));
    let _ = tell.send(Event::Ended(line));
}

/// `None` at the end, and for what is no report.
fn next_report(reports: &mut impl BufRead) -> Option<Report> {
    let mut line = String::new();
    reports.read_line(&mut line).ok()?;
    serde_json::from_str(&line).ok()
}
