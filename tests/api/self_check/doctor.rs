//! `sixty doctor`.

use mail_mock::{ApiKeys, MailjetCredentials, MockOptions};
use serde_json::Value;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::stores;
use crate::private_servers::PrivateRedis;
use crate::process::{output, sixty};
use crate::support::start_mail_mock;

/// Neither 32 equal octets nor text.
const RANDOM_SECRET: &str = "3q2+7wABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhs=";

fn doctor(database_url: &str, redis_url: &str, mail_url: &str) -> Command {
    let mut doctor = sixty(&["doctor"]);
    doctor
        .env("DATABASE_URL", database_url)
        .env("REDIS_URL", redis_url)
        .env("MAIL_URL", mail_url)
        .env("CODE_SECRET", RANDOM_SECRET)
        .env("PUBLIC_URL", "https://sixty.example");
    doctor
}

/// Runs `doctor --json`. Returns its exit status and the status of each check.
async fn check(doctor: &mut Command) -> (i32, Value) {
    let output = output(doctor.arg("--json")).await;
    let json = String::from_utf8(output.stdout).unwrap();
    assert!(!json.contains("c4n4ry"), "{json}");
    (output.status.code().unwrap(), serde_json::from_str(&json).unwrap_or_else(|_| panic!("{json}")))
}

fn finding<'a>(report: &'a Value, check: &str) -> &'a Value {
    let checks = report["checks"].as_array().unwrap();
    checks.iter().find(|finding| finding["check"] == check).unwrap_or_else(|| panic!("{check}: {report}"))
}

