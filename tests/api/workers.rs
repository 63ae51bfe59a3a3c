//! What becomes of mails when processes end, by will or by force, and of a provider that fails.

use nix::sys::signal::Signal;
use reqwest::Client;
use serde_json::{Value, json};
use sixty::mail_mock::Options;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::kit::{CODE_SECRET, PASSWORD, Service, database, eventually, mail_mock, stack, unique};
use crate::process::{Running, sixty};

const ADA: &str = "ada@example.com";

/// A database, a key prefix and a provider, and no process that uses them.
struct World {
    database_url: String,
    prefix: String,
    mail_url: String,
    _mock: DropGuard,
}

impl World {
    async fn new() -> World {
        let stop = CancellationToken::new();
        let mail_url = mail_mock(Options::default(), stop.clone()).await;
        World { database_url: database().await, prefix: format!("t{}", unique()), mail_url, _mock: stop.drop_guard() }
    }

    async fn serve(&self, flags: &[&str]) -> (Running, Service) {
        let mut serve = sixty(&["serve"]);
        serve
            .args(["--database-url", &self.database_url, "--redis-url", stack().redis_url()])
            .args(["--redis-prefix", &self.prefix, "--mail-url", &self.mail_url, "--code-secret", CODE_SECRET])
            .args(flags);
        let (running, api) = Running::serve(&mut serve).await;
        let stop = CancellationToken::new();
        let service = Service::reach(api, &self.mail_url, &self.database_url, &self.prefix, stop).await;
        (running, service)
    }
}

/// Nobody else can have it before its lease is over, which must take seconds.
#[tokio::test]
async fn a_mail_that_a_killed_process_had_under_way_is_taken_over() {
    let world = World::new().await;
    let (mut killed, service) = world.serve(&[]).await;
    service.faults(json!({ "latency_ms": 60_000 })).await;
    service.registered(ADA).await;
    service.attempted().await;
    killed.end(Signal::SIGKILL).await;
    service.faults(json!({})).await;
    let (_running, service) = world.serve(&[]).await;
    let code = service.code(ADA, 1).await;
    assert_eq!(service.activate(ADA, PASSWORD, &code).await.status, 200);
}

#[tokio::test]
async fn a_process_that_ends_leaves_others_what_it_cannot_finish() {
    let world = World::new().await;
    // Nobody who waits for the lease to end gets it in time.
    let (mut ending, service) = world.serve(&["--shutdown-grace=2s", "--mail-lease=10m"]).await;
    service.faults(json!({ "latency_ms": 60_000 })).await;
    service.registered(ADA).await;
    service.attempted().await;
    assert!(ending.end(Signal::SIGTERM).await.success());
    service.faults(json!({})).await;
    let (_running, service) = world.serve(&[]).await;
    let code = service.code(ADA, 1).await;
    assert_eq!(service.activate(ADA, PASSWORD, &code).await.status, 200);
}

#[tokio::test]
async fn a_process_that_ends_finishes_what_it_can_and_begins_nothing() {
    let world = World::new().await;
    let (mut ending, service) = world.serve(&["--mail-concurrency=1"]).await;
    service.faults(json!({ "latency_ms": 2_000 })).await;
    service.registered(ADA).await;
    service.attempted().await;
    service.registered("bob@example.com").await;
    assert!(ending.end(Signal::SIGTERM).await.success(), "{}", ending.stderr());
    assert_eq!(service.mails(ADA).await.len(), 1);
    let left = "SELECT email FROM outbox JOIN users ON users.id = user_id WHERE attempts = 0";
    let left: Vec<String> = sqlx::query_scalar(left).fetch_all(&service.db).await.unwrap();
    assert_eq!((service.unfinished().await, left.as_slice()), (1, &["bob@example.com".to_owned()][..]));
}

async fn metrics(running: &Running) -> String {
    let log = running.stderr();
    let mut events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let ops = events.find_map(|event| Some(event["ops"].as_str()?.to_owned())).unwrap();
    let http = Client::builder().no_proxy().build().unwrap();
    http.get(format!("http://{ops}/metrics")).send().await.unwrap().text().await.unwrap()
}

#[tokio::test]
async fn a_provider_that_fails_gets_one_mail_at_a_time_until_it_accepts_one() {
    let world = World::new().await;
    let (running, service) = world.serve(&[]).await;
    assert!(metrics(&running).await.contains("sixty_mail_probing 0"));
    service.faults(json!({ "fail_rate": 1 })).await;
    let people: Vec<String> = (0..12).map(|n| format!("person{n}@example.com")).collect();
    for person in &people {
        service.registered(person).await;
    }
    eventually("probing", async || metrics(&running).await.contains("sixty_mail_probing 1").then_some(())).await;

    service.faults(json!({ "fail_rate": 1, "latency_ms": 100 })).await;
    let look = async || -> (i64, i64) {
        let look = "SELECT count(lease), sum(attempts) FROM outbox";
        sqlx::query_as(look).fetch_one(&service.db).await.unwrap()
    };
    let (_, before) = eventually("the end of what was under way", async || {
        let seen = look().await;
        (seen.0 <= 1).then_some(seen)
    })
    .await;
    let mut most = 0;
    eventually("three probes", async || {
        let (under_way, attempts) = look().await;
        most = most.max(under_way);
        (attempts >= before + 3).then_some(())
    })
    .await;
    assert_eq!(most, 1);

    service.faults(json!({})).await;
    service.outbox_is_empty().await;
    for person in &people {
        assert_eq!(service.mails(person).await.len(), 1, "{person}");
    }
    assert!(metrics(&running).await.contains("sixty_mail_probing 0"));
    let log = running.stderr();
    for line in ["trying one mail at a time", "accepts mails again"] {
        assert_eq!(log.matches(line).count(), 1, "{log}");
    }
}
