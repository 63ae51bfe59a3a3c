//! A process that is told to stop takes nothing on, finishes what it can, leaves the rest to others, and ends in time with
//! status 0, whatever hangs.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use reqwest::Method;
use serde_json::json;
use sqlx::Connection as _;

use super::scripted::Does;
use super::world::{World, told};
use crate::process::{Running, send};
use crate::support::{Answer, PASSWORD, eventually};

const ADA: &str = "ada@example.com";
const BOB: &str = "bob@example.com";
/// `SHUTDOWN_GRACE`, unless a case says otherwise.
const GRACE: Duration = Duration::from_secs(10);
/// What a busy machine adds.
const SLACK: Duration = Duration::from_secs(8);

#[tokio::test]
async fn whatever_hangs_it_ends_in_time() {
    tokio::join!(
        it_answers_what_it_was_asked_and_accepts_no_more(),
        it_finishes_the_mail_under_way_and_begins_none(),
        it_leaves_others_what_it_cannot_finish(),
        #[cfg(target_os = "linux")]
        redis_hangs(),
        #[cfg(target_os = "linux")]
        postgresql_hangs_or_everything_does(),
    );
}

/// Tells it to stop; how long it took to end, with status 0.
async fn ends(running: &mut Running) -> Duration {
    let told = Instant::now();
    assert!(running.end(Signal::SIGTERM).await.success(), "{}", running.stderr());
    let took = told.elapsed();
    assert!(took < GRACE + SLACK, "{took:?}\n{}", running.stderr());
    took
}

async fn it_answers_what_it_was_asked_and_accepts_no_more() {
    let world = World::new().await;
    let (mut running, service) = world.serve(&[]).await;
    let mut lock = sqlx::PgConnection::connect(&service.database_url).await.unwrap();
    let mut held = lock.begin().await.unwrap();
    // Of all that goes on only a registration writes there.
    sqlx::query("LOCK TABLE addresses IN SHARE MODE").execute(&mut *held).await.unwrap();
    let body = json!({ "email": ADA, "password": PASSWORD });
    let asked = Answer::of(service.request(Method::POST, "/v1/users").json(&body));
    let told_and_let_go = async {
        eventually("a request that waits", async || {
            let waiting = "SELECT pid FROM pg_stat_activity
                WHERE datname = current_database() AND application_name = 'sixty' AND wait_event_type = 'Lock'";
            sqlx::query(waiting).fetch_optional(&service.db).await.unwrap()
        })
        .await;
        send(running.pid(), Signal::SIGTERM);
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        eventually("nobody listens", async || http.get(service.url_of("/livez")).send().await.err().map(drop)).await;
        held.rollback().await.unwrap();
    };
    let (answer, ()) = tokio::join!(asked, told_and_let_go);
    assert_eq!(answer.status, 201);
    assert!(running.ended().await.success(), "{}", running.stderr());
    world.serve(&[]).await.1.gets_in(ADA).await;
}

async fn it_finishes_the_mail_under_way_and_begins_none() {
    let world = World::new().await;
    let (mut running, service) = world.serve(&["--mail-concurrency=1"]).await;
    world.provider.does(Does::WorkSlowly(Duration::from_secs(2)));
    service.register_pending(ADA).await;
    world.provider.attempted(1).await;
    service.register_pending(BOB).await;
    ends(&mut running).await;
    assert_eq!(service.mails(ADA).await.len(), 1);
    let left = "SELECT email FROM outbox JOIN users ON users.id = user_id WHERE attempts = 0";
    let left: Vec<String> = sqlx::query_scalar(left).fetch_all(&service.db).await.unwrap();
    assert_eq!((service.outbox_len().await, left.as_slice()), (1, &[BOB.to_owned()][..]));
}

/// Who waited for the lease to end would not get it in time.
async fn it_leaves_others_what_it_cannot_finish() {
    let world = World::new().await;
    let (mut running, service) = world.serve(&["--mail-lease=10m"]).await;
    world.provider.does(Does::Hang);
    service.register_pending(ADA).await;
    world.provider.attempted(1).await;
    let took = ends(&mut running).await;
    assert!(took > GRACE / 2, "{took:?}");
    told(&running, "a mail was not finished before the shutdown; another process will send it").await;
    world.provider.does(Does::Work);
    world.serve(&[]).await.1.gets_in(ADA).await;
}

#[cfg(target_os = "linux")]
async fn redis_hangs() {
    let redis = crate::own::OwnRedis::start().await;
    let world = World::over(&crate::support::create_database().await, &redis.url).await;
    let (mut running, service) = world.serve(&["--mail-lease=10m"]).await;
    service.register_pending(ADA).await;
    service.wait_for_empty_outbox().await;
    redis.signal(Signal::SIGSTOP);
    service.register_pending(BOB).await;
    service.wait_for_mail_attempt().await;
    assert_eq!(service.activate(ADA, PASSWORD, "0000").await.status, 503);
    let took = ends(&mut running).await;
    assert!(took < GRACE, "{took:?}");
    redis.signal(Signal::SIGCONT);
    let (_running, service) = world.serve(&[]).await;
    service.gets_in(BOB).await;
    service.gets_in(ADA).await;
}

#[cfg(target_os = "linux")]
async fn postgresql_hangs_or_everything_does() {
    use crate::own::{Frozen, OwnPostgres};
    use crate::serve::idle_connection;

    let own = OwnPostgres::start("shutdown").await;
    let world = World::over(own.url(), own.redis_url()).await;
    let (mut idle, service) = world.serve(&[]).await;
    let connection = idle_connection(&service.url).await;
    let frozen = Frozen::new(own.pid());
    assert_eq!(Answer::of(service.request(Method::GET, "/readyz")).await.status, 503);
    // Five seconds for the call that is under way, and then it is over.
    ends(&mut idle).await;
    drop((frozen, connection));

    let (mut running, service) = world.serve(&[]).await;
    world.provider.does(Does::Hang);
    service.register_pending(ADA).await;
    world.provider.attempted(1).await;
    let frozen = [Frozen::new(own.pid()), Frozen::new(own.redis_pid())];
    ends(&mut running).await;
    drop(frozen);
    world.provider.does(Does::Work);
    let (_running, service) = world.serve(&[]).await;
    service.gets_in(ADA).await;
}
