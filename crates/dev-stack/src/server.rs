//! A child process of the guardian: starts it, waits until it is ready, and stops it.

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

/// The longest wait for a server to end after a signal, before the next, harder signal.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout of one readiness check of a starting server.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause between two readiness checks.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// Texts that mark the log line with the reason for a failed start.
const ERROR_MARKERS: [&str; 6] = ["FATAL:", "PANIC:", "initdb: error:", "FATAL CONFIG", "Failed", "Could not"];

/// A running server, or `initdb`. Dropping it kills the process; [`Server::stop`] stops it gracefully.
#[derive(Debug)]
pub(super) struct Server {
    name: &'static str,
    child: Child,
    pid: Pid,
    graceful_signal: Signal,
    log: PathBuf,
}

/// The reason why a started server is not ready.
#[derive(Debug)]
pub(super) enum NotReady {
    Ended(io::Result<ExitStatus>),
    /// The deadline has passed. Holds the error of the last readiness check.
    TimedOut(String),
}

impl Server {
    /// Starts `command` with its output in a new file `log`. The process shuts down gracefully on `graceful_signal`.
    pub(super) fn start(
        name: &'static str,
        command: &mut Command,
        graceful_signal: Signal,
        log: &Path,
    ) -> Result<Server, StartError> {
        // Remove the file first: root could overwrite another user's file, but another user cannot overwrite root's.
        let _ = std::fs::remove_file(log);
        let output = File::create_new(log).map_err(StartError::file("write", log))?;
        let errors = output.try_clone().map_err(StartError::file("write", log))?;
        let child = command
            .stdout(output)
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| StartError::Server { server: name, reason: error.to_string(), log: log.to_owned() })?;
        let pid =
            child.id().and_then(|pid| i32::try_from(pid).ok()).expect("a child that was not waited for has a pid");
        Ok(Server { name, child, pid: Pid::from_raw(pid), graceful_signal, log: log.to_owned() })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    /// Resolves when the process has ended. Cancel safe.
    pub(super) async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Resolves with a one-line message when the process ends without [`Server::stop`]. Cancel safe.
    pub(super) async fn unexpected_end(&mut self) -> String {
        let (name, pid, log) = (self.name, self.pid, self.log.display());
        match self.child.wait().await {
            Ok(status) => format!("{name} (pid {pid}) ended unexpectedly, {status} (its log: {log})"),
            Err(error) => format!("{name} (pid {pid}): cannot wait for the process: {error}"),
        }
    }

    /// Repeats `check` until it succeeds, `deadline` has passed, or the process has ended.
    pub(super) async fn until_ready(
        &mut self,
        deadline: Instant,
        check: impl AsyncFn() -> Result<(), String>,
    ) -> Result<(), NotReady> {
        let mut last_error = String::from("no answer");
        let answers = async {
            while let Err(reason) = timeout(CHECK_TIMEOUT, check())
                .await
                .unwrap_or_else(|_| Err(String::from("the server accepts connections but does not answer")))
            {
                last_error = reason;
                sleep(CHECK_INTERVAL).await;
            }
        };
        let answered = tokio::select! {
            status = self.child.wait() => return Err(NotReady::Ended(status)),
            answered = timeout_at(deadline, answers) => answered.is_ok(),
        };
        if answered { Ok(()) } else { Err(NotReady::TimedOut(last_error)) }
    }

    /// Returns the start error. If the process has ended, the reason is the last error line in its log.
    pub(super) fn failure(&self, why: NotReady) -> StartError {
        let reason = match why {
            NotReady::TimedOut(last_error) => format!("not ready in time: {last_error}"),
            NotReady::Ended(status) => {
                let text = self.log_text();
                let error_line = text.lines().rfind(|line| ERROR_MARKERS.iter().any(|marker| line.contains(marker)));
                match (error_line, status) {
                    (Some(line), _) => line.trim().to_owned(),
                    (None, Ok(status)) => status.to_string(),
                    (None, Err(error)) => error.to_string(),
                }
            }
        };
        StartError::Server { server: self.name, reason, log: self.log.clone() }
    }

    /// Returns whether the server failed because another process had taken its port.
    pub(super) fn lost_its_port(&self) -> bool {
        self.log_text().contains("Address already in use")
    }

    /// Returns the output so far.
    pub(super) fn log_text(&self) -> String {
        std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Sends the graceful signal, then SIGQUIT, then SIGKILL, each with a timeout. Returns when the process has ended.
    pub(super) async fn stop(&mut self) {
        let steps = [
            (self.graceful_signal, STOP_TIMEOUT),
            (Signal::SIGQUIT, STOP_TIMEOUT / 2),
            (Signal::SIGKILL, STOP_TIMEOUT),
        ];
        for (signal, time) in steps {
            // After a successful wait, the kernel may give the pid to another process.
            if self.child.id().is_none() {
                return;
            }
            if signal != self.graceful_signal {
                eprintln!("{} (pid {}) has not stopped; sending {signal}", self.name, self.pid);
            }
            // The signal fails if the process has just ended, which is the goal.
            let _ = kill(self.pid, signal);
            if timeout(time, self.child.wait()).await.is_ok() {
                return;
            }
        }
    }
}

/// Returns a port that is free now. The caller must retry with another port if a process takes it in the meantime.
pub(super) fn free_port() -> Result<u16, StartError> {
    std::net::TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(StartError::system("find a free port on 127.0.0.1"))
}