fn failed(report: &Value) -> Vec<&str> {
    let checks = report["checks"].as_array().unwrap().iter();
    checks.filter(|finding| finding["status"] == "failed").map(|finding| finding["check"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_healthy_stack_passes() {
    let stop = CancellationToken::new();
    let mail_url = start_mail_mock(MockOptions::default(), stop.clone()).await;
    let (database, redis) = stores().await;
    let (status, report) = check(&mut doctor(&database, redis, &mail_url)).await;
    assert_eq!((status, &report["ok"], failed(&report)), (0, &Value::Bool(true), vec![]), "{report}");
    let text = |check| finding(&report, check)["found"].as_str().unwrap();
    assert!(text("postgresql database").contains("encoding UTF8"), "{report}");
    assert!(text("postgresql migrations").contains("pending; `serve` applies them"), "{report}");
    assert!(text("redis eviction").contains("noeviction") && text("redis").contains("one server"), "{report}");

    let table = output(&mut doctor(&database, redis, &mail_url)).await;
    let lines = String::from_utf8(table.stdout).unwrap();
    assert!(table.status.success() && table.stderr.is_empty(), "{lines}");
    assert_eq!(lines.lines().count(), report["checks"].as_array().unwrap().len());
    stop.cancel();
}

#[tokio::test]
async fn broken_stores_and_providers_fail() {
    let stop = CancellationToken::new();
    let credentials = MailjetCredentials { key: "key".to_owned(), secret: "secret".into() };
    let options = MockOptions { mailjet: Some(credentials), ..MockOptions::default() };
    let mail_url = start_mail_mock(options, stop.clone()).await;
    let (database, redis) = stores().await;
    let mailjet = |secret: &str| {
        let mut doctor = doctor(&database, redis, &mail_url);
        doctor.envs([("MAIL_DIALECT", "mailjet"), ("MAILJET_API_KEY", "key"), ("MAILJET_API_SECRET", secret)]);
        doctor
    };
    assert_eq!(check(&mut mailjet("secret")).await.0, 0);
    let mut pending = doctor(&database, redis, &mail_url);
    pending.env("MIGRATE", "false");
    for (mut doctor, expected) in [
        (mailjet("c4n4ry"), "mail provider"),
        (doctor(&database, redis, &format!("{mail_url}/wrong")), "mail provider"),
        (doctor(&database, redis, "http://127.0.0.1:1"), "mail provider"),
        (doctor(&database, "redis://:c4n4ry@127.0.0.1:1", &mail_url), "redis"),
        (doctor(&database, &redis.replace("redis://", "rediss://"), &mail_url), "redis"),
        (doctor("postgres://sixty:c4n4ry@127.0.0.1:1/sixty", redis, &mail_url), "postgresql"),
        (doctor(&format!("{database}?sslmode=require"), redis, &mail_url), "postgresql"),
        (pending, "postgresql migrations"),
    ] {
        let (status, report) = check(&mut doctor).await;
        assert_eq!((status, failed(&report)), (1, vec![expected]), "{report}");
    }
    stop.cancel();
}

/// Each dialect asks about the account in its own way. The fallback is checked too.
#[tokio::test]
async fn the_account_at_every_provider_is_checked() {
    let stop = CancellationToken::new();
    let secret = || Some("secret".into());
    let keys = ApiKeys { postmark: secret(), brevo: secret(), sendgrid: secret(), resend: secret() };
    let mail_url = start_mail_mock(MockOptions { keys, ..MockOptions::default() }, stop.clone()).await;
    let (database, redis) = stores().await;
    for (dialect, setting) in [
        ("postmark", "POSTMARK_SERVER_TOKEN"),
        ("brevo", "BREVO_API_KEY"),
        ("sendgrid", "SENDGRID_API_KEY"),
        ("resend", "RESEND_API_KEY"),
    ] {
        let first = |key: &str| {
            let mut doctor = doctor(&database, redis, &mail_url);
            doctor.envs([("MAIL_DIALECT", dialect), (setting, key)]);
            doctor
        };
        let (status, report) = check(&mut first("secret")).await;
        assert_eq!((status, finding(&report, "mail provider")["status"].as_str()), (0, Some("ok")), "{report}");
        let (status, report) = check(&mut first("c4n4ry")).await;
        let found = finding(&report, "mail provider")["found"].as_str().unwrap();
        assert_eq!((status, failed(&report)), (1, vec!["mail provider"]), "{report}");
        assert!(found.ends_with(&format!("check {setting}, MAIL_FROM and MAIL_URL")), "{found}");

        let fallback = |key: &str| {
            let mut doctor = doctor(&database, redis, &mail_url);
            doctor.envs([("MAIL_FALLBACK_URL", &*mail_url), ("MAIL_FALLBACK_DIALECT", dialect), (setting, key)]);
            doctor
        };
        let (status, report) = check(&mut fallback("secret")).await;
        assert_eq!((status, finding(&report, "mail fallback")["status"].as_str()), (0, Some("ok")), "{report}");
        let (status, report) = check(&mut fallback("c4n4ry")).await;
        let found = finding(&report, "mail fallback")["found"].as_str().unwrap();
        assert_eq!((status, failed(&report)), (1, vec!["mail fallback"]), "{report}");
        assert!(found.ends_with(&format!("check {setting}, MAIL_FROM and MAIL_FALLBACK_URL")), "{found}");
    }
    stop.cancel();
}

#[tokio::test]
async fn what_works_and_is_to_be_corrected_is_a_warning() {
    let stop = CancellationToken::new();
    let mail_url = start_mail_mock(MockOptions::default(), stop.clone()).await;
    let redis = PrivateRedis::start().await;
    let () = redis.command(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).await.unwrap();
    let (database, _) = stores().await;
    let mut doctor = doctor(&database, &redis.url, &mail_url);
    doctor.envs([("PUBLIC_URL", "http://sixty.example"), ("CODE_STORAGE", "plain"), ("CLIENT_LIMITS", "false")]);
    doctor.env("CODE_SECRET", "AAAA".repeat(11));
    let (status, report) = check(doctor.env("DATABASE_MAX_CONNECTIONS", "100000")).await;
    assert_eq!(status, 0, "{report}");
    for check in
        ["redis eviction", "PUBLIC_URL", "CODE_STORAGE", "CLIENT_LIMITS", "CODE_SECRET", "postgresql connections"]
    {
        assert_eq!(finding(&report, check)["status"], "warning", "{report}");
    }
    stop.cancel();
}

#[tokio::test]
async fn settings_that_cannot_be_used_are_a_failed_check() {
    for (setting, value, expected) in
        [("CODE_TTL", "x", "CODE_TTL: must be"), ("CODE_WAIT_RESET", "1s", "must be longer than CODE_WAIT_MAX")]
    {
        let mut doctor = doctor("postgres://127.0.0.1:1/sixty", "redis://127.0.0.1:1", "http://127.0.0.1:1");
        let (status, report) = check(doctor.env(setting, value)).await;
        let checks = report["checks"].as_array().unwrap();
        assert_eq!((status, checks.len(), &report["ok"]), (1, 1, &Value::Bool(false)), "{report}");
        assert!(checks[0]["status"] == "failed" && checks[0]["found"].as_str().unwrap().contains(expected), "{report}");
    }
}

#[tokio::test]
async fn a_provider_that_cannot_be_reached_is_described() {
    let (database, redis) = stores().await;
    let (status, report) = check(&mut doctor(&database, redis, "https://nobody.invalid")).await;
    assert_eq!((status, failed(&report)), (1, vec!["mail provider"]), "{report}");
    let found = finding(&report, "mail provider")["found"].as_str().unwrap();
    assert!(found.contains("has a host name without an address (DNS)"), "{found}");
}
