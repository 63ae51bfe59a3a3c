//! Logs go to standard error, metrics to whoever asks the operators' port.

use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

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
        LogFormat::Pretty => builder.compact().with_target(false).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
    Ok(())
}

/// Starts counting for the whole process. What is returned renders the figures in Prometheus's text format.
pub fn metrics() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new().install_recorder()?;
    metrics::describe_counter!("sixty_mail_attempts_total", "Attempts to hand a mail over, by outcome.");
    metrics::describe_counter!("sixty_registrations_total", "Registrations answered with 201.");
    metrics::describe_counter!("sixty_activations_total", "Accounts activated.");
    // From the start, at zero: a counter that appears with its first event hides that event from a rate.
    metrics::counter!("sixty_registrations_total").increment(0);
    metrics::counter!("sixty_activations_total").increment(0);
    for outcome in ["sent", "retry", "given_up", "not_wanted"] {
        metrics::counter!("sixty_mail_attempts_total", "outcome" => outcome).increment(0);
    }
    Ok(handle)
}
