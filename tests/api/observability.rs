//! What operators see of the running program: its log and its metrics.

use std::time::Duration;

use mail_mock::Options;
use nix::sys::signal::Signal;
use regex::Regex;
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::process::{Running, sixty};
use crate::support::{
    CODE_SECRET, PASSWORD, Service, create_database, eventually, stack, start_mail_mock, unique_name, wrong_code,
};

const ADA: &str = "ada@example.com";
/// The example of the specification.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A process, and a provider of its own.
struct Watched {
    running: Running,
    service: Service,
    _mock: DropGuard,
}

impl Watched {
    async fn serve(flags: &[&str]) -> Self {
        let stop = CancellationToken::new();
        let mail_url = start_mail_mock(Options::default(), stop.clone()).await;
        let (database_url, prefix) = (create_database().await, format!("t{}", unique_name()));
        let mut serve = sixty(&["serve", "--client-limits=false", "--code-secret", CODE_SECRET]);
        serve.args(["--database-url", &database_url, "--redis-url", stack().redis_url()]);
        serve.args(["--redis-prefix", &prefix, "--mail-url", &mail_url]).args(flags);
        let (running, api) = Running::serve(&mut serve).await;
        let service = Service::connect(api, &mail_url, &database_url, &prefix, CancellationToken::new()).await;
        Self { running, service, _mock: stop.drop_guard() }
    }

    /// Waits for the line of a request or a mail in this trace.
    async fn line(&mut self, span: &str, trace: &str, message: &str) -> Value {
        self.running
            .until(&format!("{message:?} in {trace}"), async |running| {
                let log = running.stderr();
                let mut events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
                events.find(|event| {
                    event["span"]["name"] == span
                        && event["span"]["trace_id"] == trace
                        && event["message"].as_str().is_some_and(|text| text.starts_with(message))
                })
            })
            .await
    }

    /// The figure of a metric; its labels are in the alphabet's order.
    async fn figure(&self, metric: &str) -> f64 {
        figure(&self.running.metrics().await, metric).unwrap_or_else(|| panic!("there is no {metric}"))
    }

    /// The traceparent that the newest mail was sent with.
    async fn traceparent(&self, n: usize) -> String {
        self.service.wait_for_mail(ADA, n).await;
        let newest = &self.service.mails(ADA).await[0];
        self.service.mail_json(newest).await["Traceparent"].as_str().unwrap().to_owned()
    }
}

fn figure(metrics: &str, metric: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' ')?.parse().ok())
}

#[tokio::test]
async fn one_id_leads_from_a_request_to_its_mail() {
    let mut watched = Watched::serve(&["--code-wait=60s"]).await;
    let body = json!({ "email": ADA, "password": PASSWORD });
    let accepted = "a mail was accepted by the provider";

    // In a trace that the client has begun.
    let request = watched.service.request(Method::POST, "/v1/users").json(&body).header("traceparent", TRACEPARENT);
    let answer = request.header("X-Request-Id", "ada-1").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::CREATED);
    assert_eq!(answer.headers()["x-request-id"], "ada-1");
    let line = watched.line("request", TRACE, "POST /v1/users 201").await;
    assert_eq!((&line["span"]["request_id"], &line["status"]), (&json!("ada-1"), &json!(201)));
    assert!(line["ms"].is_u64() && line["span"]["route"] == "/v1/users" && line["span"]["method"] == "POST", "{line}");
    watched.line("mail", TRACE, accepted).await;
    let sent = watched.traceparent(1).await;
    assert!(sent.starts_with(&format!("00-{TRACE}-")) && sent.ends_with("-01"), "{sent}");
    assert!(!sent.contains("b7ad6b7169203331"), "the mail was not caused by the client, but by its request: {sent}");

    // In one that begins here: the answer says which.
    watched.service.age_grants(Duration::from_secs(60)).await;
    let request = watched.service.request(Method::POST, "/v1/users/me/verification-code");
    let answer = request.basic_auth(ADA, Some(PASSWORD)).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
    watched.line("request", &id, "POST /v1/users/me/verification-code 202").await;
    watched.line("mail", &id, accepted).await;
    let sent = watched.traceparent(2).await;
    assert!(sent.starts_with(&format!("00-{id}-")), "{sent}");

    let code = watched.service.wait_for_code(ADA, 2).await;
    let activated = watched.service.activate(ADA, PASSWORD, &code).await;
    assert_eq!(activated.status, 200);
    let sent = watched.traceparent(3).await;
    assert!(sent.starts_with(&format!("00-{}-", activated.header("x-request-id"))), "{sent}");
    let request = watched.service.request(Method::PUT, "/v1/users/me/password").basic_auth(ADA, Some(PASSWORD));
    let request = request.json(&json!({ "password": "another horse battery" })).header("traceparent", TRACEPARENT);
    assert_eq!(request.send().await.unwrap().status(), StatusCode::NO_CONTENT);
    let sent = watched.traceparent(4).await;
    assert!(sent.starts_with(&format!("00-{TRACE}-")), "{sent}");
}

