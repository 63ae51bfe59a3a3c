//! The quota of a mailbox: addresses that differ only in their tag share it. Registering reveals nothing about it.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, PASSWORD, Service, concurrently, eventually};

const TOM: &str = "tom@example.com";
const HOUR: Duration = Duration::from_secs(60 * 60);

/// Waits until the outbox is empty. Returns the provider's list of all mails, newest first.
async fn list_mails(service: &Service) -> Value {
    service.wait_for_empty_outbox().await;
    let list = service.http.get(format!("{}/api/v1/messages", service.mail_url));
    list.send().await.unwrap().json().await.unwrap()
}

/// Waits until the outbox is empty. Returns the number of all mails that the provider accepted.
async fn count_mails(service: &Service) -> u64 {
    list_mails(service).await["total"].as_u64().unwrap()
}

/// Registers `tom+<n>@example.com` for every `n`. All must be answered 201.
async fn register_tags(service: &Service, tags: impl IntoIterator<Item = usize>) {
    for tag in tags {
        service.register_pending(&format!("tom+{tag}@example.com")).await;
    }
}

#[tokio::test]
async fn a_hundred_tags_from_five_networks_send_no_more_than_the_quota() {
    let flags = ["--client-limits=true", "--trusted-proxies=127.0.0.1", "--redis-timeout=20s", "--mail-lease=2m"];
    let service = Service::start_with(&flags).await;
    let replica = service.replica(&flags).await;
    let answers = concurrently(100, |n| {
        let process = if n % 2 == 0 { &service } else { &replica };
        let body = json!({ "email": format!("tom+{n}@example.com"), "password": PASSWORD });
        let request = process.request(Method::POST, "/v1/users").json(&body);
        Answer::of(request.header("X-Forwarded-For", format!("192.0.2.{}", n % 5)))
    })
    .await;
    assert!(answers.iter().all(|answer| answer.status == 201), "{answers:?}");
    // Ten an hour, of which a quarter is reserved for the address without a tag.
    assert_eq!(count_mails(&service).await, 8);
    service.register_pending(TOM).await;
    assert_eq!(count_mails(&service).await, 9);
    service.register_pending("bob+1@example.com").await;
    assert_eq!(count_mails(&service).await, 10, "another mailbox must be unaffected");
}

#[tokio::test]
async fn the_quota_holds_in_any_hour_and_in_any_day() {
    let service = Service::start_with(&["--mailbox-codes-per-hour=3", "--mailbox-codes-per-day=5"]).await;
    // With quotas this small, a quarter is 0 of the hour and 1 of the day.
    register_tags(&service, 0..5).await;
    assert_eq!(count_mails(&service).await, 3);
    service.age_grants(HOUR / 2).await;
    register_tags(&service, 5..7).await;
    assert_eq!(count_mails(&service).await, 3);
    service.age_grants(HOUR / 2).await;
    register_tags(&service, 7..10).await;
    assert_eq!(count_mails(&service).await, 4, "a tagged address must leave one mail of the day");
    service.register_pending(TOM).await;
    assert_eq!(count_mails(&service).await, 5);
    service.age_grants(HOUR).await;
    assert_eq!(service.resend(TOM, PASSWORD).await.status, 202);
    assert_eq!(count_mails(&service).await, 5);
    // The first three mails are older than a day now.
    service.age_grants(22 * HOUR).await;
    register_tags(&service, 10..15).await;
    assert_eq!(count_mails(&service).await, 7);
}

