//! The settings, one struct a section. Each field is an environment variable and a flag of the same name; the field's doc
//! comment is the help text.

mod accounts;
mod brand;
mod mail;
mod network;
mod stores;

use clap::Args;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

pub use self::accounts::*;
pub use self::brand::*;
pub use self::mail::*;
pub use self::network::*;
pub use self::stores::*;
use super::error::InvalidSetting;
use super::values::{Choice, http_url, secret};
use crate::telemetry;
use crate::telemetry::log::{LogFilter, LogFormat};

/// Settings of the log on standard error.
#[derive(Clone, Args)]
#[command(next_help_heading = "Log")]
pub struct LogArgs {
    /// Log filter, such as info or info,sixty=debug
    ///
    /// Libraries such as sqlx, redis and hyper log only if it names them: info,sqlx=warn
    #[arg(long, env, value_name = "FILTER", default_value = "info")]
    pub log_level: LogFilter,
    /// Log format: pretty or json
    #[arg(long, env, value_name = "FORMAT", default_value = "pretty", value_parser = Choice::<LogFormat>::default())]
    pub log_format: LogFormat,
}

/// Settings of the exported traces.
#[derive(Clone, Args)]
#[command(next_help_heading = "Traces")]
pub struct TraceArgs {
    /// Base URL of an OpenTelemetry collector
    ///
    /// Such as http://collector:4318. The service exports its spans there by OTLP (http/protobuf). Without it, nothing is
    /// exported. OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER and further variables of the OpenTelemetry SDK apply too
    // Its long name would leave no room for the descriptions in the short help.
    #[arg(long, env, value_name = "URL", value_parser = http_url, hide_short_help = true)]
    pub otel_exporter_otlp_endpoint: Option<Url>,
    /// Headers for the collector
    ///
    /// Such as authorization=Bearer%20TOKEN. Values are percent-encoded; commas separate several headers
    #[arg(long, env, value_name = "HEADERS", value_parser = headers, hide_short_help = true)]
    pub otel_exporter_otlp_headers: Option<SecretString>,
}

fn headers(value: &str) -> Result<SecretString, String> {
    telemetry::collector_headers(value)?;
    secret(value)
}

/// Settings that do not depend on where the service, its stores and its mail provider run.
#[derive(Clone, Args)]
pub struct ServiceArgs {
    #[command(flatten)]
    pub brand: BrandArgs,
    #[command(flatten)]
    pub codes: CodeArgs,
    #[command(flatten)]
    pub registrations: RegistrationArgs,
    #[command(flatten)]
    pub passwords: PasswordArgs,
    #[command(flatten)]
    pub hash: HashArgs,
    #[command(flatten)]
    pub mail: MailArgs,
    #[command(flatten)]
    pub clients: ClientArgs,
    #[command(flatten)]
    pub limits: LimitArgs,
    #[command(flatten)]
    pub log: LogArgs,
    #[command(flatten)]
    pub traces: TraceArgs,
}

impl ServiceArgs {
    /// Starts the log of the whole process, and the export of spans.
    pub fn start_telemetry(&self) -> Result<(), InvalidSetting> {
        let TraceArgs { otel_exporter_otlp_endpoint: url, otel_exporter_otlp_headers: headers } = &self.traces;
        let headers = headers.as_ref().map(SecretString::expose_secret).map(telemetry::collector_headers).transpose();
        let headers = headers.map_err(|error| InvalidSetting::new("OTEL_EXPORTER_OTLP_HEADERS", error))?;
        let collector = url.as_ref().map(|url| (url, headers.unwrap_or_default()));
        telemetry::start(&self.log.log_level, self.log.log_format, collector)
            .map_err(|error| InvalidSetting::new("OTEL_EXPORTER_OTLP_ENDPOINT", error))
    }
}

/// All settings of `sixty serve`.
#[derive(Clone, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    pub listen: ListenArgs,
    #[command(flatten)]
    pub stores: StoreArgs,
    #[command(flatten)]
    pub provider: ProviderArgs,
    #[command(flatten)]
    pub service: ServiceArgs,
}
