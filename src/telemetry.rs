//! Logs go to standard error, metrics to whoever asks the operators' port.

pub mod metrics;
pub mod trace;

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use crate::config::{BadSetting, LogArgs, LogFormat};

/// Starts logging for the whole process.
pub fn log(settings: &LogArgs) -> Result<(), BadSetting> {
    let filter = EnvFilter::try_new(&settings.log_level).map_err(|_| BadSetting {
        name: "LOG_LEVEL",
        reason: "must be a level such as info, or directives such as info,sixty=debug".to_owned(),
    })?;
    let colour = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colour);
    match settings.log_format {
        LogFormat::Pretty => builder.event_format(Lines).fmt_fields(debug_fn(write_field).delimited(" ")).init(),
        LogFormat::Json => builder.json().flatten_event(true).with_span_list(false).init(),
    }
    Ok(())
}

/// A field of a span. Without colours: `Lines` looks for names.
fn write_field(fields: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    write!(fields, "{field}={value:?}")
}

/// One calm line an event, for people: the time of day (UTC), what happened, and what else is known.
struct Lines;

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut line: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut parts = Parts::default();
        event.record(&mut parts);
        let (dim, plain) = if line.has_ansi_escapes() { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
        let colour = match *event.metadata().level() {
            _ if dim.is_empty() => "",
            Level::ERROR => "\x1b[31m",
            Level::WARN => "\x1b[33m",
            _ => "",
        };
        write!(line, "{dim}{}{plain} ", time_of_day())?;
        if *event.metadata().level() != Level::INFO {
            write!(line, "{colour}{}{plain} ", event.metadata().level())?;
        }
        write!(line, "{}{dim}{}", parts.message, parts.rest)?;
        for span in context.event_scope().into_iter().flatten() {
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>() {
                let mut told = "";
                for (name, id) in fields.split(' ').filter_map(|field| field.split_once('=')) {
                    // Of a request whose id is its trace's, one.
                    if name.ends_with("_id") && id != told {
                        write!(line, "  {name}={id}")?;
                        told = id;
                    }
                }
            }
        }
        writeln!(line, "{plain}")
    }
}

#[derive(Default)]
struct Parts {
    message: String,
    rest: String,
}

impl Visit for Parts {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // A message says the request's facts itself; as fields they are for machines.
        let written = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            "method" | "route" | "status" | "ms" => Ok(()),
            // What the crate log knows of its own events.
            name if name.starts_with("log.") => Ok(()),
            name => write!(self.rest, "  {name}={value:?}"),
        };
        written.expect("writing to a string does not fail");
    }
}

#[expect(clippy::disallowed_methods, reason = "a log tells this machine's time; no rule depends on it")]
fn time_of_day() -> String {
    let now = time::OffsetDateTime::now_utc();
    format!("{:02}:{:02}:{:02}", now.hour(), now.minute(), now.second())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Written {
        fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(octets)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_has_its_requests_ids_with_colours_or_without() {
        for colour in [true, false] {
            let written = Written::default();
            let writer = written.clone();
            let subscriber = tracing_subscriber::fmt()
                .with_ansi(colour)
                .with_writer(move || writer.clone())
                .event_format(Lines)
                .fmt_fields(debug_fn(write_field).delimited(" "))
                .finish();
            tracing::subscriber::with_default(subscriber, || {
                let span = tracing::info_span!("request", request_id = "abc-1", trace_id = "0af7", route = "/v1/users");
                span.in_scope(|| tracing::info!(status = 201, "POST /v1/users 201"));
            });
            let line = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
            assert!(line.contains("POST /v1/users 201"), "{line:?}");
            assert!(line.contains("request_id=\"abc-1\"  trace_id=\"0af7\""), "{line:?}");
            assert_eq!(line.contains('\x1b'), colour, "{line:?}");
        }
    }
}
