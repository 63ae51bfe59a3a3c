//! Exports spans by OTLP over HTTP, in protobuf, to a collector.
//!
//! A thread of its own exports batches. If the collector is slow or down, spans are dropped and counted; the service and its
//! log are not affected.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use metrics::counter;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{Protocol, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use percent_encoding::percent_decode_str;
use poem::http::{HeaderName, HeaderValue};
use tracing::{Subscriber, info, warn};
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;
use url::Url;

use super::spans;

/// How long [`finish`] waits for the collector.
const FINISH_TIMEOUT: Duration = Duration::from_secs(1);

static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// The headers of each request to the collector.
pub type CollectorHeaders = HashMap<String, String>;

/// Parses `OTEL_EXPORTER_OTLP_HEADERS`: pairs of a name and a percent-encoded value, separated by commas.
pub fn collector_headers(list: &str) -> Result<CollectorHeaders, &'static str> {
    let pairs = list.split(',').filter(|pair| !pair.trim().is_empty());
    let headers = pairs.map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
        let is_valid = HeaderName::try_from(name.trim()).is_ok() && HeaderValue::try_from(&*value).is_ok();
        is_valid.then(|| (name.trim().to_owned(), value.into_owned()))
    });
    headers.collect::<Option<_>>().ok_or("must be pairs such as authorization=Bearer%20TOKEN, with commas between them")
}

/// Returns the layer that exports the spans of `spans.rs` to the collector, and starts its thread.
///
/// The SDK reads `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER`, `OTEL_BSP_…` and further
/// `OTEL_EXPORTER_OTLP_…` variables itself.
pub(super) fn layer<S>(collector: &Url, headers: CollectorHeaders) -> Result<impl Layer<S> + Send + Sync, String>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    let url = format!("{}/v1/traces", collector.as_str().trim_end_matches('/'));
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(url)
        .with_headers(headers)
        .build()
        .map_err(|error| error.to_string())?;
    let provider =
        SdkTracerProvider::builder().with_batch_exporter(Reporting::new(exporter)).with_resource(resource()).build();
    let layer = OpenTelemetryLayer::new(PROVIDER.get_or_init(|| provider).tracer("sixty"));
    let layer = layer.with_location(false).with_threads(false).with_target(false).with_tracked_inactivity(false);
    Ok(layer.with_filter(filter_fn(|metadata| metadata.target() == spans::TARGET)))
}

/// Exports the last spans.
pub(super) fn finish() {
    if let Some(provider) = PROVIDER.get() {
        // The exporter has reported a collector that does not accept them.
        let _ = provider.shutdown_with_timeout(FINISH_TIMEOUT);
    }
}

/// What the spans are about: the variables `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`, or this program.
fn resource() -> Resource {
    let from_environment = Resource::builder().build();
    let name = from_environment.get(&"service.name".into()).map(|name| name.to_string()).unwrap_or_default();
    let resource = Resource::builder();
    // The SDK's default.
    if name.starts_with("unknown_service") { resource.with_service_name("sixty") } else { resource }.build()
}

/// Counts exported spans, and logs when the collector ceases and begins to accept them.
#[derive(Debug)]
struct Reporting<E> {
    exporter: E,
    accepted: AtomicBool,
}

impl<E> Reporting<E> {
    fn new(exporter: E) -> Self {
        Self { exporter, accepted: AtomicBool::new(true) }
    }
}

impl<E: SpanExporter> SpanExporter for Reporting<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len() as u64;
        let outcome = self.exporter.export(batch).await;
        let label = if outcome.is_ok() { "accepted" } else { "dropped" };
        counter!("sixty_spans_total", "outcome" => label).increment(spans);
        let accepted_before = self.accepted.swap(outcome.is_ok(), Ordering::Relaxed);
        match &outcome {
            // The text contains a status or the kind of the failure, but neither the URL nor the response.
            Err(error) if accepted_before => {
                warn!(%error, "the trace collector does not accept spans; spans are dropped until it does");
            }
            Ok(()) if !accepted_before => info!("the trace collector accepts spans again"),
            _ => {}
        }
        outcome
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
