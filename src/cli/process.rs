//! The async runtime, standard output and the stop signals of the process.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::error::CliError;
use crate::telemetry;

/// Writes a line to standard error. A line that cannot be written is dropped: `eprintln!` would panic, and change the exit
/// status.
pub(super) fn print_error(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Runs a command in a new multi-threaded runtime.
pub(super) fn in_runtime(command: impl Future<Output = Result<(), CliError>>) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CliError::Failed(format!("cannot start the async runtime: {error}")))?;
    let outcome = runtime.block_on(command);
    // The command has waited for its tasks; do not wait for blocked threads.
    runtime.shutdown_background();
    outcome
}

/// Writes to standard output. A closed pipe, as in `sixty openapi | head`, is not an error.
pub(super) fn print(text: &str) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CliError::Failed(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// A signal this soon after the first is the same request: some programs, such as `timeout`, send their signal twice.
const REPEATED_SIGNAL: Duration = Duration::from_millis(10);

/// Returns a token that SIGINT (Ctrl-C), SIGTERM or SIGHUP cancels. The second of these signals ends the process at once,
/// with the exit status of a process that the signal killed.
pub(super) fn on_signal() -> Result<CancellationToken, CliError> {
    use tokio::signal::unix::{SignalKind, signal};
    let stop = CancellationToken::new();
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        let mut signal =
            signal(kind).map_err(|error| CliError::Failed(format!("cannot listen for signals: {error}")))?;
        let stop = stop.clone();
        tokio::spawn(async move {
            while signal.recv().await.is_some() {
                if stop.is_cancelled() {
                    warn!("a second stop signal: ending at once; open requests and mails are not finished");
                    telemetry::finish();
                    std::process::exit(128 + kind.as_raw_value());
                }
                stop.cancel();
                tokio::time::sleep(REPEATED_SIGNAL).await;
                let _ = signal.recv().now_or_never();
            }
        });
    }
    Ok(stop)
}
