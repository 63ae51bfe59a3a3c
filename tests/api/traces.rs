//! Spans that `sixty serve` exports by OTLP to a collector.

use nix::sys::signal::Signal;
use reqwest::Method;
use serde_json::json;

use crate::observability::ServeProcess;
use crate::support::{CollectedSpan, Collector, CollectorBehavior, PASSWORD, code_in};

const ADA: &str = "ada@example.com";
/// The example of the W3C Trace Context specification.
const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
/// Exports every 50 ms, so that tests need not wait for the SDK's five seconds.
const SOON: (&str, &str) = ("OTEL_BSP_SCHEDULE_DELAY", "50");

async fn start(collector: &Collector, variables: &[(&str, &str)]) -> ServeProcess {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str());
    ServeProcess::start_with(&[], &[&[endpoint, SOON], variables].concat()).await
}

fn children<'a>(spans: &'a [CollectedSpan], parent: &CollectedSpan) -> Vec<&'a CollectedSpan> {
    spans.iter().filter(|span| span.parent == parent.id).collect()
}

fn names<'a>(spans: &[&'a CollectedSpan]) -> Vec<&'a str> {
    spans.iter().map(|span| span.name.as_str()).collect()
}

#[tokio::test]
async fn one_trace_contains_the_request_the_hash_each_store_call_and_the_mail() {
    let collector = Collector::start().await;
    let mut process = start(&collector, &[]).await;
    let body = json!({ "email": ADA, "password": PASSWORD });
    let answer = process.service.request(Method::POST, "/v1/users").json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();

    let mail = collector.wait_for("span of the mail", |span| span.name == "mail").await;
    let request = collector.wait_for("span of the request", |span| span.name == "POST /v1/users").await;
    // The request id, the trace id of the log lines, and that of the spans are the same.
    assert_eq!((&*request.trace, &*request.parent, request.id.is_empty()), (&*id, "", false));
    process.wait_for_log_line("request", &id, "POST /v1/users 201").await;
    process.wait_for_log_line("mail", &id, "a mail was accepted").await;
    assert_eq!((&mail.trace, &mail.parent), (&request.trace, &request.id));
    assert_eq!(request.attributes["http.response.status_code"], "201");
    assert_eq!(mail.attributes["outcome"], "sent");

    let spans = collector.spans();
    assert!(
        spans.iter().all(|span| span.trace == request.trace),
        "background jobs and probes have no traces: {spans:#?}"
    );
    let parts = names(&children(&spans, &request));
    for part in ["hash password", "postgresql users", "mail"] {
        assert!(parts.contains(&part), "{parts:?} lack {part}");
    }
    let parts = children(&spans, &mail);
    for part in ["postgresql outbox", "redis codes", "POST mail provider"] {
        assert!(names(&parts).contains(&part), "{parts:?} lack {part}");
    }
    for store in spans.iter().filter(|span| span.attributes.contains_key("db.system.name")) {
        assert!(store.attributes["code.file.path"].starts_with("src/store/"), "{store:?}");
        assert!(store.attributes["code.line.number"].parse::<u32>().is_ok(), "{store:?}");
    }
    // The provider's own spans continue the request to the provider.
    let provider = parts.iter().find(|span| span.name == "POST mail provider").unwrap();
    assert_eq!(provider.attributes["http.response.status_code"], "200");
    let newest = &process.service.mails(ADA).await[0];
    let sent = process.service.mail_json(newest).await["Traceparent"].as_str().unwrap().to_owned();
    assert_eq!(sent, format!("00-{id}-{}-01", provider.id));
    assert!(process.running.end(Signal::SIGTERM).await.success());
}

#[tokio::test]
async fn spans_continue_the_clients_trace_and_its_sampling() {
    let collector = Collector::start().await;
    let process = start(&collector, &[]).await;
    let get =
        |traceparent: String| process.service.request(Method::GET, "/openapi.json").header("traceparent", traceparent);
    get(TRACEPARENT.replace("-01", "-00")).send().await.unwrap();
    get(TRACEPARENT.to_owned()).send().await.unwrap();
    let sampled = collector.wait_for("span of the request", |span| span.name == "GET /openapi.json").await;
    assert_eq!((&*sampled.trace, &*sampled.parent), (&TRACEPARENT[3..35], &TRACEPARENT[36..52]));
    let spans = collector.spans();
    assert_eq!(spans.len(), 1, "the other request is not sampled: {spans:?}");
}

#[tokio::test]
async fn the_variables_of_the_sdk_apply() {
    let collector = Collector::start().await;
    let endpoint = format!("{}/", collector.url);
    let process = ServeProcess::start_with(
        &["--otel-exporter-otlp-endpoint", &endpoint],
        &[
            SOON,
            ("OTEL_SERVICE_NAME", "accounts"),
            ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20c4n4ry, x-tenant=sixty"),
            ("OTEL_TRACES_SAMPLER", "always_on"),
        ],
    )
    .await;
    let request = process.service.request(Method::GET, "/openapi.json");
    request.header("traceparent", TRACEPARENT.replace("-01", "-00")).send().await.unwrap();
    let span = collector.wait_for("span", |_| true).await;
    assert_eq!(span.attributes["resource.service.name"], "accounts");
    assert_eq!(span.attributes["resource.deployment.environment.name"], "test");
    assert_eq!(collector.header("authorization").as_deref(), Some("Bearer c4n4ry"));
    assert_eq!(collector.header("x-tenant").as_deref(), Some("sixty"));
    assert!(!process.running.stderr().contains("c4n4ry"));
}

