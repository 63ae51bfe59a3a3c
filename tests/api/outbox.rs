//! The outbox delivers each mail although providers fail and workers die.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use sixty::accounts::ports::{Codes, PutOutcome, Redeemed, StoreError};
use sixty::domain::code::{Code, CodeKey, CodeLifetimes, CodeSecret, MailAttempt};
use sixty::domain::locale::Locale;
use sixty::domain::mailbox::MailboxQuota;
use sixty::language::Brand;
use sixty::mail::mailpit::Mailpit;
use sixty::mail::mails::Mails;
use sixty::mail::provider::{FromHeader, Provider};
use sixty::mail::route::Route;
use sixty::mail::worker::Worker;
use sixty::rng::Rng;
use sixty::store::postgres::outbox::{Backlog, Outbox};
use sixty::store::postgres::{Postgres, PostgresConfig};
use tokio_util::sync::CancellationToken;

use crate::support::{Answer, PASSWORD, Service, create_database, eventually, wrong_code};

const ADA: &str = "ada@example.com";

#[tokio::test]
async fn a_retry_after_a_lost_acceptance_repeats_the_idempotency_key() {
    let service = Service::start().await;
    service.set_mail_faults(json!({ "drop_rate": 1 })).await;
    service.register_pending(ADA).await;
    let code = service.wait_for_code(ADA, 1).await;
    service.set_mail_faults(json!({})).await;
    service.wait_for_empty_outbox().await;
    let mails = service.mails(ADA).await;
    assert_eq!(mails.len(), 1, "the provider must recognize the retry by its idempotency key");
    assert_eq!(service.activate(ADA, PASSWORD, &code).await.status, 200);
}

/// The provider may have delivered the mail although its answer was lost, so the code stays valid.
#[tokio::test]
async fn a_code_that_may_have_been_mailed_is_not_revoked() {
    let service = Service::start().await;
    service.set_mail_faults(json!({ "drop_rate": 1 })).await;
    service.register_pending(ADA).await;
    let code = service.wait_for_code(ADA, 1).await;
    let attempts =
        async || -> i32 { sqlx::query_scalar("SELECT attempts FROM outbox").fetch_one(&service.db).await.unwrap() };
    service.set_mail_faults(json!({ "fail_rate": 1, "status": 503 })).await;
    let before = attempts().await;
    // The current attempt may have begun under the old faults, so the test waits for two more attempts. A lease of NULL
    // means that the worker has recorded the result of the latest attempt.
    eventually("two refused attempts", async || {
        let recorded = "SELECT lease IS NULL FROM outbox";
        let recorded: bool = sqlx::query_scalar(recorded).fetch_one(&service.db).await.unwrap();
        (attempts().await >= before + 2 && recorded).then_some(())
    })
    .await;
    assert_eq!(service.activate(ADA, PASSWORD, &code).await.status, 200);
}

#[tokio::test]
async fn a_permanently_refused_mail_is_given_up() {
    let service = Service::start().await;
    service.set_mail_faults(json!({ "fail_rate": 1, "status": 422 })).await;
    service.register_pending(ADA).await;
    service.wait_for_empty_outbox().await;
    assert!(service.mails(ADA).await.is_empty());
    assert_eq!(
        service.me(ADA, PASSWORD).await.body["status"],
        "pending",
        "the registration must stay, so that the user can request another code"
    );
}

