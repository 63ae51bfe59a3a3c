//! Mail survives what becomes of the provider and of its workers.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use sixty::store::postgres::outbox::{Backlog, Outbox};
use sixty::store::postgres::{Postgres, PostgresConfig};

use crate::support::{Answer, PASSWORD, Service, eventually};

const ADA: &str = "ada@example.com";

#[tokio::test]
async fn a_mail_whose_acceptance_was_lost_is_sent_again_as_the_same() {
    let service = Service::start().await;
    service.set_mail_faults(json!({ "drop_rate": 1 })).await;
    service.register_pending(ADA).await;
    let code = service.wait_for_code(ADA, 1).await;
    service.set_mail_faults(json!({})).await;
    service.wait_for_empty_outbox().await;
    let mails = service.mails(ADA).await;
    assert_eq!(mails.len(), 1, "the provider knew it by its key");
    assert_eq!(service.activate(ADA, PASSWORD, &code).await.status, 200);
}

/// Who has the mail can use its code, whatever becomes of the provider before it says so.
#[tokio::test]
async fn a_code_that_may_have_been_mailed_is_not_taken_back() {
    let service = Service::start().await;
    service.set_mail_faults(json!({ "drop_rate": 1 })).await;
    service.register_pending(ADA).await;
    let code = service.wait_for_code(ADA, 1).await;
    let attempts =
        async || -> i32 { sqlx::query_scalar("SELECT attempts FROM outbox").fetch_one(&service.db).await.unwrap() };
    service.set_mail_faults(json!({ "fail_rate": 1, "status": 503 })).await;
    let before = attempts().await;
    // The second of these attempts cannot have begun under the former faults; its end is noted when it is given back.
    eventually("refused attempts", async || {
        let noted = "SELECT lease IS NULL FROM outbox";
        let noted: bool = sqlx::query_scalar(noted).fetch_one(&service.db).await.unwrap();
        (attempts().await >= before + 2 && noted).then_some(())
    })
    .await;
    assert_eq!(service.activate(ADA, PASSWORD, &code).await.status, 200);
}

#[tokio::test]
async fn a_mail_that_was_refused_for_good_is_given_up() {
    let service = Service::start().await;
    service.set_mail_faults(json!({ "fail_rate": 1, "status": 422 })).await;
    service.register_pending(ADA).await;
    service.wait_for_empty_outbox().await;
    assert!(service.mails(ADA).await.is_empty());
    assert_eq!(service.me(ADA, PASSWORD).await.body["status"], "pending", "and can ask for another");
}

/// As while a release is rolled out, or after it was rolled back.
#[tokio::test]
async fn a_later_releases_mail_is_left_to_it() {
    let service = Service::start().await;
    let ada = service.register_active(ADA).await;
    service.wait_for_empty_outbox().await;
    sqlx::raw_sql("ALTER TABLE outbox DROP CONSTRAINT outbox_kind_check").execute(&service.db).await.unwrap();
    let queue = "INSERT INTO outbox (user_id, kind, nonce, digits) SELECT $1::uuid, unnest($2::text[]), $3, 4";
    let kinds = ["of_tomorrow", "password_changed"];
    sqlx::query(queue).bind(&ada).bind(kinds).bind([0_u8; 16]).execute(&service.db).await.unwrap();
    eventually("the other mail", async || (service.outbox_len().await == 1).then_some(())).await;
    let left: (String, i32) = sqlx::query_as("SELECT kind, attempts FROM outbox").fetch_one(&service.db).await.unwrap();
    assert_eq!(left, ("of_tomorrow".to_owned(), 0));
    // Nobody is woken for it either.
    let config = PostgresConfig {
        url: service.database_url.as_str().into(),
        max_connections: 1,
        timeout: Duration::from_secs(20),
    };
    let outbox = Outbox::new(Postgres::new(&config).unwrap(), Duration::from_secs(5));
    assert_eq!(outbox.backlog().await.unwrap(), Backlog { mails: 0, oldest: Duration::ZERO });
}

#[tokio::test]
async fn a_mail_too_old_is_given_up() {
    let service = Service::start_with(&["--mail-give-up=1s"]).await;
    service.set_mail_faults(json!({ "fail_rate": 1 })).await;
    service.register_pending(ADA).await;
    service.wait_for_empty_outbox().await;
    assert!(service.mails(ADA).await.is_empty());
}

/// As when no process ran for longer than mails are tried.
#[tokio::test]
async fn a_mail_that_nobody_could_try_in_time_is_tried_all_the_same() {
    let service = Service::start().await;
    service.set_mail_faults(json!({ "latency_ms": 60_000 })).await;
    service.register_pending(ADA).await;
    service.wait_for_mail_attempt().await;
    service.set_mail_faults(json!({})).await;
    // Its worker died, an hour ago.
    let hour_ago =
        "UPDATE outbox SET lease = gen_random_uuid(), due_at = now(), created_at = created_at - interval '1 h'";
    sqlx::query(hour_ago).execute(&service.db).await.unwrap();
    let code = service.wait_for_code(ADA, 1).await;
    assert_eq!(service.activate(ADA, PASSWORD, &code).await.status, 200);
}

