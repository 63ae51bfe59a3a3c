//! The guardian: the parent of the private servers, which ends them when whoever asked for them is gone.
//!
//! It is a process of its own because a process killed with `kill -9` cannot clean up, and a test binary has no hook
//! after its last test. What it cannot miss is the end of its standard input: the kernel closes the pipe of a dead
//! process, however it died. Should the guardian itself be killed, the kernel kills the servers (see
//! `account.rs`).

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use super::account::Launcher;
use super::binaries::Binaries;
use super::error::StartError;
use super::folder::Folder;
use super::server::Server;
use super::{postgres, redis};

/// Parent of the private PostgreSQL and Redis of dev and the tests; not for people
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Where the data live
    #[arg(long)]
    folder: PathBuf,
    /// Keep the data for the next time, and write them to the disk for good
    #[arg(long)]
    keep: bool,
}

/// What the guardian says on its standard output, one JSON object a line: a `step` for whatever takes a moment, `ready` or
/// `error`, then perhaps `died` for each server, and `ended`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Report {
    Step(String),
    Ready {
        database_url: String,
        redis_url: String,
        postgres_pid: u32,
        redis_pid: u32,
    },
    Error(String),
    /// One of the servers is gone, the other is not.
    Died(String),
    Ended(String),
}

/// Starts the servers, says where they are, and stays until they are to end.
///
/// Called on the main thread, outside any Tokio runtime: the servers are killed by the kernel when the thread that
/// started them ends.
pub fn run(arguments: &Arguments) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&StartError::system("start the runtime")(error)),
    };
    let code = runtime.block_on(guard(arguments));
    runtime.shutdown_background();
    code
}

async fn guard(arguments: &Arguments) -> ExitCode {
    let mut end = match End::listen() {
        Ok(end) => end,
        Err(error) => return fail(&StartError::system("listen for signals")(error)),
    };
    let mut servers = Servers::default();
    let mut folder = None;
    let started = tokio::select! {
        biased;
        reason = end.comes() => Err(reason),
        started = servers.start(arguments, &mut folder) => Ok(started),
    };
    let mut keep = arguments.keep;
    let reason = match started {
        Ok(Ok(ready)) => {
            report(&ready);
            loop {
                tokio::select! {
                    biased;
                    reason = end.comes() => break reason,
                    line = servers.one_dies() => {
                        // The other is still of use: what a service does without one of its stores is worth a look.
                        report(&Report::Died(line));
                        // The folder stays, for the log in it; the next start clears it away.
                        keep = true;
                    }
                }
            }
        }
        Ok(Err(error)) => {
            // First the servers, then the news: whoever reads it may start again at once.
            servers.stop().await;
            return fail(&error);
        }
        Err(reason) => reason,
    };
    forget_addresses(folder.as_ref(), arguments.keep);
    if let Some(name) = reason {
        report(&Report::Ended(format!("the guardian of PostgreSQL and Redis was told to stop ({name})")));
    }
    servers.stop().await;
    if let Some(folder) = folder.filter(|_| !keep)
        && let Err(error) = folder.remove().await
    {
        eprintln!("cannot remove the data: {error}");
    }
    ExitCode::SUCCESS
}

/// Whoever wrote them may have been killed.
fn forget_addresses(folder: Option<&Folder>, keep: bool) {
    if let Some(folder) = folder.filter(|_| keep)
        && let Err(error) = folder.forget_addresses()
    {
        eprintln!("{error}");
    }
}

#[derive(Debug, Default)]
struct Servers {
    postgres: Option<Server>,
    redis: Option<Server>,
}

impl Servers {
    async fn start(&mut self, arguments: &Arguments, held: &mut Option<Folder>) -> Result<Report, StartError> {
        let binaries = Binaries::find()?;
        let folder = &*held.insert(Folder::open(&arguments.folder, arguments.keep).await?);
        tell(format!("Starting PostgreSQL {} and Redis …", binaries.postgres.major));
        let launcher = Launcher::new(folder.account()).await;
        let (database_url, redis_url) = tokio::try_join!(
            postgres::start(&binaries.postgres, &launcher, folder, arguments.keep, &mut self.postgres),
            redis::start(&binaries.redis, &launcher, folder, &mut self.redis),
        )?;
        let pid =
            |server: &Option<Server>| server.as_ref().map(Server::pid).expect("a server that answers was started");
        let (postgres_pid, redis_pid) = (pid(&self.postgres), pid(&self.redis));
        Ok(Report::Ready { database_url, redis_url, postgres_pid, redis_pid })
    }

    /// Resolves when a server ends by itself, once for each.
    async fn one_dies(&mut self) -> String {
        async fn dies(slot: &mut Option<Server>) -> String {
            let Some(server) = slot else {
                return std::future::pending().await;
            };
            let line = server.died().await;
            *slot = None;
            line
        }
        tokio::select! {
            line = dies(&mut self.postgres) => line,
            line = dies(&mut self.redis) => line,
        }
    }

    async fn stop(&mut self) {
        let stop = async |server: &mut Option<Server>| {
            if let Some(server) = server {
                server.stop().await;
            }
        };
        tokio::join!(stop(&mut self.postgres), stop(&mut self.redis));
    }
}

/// What tells the guardian to end.
struct End {
    lifeline: oneshot::Receiver<()>,
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl End {
    fn listen() -> io::Result<End> {
        let (cut, lifeline) = oneshot::channel();
        // A thread that may stay blocked in `read` for ever: Tokio's own would keep the runtime from shutting down.
        std::thread::Builder::new().name("lifeline".into()).spawn(move || {
            let mut stdin = io::stdin().lock();
            while matches!(stdin.read(&mut [0; 64]), Ok(1..)) {}
            let _ = cut.send(());
        })?;
        Ok(End {
            lifeline,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Resolves with the signal's name, or `None` when the parent let go.
    async fn comes(&mut self) -> Option<&'static str> {
        tokio::select! {
            _ = &mut self.lifeline => None,
            _ = self.terminate.recv() => Some("SIGTERM"),
            _ = self.interrupt.recv() => Some("SIGINT"),
            _ = self.hangup.recv() => Some("SIGHUP"),
        }
    }
}

fn fail(error: &StartError) -> ExitCode {
    report(&Report::Error(error.to_string()));
    ExitCode::FAILURE
}

/// Says what is done next, for people who wait.
pub(super) fn tell(step: String) {
    report(&Report::Step(step));
}

fn report(report: &Report) {
    let line = serde_json::to_string(report).expect("text and numbers are always JSON");
    // Nobody reads it when the parent is gone, and then its end is noticed elsewhere.
    let _ = writeln!(io::stdout(), "{line}");
}