#[tokio::test]
async fn a_mail_that_an_earlier_release_has_queued_begins_a_trace() {
    let watched = Watched::serve(&[]).await;
    watched.service.set_mail_faults(json!({ "fail_rate": 1 })).await;
    watched.service.register_pending(ADA).await;
    watched.service.wait_for_mail_attempt().await;
    sqlx::query("UPDATE outbox SET traceparent = NULL").execute(&watched.service.db).await.unwrap();
    watched.service.set_mail_faults(json!({})).await;
    assert_eq!(watched.traceparent(1).await.len(), TRACEPARENT.len());
}

#[tokio::test]
async fn ids_that_are_none_are_not_taken() {
    let mut watched = Watched::serve(&[]).await;
    let long = "a".repeat(129);
    for hostile in ["two words", "a=b", "{\"a\":1}", "\u{1b}[31m", "é", "", &long] {
        let mut headers = HeaderMap::new();
        headers.insert("x-request-id", hostile.as_bytes().try_into().unwrap_or_else(|_| "\t".parse().unwrap()));
        headers.insert("traceparent", hostile.as_bytes().try_into().unwrap_or_else(|_| "\t".parse().unwrap()));
        let answer = watched.service.request(Method::GET, "/openapi.json").headers(headers).send().await.unwrap();
        let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
        assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        let line = watched.line("request", &id, "GET /openapi.json 200").await;
        assert_eq!(line["span"]["request_id"], id.as_str());
    }
    // Two are as good as none, and an id that is one is the client's.
    let request = watched.service.request(Method::GET, "/openapi.yaml").header("X-Request-Id", &long[1..]);
    let answer = request.header("traceparent", TRACEPARENT).header("traceparent", TRACEPARENT).send().await.unwrap();
    assert_eq!(answer.headers()["x-request-id"], &long[1..]);
    let log = watched.running.stderr();
    assert!(log.contains(&long[1..]) && !log.contains(TRACE), "{log}");
    // Each request in a trace has its own.
    let mut ids = vec![];
    for _ in 0..2 {
        let request = watched.service.request(Method::GET, "/livez").header("traceparent", TRACEPARENT);
        ids.push(request.send().await.unwrap().headers()["x-request-id"].clone());
    }
    assert!(ids[0] != ids[1] && ids.iter().all(|id| id != TRACE), "{ids:?}");
}

