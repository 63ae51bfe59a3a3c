//! An OpenTelemetry collector, which decodes the spans that a service exports by OTLP.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode as SpanStatus;
use poem::http::StatusCode;
use poem::{Body, Endpoint, Request, Response};
use prost::Message as _;
use sixty::http::server::{self, Port, ServerLimits};
use sixty::http::trusted_proxies::TrustedProxies;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::eventually;

/// What the collector does with a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum CollectorBehavior {
    Accept,
    Refuse(u16),
    /// Does not answer until the test sets another behavior.
    Hang,
}

/// A span as the service exported it.
#[derive(Debug, Clone)]
pub struct CollectedSpan {
    /// In hexadecimal, as in `traceparent`.
    pub trace: String,
    pub id: String,
    /// Empty for the first span of a trace.
    pub parent: String,
    pub name: String,
    pub failed: bool,
    /// Attributes of the span, and of what it is about under `resource.`, as texts.
    pub attributes: HashMap<String, String>,
}

pub struct Collector {
    pub url: String,
    behavior: watch::Sender<CollectorBehavior>,
    spans: Arc<Mutex<Vec<CollectedSpan>>>,
    /// The headers of the last request.
    headers: Arc<Mutex<HashMap<String, String>>>,
    _stop: DropGuard,
}

impl Collector {
    pub async fn start() -> Collector {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (spans, headers) = (Arc::default(), Arc::default());
        let behavior = watch::Sender::new(CollectorBehavior::Accept);
        let stop = CancellationToken::new();
        let endpoint =
            Receiver { spans: Arc::clone(&spans), headers: Arc::clone(&headers), behavior: behavior.subscribe() };
        let (stall_timeout, idle_timeout) = (Duration::from_secs(10), Duration::from_secs(10));
        let limits = ServerLimits { max_connections: 256, stall_timeout, idle_timeout };
        let port = Port { name: "collector", limits, proxies: TrustedProxies::default() };
        tokio::spawn(server::serve(listener, endpoint, port, stop.clone(), stop.clone()));
        Collector { url, behavior, spans, headers, _stop: stop.drop_guard() }
    }

    pub fn set_behavior(&self, behavior: CollectorBehavior) {
        self.behavior.send_replace(behavior);
    }

    pub fn spans(&self) -> Vec<CollectedSpan> {
        self.spans.lock().unwrap().clone()
    }

    pub fn header(&self, name: &str) -> Option<String> {
        self.headers.lock().unwrap().get(name).cloned()
    }

    /// Waits for a span that fulfils the condition.
    pub async fn wait_for(&self, awaited: &str, condition: impl Fn(&CollectedSpan) -> bool) -> CollectedSpan {
        eventually(awaited, async || self.spans().into_iter().find(&condition)).await
    }
}

struct Receiver {
    spans: Arc<Mutex<Vec<CollectedSpan>>>,
    headers: Arc<Mutex<HashMap<String, String>>>,
    behavior: watch::Receiver<CollectorBehavior>,
}

impl Endpoint for Receiver {
    type Output = Response;

    async fn call(&self, mut request: Request) -> poem::Result<Response> {
        let mut behavior = self.behavior.clone();
        let behavior = *behavior.wait_for(|behavior| *behavior != CollectorBehavior::Hang).await.unwrap();
        if let CollectorBehavior::Refuse(status) = behavior {
            return Ok(Response::builder().status(StatusCode::from_u16(status).unwrap()).body(Body::empty()));
        }
        assert_eq!((request.method().as_str(), request.uri().path()), ("POST", "/v1/traces"));
        assert_eq!(request.content_type(), Some("application/x-protobuf"));
        let headers = request.headers().iter();
        *self.headers.lock().unwrap() =
            headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
        let body = request.take_body().into_bytes().await.unwrap();
        let exported = ExportTraceServiceRequest::decode(body).unwrap();
        let mut spans = self.spans.lock().unwrap();
        for resource in exported.resource_spans {
            let of_resource = texts("resource.", &resource.resource.unwrap().attributes);
            for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                let mut attributes = texts("", &span.attributes);
                attributes.extend(of_resource.clone());
                for event in &span.events {
                    attributes.insert(format!("event {}", event.name), format!("{:?}", event.attributes));
                }
                spans.push(CollectedSpan {
                    trace: hex::encode(&span.trace_id),
                    id: hex::encode(&span.span_id),
                    parent: hex::encode(&span.parent_span_id),
                    name: span.name,
                    failed: span.status.is_some_and(|status| status.code() == SpanStatus::Error),
                    attributes,
                });
            }
        }
        Ok(Response::builder().content_type("application/x-protobuf").body(Body::empty()))
    }
}

fn texts(prefix: &str, attributes: &[KeyValue]) -> HashMap<String, String> {
    let text = |value: &Option<AnyValue>| match value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    attributes.iter().map(|attribute| (format!("{prefix}{}", attribute.key), text(&attribute.value))).collect()
}
