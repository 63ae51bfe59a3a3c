//! The log on standard error: one line for each event, for people or as JSON.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use clap::ValueEnum;
use thiserror::Error;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::fmt::{self as log_format, FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer};

use super::log_writer::StandardError;
use super::spans;

/// The libraries whose lines appear only if `LOG_LEVEL` names them. The service logs the errors that they return. Their own
/// lines would flood the log: in an outage, sqlx logs a line for each waiting request, and redis thousands in a second.
const LIBRARIES: [&str; 6] = ["sqlx", "redis", "hyper", "hyper_util", "reqwest", "rustls"];

/// The format of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text for people
    Pretty,
    /// One JSON object a line, for machines
    Json,
}

/// A valid log filter: a level, or directives for single targets, such as `info,sixty=debug`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFilter(String);

/// The text is no log filter.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("must be a level such as info, or directives such as info,sixty=debug")]
pub struct InvalidLogFilter;

impl FromStr for LogFilter {
    type Err = InvalidLogFilter;

    fn from_str(directives: &str) -> Result<Self, InvalidLogFilter> {
        let directives = directives.trim();
        // The parser takes a misspelled level for the name of a target, and would log nothing.
        let is_level = |word: &str| word.trim().parse::<LevelFilter>().is_ok();
        let has_level = |directive: &str| directive.contains(['=', '[']) || is_level(directive);
        let valid = directives.contains('[') || directives.split(',').all(has_level);
        EnvFilter::try_new(directives).ok().filter(|_| valid).ok_or(InvalidLogFilter)?;
        Ok(Self(directives.to_owned()))
    }
}

impl LogFilter {
    /// Returns the filter of the log. A later directive for the same target replaces an earlier one.
    fn env_filter(&self) -> EnvFilter {
        let libraries = LIBRARIES.map(|library| format!("{library}=off")).join(",");
        EnvFilter::try_new(format!("{libraries},{},{}=off", self.0, spans::TARGET))
            .expect("LogFilter::from_str accepted these directives")
    }
}

/// Returns the layer that writes the log to standard error.
pub(super) fn layer<S>(filter: &LogFilter, format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let color = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let layer = log_format::layer().with_writer(|| StandardError).with_ansi(color).log_internal_errors(false);
    let filter = filter.env_filter();
    match format {
        LogFormat::Pretty => layer
            .event_format(PrettyLine { terminal: color })
            .fmt_fields(debug_fn(write_field).delimited(" "))
            .with_filter(filter)
            .boxed(),
        LogFormat::Json => layer.json().flatten_event(true).with_span_list(false).with_filter(filter).boxed(),
    }
}

/// Writes a span's field without colors, so that `PrettyLine` can parse the field's name.
fn write_field(fields: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    write!(fields, "{field}={value:?}")
}

/// Formats an event as one line: the time (UTC), the level unless it is INFO, the message, the fields, and the ids
/// of the request.
struct PrettyLine {
    /// Whether a person watches the log. The time of day is then enough; in a file, a line needs its date.
    terminal: bool,
}

impl<S, N> FormatEvent<S, N> for PrettyLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut line: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut text = EventText::default();
        event.record(&mut text);
        let (dim, reset) = if line.has_ansi_escapes() { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
        let color = match *event.metadata().level() {
            _ if dim.is_empty() => "",
            Level::ERROR => "\x1b[31m",
            Level::WARN => "\x1b[33m",
            _ => "",
        };
        write!(line, "{dim}{}{reset} ", self.time())?;
        if *event.metadata().level() != Level::INFO {
            write!(line, "{color}{}{reset} ", event.metadata().level())?;
        }
        write!(line, "{}{dim}{}", text.message, text.fields)?;
        for span in context.event_scope().into_iter().flatten() {
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>() {
                let mut previous_id = "";
                for (name, id) in fields.split(' ').filter_map(|field| field.split_once('=')) {
                    // The request id may equal the trace id; the line then shows the first only.
                    if name.ends_with("_id") && id != previous_id {
                        write!(line, "  {name}={id}")?;
                        previous_id = id;
                    }
                }
            }
        }
        writeln!(line, "{reset}")
    }
}

#[derive(Default)]
struct EventText {
    message: String,
    fields: String,
}

impl Visit for EventText {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // The message of a request already contains these fields; only the JSON format needs them.
        let written = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            "method" | "route" | "status" | "ms" => Ok(()),
            // Metadata that the `log` crate adds to its events.
            name if name.starts_with("log.") => Ok(()),
            name => write!(self.fields, "  {name}={value:?}"),
        };
        written.expect("writing to a string does not fail");
    }
}

impl PrettyLine {
    /// Returns the current time: of the day for a terminal, otherwise RFC 3339 with milliseconds.
    #[expect(clippy::disallowed_methods, reason = "a log line shows this machine's time; no rule depends on it")]
    fn time(&self) -> String {
        let now = time::OffsetDateTime::now_utc();
        let (hour, minute, second) = (now.hour(), now.minute(), now.second());
        if self.terminal {
            return format!("{hour:02}:{minute:02}:{second:02}");
        }
        let (year, month, day, millis) = (now.year(), u8::from(now.month()), now.day(), now.millisecond());
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct LogBuffer(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for LogBuffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn libraries_log_only_what_the_filter_names() {
        let logged = |filter: &str| {
            let written = LogBuffer::default();
            let writer = written.clone();
            let layer = log_format::layer().with_writer(move || writer.clone());
            let layer = layer.with_filter(filter.parse::<LogFilter>().unwrap().env_filter());
            let subscriber = tracing_subscriber::layer::SubscriberExt::with(tracing_subscriber::registry(), layer);
            tracing::subscriber::with_default(subscriber, || {
                tracing::error!(target: "sqlx::pool::acquire", "acquired connection, but time to acquire exceeded");
                tracing::error!(target: "redis::cluster", "slot refresh failed");
                tracing::error!(target: "exported", "a span");
                tracing::debug!(target: "sixty::mail", "own line");
            });
            let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
            ["sqlx", "redis", "exported", "own line"].map(|word| text.contains(word))
        };
        assert_eq!(logged("info"), [false, false, false, false]);
        assert_eq!(logged("trace"), [false, false, false, true]);
        assert_eq!(logged("debug,sqlx=warn,exported=trace"), [true, false, false, true]);
        assert_eq!(logged("off"), [false; 4]);
    }

    #[test]
    fn a_line_contains_the_request_and_trace_id_with_and_without_colors() {
        for color in [true, false] {
            let written = LogBuffer::default();
            let writer = written.clone();
            let subscriber = tracing_subscriber::fmt()
                .with_ansi(color)
                .with_writer(move || writer.clone())
                .event_format(PrettyLine { terminal: color })
                .fmt_fields(debug_fn(write_field).delimited(" "))
                .finish();
            tracing::subscriber::with_default(subscriber, || {
                let span = tracing::info_span!("request", request_id = "abc-1", trace_id = "0af7", route = "/v1/users");
                span.in_scope(|| tracing::info!(status = 201, "POST /v1/users 201"));
            });
            let line = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
            assert!(line.contains("POST /v1/users 201"), "{line:?}");
            assert!(line.contains("request_id=\"abc-1\"  trace_id=\"0af7\""), "{line:?}");
            assert_eq!(line.contains('\x1b'), color, "{line:?}");
            let shape: String = line.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
            let time = if color { "\x1b[0m00:00:00\x1b[0m POST" } else { "0000-00-00T00:00:00.000Z POST" };
            assert!(shape.starts_with(time), "{line:?}");
        }
    }
}