#[tokio::test]
async fn the_mail_of_a_worker_that_died_is_taken_over() {
    let service = Service::start_with(&["--mail-lease=1s", "--redis-timeout=500ms"]).await;
    service.set_mail_faults(json!({ "latency_ms": 60_000 })).await;
    service.register_pending(ADA).await;
    service.wait_for_mail_attempt().await;
    // As if its worker had died: the lease is a stranger's, who never comes back.
    sqlx::query("UPDATE outbox SET lease = gen_random_uuid()").execute(&service.db).await.unwrap();
    service.set_mail_faults(json!({})).await;
    let code = service.wait_for_code(ADA, 1).await;
    assert_eq!(service.activate(ADA, PASSWORD, &code).await.status, 200);
}

#[tokio::test]
async fn a_worker_that_lives_keeps_its_mail_however_slow_the_provider_is() {
    let flags = ["--mail-lease=1s", "--redis-timeout=500ms"];
    let service = Service::start_with(&flags).await;
    let _replica = service.replica(&flags).await;
    service.set_mail_faults(json!({ "latency_ms": 3_000 })).await;
    service.register_pending(ADA).await;
    let mut most = 0;
    eventually("the end of the mail", async || {
        let attempts = "SELECT max(attempts) FROM outbox";
        let attempts: Option<i32> = sqlx::query_scalar(attempts).fetch_one(&service.db).await.unwrap();
        most = most.max(attempts.unwrap_or_default());
        attempts.is_none().then_some(())
    })
    .await;
    assert_eq!((most, service.mails(ADA).await.len()), (1, 1));
}

/// The successor may have sent the code that the refused attempt would take back.
#[tokio::test]
async fn who_lost_a_mail_takes_no_code_back() {
    let service = Service::start_with(&["--mail-lease=10m", "--mail-concurrency=1"]).await;
    service.set_mail_faults(json!({ "latency_ms": 1_000, "fail_rate": 1, "status": 503 })).await;
    let id = service.register_pending(ADA).await;
    let has_code = async || -> bool { service.redis(&["EXISTS", &service.redis_key("code", &id)]).await };
    eventually("a code", async || has_code().await.then_some(())).await;
    sqlx::query("UPDATE outbox SET lease = gen_random_uuid()").execute(&service.db).await.unwrap();
    service.register_pending("bob@example.com").await;
    eventually("the end of the attempt", async || {
        let next: i32 = sqlx::query_scalar("SELECT min(attempts) FROM outbox").fetch_one(&service.db).await.unwrap();
        (next > 0).then_some(())
    })
    .await;
    assert!(has_code().await);
}

#[tokio::test]
async fn an_activation_ends_the_retries_of_its_mail() {
    let service = Service::start().await;
    service.set_mail_faults(json!({ "drop_rate": 1 })).await;
    let id = service.register_pending(ADA).await;
    let code = service.wait_for_code(ADA, 1).await;
    assert_eq!(service.activate(ADA, PASSWORD, &code).await.status, 200);
    let kinds: Vec<String> = sqlx::query_scalar("SELECT kind FROM outbox").fetch_all(&service.db).await.unwrap();
    assert_eq!(kinds, ["activated"]);
    service.set_mail_faults(json!({})).await;
    service.wait_for_empty_outbox().await;
    // Whatever a worker had under way cannot bring the code back.
    let gone: bool = service.redis(&["EXISTS", &service.redis_key("code", &id)]).await;
    assert!(!gone);
}

/// The wait counts from the grant, the minute from the acceptance: a slow provider must not leave a code alive that
/// somebody else may already replace, whether its acceptance arrives or is lost.
#[tokio::test]
async fn a_live_code_is_not_replaced_however_late_its_mail_was_taken() {
    for drop_rate in [0, 1] {
        let service = Service::start().await;
        service.set_mail_faults(json!({ "latency_ms": 1_500, "drop_rate": drop_rate })).await;
        service.register_pending(ADA).await;
        // As if a minute had passed while the provider was thinking.
        service.age_grants(Duration::from_secs(59)).await;
        service.wait_for_code(ADA, 1).await;
        eventually("a new wait", async || {
            let left = "SELECT extract(epoch FROM granted_at + wait - now())::float8 FROM addresses";
            let left: f64 = sqlx::query_scalar(left).fetch_one(&service.db).await.unwrap();
            (left > 50.0).then_some(())
        })
        .await;
        assert_eq!(service.register(ADA, "another password").await.outcome(), (429, "too-many-codes"));
    }
}

#[tokio::test]
async fn two_workers_send_each_mail_once() {
    let service = Service::start().await;
    let _replica = service.replica(&[]).await;
    let people: Vec<String> = (0..40).map(|n| format!("person{n}@example.com")).collect();
    for chunk in people.chunks(10) {
        let answers = crate::support::concurrently(chunk.len(), |n| {
            let body = json!({ "email": chunk[n], "password": PASSWORD });
            Answer::of(service.request(Method::POST, "/v1/users").json(&body))
        })
        .await;
        assert!(answers.iter().all(|answer| answer.status == 201));
    }
    service.wait_for_empty_outbox().await;
    for person in &people {
        assert_eq!(service.mails(person).await.len(), 1, "{person}");
    }
}
