//! Logs, traces, metrics, alerts and the runbook of a running `sixty serve` process.

use std::time::Duration;

use mail_mock::MockOptions;
use nix::sys::signal::Signal;
use regex::Regex;
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::process::{Running, sixty};
use crate::support::{
    CODE_SECRET, PASSWORD, Service, code_in, create_database, eventually, stack, start_mail_mock, unique_name,
    wrong_code,
};

const ADA: &str = "ada@example.com";
/// The example trace id of the W3C Trace Context specification.
const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";
const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A `sixty serve` process with a mock mail provider of its own.
pub struct ServeProcess {
    pub running: Running,
    pub service: Service,
    _mock: DropGuard,
}

impl ServeProcess {
    pub async fn start(flags: &[&str]) -> Self {
        Self::start_with(flags, &[]).await
    }

    pub async fn start_with(flags: &[&str], variables: &[(&str, &str)]) -> Self {
        let stop = CancellationToken::new();
        let mail_url = start_mail_mock(MockOptions::default(), stop.clone()).await;
        Self::start_on(&mail_url, stop, flags, variables).await
    }

    /// Starts a process that sends its mails to another provider than a mock of its own.
    pub async fn start_with_mail_url(mail_url: &str, flags: &[&str]) -> Self {
        Self::start_on(mail_url, CancellationToken::new(), flags, &[]).await
    }

    async fn start_on(mail_url: &str, stop: CancellationToken, flags: &[&str], variables: &[(&str, &str)]) -> Self {
        let (database_url, prefix) = (create_database().await, format!("t{}", unique_name()));
        let mut serve = sixty(&["serve", "--code-secret", CODE_SECRET]);
        // A variable, so that a flag can override it.
        serve.env("CLIENT_LIMITS", "false");
        serve.args(["--database-url", &database_url, "--redis-url", stack().redis_url()]);
        serve.args(["--redis-prefix", &prefix, "--mail-url", mail_url]).args(flags);
        serve.envs(variables.iter().copied());
        let (running, api) = Running::serve(&mut serve).await;
        let service = Service::connect(api, mail_url, &database_url, &prefix, CancellationToken::new()).await;
        Self { running, service, _mock: stop.drop_guard() }
    }

    /// Waits for a log line that starts with `message`, in the named span of the trace.
    pub async fn wait_for_log_line(&mut self, span: &str, trace_id: &str, message: &str) -> Value {
        self.running
            .until(&format!("{message:?} in {trace_id}"), async |running| {
                let log = running.stderr();
                let mut events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
                events.find(|event| {
                    event["span"]["name"] == span
                        && event["span"]["trace_id"] == trace_id
                        && event["message"].as_str().is_some_and(|text| text.starts_with(message))
                })
            })
            .await
    }

    /// Returns the value of a metric. The labels in `metric` must be in alphabetical order.
    pub async fn metric(&self, metric: &str) -> f64 {
        metric_value(&self.running.metrics().await, metric).unwrap_or_else(|| panic!("there is no metric {metric}"))
    }

    /// Waits for the `n`-th mail and returns the `traceparent` header of the newest mail request.
    async fn wait_for_traceparent(&self, n: usize) -> String {
        self.service.wait_for_mail(ADA, n).await;
        let newest = &self.service.mails(ADA).await[0];
        self.service.mail_json(newest).await["Traceparent"].as_str().unwrap().to_owned()
    }
}

/// Returns the value of a metric in the Prometheus text format.
fn metric_value(metrics: &str, metric: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' ')?.parse().ok())
}