/// An outbox row with an unknown kind appears during a rolling update and after a rollback.
#[tokio::test]
async fn a_mail_of_unknown_kind_is_left_for_the_release_that_queued_it() {
    let service = Service::start().await;
    let ada = service.register_active(ADA).await;
    service.wait_for_empty_outbox().await;
    sqlx::raw_sql("ALTER TABLE outbox DROP CONSTRAINT outbox_kind_check").execute(&service.db).await.unwrap();
    let insert = "INSERT INTO outbox (user_id, kind, nonce, digits) SELECT $1::uuid, unnest($2::text[]), $3, 4";
    let kinds = ["unknown_kind", "password_changed"];
    sqlx::query(insert).bind(&ada).bind(kinds).bind([0_u8; 16]).execute(&service.db).await.unwrap();
    eventually("the mail of known kind to be sent", async || (service.outbox_len().await == 1).then_some(())).await;
    let left: (String, i32) = sqlx::query_as("SELECT kind, attempts FROM outbox").fetch_one(&service.db).await.unwrap();
    assert_eq!(left, ("unknown_kind".to_owned(), 0));
    // The backlog does not count the mail of unknown kind, so no alert fires.
    let config = PostgresConfig {
        url: service.database_url.as_str().into(),
        max_connections: 1,
        timeout: Duration::from_secs(20),
    };
    let outbox = Outbox::new(Postgres::new(&config).unwrap(), Duration::from_secs(5));
    assert_eq!(outbox.backlog().await.unwrap(), Backlog { mails: 0, oldest: Duration::ZERO });
}

#[tokio::test]
async fn a_mail_older_than_mail_give_up_is_given_up() {
    let service = Service::start_with(&["--mail-give-up=1s"]).await;
    service.set_mail_faults(json!({ "fail_rate": 1 })).await;
    service.register_pending(ADA).await;
    service.wait_for_empty_outbox().await;
    assert!(service.mails(ADA).await.is_empty());
    let answer = service.activate(ADA, PASSWORD, "0000").await;
    assert_eq!(answer.outcome(), (410, "code-expired"));
    let detail = "No code is live: its mail was sent long ago or could not be sent; ask for another.";
    assert_eq!(answer.body["detail"], detail);
}

/// Each process that sends the mail dies, so no attempt records its result.
#[tokio::test]
async fn a_mail_that_ends_its_processes_is_given_up() {
    let service = Service::start().await;
    service.set_mail_faults(json!({ "latency_ms": 60_000 })).await;
    service.register_pending(ADA).await;
    service.wait_for_mail_attempt().await;
    let abandon = "UPDATE outbox SET lease = gen_random_uuid(), due_at = now(), attempts = 5,
        created_at = created_at - interval '1 h'";
    sqlx::query(abandon).execute(&service.db).await.unwrap();
    service.wait_for_empty_outbox().await;
}

/// A defect in the code that sends a mail.
struct PanickingCodes;

impl Codes for PanickingCodes {
    async fn put(&self, _: CodeKey, _: MailAttempt, _: Option<&Code>, _: bool) -> Result<PutOutcome, StoreError> {
        panic!("simulated by the test")
    }

    async fn withdraw(&self, _: CodeKey, _: MailAttempt) -> Result<(), StoreError> {
        panic!("simulated by the test")
    }

    async fn redeem(&self, _: CodeKey, _: &Code) -> Result<Redeemed, StoreError> {
        panic!("simulated by the test")
    }

    async fn discard(&self, _: CodeKey) -> Result<(), StoreError> {
        panic!("simulated by the test")
    }
}

