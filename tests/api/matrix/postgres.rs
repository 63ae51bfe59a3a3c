//! Faults of PostgreSQL. Requests get 503, no answer is wrong, and the service recovers without a restart.

use std::time::{Duration, Instant};

use super::environment::{Environment, wait_for_log, wait_for_recovery};
use super::scripted_provider::Behavior;
use crate::private_servers::{Frozen, PrivatePostgres};
use crate::process::Running;
use crate::support::{PASSWORD, Service, eventually, unique_name};

const ADA: &str = "ada@example.com";
const BOB: &str = "bob@example.com";
const CAROL: &str = "carol@example.com";

#[tokio::test]
async fn every_user_activates_after_a_postgresql_fault() {
    tokio::join!(postgresql_is_stopped_and_started(), postgresql_is_paused(), connections_are_cut(), disk_is_full());
}

/// Starts a service in which Ada has a mail and the provider is still processing Bob's mail. Returns Ada's code last.
async fn start_busy_service(postgres: &PrivatePostgres) -> (Environment, Running, Service, String) {
    let env = Environment::with_stores(postgres.url(), postgres.redis_url()).await;
    let (running, service) = env.serve(&[]).await;
    service.register_pending(ADA).await;
    let code = service.wait_for_code(ADA, 1).await;
    service.wait_for_empty_outbox().await;
    env.provider.set_behavior(Behavior::AcceptAndHold);
    service.register_pending(BOB).await;
    env.provider.wait_for_attempts(2).await;
    (env, running, service, code)
}

/// Asserts that every operation gets 503 during the fault.
async fn assert_all_unavailable(service: &Service, code: &str) {
    let answers = tokio::join!(
        service.register(CAROL, PASSWORD),
        service.activate(ADA, PASSWORD, code),
        service.me(ADA, PASSWORD)
    );
    for answer in [answers.0, answers.1, answers.2] {
        assert_eq!(answer.outcome(), (503, "unavailable"), "{answer:?}");
    }
}

/// Asserts the recovery: Ada activates with her code, all copies of Bob's mail have the same code, and Carol registers.
async fn assert_all_users_activate(service: &Service, code: &str) {
    let ada = async {
        wait_for_recovery("activation with the earlier code", async || {
            let answer = service.activate(ADA, PASSWORD, code).await;
            // An attempt that was answered 503 may have activated the user, hence 409.
            assert!([200, 409, 503].contains(&answer.status.as_u16()), "{answer:?}");
            (answer.status != 503).then_some(())
        })
        .await;
        assert_eq!(service.me(ADA, PASSWORD).await.body["status"], "active");
    };
    let carol = async {
        wait_for_recovery("registration", async || {
            let answer = service.register(CAROL, PASSWORD).await;
            // An attempt that was answered 503 may have registered the user, hence 429.
            assert!([201, 429, 503].contains(&answer.status.as_u16()), "{answer:?}");
            (answer.status != 503).then_some(())
        })
        .await;
        service.activate_with_mailed_code(CAROL).await;
    };
    tokio::join!(ada, carol, service.activate_with_mailed_code(BOB));
    wait_for_recovery("empty outbox", async || (service.outbox_len().await == 0).then_some(())).await;
}

async fn postgresql_is_stopped_and_started() {
    let mut postgres = PrivatePostgres::start("postgres-stopped").await;
    let (env, running, service, code) = start_busy_service(&postgres).await;
    postgres.stop().await;
    env.provider.set_behavior(Behavior::Accept);
    assert_all_unavailable(&service, &code).await;
    wait_for_log(&running, "the outbox cannot be read; the mail worker retries").await;
    postgres.restart().await;
    assert_all_users_activate(&service, &code).await;
    wait_for_log(&running, "the outbox can be read again").await;
}

async fn postgresql_is_paused() {
    let postgres = PrivatePostgres::start("postgres-paused").await;
    let (env, running, service, code) = start_busy_service(&postgres).await;
    let frozen = Frozen::new(postgres.pid());
    let pause_end = tokio::time::sleep(Duration::from_secs(10));
    env.provider.set_behavior(Behavior::Accept);
    assert_all_unavailable(&service, &code).await;
    pause_end.await;
    wait_for_log(&running, "the outbox cannot be read; the mail worker retries").await;
    drop(frozen);
    assert_all_users_activate(&service, &code).await;
}

/// Terminates all connections again and again while users register.
async fn connections_are_cut() {
    let env = Environment::new().await;
    // All requests come from one network.
    let (_running, service) = env.serve(&["--client-limits=false"]).await;
    let users: Vec<String> = (0..40).map(|n| format!("user{n}@example.com")).collect();
    let registering = futures_util::future::join_all(users.iter().map(|user| async {
        let answer = service.register_with_retries(user).await;
        // An attempt that was answered 503 may have registered the user, hence 429.
        assert!([201, 429].contains(&answer.status.as_u16()), "{answer:?}");
    }));
    let mut cuts = 0;
    let cutting = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        let started = Instant::now();
        // Runs longer than three seconds if reconnecting is slow.
        while started.elapsed() < Duration::from_secs(3) || (cuts < 10 && started.elapsed() < Duration::from_secs(60)) {
            ticks.tick().await;
            let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                WHERE datname = current_database() AND application_name = 'sixty'";
            cuts += sqlx::query_scalar::<_, i64>(cut).fetch_one(&service.db).await.unwrap();
        }
    };
    tokio::join!(registering, cutting);
    assert!(cuts >= 10, "{cuts}");
    // The service notices a cut connection only at its next use.
    futures_util::future::join_all(users.iter().map(|user| service.activate_with_retries(user))).await;
    wait_for_recovery("empty outbox", async || (service.outbox_len().await == 0).then_some(())).await;
}

/// The disk of the tables is full. If the disk of the write-ahead log is full, PostgreSQL stops, which is another case.
async fn disk_is_full() {
    let postgres = PrivatePostgres::start("postgres-full").await;
    let (env, running, service, code) = start_busy_service(&postgres).await;
    // A limit on the file size looks like a full disk to PostgreSQL, and needs no right to mount a disk. Files of the
    // write-ahead log have 16 MiB from the start, so the table must be larger than that. The limit lies in the middle
    // of the table's next page, so that PostgreSQL writes only a part of the page, as on a full disk. The rows are smaller than
    // that of a registration, which therefore fits into no page of the table.
    sqlx::raw_sql(
        "ALTER TABLE addresses SET (autovacuum_enabled = off);
         INSERT INTO addresses (address, salt, hash_cost, granted_at, wait, short_granted_at, mac, forget_at)
            SELECT 100 + n, decode(repeat('00', 16), 'hex'), 'm=8,t=1,p=1', now(), '60 s', '{}',
                sha256(n::text::bytea), 'infinity'
            FROM generate_series(1, 200000) AS n",
    )
    .execute(&service.db)
    .await
    .unwrap();
    let size: i64 = sqlx::query_scalar("SELECT pg_relation_size('addresses')").fetch_one(&service.db).await.unwrap();
    assert!(size > 16 << 20, "{size}");
    postgres.limit_files(&(size + 4096).to_string());
    eventually("503 because of the full disk", async || {
        let answer = service.register(&format!("{}@example.com", unique_name()), PASSWORD).await;
        (answer.outcome() == (503, "unavailable")).then_some(())
    })
    .await;
    env.provider.set_behavior(Behavior::Accept);
    wait_for_log(&running, "SQLSTATE 53100").await;
    postgres.limit_files("unlimited");
    assert_all_users_activate(&service, &code).await;
}