#[tokio::test]
async fn a_mail_has_the_trace_id_of_the_request_that_queued_it() {
    let mut process = ServeProcess::start(&["--code-wait=60s"]).await;
    let body = json!({ "email": ADA, "password": PASSWORD });
    let accepted = "a mail was accepted by the provider";

    // The client sends the trace id.
    let request = process.service.request(Method::POST, "/v1/users").json(&body).header("traceparent", TRACEPARENT);
    let answer = request.header("X-Request-Id", "ada-1").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::CREATED);
    assert_eq!(answer.headers()["x-request-id"], "ada-1");
    let line = process.wait_for_log_line("request", TRACE_ID, "POST /v1/users 201").await;
    assert_eq!((&line["span"]["request_id"], &line["status"]), (&json!("ada-1"), &json!(201)));
    assert!(line["ms"].is_u64() && line["span"]["route"] == "/v1/users" && line["span"]["method"] == "POST", "{line}");
    process.wait_for_log_line("mail", TRACE_ID, accepted).await;
    let sent = process.wait_for_traceparent(1).await;
    assert!(sent.starts_with(&format!("00-{TRACE_ID}-")) && sent.ends_with("-01"), "{sent}");
    assert!(
        !sent.contains("b7ad6b7169203331"),
        "the parent of the mail must be the request's span, not the client's span: {sent}"
    );

    // The client sends no trace id, so the request id in the response is the trace id.
    process.service.age_grants(Duration::from_secs(60)).await;
    let request = process.service.request(Method::POST, "/v1/users/me/verification-code");
    let answer = request.basic_auth(ADA, Some(PASSWORD)).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
    process.wait_for_log_line("request", &id, "POST /v1/users/me/verification-code 202").await;
    process.wait_for_log_line("mail", &id, accepted).await;
    let sent = process.wait_for_traceparent(2).await;
    assert!(sent.starts_with(&format!("00-{id}-")), "{sent}");

    let code = process.service.wait_for_code(ADA, 2).await;
    let activated = process.service.activate(ADA, PASSWORD, &code).await;
    assert_eq!(activated.status, 200);
    let sent = process.wait_for_traceparent(3).await;
    assert!(sent.starts_with(&format!("00-{}-", activated.header("x-request-id"))), "{sent}");
    let request = process.service.request(Method::PUT, "/v1/users/me/password").basic_auth(ADA, Some(PASSWORD));
    let request = request.json(&json!({ "password": "another horse battery" })).header("traceparent", TRACEPARENT);
    assert_eq!(request.send().await.unwrap().status(), StatusCode::NO_CONTENT);
    let sent = process.wait_for_traceparent(4).await;
    assert!(sent.starts_with(&format!("00-{TRACE_ID}-")), "{sent}");
}

#[tokio::test]
async fn a_mail_queued_without_a_traceparent_starts_a_new_trace() {
    let process = ServeProcess::start(&[]).await;
    process.service.set_mail_faults(json!({ "fail_rate": 1 })).await;
    process.service.register_pending(ADA).await;
    process.service.wait_for_mail_attempt().await;
    sqlx::query("UPDATE outbox SET traceparent = NULL").execute(&process.service.db).await.unwrap();
    process.service.set_mail_faults(json!({})).await;
    assert_eq!(process.wait_for_traceparent(1).await.len(), TRACEPARENT.len());
}

#[tokio::test]
async fn invalid_request_ids_and_traceparents_are_replaced() {
    let mut process = ServeProcess::start(&[]).await;
    let long = "a".repeat(129);
    for invalid in ["two words", "a=b", "{\"a\":1}", "\u{1b}[31m", "é", "", &long] {
        let mut headers = HeaderMap::new();
        headers.insert("x-request-id", invalid.as_bytes().try_into().unwrap_or_else(|_| "\t".parse().unwrap()));
        headers.insert("traceparent", invalid.as_bytes().try_into().unwrap_or_else(|_| "\t".parse().unwrap()));
        let answer = process.service.request(Method::GET, "/openapi.json").headers(headers).send().await.unwrap();
        let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
        assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        let line = process.wait_for_log_line("request", &id, "GET /openapi.json 200").await;
        assert_eq!(line["span"]["request_id"], id.as_str());
    }
    // The service ignores a repeated `traceparent` and keeps a request id of 128 characters.
    let request = process.service.request(Method::GET, "/openapi.yaml").header("X-Request-Id", &long[1..]);
    let answer = request.header("traceparent", TRACEPARENT).header("traceparent", TRACEPARENT).send().await.unwrap();
    assert_eq!(answer.headers()["x-request-id"], &long[1..]);
    let log = process.running.stderr();
    assert!(log.contains(&long[1..]) && !log.contains(TRACE_ID), "{log}");
    // Two requests in one trace get different request ids.
    let mut ids = vec![];
    for _ in 0..2 {
        let request = process.service.request(Method::GET, "/livez").header("traceparent", TRACEPARENT);
        ids.push(request.send().await.unwrap().headers()["x-request-id"].clone());
    }
    assert!(ids[0] != ids[1] && ids.iter().all(|id| id != TRACE_ID), "{ids:?}");
}