#[tokio::test]
async fn a_mail_whose_attempts_panic_is_given_up() {
    let config =
        PostgresConfig { url: create_database().await.into(), max_connections: 4, timeout: Duration::from_secs(20) };
    let postgres = Postgres::new(&config).unwrap();
    postgres.migrate().await.unwrap();
    sqlx::raw_sql(
        "INSERT INTO addresses (address, salt, hash_cost, granted_at, wait, short_granted_at)
            VALUES ('ada@example.com', decode(repeat('00', 16), 'hex'), 'm=8,t=1,p=1', now(), '60 s', '{}');
         INSERT INTO users (id, address, email, password_hash)
            VALUES (gen_random_uuid(), 'ada@example.com', 'ada@example.com', '-');
         INSERT INTO outbox (user_id, kind, nonce, digits) SELECT id, 'code', decode(repeat('00', 16), 'hex'), 4 FROM users",
    )
    .execute(&postgres.pool())
    .await
    .unwrap();
    let nowhere: url::Url = "http://127.0.0.1:1".parse().unwrap();
    let from = FromHeader { email: "no-reply@sixty.example".to_owned(), name: "Sixty".to_owned() };
    let worker = Worker {
        // The lease must not end the attempts.
        outbox: Outbox::new(postgres.clone(), Duration::from_secs(60 * 60)),
        codes: Arc::new(PanickingCodes),
        route: Route::new(Provider::new(&nowhere, Arc::new(Mailpit), from, Duration::from_secs(1)).unwrap(), None),
        secret: CodeSecret::new(vec![60; 32]).unwrap(),
        lifetimes: CodeLifetimes::default(),
        mailbox_quota: MailboxQuota::default(),
        public_url: nowhere,
        mails: Arc::new(Mails::new(&Brand::default(), Locale::English, None).unwrap()),
        give_up_after: Duration::from_secs(1),
        concurrency: 1,
        rng: Rng::from_system(),
        queued: Arc::default(),
        resets_queued: Arc::default(),
        is_busy: Arc::new(|| false),
    };
    let stop = CancellationToken::new();
    let running = tokio::spawn(worker.run(stop.clone(), CancellationToken::new()));
    eventually("the end of the mail", async || {
        let mails: i64 = sqlx::query_scalar("SELECT count(*) FROM outbox").fetch_one(&postgres.pool()).await.unwrap();
        (mails == 0).then_some(())
    })
    .await;
    stop.cancel();
    running.await.unwrap();
}

/// All processes were down for longer than `MAIL_GIVE_UP`. The mail still gets an attempt.
#[tokio::test]
async fn a_mail_older_than_mail_give_up_is_tried_if_no_worker_ran_meanwhile() {
    let service = Service::start().await;
    service.set_mail_faults(json!({ "latency_ms": 60_000 })).await;
    service.register_pending(ADA).await;
    service.wait_for_mail_attempt().await;
    service.set_mail_faults(json!({})).await;
    // Simulates that the worker with the lease died an hour ago.
    let hour_ago =
        "UPDATE outbox SET lease = gen_random_uuid(), due_at = now(), created_at = created_at - interval '1 h'";
    sqlx::query(hour_ago).execute(&service.db).await.unwrap();
    let code = service.wait_for_code(ADA, 1).await;
    assert_eq!(service.activate(ADA, PASSWORD, &code).await.status, 200);
}

#[tokio::test]
async fn a_mail_is_sent_by_another_worker_after_the_lease_of_a_dead_worker_expires() {
    let service = Service::start_with(&["--mail-lease=1s", "--redis-timeout=500ms"]).await;
    service.set_mail_faults(json!({ "latency_ms": 60_000 })).await;
    service.register_pending(ADA).await;
    service.wait_for_mail_attempt().await;
    // Simulates a dead worker: no worker holds this random lease, so no worker renews it.
    sqlx::query("UPDATE outbox SET lease = gen_random_uuid()").execute(&service.db).await.unwrap();
    service.set_mail_faults(json!({})).await;
    let code = service.wait_for_code(ADA, 1).await;
    assert_eq!(service.activate(ADA, PASSWORD, &code).await.status, 200);
}

#[tokio::test]
async fn a_worker_renews_its_lease_while_the_provider_is_slow() {
    let flags = ["--mail-lease=1s", "--redis-timeout=500ms"];
    let service = Service::start_with(&flags).await;
    let _replica = service.replica(&flags).await;
    service.set_mail_faults(json!({ "latency_ms": 3_000 })).await;
    service.register_pending(ADA).await;
    let mut max_attempts = 0;
    eventually("the mail to leave the outbox", async || {
        let attempts = "SELECT max(attempts) FROM outbox";
        let attempts: Option<i32> = sqlx::query_scalar(attempts).fetch_one(&service.db).await.unwrap();
        max_attempts = max_attempts.max(attempts.unwrap_or_default());
        attempts.is_none().then_some(())
    })
    .await;
    assert_eq!((max_attempts, service.mails(ADA).await.len()), (1, 1));
}

