//! The program `mail-mock`.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use listen_address::ListenAddress;
use mail_mock::cli::{self, MailMockArgs, StartError};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A mock mail provider with the send APIs of six providers, an inbox page, and fault injection
#[derive(Parser)]
#[command(name = "mail-mock", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    args: MailMockArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Exit with status 0 if a running mock answers, for containers without curl
    Healthcheck {
        /// Address of the mock on this machine
        #[arg(long, env, value_name = "ADDR", default_value = "127.0.0.1:8025")]
        mail_mock_addr: ListenAddress,
    },
}

fn main() -> ExitCode {
    let Cli { command, args } = Cli::parse();
    let outcome = match command {
        Some(Command::Healthcheck { mail_mock_addr }) => {
            healthcheck(&mail_mock_addr).map_err(|error| error.to_string())
        }
        None => serve(args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "mail-mock: {error}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn serve(args: MailMockArgs) -> Result<(), String> {
    let stop = CancellationToken::new();
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        let mut signal = signal(kind).map_err(|error| format!("cannot listen for signals: {error}"))?;
        let stop = stop.clone();
        tokio::spawn(async move {
            while signal.recv().await.is_some() {
                // The second signal ends the process at once, with the exit status of a killed process.
                if stop.is_cancelled() {
                    std::process::exit(128 + kind.as_raw_value());
                }
                stop.cancel();
            }
        });
    }
    // A closed standard output is no reason to stop.
    let on_listening = |addr| {
        let _ = writeln!(io::stdout(), "The mock mail provider listens on http://{addr}");
    };
    cli::run(args, on_listening, stop).await.map_err(|error: StartError| error.to_string())
}

/// Requests `/livez`, with a timeout for each I/O operation.
fn healthcheck(addr: &ListenAddress) -> io::Result<()> {
    const TIMEOUT: Duration = Duration::from_secs(4);
    let mut stream = connect(addr, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write!(stream, "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    if response.starts_with("HTTP/1.1 200 ") {
        Ok(())
    } else {
        Err(io::Error::other(format!(
            "unexpected response from /livez: {}",
            response.lines().next().unwrap_or("empty")
        )))
    }
}

/// Connects to the first address of this machine that answers.
fn connect(addr: &ListenAddress, timeout: Duration) -> io::Result<TcpStream> {
    let mut failure = io::ErrorKind::AddrNotAvailable.into();
    for authority in addr.local_authorities() {
        for socket in authority.to_socket_addrs()? {
            match TcpStream::connect_timeout(&socket, timeout) {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = error,
            }
        }
    }
    Err(failure)
}