#[tokio::test]
async fn the_metrics_tell_what_happened() {
    let watched = Watched::serve(&[]).await;
    let service = &watched.service;
    for counter in [
        "sixty_registrations_total",
        "sixty_codes_issued_total",
        r#"sixty_guesses_total{outcome="right"}"#,
        r#"sixty_http_requests_total{method="POST",route="/v1/users",status="500"}"#,
    ] {
        assert_eq!(watched.figure(counter).await, 0.0, "{counter} begins at zero");
    }
    service.register_pending(ADA).await;
    let code = service.wait_for_code(ADA, 1).await;
    service.wait_for_empty_outbox().await;
    assert_eq!(service.register(ADA, PASSWORD).await.status, 429);
    assert_eq!(service.activate(ADA, PASSWORD, &wrong_code(&code)).await.status, 422);
    assert_eq!(service.activate(ADA, PASSWORD, &code).await.status, 200);
    service.register_pending("bob@example.com").await;
    let code = service.wait_for_code("bob@example.com", 1).await;
    for _ in 0..3 {
        assert_eq!(service.activate("bob@example.com", PASSWORD, &wrong_code(&code)).await.status, 422);
    }
    assert_eq!(service.activate("bob@example.com", PASSWORD, &code).await.status, 410);
    // What clients make up is one label.
    for path in ["/a", "/b", "/v1/users/me/c"] {
        service.request(Method::GET, path).send().await.unwrap();
        service.request(Method::from_bytes(b"BREW").unwrap(), path).send().await.unwrap();
    }
    service.wait_for_empty_outbox().await;
    let metrics = watched.running.metrics().await;
    for (metric, value) in [
        ("sixty_registrations_total", 2.0),
        ("sixty_codes_issued_total", 2.0),
        ("sixty_codes_verified_total", 1.0),
        ("sixty_codes_destroyed_total", 1.0),
        (r#"sixty_guesses_total{outcome="right"}"#, 1.0),
        (r#"sixty_guesses_total{outcome="wrong"}"#, 4.0),
        (r#"sixty_guesses_total{outcome="no_code"}"#, 1.0),
        (r#"sixty_limited_requests_total{limit="address"}"#, 1.0),
        // Ada is told that her account is active, too.
        (r#"sixty_mail_attempts_total{outcome="sent"}"#, 3.0),
        (r#"sixty_mail_attempt_duration_seconds_count{accepted="true"}"#, 3.0),
        ("sixty_mail_acceptance_seconds_count", 3.0),
        (r#"sixty_http_requests_total{method="POST",route="/v1/users",status="201"}"#, 2.0),
        (r#"sixty_http_requests_total{method="POST",route="/v1/users",status="429"}"#, 1.0),
        (r#"sixty_http_request_duration_seconds_count{method="POST",route="/v1/users"}"#, 3.0),
        (r#"sixty_http_requests_total{method="GET",route="-",status="404"}"#, 3.0),
        (r#"sixty_http_requests_total{method="-",route="-",status="404"}"#, 3.0),
        // The registration that came too soon was spared its hash.
        ("sixty_hasher_evaluation_seconds_count", 8.0),
        ("sixty_hasher_wait_seconds_count", 8.0),
        ("sixty_hasher_refused_total", 0.0),
        ("sixty_outbox_mails", 0.0),
        ("sixty_outbox_oldest_age_seconds", 0.0),
        (r#"sixty_pool_max_connections{store="postgresql"}"#, 10.0),
        (r#"sixty_store_up{store="redis"}"#, 1.0),
        ("sixty_ready", 1.0),
        (concat!(r#"sixty_build_info{version=""#, env!("CARGO_PKG_VERSION"), r#""}"#), 1.0),
    ] {
        assert_eq!(figure(&metrics, metric), Some(value), "{metric}:\n{metrics}");
    }
    assert!(figure(&metrics, "process_resident_memory_bytes").unwrap() > 1e6);
    assert!(!metrics.contains("BREW") && !metrics.contains("/me/c"), "{metrics}");
    // Whatever is shown is explained.
    for line in metrics.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
        assert!([name, family].iter().any(|name| metrics.contains(&format!("# HELP {name} "))), "{line}");
    }
}

#[tokio::test]
async fn the_backlog_shows_in_every_process() {
    let watched = Watched::serve(&[]).await;
    watched.service.set_mail_faults(json!({ "fail_rate": 1 })).await;
    watched.service.register_pending(ADA).await;
    let mut idle = sixty(&["serve", "--code-secret", CODE_SECRET, "--mail-url", &watched.service.mail_url]);
    idle.args(["--database-url", &watched.service.database_url, "--redis-url", stack().redis_url()]);
    let (mut replica, _) = Running::serve(&mut idle).await;
    for running in [&watched.running, &replica] {
        eventually("the mail that waits", async || {
            let metrics = running.metrics().await;
            let (mails, age) =
                (figure(&metrics, "sixty_outbox_mails")?, figure(&metrics, "sixty_outbox_oldest_age_seconds")?);
            (mails == 1.0 && age > 0.0).then_some(())
        })
        .await;
    }
    assert!(replica.end(Signal::SIGTERM).await.success());
}

#[tokio::test]
async fn without_stores_the_metrics_say_so() {
    let mut serve = sixty(&["serve", "--code-secret", CODE_SECRET, "--mail-url=http://127.0.0.1:1"]);
    serve.args(["--database-url=postgres://sixty@127.0.0.1:1/sixty", "--redis-url=redis://127.0.0.1:1"]);
    let (mut running, _) = Running::serve(&mut serve).await;
    let metrics = running.metrics().await;
    for store in [r#"sixty_store_up{store="postgresql"}"#, r#"sixty_store_up{store="redis"}"#, "sixty_ready"] {
        assert_eq!(figure(&metrics, store), Some(0.0), "{store}");
    }
    // It is not known how many, and an old figure would look like a true one.
    for figures in ["sixty_outbox_mails", "sixty_events_lag_seconds"] {
        assert!(figure(&metrics, figures).unwrap().is_nan());
    }
    assert!(running.end(Signal::SIGTERM).await.success());
}

#[tokio::test]
async fn each_alert_is_about_what_there_is_and_has_a_section_in_the_runbook() {
    let (alerts, tests) = (operations("alerts.yml"), operations("alerts_test.yml"));
    let runbook = operations("runbook.md");
    let names = Regex::new(r"- alert: (\w+)").unwrap();
    let alert_names: Vec<&str> = names.captures_iter(&alerts).map(|alert| alert.extract::<1>().1[0]).collect();
    assert!(alert_names.len() > 10, "{alert_names:?}");
    for alert in &alert_names {
        let anchor = alert.to_lowercase();
        assert!(runbook.contains(&format!("\n### {alert}\n")), "the runbook says nothing of {alert}");
        assert!(runbook.contains(&format!("(#{anchor})")), "the runbook does not list {alert}");
        assert!(alerts.contains(&format!("runbook_url: docs/operations/runbook.md#{anchor}\n")), "{alert}");
        assert!(tests.contains(&format!("alertname: {alert}\n")), "{alert} is not tested");
    }
    for section in runbook.lines().filter_map(|line| line.strip_prefix("### ")) {
        assert!(alert_names.contains(&section), "there is no alert {section}");
    }

    let watched = Watched::serve(&[]).await;
    watched.service.register_pending(ADA).await;
    watched.service.wait_for_empty_outbox().await;
    let metrics = watched.running.metrics().await;
    let named = Regex::new(r"\b(sixty|process)_[a-z_]+").unwrap();
    let words = |line: &&str| ["#", "summary:"].iter().any(|word| line.trim_start().starts_with(word));
    let expressions = alerts.lines().filter(|line| !words(line));
    for metric in expressions.flat_map(|line| named.find_iter(line)).map(|found| found.as_str()) {
        let there =
            metrics.lines().any(|line| line.strip_prefix(metric).is_some_and(|rest| rest.starts_with([' ', '{'])));
        assert!(there, "an alert asks for {metric}, which nobody tells");
    }
    // What the runbook and the guide name is there, too.
    for text in [runbook, operations("README.md")] {
        for metric in named.find_iter(&text).map(|found| found.as_str()) {
            assert!(metrics.contains(&format!("# TYPE {metric}")), "there is no {metric}");
        }
    }
}

fn operations(file: &str) -> String {
    std::fs::read_to_string(format!("{}/docs/operations/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}