/// The worker that took the lease over may have sent the same code, so the refused attempt must not revoke the code.
#[tokio::test]
async fn a_worker_that_lost_its_lease_revokes_no_code() {
    let service = Service::start_with(&["--mail-lease=10m", "--mail-concurrency=1"]).await;
    service.set_mail_faults(json!({ "latency_ms": 1_000, "fail_rate": 1, "status": 503 })).await;
    let id = service.register_pending(ADA).await;
    let has_code = async || -> bool { service.redis(&["EXISTS", &service.redis_key("code", &id)]).await };
    eventually("the code in Redis", async || has_code().await.then_some(())).await;
    sqlx::query("UPDATE outbox SET lease = gen_random_uuid()").execute(&service.db).await.unwrap();
    service.register_pending("bob@example.com").await;
    // The only sending slot starts the next mail after the refused attempt has ended.
    eventually("the end of the refused attempt", async || {
        let min_attempts: i32 =
            sqlx::query_scalar("SELECT min(attempts) FROM outbox").fetch_one(&service.db).await.unwrap();
        (min_attempts > 0).then_some(())
    })
    .await;
    assert!(has_code().await);
}

#[tokio::test]
async fn an_activation_deletes_the_unfinished_code_mail() {
    let service = Service::start().await;
    service.set_mail_faults(json!({ "drop_rate": 1 })).await;
    let id = service.register_pending(ADA).await;
    let code = service.wait_for_code(ADA, 1).await;
    assert_eq!(service.activate(ADA, PASSWORD, &code).await.status, 200);
    let kinds: Vec<String> = sqlx::query_scalar("SELECT kind FROM outbox").fetch_all(&service.db).await.unwrap();
    assert_eq!(kinds, ["activated"]);
    service.set_mail_faults(json!({})).await;
    service.wait_for_empty_outbox().await;
    // A retry that was in flight during the activation does not store the code again.
    let has_code: bool = service.redis(&["EXISTS", &service.redis_key("code", &id)]).await;
    assert!(!has_code);
}

/// The wait before the next grant starts at the grant; the lifetime of the code starts when the provider accepts the
/// mail. So the worker restarts the wait at the acceptance. Otherwise, with a slow provider, another registration
/// could replace a valid code. This holds whether the acceptance arrives or is lost.
#[tokio::test]
async fn a_valid_code_is_not_replaced_after_a_slow_acceptance() {
    for drop_rate in [0, 1] {
        let service = Service::start().await;
        service.set_mail_faults(json!({ "latency_ms": 1_500, "drop_rate": drop_rate })).await;
        service.register_pending(ADA).await;
        // Simulates that the provider took a minute to answer.
        service.age_grants(Duration::from_secs(59)).await;
        let age_mail = "UPDATE outbox SET created_at = created_at - interval '59 s'";
        sqlx::query(age_mail).execute(&service.db).await.unwrap();
        service.wait_for_code(ADA, 1).await;
        eventually("a renewed wait", async || {
            let left = "SELECT extract(epoch FROM granted_at + wait - now())::float8 FROM addresses";
            let left: f64 = sqlx::query_scalar(left).fetch_one(&service.db).await.unwrap();
            (left > 50.0).then_some(())
        })
        .await;
        assert_eq!(service.register(ADA, "another password").await.outcome(), (429, "too-many-codes"));
    }
}

