//! PostgreSQL fails. Everybody is asked to come again, nobody is told what is not so, and all is well again without a
//! restart of ours.

use std::time::{Duration, Instant};

use super::scripted::Does;
use super::world::{World, recovers, told};
use crate::own::{Frozen, OwnPostgres};
use crate::process::Running;
use crate::support::{PASSWORD, Service, eventually, unique_name};

const ADA: &str = "ada@example.com";
const BOB: &str = "bob@example.com";
const CAROL: &str = "carol@example.com";

#[tokio::test]
async fn whatever_postgresql_does_nobody_is_lost() {
    tokio::join!(it_is_stopped_and_started(), it_is_paused(), its_connections_are_cut(), its_disk_is_full());
}

/// A service in which Ada has a mail, with the code that is in it; and the provider is just thinking about Bob's.
async fn busy(own: &OwnPostgres) -> (World, Running, Service, String) {
    let world = World::over(own.url(), own.redis_url()).await;
    let (running, service) = world.serve(&[]).await;
    service.register_pending(ADA).await;
    let code = service.wait_for_code(ADA, 1).await;
    service.wait_for_empty_outbox().await;
    world.provider.does(Does::TakeAndHold);
    service.register_pending(BOB).await;
    world.provider.attempted(2).await;
    (world, running, service, code)
}

/// While the fault lasts: nothing can be done, and who asks for anything is told to come again.
async fn nothing_can_be_done(service: &Service, code: &str) {
    let answers = tokio::join!(
        service.register(CAROL, PASSWORD),
        service.activate(ADA, PASSWORD, code),
        service.me(ADA, PASSWORD)
    );
    for answer in [answers.0, answers.1, answers.2] {
        assert_eq!(answer.outcome(), (503, "unavailable"), "{answer:?}");
    }
}

/// It is over: Ada's code is as good as before, Bob's copies are the same, and Carol registers.
async fn all_get_in(service: &Service, code: &str) {
    let ada = async {
        recovers("the code from before", async || {
            let answer = service.activate(ADA, PASSWORD, code).await;
            // Who was told to come again may have been activated all the same.
            assert!([200, 409, 503].contains(&answer.status.as_u16()), "{answer:?}");
            (answer.status != 503).then_some(())
        })
        .await;
        assert_eq!(service.me(ADA, PASSWORD).await.body["status"], "active");
    };
    let carol = async {
        recovers("a registration", async || {
            let answer = service.register(CAROL, PASSWORD).await;
            // As above: a wait shows that the code was granted.
            assert!([201, 429, 503].contains(&answer.status.as_u16()), "{answer:?}");
            (answer.status != 503).then_some(())
        })
        .await;
        service.gets_in(CAROL).await;
    };
    tokio::join!(ada, carol, service.gets_in(BOB));
    recovers("the end of all mails", async || (service.outbox_len().await == 0).then_some(())).await;
}

async fn it_is_stopped_and_started() {
    let mut own = OwnPostgres::start("postgres-stopped").await;
    let (world, running, service, code) = busy(&own).await;
    own.stop().await;
    world.provider.does(Does::Work);
    nothing_can_be_done(&service, &code).await;
    told(&running, "the outbox cannot be read; the mail worker retries").await;
    own.start_again().await;
    all_get_in(&service, &code).await;
    told(&running, "the outbox can be read again").await;
}

async fn it_is_paused() {
    let own = OwnPostgres::start("postgres-paused").await;
    let (world, running, service, code) = busy(&own).await;
    let frozen = Frozen::new(own.pid());
    let over = tokio::time::sleep(Duration::from_secs(10));
    world.provider.does(Does::Work);
    nothing_can_be_done(&service, &code).await;
    over.await;
    told(&running, "the outbox cannot be read; the mail worker retries").await;
    drop(frozen);
    all_get_in(&service, &code).await;
}

/// Over and over, while people register.
async fn its_connections_are_cut() {
    let world = World::new().await;
    // All are one network here.
    let (_running, service) = world.serve(&["--client-limits=false"]).await;
    let people: Vec<String> = (0..40).map(|n| format!("person{n}@example.com")).collect();
    let registering = futures_util::future::join_all(people.iter().map(|person| async {
        let answer = service.registers_in_the_end(person).await;
        // A wait shows that who was told to come again was registered all the same.
        assert!([201, 429].contains(&answer.status.as_u16()), "{answer:?}");
    }));
    let mut cuts = 0;
    let cutting = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        let begun = Instant::now();
        // Longer, where connecting anew takes long.
        while begun.elapsed() < Duration::from_secs(3) || (cuts < 10 && begun.elapsed() < Duration::from_secs(60)) {
            ticks.tick().await;
            let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                WHERE datname = current_database() AND application_name = 'sixty'";
            cuts += sqlx::query_scalar::<_, i64>(cut).fetch_one(&service.db).await.unwrap();
        }
    };
    tokio::join!(registering, cutting);
    assert!(cuts >= 10, "{cuts}");
    // Each connection that was cut is noticed by its next use.
    futures_util::future::join_all(people.iter().map(|person| service.gets_in_in_the_end(person))).await;
    recovers("the end of all mails", async || (service.outbox_len().await == 0).then_some(())).await;
}

/// The disk of its tables. Were it that of its log, it would stop, which is another case.
async fn its_disk_is_full() {
    let own = OwnPostgres::start("postgres-full").await;
    let (world, running, service, code) = busy(&own).await;
    // A file that may grow no more is to PostgreSQL a disk that is full, and takes no right to mount one. The log's files
    // have their 16 MiB from the beginning; the table's must be as large, and the limit in the middle of its next page:
    // so a page is written in part, as when a disk gets full.
    sqlx::raw_sql(
        "ALTER TABLE addresses SET (autovacuum_enabled = off);
         INSERT INTO addresses SELECT n || repeat('x', 200), decode(repeat('00', 16), 'hex'), 'm=8,t=1,p=1', now(), '60 s', '{}'
            FROM generate_series(1, 70000) AS n",
    )
    .execute(&service.db)
    .await
    .unwrap();
    let size: i64 = sqlx::query_scalar("SELECT pg_relation_size('addresses')").fetch_one(&service.db).await.unwrap();
    assert!(size > 16 << 20, "{size}");
    own.limit_files(&(size + 4096).to_string());
    eventually("a full disk", async || {
        let answer = service.register(&format!("{}@example.com", unique_name()), PASSWORD).await;
        (answer.outcome() == (503, "unavailable")).then_some(())
    })
    .await;
    world.provider.does(Does::Work);
    told(&running, "SQLSTATE 53100").await;
    own.limit_files("unlimited");
    all_get_in(&service, &code).await;
}