#[tokio::test]
async fn a_dropped_code_behaves_like_one_that_is_not_mailed_yet() {
    let service = Service::start_with(&["--mailbox-codes-per-hour=1"]).await;
    service.register_active("tom+account@example.com").await;
    service.age_grants(24 * HOUR).await;
    register_tags(&service, [0]).await;
    // The second address has an account; the third has none. Both are over the quota.
    let mut seen = vec![];
    for (email, password) in [("tom+account@example.com", "another password"), ("tom+1@example.com", PASSWORD)] {
        service.age_grants(HOUR / 4).await;
        assert_eq!(service.register(email, password).await.status, 201);
        service.wait_for_empty_outbox().await;
        let answer = service.activate(email, password, "0000").await;
        assert_eq!(answer.outcome(), (410, "code-expired"));
        let detail = "No code is live: its mail was sent long ago or could not be sent; ask for another.";
        assert_eq!(answer.body["detail"], detail);
        seen.push((answer.body, service.register(email, password).await.outcome().0));
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(service.mails("tom+1@example.com").await.len(), 0);
    // Another code can be requested as soon as the mailbox has quota again.
    service.age_grants(HOUR).await;
    assert_eq!(service.resend("tom+1@example.com", PASSWORD).await.status, 202);
    let code = service.wait_for_code("tom+1@example.com", 1).await;
    assert_eq!(service.activate("tom+1@example.com", PASSWORD, &code).await.status, 200);
}

#[tokio::test]
async fn notices_to_the_owner_of_an_account_count_like_codes() {
    let service = Service::start_with(&["--mailbox-codes-per-hour=4"]).await;
    for tag in 0..6 {
        service.register_active(&format!("tom+{tag}@example.com")).await;
        service.age_grants(24 * HOUR).await;
    }
    let before = count_mails(&service).await;
    register_tags(&service, 0..6).await;
    assert_eq!(count_mails(&service).await, before + 3);
    assert_eq!(list_mails(&service).await["messages"][0]["Subject"], "You already have an account at Sixty");
    let (charged, rows): (i32, i64) =
        sqlx::query_as("SELECT cardinality(mailed_at), (SELECT count(*) FROM mailboxes) FROM mailboxes")
            .fetch_one(&service.db)
            .await
            .unwrap();
    assert_eq!((charged, rows), (3, 1));
}

#[tokio::test]
async fn a_mail_is_counted_once_although_it_is_retried_and_processes_restart() {
    let service = Service::start_with(&["--mailbox-codes-per-hour=2"]).await;
    service.set_mail_faults(json!({ "fail_rate": 1, "status": 503 })).await;
    register_tags(&service, [0]).await;
    let attempts =
        async || -> i32 { sqlx::query_scalar("SELECT attempts FROM outbox").fetch_one(&service.db).await.unwrap() };
    eventually("three attempts", async || (attempts().await >= 3).then_some(())).await;
    // Another process claims the mail, as after a crash.
    let replica = service.replica(&["--mailbox-codes-per-hour=2"]).await;
    let reclaimed = "UPDATE outbox SET lease = gen_random_uuid(), due_at = now()";
    sqlx::query(reclaimed).execute(&service.db).await.unwrap();
    service.set_mail_faults(json!({})).await;
    assert_eq!(count_mails(&replica).await, 1);
    register_tags(&service, 1..4).await;
    assert_eq!(count_mails(&service).await, 2);
}

#[tokio::test]
async fn a_restarted_process_continues_the_count() {
    let service = Service::start_with(&["--mailbox-codes-per-hour=2"]).await;
    register_tags(&service, 0..2).await;
    assert_eq!(count_mails(&service).await, 2);
    let restarted = service.replica(&["--mailbox-codes-per-hour=2"]).await;
    register_tags(&restarted, 2..4).await;
    assert_eq!(count_mails(&restarted).await, 2);
}

#[tokio::test]
async fn old_counts_are_purged_and_reveal_no_address() {
    let service = Service::start().await;
    register_tags(&service, [0]).await;
    assert_eq!(count_mails(&service).await, 1);
    let rows: Vec<String> =
        sqlx::query_scalar("SELECT m::text FROM mailboxes AS m").fetch_all(&service.db).await.unwrap();
    assert!(rows.len() == 1 && !rows[0].contains("tom") && !rows[0].contains("example"), "{rows:?}");
    service.age_grants(24 * HOUR).await;
    let purger = service.replica(&[]).await;
    eventually("the purge", async || {
        let left: i64 = sqlx::query_scalar("SELECT count(*) FROM mailboxes").fetch_one(&purger.db).await.unwrap();
        (left == 0).then_some(())
    })
    .await;
}
