//! The queries of the dashboard and of the alerts name metrics and labels that a running service exports.

use std::collections::{HashMap, HashSet};

use regex::Regex;
use serde_json::{Value, json};

use crate::observability::ServeProcess;
use crate::support::PASSWORD;

/// The labels that Prometheus adds to each series of a target.
const LABELS_OF_TARGETS: [&str; 2] = ["instance", "job"];

/// Metrics that Prometheus itself makes.
const OF_PROMETHEUS: [&str; 2] = ["up", "ALERTS"];

/// The values of each label of each metric. A metric without labels has none.
type Series = HashMap<String, HashMap<String, HashSet<String>>>;

fn series(metrics: &str) -> Series {
    let label = Regex::new(r#"(\w+)="([^"]*)""#).unwrap();
    let mut series = Series::new();
    for line in metrics.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (name, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = name.split_once('{').unwrap_or((name, ""));
        let of_metric = series.entry(name.to_owned()).or_default();
        for captures in label.captures_iter(labels) {
            of_metric.entry(captures[1].to_owned()).or_default().insert(captures[2].to_owned());
        }
    }
    series
}

/// Returns what is wrong with the metrics and labels of a query.
fn check(query: &str, series: &Series, recorded: &HashSet<String>) -> Vec<String> {
    // A metric is a name before a selector or a range, or a name with one of our prefixes.
    let metric =
        Regex::new(r"\b((?:sixty|process)[a-z0-9_:]*|[a-zA-Z_:][a-zA-Z0-9_:]*(?:\{|\[))(?:\{)?([^}\[]*)").unwrap();
    let matcher = Regex::new(r#"(\w+)\s*(=~|!=|!~|=)\s*"([^"]*)""#).unwrap();
    let grouping = Regex::new(r"\b(?:by|ignoring|on|without)\s*\(([^)]*)\)").unwrap();
    let mut wrong = vec![];
    let mut labels = HashSet::new();
    for captures in metric.captures_iter(query) {
        let whole = captures.get(0).unwrap();
        let name = captures[1].trim_end_matches(['{', '[']);
        if recorded.contains(name) || OF_PROMETHEUS.contains(&name) {
            labels.extend(["alertname", "severity"].map(str::to_owned));
            continue;
        }
        let Some(of_metric) = series.get(name) else {
            wrong.push(format!("no metric {name}"));
            continue;
        };
        labels.extend(of_metric.keys().cloned());
        let has_selector = query[whole.start() + name.len()..].starts_with('{');
        for matcher in matcher.captures_iter(if has_selector { &captures[2] } else { "" }) {
            let (label, operator, value) = (&matcher[1], &matcher[2], &matcher[3]);
            if LABELS_OF_TARGETS.contains(&label) {
                continue;
            }
            let Some(values) = of_metric.get(label) else {
                wrong.push(format!("{name} has no label {label}"));
                continue;
            };
            let pattern = Regex::new(&format!(
                "^(?:{})$",
                if operator.ends_with('~') { value.to_owned() } else { regex::escape(value) }
            ));
            let pattern = pattern.unwrap();
            // Any status can occur later.
            if label != "status" && !values.iter().any(|value| pattern.is_match(value)) {
                wrong.push(format!("{name} has no {label} {value:?}, only {values:?}"));
            }
        }
    }
    for captures in grouping.captures_iter(query) {
        for label in captures[1].split(',').map(str::trim) {
            if !labels.contains(label) && !LABELS_OF_TARGETS.contains(&label) {
                wrong.push(format!("no metric has the label {label}"));
            }
        }
    }
    wrong
}

fn read(file: &str) -> String {
    std::fs::read_to_string(format!("{}/docs/operations/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[tokio::test]
async fn every_query_names_metrics_and_labels_that_a_service_exports() {
    let dashboard: Value = serde_json::from_str(&read("dashboard.json")).unwrap();
    let rules: Value = serde_saphyr::from_str(&read("alerts.yml")).unwrap();
    let rules = rules["groups"][0]["rules"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let recorded: HashSet<String> =
        rules.iter().filter_map(|rule| rule["record"].as_str().map(str::to_owned)).collect();
    let mut queries: Vec<String> = rules.iter().map(|rule| text(&rule["expr"])).collect();
    let of_rules = queries.len();
    let mut ids = HashSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        let targets = panel["targets"].as_array().map(Vec::as_slice).unwrap_or_default();
        assert!(panel["type"] == "row" || !targets.is_empty() && panel["description"].is_string(), "{panel}");
        queries.extend(targets.iter().map(|target| text(&target["expr"])));
    }
    queries.extend(dashboard["annotations"]["list"].as_array().unwrap().iter().map(|it| text(&it["expr"])));
    assert!(queries.len() > of_rules + 40, "{}", queries.len());

    let process = ServeProcess::start(&[]).await;
    // A failed attempt at the provider, an accepted mail, and a refusal by a limit.
    process.service.set_mail_faults(json!({ "fail_rate": 1 })).await;
    process.service.register_pending("ada@example.com").await;
    process.service.wait_for_mail_attempt().await;
    assert_eq!(process.service.register("ada@example.com", PASSWORD).await.status, 429);
    process.service.set_mail_faults(json!({})).await;
    process.service.wait_for_empty_outbox().await;
    let series = series(&process.running.metrics().await);
    for query in &queries {
        let wrong = check(query, &series, &recorded);
        assert!(wrong.is_empty(), "{query}: {wrong:?}");
    }
    for wrong in [
        "sum(sixty_no_such_metric)",
        r#"sixty_store_up{shop="redis"}"#,
        r#"sixty_store_up{store="mysql"}"#,
        "sum by (shop) (sixty_store_up)",
        "no_such_metric[5m]",
        "sixty:no_such_rule",
    ] {
        assert!(!check(wrong, &series, &recorded).is_empty(), "the check must find what is wrong with {wrong}");
    }
}
