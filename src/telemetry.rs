//! Logs, metrics and traces of the whole process.

pub mod log;
mod log_writer;
pub mod metrics;
mod otlp;
pub mod spans;
pub mod trace;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use url::Url;

use self::log::{LogFilter, LogFormat};
pub use self::otlp::{CollectorHeaders, collector_headers};

/// Starts the log of the whole process, and the export of spans if there is a `collector`.
///
/// # Errors
/// If spans cannot be exported with these settings.
///
/// # Panics
/// If a log is already installed.
pub fn start(filter: &LogFilter, format: LogFormat, collector: Option<(&Url, CollectorHeaders)>) -> Result<(), String> {
    let exporter = collector.map(|(url, headers)| otlp::layer(url, headers)).transpose()?;
    tracing_subscriber::registry().with(exporter).with(log::layer(filter, format)).init();
    Ok(())
}

/// Exports the last spans. Waits a short time for a collector that is slow.
pub fn finish() {
    otlp::finish();
}
