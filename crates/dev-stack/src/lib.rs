//! A private PostgreSQL and Redis for `sixty dev` and the tests, started from the programs installed on this machine.
//!
//! [`Stack::start`] spawns the [`guardian`], the parent process of the servers. No server outlives the process that holds
//! the [`Stack`], even if that process is killed. Other servers on this machine stay untouched.

use std::fs::{self, OpenOptions};
use std::io::{self, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::mpsc;

mod binaries;
mod error;
mod folder;
pub mod guardian;
mod orphans;
mod postgres;
mod protocol;
mod redis;
mod server;
mod server_command;
mod system_user;

pub use self::folder::ENV_FILE;
use self::protocol::GuardianMessage;

/// The longest wait for the guardian to stop. Longer than the sum of its own timeouts, so that only a hanging guardian is
/// killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// Options of [`Stack::start`].
#[derive(Debug, Clone)]
pub struct StackOptions {
    /// The `sixty` binary. [`Stack::start`] spawns `<program> guardian …`.
    pub program: PathBuf,
    /// Folder of the data, created if missing. With `keep`, one stack at a time can use it.
    pub folder: PathBuf,
    /// Whether PostgreSQL keeps its data, durably, for the next start. `sixty dev` does.
    ///
    /// Without it, as in the tests, each stack has a new sub-folder, runs fast but not durably, and removes the sub-folder
    /// at the end. Several stacks can then share the folder.
    pub keep: bool,
}

/// A running PostgreSQL and Redis. The servers stop when this value is dropped or when its process ends in any way.
pub struct Stack {
    database_url: String,
    redis_url: String,
    postgres_pid: u32,
    redis_pid: u32,
    guardian_pid: u32,
    events: mpsc::UnboundedReceiver<StackEvent>,
    watcher: JoinHandle<()>,
    /// The guardian stops when this pipe closes. Nothing is ever written to it.
    guardian_stdin: ChildStdin,
}

/// An unexpected end of a server or of the guardian, with a one-line message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StackEvent {
    /// One server ended. The other server and the guardian keep running.
    ServerDied(String),
    /// The guardian ended, and with it both servers.
    GuardianEnded(String),
}

/// The stack could not be started. The message is one line.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// The folder or the guardian's log in it cannot be written.
    #[error("cannot write to {folder}: {source}")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The guardian could not be started.
    #[error("cannot run {program}: {source}")]
    Spawn {
        /// The program.
        program: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The guardian reported an error: a missing program, a folder in use, or a server that failed to start.
    #[error("{0}")]
    Servers(String),
    /// The guardian ended without a message.
    #[error("the guardian of PostgreSQL and Redis ended without an error message; see its log: {log}")]
    NoMessage {
        /// The guardian's standard error.
        log: PathBuf,
    },
}

impl Stack {
    /// Starts both servers and returns when they answer, usually after one or two seconds. Blocks, and needs no async
    /// runtime. Calls `on_step` with a line of text before each slow step.
    ///
    /// # Errors
    ///
    /// A program is missing, or a server did not start. No process is left running.
    pub fn start(options: &StackOptions, on_step: impl Fn(&str)) -> Result<Stack, StackError> {
        let folder_error = |source| StackError::Folder { folder: options.folder.clone(), source };
        let spawn_error = |source| StackError::Spawn { program: options.program.clone(), source };
        fs::create_dir_all(&options.folder).map_err(folder_error)?;
        let log = options.folder.join("guardian.log");
        let log_file = OpenOptions::new().append(true).create(true).open(&log).map_err(folder_error)?;

        let mut command = Command::new(&options.program);
        command.arg("guardian").arg("--folder").arg(&options.folder);
        if options.keep {
            command.arg("--keep");
        }
        // Variables such as `PGPORT` describe another server.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PG")) {
            command.env_remove(name);
        }
        // A new process group, so that Ctrl-C in the terminal reaches only this process, which then stops the guardian.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log_file);
        let mut guardian = command.spawn().map_err(spawn_error)?;
        let guardian_stdin = guardian.stdin.take().expect("stdin is piped");
        let mut messages = BufReader::new(guardian.stdout.take().expect("stdout is piped"));
        let guardian_pid = guardian.id();

        let outcome = loop {
            match GuardianMessage::read(&mut messages) {
                Some(GuardianMessage::Step(line)) => on_step(&line),
                outcome => break outcome,
            }
        };
        let Some(GuardianMessage::Ready { database_url, redis_url, postgres_pid, redis_pid }) = outcome else {
            drop(guardian_stdin);
            // Reap the zombie.
            let _ = guardian.wait();
            return Err(match outcome {
                Some(GuardianMessage::Error(line) | GuardianMessage::Died(line) | GuardianMessage::Ended(line)) => {
                    StackError::Servers(line)
                }
                _ => StackError::NoMessage { log },
            });
        };
        let (event_sender, events) = mpsc::unbounded_channel();
        let watcher = std::thread::Builder::new()
            .name("guardian-watcher".into())
            .spawn(move || watch_guardian(guardian, &mut messages, &event_sender))
            .map_err(spawn_error)?;
        Ok(Stack { database_url, redis_url, postgres_pid, redis_pid, guardian_pid, events, watcher, guardian_stdin })
    }

    /// Returns `postgres://sixty:<password>@127.0.0.1:<port>/sixty`, the URL of a superuser.
    pub fn database_url(&self) -> &str {
        &self.database_url
    }

    /// Returns `redis://default:<password>@127.0.0.1:<port>/0`.
    pub fn redis_url(&self) -> &str {
        &self.redis_url
    }

    /// Returns the process id of the postmaster.
    pub fn postgres_pid(&self) -> u32 {
        self.postgres_pid
    }

    /// Returns the process id of Redis.
    pub fn redis_pid(&self) -> u32 {
        self.redis_pid
    }

    /// Returns the process id of the guardian.
    pub fn guardian_pid(&self) -> u32 {
        self.guardian_pid
    }

    /// Resolves when a server or the guardian has ended unexpectedly. Cancel safe.
    pub async fn event(&mut self) -> StackEvent {
        let lost = || {
            StackEvent::GuardianEnded(format!("the guardian of PostgreSQL and Redis (pid {}) ended", self.guardian_pid))
        };
        self.events.recv().await.unwrap_or_else(lost)
    }

    /// Stops both servers and returns when they have ended. Blocks for some hundred milliseconds, and for at most 20 s.
    pub fn stop(self) {
        drop(self.guardian_stdin);
        let deadline = Instant::now() + STOP_TIMEOUT;
        while !self.watcher.is_finished() {
            if Instant::now() >= deadline {
                // The kernel then kills the servers. The watcher has not reaped the guardian, so the pid is still valid.
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

/// Forwards the guardian's messages as events, until the guardian ends.
fn watch_guardian(
    mut guardian: Child,
    messages: &mut BufReader<ChildStdout>,
    events: &mpsc::UnboundedSender<StackEvent>,
) {
    let mut last_message = None;
    // Sending fails if the stack was dropped.
    while let Some(message) = GuardianMessage::read(messages) {
        match message {
            GuardianMessage::Died(line) => drop(events.send(StackEvent::ServerDied(line))),
            GuardianMessage::Error(line) | GuardianMessage::Ended(line) => last_message = Some(line),
            GuardianMessage::Step(_) | GuardianMessage::Ready { .. } => {}
        }
    }
    let pid = guardian.id();
    let status = guardian.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
    let line = last_message
        .unwrap_or_else(|| format!("the guardian of PostgreSQL and Redis (pid {pid}) ended unexpectedly, {status}"));
    let _ = events.send(StackEvent::GuardianEnded(line));
}