/// The lifetime of a code starts when its mail is accepted, the wait before the next grant at the grant. Whatever delays the
/// mail, the code must be dead when the wait ends.
#[tokio::test]
async fn a_live_code_is_never_replaced() {
    for faults in [
        json!({ "latency_ms": 900 }),
        json!({ "latency_ms": 900, "fail_rate": 1, "status": 422 }),
        json!({ "latency_ms": 900, "drop_rate": 1 }),
        // The links are locked instead.
        json!({}),
    ] {
        let service = Service::start_with(&["--code-ttl=2s", "--code-wait=2s", "--mail-give-up=3s"]).await;
        let lock_links = faults == json!({});
        service.set_mail_faults(faults).await;
        let mut links = service.db.begin().await.unwrap();
        if lock_links {
            sqlx::query("LOCK TABLE not_me_links IN ACCESS EXCLUSIVE MODE").execute(&mut *links).await.unwrap();
        }
        let id = service.register_pending(ADA).await;
        let code = service.redis_key("code", &id);
        eventually("the code", async || service.redis::<bool>(&["EXISTS", &code]).await.then_some(())).await;
        if lock_links {
            eventually("a late mail", async || {
                let age = "SELECT now() - created_at > interval '900 ms' FROM outbox";
                let is_late: bool = sqlx::query_scalar(age).fetch_one(&service.db).await.unwrap();
                is_late.then_some(())
            })
            .await;
        }
        links.rollback().await.unwrap();
        eventually("another registration", async || {
            (service.register(ADA, "another password").await.status == 201).then_some(())
        })
        .await;
        let left: i64 = service.redis(&["PTTL", &code]).await;
        assert!(left <= 0, "a code was replaced {left} ms before its end");
    }
}

/// Another worker may have sent the mail and put the code.
#[tokio::test]
async fn a_worker_that_lost_its_lease_changes_neither_the_wait_nor_the_code() {
    let service = Service::start_with(&["--mail-lease=10m", "--mail-concurrency=1"]).await;
    service.set_mail_faults(json!({ "latency_ms": 1_500 })).await;
    let id = service.register_pending(ADA).await;
    let code = service.redis_key("code", &id);
    eventually("the link of the mail", async || {
        let links: i64 = sqlx::query_scalar("SELECT count(*) FROM not_me_links").fetch_one(&service.db).await.unwrap();
        (links > 0).then_some(())
    })
    .await;
    let state = async || -> (String, i64) {
        let granted_at = "SELECT granted_at::text FROM addresses WHERE address = 'ada@example.com'";
        let granted_at = sqlx::query_scalar(granted_at).fetch_one(&service.db).await.unwrap();
        (granted_at, service.redis(&["PEXPIRETIME", &code]).await)
    };
    let before = state().await;
    let take = "UPDATE outbox SET lease = gen_random_uuid(), due_at = now() + interval '1 h'";
    sqlx::query(take).execute(&service.db).await.unwrap();
    service.register_pending("bob@example.com").await;
    // The only sending slot starts the next mail after the attempt has ended.
    eventually("the end of the attempt", async || {
        let min_attempts: i32 =
            sqlx::query_scalar("SELECT min(attempts) FROM outbox").fetch_one(&service.db).await.unwrap();
        (min_attempts > 0).then_some(())
    })
    .await;
    assert_eq!(state().await, before);
}

#[tokio::test]
async fn two_processes_send_each_mail_once() {
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

/// A Redis that restarts without persistence loses the wrong guesses at a code. A retry of its mail must not allow three
/// more guesses at the same code.
#[tokio::test]
async fn a_code_whose_guesses_redis_lost_is_not_stored_again() {
    let service = Service::start().await;
    service.set_mail_faults(json!({ "drop_rate": 1 })).await;
    let id = service.register_pending(ADA).await;
    let code = service.wait_for_code(ADA, 1).await;
    let keys = [service.redis_key("code", &id), service.redis_key("tries", &id)];
    let mut answered = 0;
    eventually("the end of the retries", async || {
        for _ in 0..4 {
            let guess = service.activate(ADA, PASSWORD, &wrong_code(&code)).await;
            answered += u32::from(guess.outcome() == (422, "incorrect-code"));
        }
        if answered > 0 {
            let () = service.redis(&["DEL", &keys[0], &keys[1]]).await;
        }
        (service.outbox_len().await == 0).then_some(())
    })
    .await;
    assert_eq!(answered, 3);
    let late = service.activate(ADA, PASSWORD, &code).await;
    assert_eq!(late.outcome(), (410, "code-expired"));
    service.set_mail_faults(json!({})).await;
    service.age_grants(Duration::from_secs(60)).await;
    assert_eq!(service.resend(ADA, PASSWORD).await.status, 202);
    let code = service.wait_for_code(ADA, 2).await;
    assert_eq!(service.activate(ADA, PASSWORD, &code).await.status, 200);
}