#[tokio::test]
async fn metrics_count_registrations_codes_guesses_mails_and_requests() {
    let process = ServeProcess::start(&[]).await;
    let service = &process.service;
    for counter in [
        "sixty_registrations_total",
        "sixty_codes_issued_total",
        r#"sixty_guesses_total{outcome="right"}"#,
        r#"sixty_http_requests_total{method="POST",route="/v1/users",status="500"}"#,
    ] {
        assert_eq!(process.metric(counter).await, 0.0, "{counter} must start at zero");
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
    // Unknown paths and methods share the label `-`, so that clients cannot create labels.
    for path in ["/a", "/b", "/v1/users/me/c"] {
        service.request(Method::GET, path).send().await.unwrap();
        service.request(Method::from_bytes(b"BREW").unwrap(), path).send().await.unwrap();
    }
    service.wait_for_empty_outbox().await;
    let metrics = process.running.metrics().await;
    for (metric, value) in [
        ("sixty_registrations_total", 2.0),
        ("sixty_codes_issued_total", 2.0),
        ("sixty_codes_verified_total", 1.0),
        ("sixty_codes_destroyed_total", 1.0),
        (r#"sixty_guesses_total{outcome="right"}"#, 1.0),
        (r#"sixty_guesses_total{outcome="wrong"}"#, 4.0),
        (r#"sixty_guesses_total{outcome="no_code"}"#, 1.0),
        (r#"sixty_limited_requests_total{limit="address"}"#, 1.0),
        // Two mails carry codes; the third tells Ada that her account is active.
        (r#"sixty_mail_attempts_total{outcome="sent"}"#, 3.0),
        (r#"sixty_mail_attempt_duration_seconds_count{accepted="true"}"#, 3.0),
        ("sixty_mail_acceptance_seconds_count", 3.0),
        (r#"sixty_http_requests_total{method="POST",route="/v1/users",status="201"}"#, 2.0),
        (r#"sixty_http_requests_total{method="POST",route="/v1/users",status="429"}"#, 1.0),
        (r#"sixty_http_request_duration_seconds_count{method="POST",route="/v1/users"}"#, 3.0),
        (r#"sixty_http_requests_total{method="GET",route="-",status="404"}"#, 3.0),
        (r#"sixty_http_requests_total{method="-",route="-",status="404"}"#, 3.0),
        // The rate-limited registration was refused before its password was hashed, and guesses remember the password.
        ("sixty_hasher_evaluation_seconds_count", 2.0),
        ("sixty_hasher_wait_seconds_count", 2.0),
        ("sixty_hasher_refused_total", 0.0),
        ("sixty_outbox_mails", 0.0),
        ("sixty_outbox_oldest_age_seconds", 0.0),
        (r#"sixty_pool_max_connections{store="postgresql"}"#, 10.0),
        (r#"sixty_store_up{store="redis"}"#, 1.0),
        ("sixty_ready", 1.0),
        (concat!(r#"sixty_build_info{version=""#, env!("CARGO_PKG_VERSION"), r#""}"#), 1.0),
    ] {
        assert_eq!(metric_value(&metrics, metric), Some(value), "{metric}:\n{metrics}");
    }
    assert!(metric_value(&metrics, "process_resident_memory_bytes").unwrap() > 1e6);
    assert!(!metrics.contains("BREW") && !metrics.contains("/me/c"), "{metrics}");
    // Each metric has a HELP line.
    for line in metrics.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
        assert!([name, family].iter().any(|name| metrics.contains(&format!("# HELP {name} "))), "no HELP for {line}");
    }
}

/// Somebody who reads the metrics and the log must not learn which addresses have an account.
#[tokio::test]
async fn metrics_and_log_do_not_reveal_an_account() {
    let process = ServeProcess::start(&["--log-level=debug,sqlx=warn"]).await;
    let service = &process.service;
    service.register_active(ADA).await;
    service.wait_for_empty_outbox().await;
    service.age_grants(Duration::from_secs(24 * 60 * 60)).await;
    let events_relayed = async || {
        let left = "SELECT count(*) FROM events";
        let left: i64 = sqlx::query_scalar(left).fetch_one(&service.db).await.unwrap();
        (left == 0).then_some(())
    };
    let mut changes = vec![];
    for email in [ADA, "bob@example.com"] {
        eventually("relayed events", events_relayed).await;
        let (before, log) = (counters(&process.running.metrics().await), process.running.stderr().len());
        let mails = service.mails(email).await.len();
        assert_eq!(service.register(email, "another password").await.status, 201);
        let text = service.wait_for_mail(email, mails + 1).await;
        service.wait_for_empty_outbox().await;
        let guess = code_in(&text).map_or_else(|| "0000".to_owned(), |code| wrong_code(&code));
        assert_eq!(service.me(email, "nobody has this one").await.status, 401);
        for status in [422, 422, 422, 410] {
            assert_eq!(service.activate(email, "another password", &guess).await.status, status);
        }
        service.age_grants(Duration::from_secs(120)).await;
        assert_eq!(service.resend(email, "another password").await.status, 202);
        service.wait_for_mail(email, mails + 2).await;
        service.wait_for_empty_outbox().await;
        assert_eq!(service.delete(email, "another password").await.status, 204);
        eventually("relayed events", events_relayed).await;
        let after = counters(&process.running.metrics().await);
        let counted: Vec<(String, f64)> = after
            .into_iter()
            .map(|(name, value)| {
                let before = before.iter().find(|(other, _)| *other == name).map_or(0.0, |(_, before)| *before);
                (name, value - before)
            })
            .filter(|(_, change)| *change != 0.0)
            .collect();
        changes.push((counted, log_lines(&process.running.stderr()[log..])));
    }
    assert!(changes[0].0.iter().any(|(name, change)| name == "sixty_codes_issued_total" && *change == 2.0));
    assert_eq!(changes[0], changes[1]);
}

/// Returns the counters of Sixty and the numbers of observations in its histograms.
fn counters(metrics: &str) -> Vec<(String, f64)> {
    let lines = metrics.lines().filter(|line| line.starts_with("sixty_") && !line.contains("/readyz"));
    let lines = lines.filter_map(|line| line.rsplit_once(' '));
    let counters = lines.filter(|(name, _)| {
        let family = name.split('{').next().unwrap_or_default();
        family.ends_with("_total") || family.ends_with("_count")
    });
    let mut counters: Vec<(String, f64)> =
        counters.map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect();
    // The recorder lists them in no fixed order.
    counters.sort_by(|(name, _), (other, _)| name.cmp(other));
    counters
}

/// Returns the level and the message of each line about a request or a mail, in alphabetical order, without numbers.
fn log_lines(log: &str) -> Vec<String> {
    let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    // The connection pool of the HTTP client logs whether a connection could be reused.
    let is_own = |event: &Value| event["target"].as_str().is_some_and(|target| target.starts_with("sixty"));
    let events = events.filter(|event| event["span"]["name"].is_string() && is_own(event));
    let mut lines: Vec<String> = events
        .map(|event| {
            let fields: Vec<_> = event.as_object().unwrap().keys().cloned().collect();
            let message = event["message"].as_str().unwrap().replace(|c: char| c.is_ascii_digit(), "");
            format!("{} {message} {fields:?}", event["level"])
        })
        .collect();
    lines.sort();
    lines
}

#[tokio::test]
async fn every_process_reports_the_outbox_backlog() {
    let process = ServeProcess::start(&[]).await;
    process.service.set_mail_faults(json!({ "fail_rate": 1 })).await;
    process.service.register_pending(ADA).await;
    let mut idle = sixty(&["serve", "--code-secret", CODE_SECRET, "--mail-url", &process.service.mail_url]);
    idle.args(["--database-url", &process.service.database_url, "--redis-url", stack().redis_url()]);
    // Without the guesses at its code, the replica would drop the mail.
    idle.args(["--redis-prefix", &process.service.prefix]);
    let (mut replica, _) = Running::serve(&mut idle).await;
    for running in [&process.running, &replica] {
        eventually("a backlog of one mail", async || {
            let metrics = running.metrics().await;
            let (mails, age) = (
                metric_value(&metrics, "sixty_outbox_mails")?,
                metric_value(&metrics, "sixty_outbox_oldest_age_seconds")?,
            );
            (mails == 1.0 && age > 0.0).then_some(())
        })
        .await;
    }
    assert!(replica.end(Signal::SIGTERM).await.success());
}

#[tokio::test]
async fn metrics_report_unreachable_stores() {
    let mut serve = sixty(&["serve", "--code-secret", CODE_SECRET, "--mail-url=http://127.0.0.1:1"]);
    serve.args(["--database-url=postgres://sixty@127.0.0.1:1/sixty", "--redis-url=redis://127.0.0.1:1"]);
    let (mut running, _) = Running::serve(&mut serve).await;
    let metrics = running.metrics().await;
    for store in [r#"sixty_store_up{store="postgresql"}"#, r#"sixty_store_up{store="redis"}"#, "sixty_ready"] {
        assert_eq!(metric_value(&metrics, store), Some(0.0), "{store}");
    }
    // The values are unknown. NaN is better than an old value, which would look current.
    for unknown in ["sixty_outbox_mails", "sixty_events_lag_seconds"] {
        assert!(metric_value(&metrics, unknown).unwrap().is_nan());
    }
    assert!(running.end(Signal::SIGTERM).await.success());
}

#[tokio::test]
async fn each_alert_uses_existing_metrics_and_has_a_runbook_section() {
    let (alerts, tests) = (read_operations_file("alerts.yml"), read_operations_file("alerts_test.yml"));
    let runbook = read_operations_file("runbook.md");
    let names = Regex::new(r"- alert: (\w+)").unwrap();
    let alert_names: Vec<&str> = names.captures_iter(&alerts).map(|alert| alert.extract::<1>().1[0]).collect();
    assert!(alert_names.len() > 10, "{alert_names:?}");
    for alert in &alert_names {
        let anchor = alert.to_lowercase();
        assert!(runbook.contains(&format!("\n### {alert}\n")), "the runbook has no section on {alert}");
        assert!(runbook.contains(&format!("(#{anchor})")), "the runbook does not link to the section {alert}");
        assert!(
            alerts.contains(&format!("runbook_url: docs/operations/runbook.md#{anchor}\n")),
            "alerts.yml has no runbook_url for {alert}"
        );
        assert!(tests.contains(&format!("alertname: {alert}\n")), "alerts_test.yml does not test {alert}");
    }
    for section in runbook.lines().filter_map(|line| line.strip_prefix("### ")) {
        assert!(alert_names.contains(&section), "the runbook section {section} belongs to no alert");
    }

    let process = ServeProcess::start(&[]).await;
    process.service.register_pending(ADA).await;
    process.service.wait_for_empty_outbox().await;
    let metrics = process.running.metrics().await;
    let metric_names = Regex::new(r"\b(sixty|process)_[a-z_]+").unwrap();
    let is_prose = |line: &&str| ["#", "summary:"].iter().any(|word| line.trim_start().starts_with(word));
    let expressions = alerts.lines().filter(|line| !is_prose(line));
    for metric in expressions.flat_map(|line| metric_names.find_iter(line)).map(|found| found.as_str()) {
        let exists =
            metrics.lines().any(|line| line.strip_prefix(metric).is_some_and(|rest| rest.starts_with([' ', '{'])));
        assert!(exists, "an alert uses {metric}, but /metrics does not show this metric");
    }
    // Each metric that the runbook and the operations guide name exists, too.
    for text in [runbook, read_operations_file("README.md")] {
        for metric in metric_names.find_iter(&text).map(|found| found.as_str()) {
            assert!(
                metrics.contains(&format!("# TYPE {metric}")),
                "the operations docs name {metric}, but /metrics does not show this metric"
            );
        }
    }
}

/// Reads a file of `docs/operations`.
fn read_operations_file(file: &str) -> String {
    std::fs::read_to_string(format!("{}/docs/operations/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}