#[tokio::test]
async fn the_service_has_a_name_and_the_last_spans_are_exported_at_the_end() {
    let collector = Collector::start().await;
    // Only the end of the process exports anything.
    let late = ("OTEL_BSP_SCHEDULE_DELAY", "600000");
    let mut process = start(&collector, &[late]).await;
    process.service.register_pending(ADA).await;
    assert!(collector.spans().is_empty());
    assert!(process.running.end(Signal::SIGTERM).await.success());
    let span = collector.wait_for("span", |span| span.name == "POST /v1/users").await;
    assert_eq!(span.attributes["resource.service.name"], "sixty");
}

#[tokio::test]
async fn failures_are_marked_and_retries_stay_in_the_trace() {
    let collector = Collector::start().await;
    let process = start(&collector, &[]).await;
    process.service.set_mail_faults(json!({ "fail_rate": 1 })).await;
    process.service.register_pending(ADA).await;
    let failed = collector.wait_for("failed attempt", |span| span.name == "mail" && span.failed).await;
    assert_eq!((&*failed.attributes["attempt"], &*failed.attributes["outcome"]), ("1", "retry"));
    process.service.set_mail_faults(json!({})).await;
    let sent =
        collector.wait_for("sent mail", |span| span.attributes.get("outcome").is_some_and(|it| it == "sent")).await;
    assert_eq!((&sent.trace, &sent.parent), (&failed.trace, &failed.parent));
}

#[tokio::test]
async fn no_span_contains_an_address_a_code_or_a_password() {
    let collector = Collector::start().await;
    let process = start(&collector, &[]).await;
    let service = &process.service;
    let email = "c4n4ry@example.com";
    assert_eq!(service.register(email, "c4n4ry horse battery").await.status, 201);
    let text = service.wait_for_mail(email, 1).await;
    let code = code_in(&text).unwrap();
    let link = text.lines().last().unwrap().rsplit_once('/').unwrap().1.to_owned();
    service.http.get(service.url_of(&format!("/not-me/{link}"))).send().await.unwrap();
    service.http.get(service.url_of("/c4n4ry?c4n4ry=c4n4ry")).send().await.unwrap();
    assert_eq!(service.me(email, "c4n4ry wrong").await.status, 401);
    assert_eq!(service.activate(email, "c4n4ry horse battery", &code).await.status, 200);
    service.wait_for_mail(email, 2).await;
    collector
        .wait_for("the last span", |span| {
            span.name == "mail" && span.attributes.get("outcome").is_some_and(|outcome| outcome == "sent")
        })
        .await;
    collector.wait_for("activation", |span| span.name == "POST /v1/users/me/activation").await;
    for span in collector.spans() {
        // Four digits can be part of an id by chance.
        let values: Vec<&String> = span.attributes.values().chain([&span.name]).collect();
        assert!(
            values.iter().all(|value| !value.contains("c4n4ry") && !value.contains(&link) && **value != code),
            "{span:?}"
        );
    }
}

/// The service is unharmed, and the log has one line when the collector fails and one when it works again.
#[tokio::test]
async fn a_collector_that_fails_harms_nothing() {
    for behavior in [CollectorBehavior::Refuse(400), CollectorBehavior::Hang] {
        let collector = Collector::start().await;
        collector.set_behavior(behavior);
        let mut process = start(&collector, &[("OTEL_EXPORTER_OTLP_TIMEOUT", "200")]).await;
        for n in 0..5 {
            process.service.register_pending(&format!("user{n}@example.com")).await;
        }
        process
            .running
            .until("two failed exports", async |running| {
                let metrics = running.metrics().await;
                let dropped =
                    metrics.lines().find_map(|line| line.strip_prefix(r#"sixty_spans_total{outcome="dropped"} "#))?;
                (dropped.parse::<f64>().unwrap() > 10.0).then_some(())
            })
            .await;
        let count = |log: &str, text| log.matches(text).count();
        assert_eq!(count(&process.running.stderr(), "the trace collector does not accept spans"), 1, "{behavior:?}");
        collector.set_behavior(CollectorBehavior::Accept);
        process
            .running
            .until("log line about the collector", async |running| {
                process.service.request(Method::GET, "/openapi.json").send().await.unwrap();
                running.stderr().contains("the trace collector accepts spans again").then_some(())
            })
            .await;
        collector.set_behavior(behavior);
        process.service.register_pending(ADA).await;
        assert!(process.running.end(Signal::SIGTERM).await.success());
    }
}

#[tokio::test]
async fn without_a_listening_collector_the_service_works_and_stops() {
    let variables = [SOON, ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")];
    let mut process = ServeProcess::start_with(&[], &variables).await;
    process.service.register_active(ADA).await;
    assert!(process.running.end(Signal::SIGTERM).await.success());
    assert!(process.running.stderr().matches("trace collector").count() <= 1, "{}", process.running.stderr());
}
