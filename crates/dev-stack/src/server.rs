//! One child of the guardian: how it is started, and how it is made to end.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::error::StartError;

/// How long a server may take to end by itself before it is made to.
const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// How long one attempt to speak to a starting server may take.
const ATTEMPT_PATIENCE: Duration = Duration::from_secs(5);
/// How long between two attempts.
const ATTEMPT_INTERVAL: Duration = Duration::from_millis(20);

/// What begins a line in a log in which a server says why it gives up.
const COMPLAINTS: [&str; 6] = ["FATAL:", "PANIC:", "initdb: error:", "FATAL CONFIG", "Failed", "Could not"];

/// A running server (or `initdb`), stopped with [`Server::stop`]; killed when dropped.
#[derive(Debug)]
pub(super) struct Server {
    name: &'static str,
    child: Child,
    pid: Pid,
    polite: Signal,
    log: PathBuf,
}

/// Why a server that was started does not serve.
#[derive(Debug)]
pub(super) enum NotReady {
    Ended(io::Result<ExitStatus>),
    /// The deadline has passed; what the last attempt said.
    Late(String),
}

impl Server {
    /// Starts `command` with all it writes going to `log`, which is begun anew. `polite` is the signal on which it stops
    /// in good order.
    pub(super) fn start(
        name: &'static str,
        command: &mut Command,
        polite: Signal,
        log: &Path,
    ) -> Result<Server, StartError> {
        // Removed first: root could overwrite another user's file, but not the other way round.
        let _ = std::fs::remove_file(log);
        let output = File::create_new(log).map_err(StartError::file("write", log))?;
        let errors = output.try_clone().map_err(StartError::file("write", log))?;
        let child = command
            .stdout(output)
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| StartError::Server { server: name, reason: error.to_string(), log: log.to_owned() })?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).expect("a child just started has a pid");
        Ok(Server { name, child, pid: Pid::from_raw(pid), polite, log: log.to_owned() })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    /// Resolves when the process has ended. Cancel safe.
    pub(super) async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Resolves, when the process has ended though nobody asked it to, with one line that says so. Cancel safe.
    pub(super) async fn died(&mut self) -> String {
        let (name, pid, log) = (self.name, self.pid, self.log.display());
        match self.child.wait().await {
            Ok(status) => format!("{name} (pid {pid}) ended unexpectedly, {status} (its log: {log})"),
            Err(error) => format!("{name} (pid {pid}) is lost: {error}"),
        }
    }

    /// Asks `attempt` again and again until it succeeds, `deadline` has passed, or the process has ended.
    pub(super) async fn until_ready(
        &mut self,
        deadline: Instant,
        attempt: impl AsyncFn() -> Result<(), String>,
    ) -> Result<(), NotReady> {
        let mut last = String::from("no answer");
        let answers = async {
            while let Err(reason) = timeout(ATTEMPT_PATIENCE, attempt())
                .await
                .unwrap_or_else(|_| Err(String::from("it accepts connections but does not answer")))
            {
                last = reason;
                sleep(ATTEMPT_INTERVAL).await;
            }
        };
        let answered = tokio::select! {
            status = self.child.wait() => return Err(NotReady::Ended(status)),
            answered = timeout_at(deadline, answers) => answered.is_ok(),
        };
        if answered { Ok(()) } else { Err(NotReady::Late(last)) }
    }

    /// Why it does not serve, where it ended with the complaint in its log.
    pub(super) fn failure(&self, why: NotReady) -> StartError {
        let reason = match why {
            NotReady::Late(last) => format!("not ready in time: {last}"),
            NotReady::Ended(status) => {
                let text = self.log_text();
                let complaint = text.lines().rfind(|line| COMPLAINTS.iter().any(|word| line.contains(word)));
                match (complaint, status) {
                    (Some(line), _) => line.trim().to_owned(),
                    (None, Ok(status)) => status.to_string(),
                    (None, Err(error)) => error.to_string(),
                }
            }
        };
        StartError::Server { server: self.name, reason, log: self.log.clone() }
    }

    /// Whether it could not have its port because somebody else was faster.
    pub(super) fn lost_its_port(&self) -> bool {
        self.log_text().contains("Address already in use")
    }

    /// What it wrote so far.
    pub(super) fn log_text(&self) -> String {
        std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Asks it to end, then insists; returns when it is gone.
    pub(super) async fn stop(&mut self) {
        let steps =
            [(self.polite, STOP_PATIENCE), (Signal::SIGQUIT, STOP_PATIENCE / 2), (Signal::SIGKILL, STOP_PATIENCE)];
        for (signal, patience) in steps {
            // Until it is waited for, the pid is this child's; after that, anybody's.
            if self.child.id().is_none() {
                return;
            }
            if signal != self.polite {
                eprintln!("{} (pid {}) does not stop: {signal}", self.name, self.pid);
            }
            // It may have ended in between, which is what is wanted.
            let _ = kill(self.pid, signal);
            if timeout(patience, self.child.wait()).await.is_ok() {
                return;
            }
        }
    }
}

/// A port that was free a moment ago. Whoever uses it must be ready to lose it and ask again.
pub(super) fn free_port() -> Result<u16, StartError> {
    std::net::TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(StartError::system("find a free port on 127.0.0.1"))
}
