//! The guardian: the parent process of the private servers. It stops them when its own parent ends.
//!
//! The guardian is a process of its own, because a process killed by `kill -9` cannot clean up, and a test binary has no
//! hook after its last test. The guardian reads its standard input: the kernel closes the pipe of a dead process, however
//! the process died. If the guardian itself is killed, the kernel kills the servers (see `server_command.rs`).

use std::io::{self, Read};
use std::path::PathBuf;
use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use super::binaries::Binaries;
use super::error::StartError;
use super::folder::Folder;
use super::protocol::{GuardianMessage, send_step};
use super::server::Server;
use super::server_command::ServerCommands;
use super::{postgres, redis};

/// Internal: parent process of the private PostgreSQL and Redis
#[derive(Debug, clap::Args)]
pub struct GuardianArgs {
    /// Folder of the data
    #[arg(long)]
    folder: PathBuf,
    /// Keep the data for the next start, and sync them to the disk
    #[arg(long)]
    keep: bool,
}

/// Starts the servers, reports their addresses, and keeps them running until a stop signal or the end of standard input.
///
/// Call this on the main thread, outside any Tokio runtime: the kernel kills the servers when the thread that spawned them
/// ends.
pub fn run(args: &GuardianArgs) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&StartError::system("start the async runtime")(error)),
    };
    let code = runtime.block_on(guard(args));
    runtime.shutdown_background();
    code
}

async fn guard(args: &GuardianArgs) -> ExitCode {
    let mut stop = match StopRequest::listen() {
        Ok(stop) => stop,
        Err(error) => return fail(&StartError::system("listen for signals")(error)),
    };
    let mut servers = Servers::default();
    let mut folder = None;
    let started = tokio::select! {
        biased;
        signal = stop.received() => Err(signal),
        started = servers.start(args, &mut folder) => Ok(started),
    };
    let mut keep = args.keep;
    let signal = match started {
        Ok(Ok(ready)) => {
            ready.send();
            loop {
                tokio::select! {
                    biased;
                    signal = stop.received() => break signal,
                    line = servers.unexpected_end() => {
                        // The other server keeps running, so that a developer can see the service without one store.
                        GuardianMessage::Died(line).send();
                        // Keep the folder for the log in it. The next start removes the folder.
                        keep = true;
                    }
                }
            }
        }
        Ok(Err(error)) => {
            // Report after the servers have stopped: the parent may start again as soon as it reads the error.
            servers.stop().await;
            return fail(&error);
        }
        Err(signal) => signal,
    };
    remove_env_file(folder.as_ref(), args.keep);
    if let Some(name) = signal {
        GuardianMessage::Ended(format!("{name} stopped the guardian of PostgreSQL and Redis")).send();
    }
    servers.stop().await;
    if let Some(folder) = folder.filter(|_| !keep)
        && let Err(error) = folder.remove().await
    {
        eprintln!("cannot remove the data: {error}");
    }
    ExitCode::SUCCESS
}

/// Removes the file with the addresses, because the process that wrote it may have been killed.
fn remove_env_file(folder: Option<&Folder>, keep: bool) {
    if let Some(folder) = folder.filter(|_| keep)
        && let Err(error) = folder.remove_env_file()
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
    async fn start(
        &mut self,
        args: &GuardianArgs,
        opened_folder: &mut Option<Folder>,
    ) -> Result<GuardianMessage, StartError> {
        let binaries = Binaries::find()?;
        let folder = &*opened_folder.insert(Folder::open(&args.folder, args.keep).await?);
        send_step(format!("Starting PostgreSQL {} and Redis …", binaries.postgres.major));
        let commands = ServerCommands::new(folder.server_user()).await;
        let (database_url, redis_url) = tokio::try_join!(
            postgres::start(&binaries.postgres, &commands, folder, args.keep, &mut self.postgres),
            redis::start(&binaries.redis, &commands, folder, &mut self.redis),
        )?;
        let pid =
            |server: &Option<Server>| server.as_ref().map(Server::pid).expect("a server that answers was started");
        let (postgres_pid, redis_pid) = (pid(&self.postgres), pid(&self.redis));
        Ok(GuardianMessage::Ready { database_url, redis_url, postgres_pid, redis_pid })
    }

    /// Resolves with a message when a server ends by itself, once for each server. Cancel safe.
    async fn unexpected_end(&mut self) -> String {
        async fn end_of(slot: &mut Option<Server>) -> String {
            let Some(server) = slot else {
                return std::future::pending().await;
            };
            let line = server.unexpected_end().await;
            *slot = None;
            line
        }
        tokio::select! {
            line = end_of(&mut self.postgres) => line,
            line = end_of(&mut self.redis) => line,
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

/// Everything that makes the guardian stop: the end of standard input, or a signal.
struct StopRequest {
    stdin_closed: oneshot::Receiver<()>,
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl StopRequest {
    fn listen() -> io::Result<StopRequest> {
        let (sender, stdin_closed) = oneshot::channel();
        // A plain thread may block in `read` forever; a blocked thread of Tokio would delay the runtime's shutdown.
        std::thread::Builder::new().name("stdin-reader".into()).spawn(move || {
            let mut stdin = io::stdin().lock();
            while matches!(stdin.read(&mut [0; 64]), Ok(1..)) {}
            let _ = sender.send(());
        })?;
        Ok(StopRequest {
            stdin_closed,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Resolves with the name of the signal, or with `None` if the parent has closed the guardian's standard input.
    async fn received(&mut self) -> Option<&'static str> {
        tokio::select! {
            _ = &mut self.stdin_closed => None,
            _ = self.terminate.recv() => Some("SIGTERM"),
            _ = self.interrupt.recv() => Some("SIGINT"),
            _ = self.hangup.recv() => Some("SIGHUP"),
        }
    }
}

fn fail(error: &StartError) -> ExitCode {
    GuardianMessage::Error(error.to_string()).send();
    ExitCode::FAILURE
}
