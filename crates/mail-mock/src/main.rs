//! The mock mail provider as a program of its own.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use mail_mock::cli::{self, MailMockArgs, StartError};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A mock mail provider: Mailpit's and Mailjet's send API, an inbox page, faults to order
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
    /// Ask a running mock whether it answers: exit status 0 is yes. For a container without curl
    Healthcheck {
        /// Address of the mock on this machine
        #[arg(long, env, value_name = "ADDR", default_value = "127.0.0.1:8025")]
        mail_mock_addr: SocketAddr,
    },
}

fn main() -> ExitCode {
    let Cli { command, args } = Cli::parse();
    let outcome = match command {
        Some(Command::Healthcheck { mail_mock_addr }) => healthcheck(mail_mock_addr).map_err(|error| error.to_string()),
        None => serve(args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mail-mock: {error}");
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
            signal.recv().await;
            stop.cancel();
        });
    }
    let listening = |addr| println!("The mock mail provider listens on http://{addr}");
    cli::run(args, listening, stop).await.map_err(|error: StartError| error.to_string())
}

/// Asks `/livez`, with a deadline for each step.
fn healthcheck(addr: SocketAddr) -> io::Result<()> {
    const DEADLINE: Option<Duration> = Some(Duration::from_secs(4));
    // A server that listens on every address is asked on loopback.
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(ip, addr.port()), Duration::from_secs(4))?;
    stream.set_read_timeout(DEADLINE)?;
    stream.set_write_timeout(DEADLINE)?;
    write!(stream, "GET /livez HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.starts_with("HTTP/1.1 200 ") {
        Ok(())
    } else {
        Err(io::Error::other(format!("not healthy: {}", answer.lines().next().unwrap_or("no answer"))))
    }
}
