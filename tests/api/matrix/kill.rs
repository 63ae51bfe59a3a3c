//! `sixty serve`, killed at each step on the way of a mail, and started again.
//!
//! A step is held by what it waits for: by a trigger in PostgreSQL, by a paused Redis, by a provider that has the request.
//! Whether a statement that was held takes effect after its client's death is decided here, too.

use nix::sys::signal::Signal;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};

use super::scripted::Does;
use super::world::World;
use crate::own::OwnRedis;
use crate::process::Running;
use crate::support::{Service, create_database, eventually};

const ADA: &str = "ada@example.com";

#[tokio::test]
async fn wherever_a_process_is_killed_the_person_gets_in() {
    tokio::join!(
        before_the_claim(),
        after_the_claim(),
        before_the_mint(),
        after_the_mint_and_before_the_mail_is_taken(),
        after_the_mail_is_taken_and_before_the_answer(),
        after_the_answer_and_before_the_minute_is_started_anew(),
        before_the_finish(),
        after_the_finish(),
    );
}

async fn kill(mut running: Running) {
    assert!(!running.end(Signal::SIGKILL).await.success());
}

/// Another process finds what the killed one left: so many copies of the mail come, and the person gets in with any.
async fn and_started_again(world: &World, copies: usize) {
    world.provider.does(Does::Work);
    let (_running, service) = world.serve(&[]).await;
    eventually("the mail", async || (service.mails(ADA).await.len() >= copies).then_some(())).await;
    service.gets_in(ADA).await;
    service.wait_for_empty_outbox().await;
    assert_eq!(service.mailed_codes(ADA).await.len(), copies);
}

/// A statement of a kind waits in PostgreSQL for as long as this lives.
struct Held {
    db: PgPool,
    lock: PgConnection,
}

impl Held {
    /// From the next of them on; `event` is such as `UPDATE ON outbox`.
    async fn every(event: &str, service: &Service) -> Held {
        let mut lock = PgConnection::connect(&service.database_url).await.unwrap();
        let hold = format!(
            "CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$
                BEGIN PERFORM pg_advisory_xact_lock_shared(60); RETURN coalesce(NEW, OLD); END
            $$;
            CREATE TRIGGER hold BEFORE {event} FOR EACH ROW EXECUTE FUNCTION hold();
            SELECT pg_advisory_lock(60)"
        );
        sqlx::raw_sql(AssertSqlSafe(hold)).execute(&mut lock).await.unwrap();
        Held { db: service.db.clone(), lock }
    }

    /// The backends that wait.
    async fn waiting(&self) -> Vec<i32> {
        let waiting = "SELECT pid FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = 'sixty' AND wait_event = 'advisory'";
        sqlx::query_scalar(waiting).fetch_all(&self.db).await.unwrap()
    }

    async fn reached(&self) {
        eventually("a statement that is held", async || (!self.waiting().await.is_empty()).then_some(())).await;
    }

    /// What waits never happens.
    async fn drop_what_waits(self) {
        sqlx::query("SELECT pg_terminate_backend(pid) FROM unnest($1) AS pid")
            .bind(self.waiting().await)
            .execute(&self.db)
            .await
            .unwrap();
        self.let_it_happen().await;
    }

    /// What waits goes on, though nobody is there for its answer.
    async fn let_it_happen(self) {
        let Held { db, lock } = self;
        lock.close().await.unwrap();
        eventually("the end of what was held", async || {
            let left = "SELECT count(*) FROM pg_stat_activity
                WHERE datname = current_database() AND application_name = 'sixty'";
            let left: i64 = sqlx::query_scalar(left).fetch_one(&db).await.unwrap();
            (left == 0).then_some(())
        })
        .await;
    }
}

/// Killed while such a statement is held, before the provider has seen the mail or after.
async fn killed_at(event: &str) -> (World, Held) {
    let world = World::new().await;
    let (running, service) = world.serve(&[]).await;
    let held = Held::every(event, &service).await;
    service.register_pending(ADA).await;
    held.reached().await;
    kill(running).await;
    (world, held)
}

async fn before_the_claim() {
    let (world, held) = killed_at("UPDATE ON outbox").await;
    held.drop_what_waits().await;
    assert_eq!(world.provider.attempts().len(), 0);
    and_started_again(&world, 1).await;
}

/// The row is claimed, and whoever claimed it never hears of it.
async fn after_the_claim() {
    let (world, held) = killed_at("UPDATE ON outbox").await;
    held.let_it_happen().await;
    assert_eq!(world.provider.attempts().len(), 0);
    and_started_again(&world, 1).await;
}

/// Killed while the code is to be made live, for the first time or for the second.
async fn killed_at_the_mint(does: Does) -> (World, OwnRedis) {
    let redis = OwnRedis::start().await;
    let world = World::over(&create_database().await, &redis.url).await;
    // Else the request would ask Redis, too.
    let (running, service) = world.serve(&["--client-limits=false"]).await;
    world.provider.does(does);
    if does == Does::Work {
        redis.hold_writes().await;
    }
    service.register_pending(ADA).await;
    if does != Does::Work {
        world.provider.attempted(1).await;
        redis.hold_writes().await;
        world.provider.does(Does::Work);
    }
    redis.holds_something().await;
    kill(running).await;
    redis.go_on().await;
    (world, redis)
}

async fn before_the_mint() {
    let (world, _redis) = killed_at_the_mint(Does::Work).await;
    assert_eq!(world.provider.attempts().len(), 0);
    and_started_again(&world, 1).await;
}

/// Killed while the provider has the request.
async fn killed_at_the_provider(does: Does) -> World {
    let world = World::new().await;
    let (running, service) = world.serve(&[]).await;
    world.provider.does(does);
    service.register_pending(ADA).await;
    world.provider.attempted(1).await;
    kill(running).await;
    world
}

async fn after_the_mint_and_before_the_mail_is_taken() {
    let world = killed_at_the_provider(Does::Hang).await;
    and_started_again(&world, 1).await;
}

/// Nobody can know that it was taken, so it comes twice; the person may use either.
async fn after_the_mail_is_taken_and_before_the_answer() {
    let world = killed_at_the_provider(Does::TakeAndHold).await;
    and_started_again(&world, 2).await;
}

async fn after_the_answer_and_before_the_minute_is_started_anew() {
    let (world, _redis) = killed_at_the_mint(Does::TakeAndHold).await;
    and_started_again(&world, 2).await;
}

async fn before_the_finish() {
    let (world, held) = killed_at("DELETE ON outbox").await;
    held.drop_what_waits().await;
    and_started_again(&world, 2).await;
}

async fn after_the_finish() {
    let (world, held) = killed_at("DELETE ON outbox").await;
    held.let_it_happen().await;
    and_started_again(&world, 1).await;
}
