//! Shutdown: after SIGTERM a process accepts nothing new, finishes what it can, releases the rest to other processes,
//! and exits with status 0 within `SHUTDOWN_GRACE`, whatever hangs.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use reqwest::Method;
use serde_json::json;
use sqlx::Connection as _;

use super::environment::{Environment, wait_for_log};
use super::scripted_provider::Behavior;
use crate::process::{Running, send_signal};
use crate::support::{Answer, PASSWORD, eventually};

const ADA: &str = "ada@example.com";
const BOB: &str = "bob@example.com";
/// The default of `SHUTDOWN_GRACE`.
const GRACE: Duration = Duration::from_secs(10);
/// Extra time for a busy machine.
const SLACK: Duration = Duration::from_secs(8);

#[tokio::test]
async fn shutdown_ends_in_time_whatever_hangs() {
    tokio::join!(
        requests_in_progress_are_answered_and_new_connections_refused(),
        the_mail_in_progress_is_finished_and_none_is_begun(),
        an_unfinished_mail_is_released_to_other_processes(),
        #[cfg(target_os = "linux")]
        redis_hangs(),
        #[cfg(target_os = "linux")]
        postgresql_hangs_then_all_stores_and_the_provider_hang(),
    );
}

/// Sends SIGTERM. Asserts exit status 0 and returns the time until the exit.
async fn terminate(running: &mut Running) -> Duration {
    let start = Instant::now();
    assert!(running.end(Signal::SIGTERM).await.success(), "{}", running.stderr());
    let took = start.elapsed();
    assert!(took < GRACE + SLACK, "{took:?}\n{}", running.stderr());
    took
}

async fn requests_in_progress_are_answered_and_new_connections_refused() {
    let env = Environment::new().await;
    let (mut running, service) = env.serve(&[]).await;
    let mut lock = sqlx::PgConnection::connect(&service.database_url).await.unwrap();
    let mut transaction = lock.begin().await.unwrap();
    // Only a registration writes to this table, so only the registration waits for the lock.
    sqlx::query("LOCK TABLE addresses IN SHARE MODE").execute(&mut *transaction).await.unwrap();
    let body = json!({ "email": ADA, "password": PASSWORD });
    let registration = Answer::of(service.request(Method::POST, "/v1/users").json(&body));
    let stop_and_unlock = async {
        eventually("registration that waits for the lock", async || {
            let query = "SELECT pid FROM pg_stat_activity
                WHERE datname = current_database() AND application_name = 'sixty' AND wait_event_type = 'Lock'";
            sqlx::query(query).fetch_optional(&service.db).await.unwrap()
        })
        .await;
        send_signal(running.pid(), Signal::SIGTERM);
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        eventually("refused connection", async || http.get(service.url_of("/livez")).send().await.err().map(drop))
            .await;
        transaction.rollback().await.unwrap();
    };
    let (answer, ()) = tokio::join!(registration, stop_and_unlock);
    assert_eq!(answer.status, 201);
    assert!(running.wait().await.success(), "{}", running.stderr());
    env.serve(&[]).await.1.activate_with_mailed_code(ADA).await;
}

async fn the_mail_in_progress_is_finished_and_none_is_begun() {
    let env = Environment::new().await;
    let (mut running, service) = env.serve(&["--mail-concurrency=1"]).await;
    env.provider.set_behavior(Behavior::AcceptAfter(Duration::from_secs(2)));
    service.register_pending(ADA).await;
    env.provider.wait_for_attempts(1).await;
    service.register_pending(BOB).await;
    terminate(&mut running).await;
    assert_eq!(service.mails(ADA).await.len(), 1);
    let query = "SELECT email FROM outbox JOIN users ON users.id = user_id WHERE attempts = 0";
    let unsent: Vec<String> = sqlx::query_scalar(query).fetch_all(&service.db).await.unwrap();
    assert_eq!((service.outbox_len().await, unsent.as_slice()), (1, &[BOB.to_owned()][..]));
}

/// The lease is longer than the test's deadline, so the next process must not have to wait for its end.
async fn an_unfinished_mail_is_released_to_other_processes() {
    let env = Environment::new().await;
    let (mut running, service) = env.serve(&["--mail-lease=10m"]).await;
    env.provider.set_behavior(Behavior::Hang);
    service.register_pending(ADA).await;
    env.provider.wait_for_attempts(1).await;
    let took = terminate(&mut running).await;
    assert!(took > GRACE / 2, "{took:?}");
    wait_for_log(&running, "a mail was not finished before the shutdown; another process will send it").await;
    env.provider.set_behavior(Behavior::Accept);
    env.serve(&[]).await.1.activate_with_mailed_code(ADA).await;
}

#[cfg(target_os = "linux")]
async fn redis_hangs() {
    let redis = crate::private_servers::PrivateRedis::start().await;
    let env = Environment::with_stores(&crate::support::create_database().await, &redis.url).await;
    let (mut running, service) = env.serve(&["--mail-lease=10m"]).await;
    service.register_pending(ADA).await;
    service.wait_for_empty_outbox().await;
    redis.signal(Signal::SIGSTOP);
    service.register_pending(BOB).await;
    service.wait_for_mail_attempt().await;
    assert_eq!(service.activate(ADA, PASSWORD, "0000").await.status, 503);
    let took = terminate(&mut running).await;
    assert!(took < GRACE, "{took:?}");
    redis.signal(Signal::SIGCONT);
    let (_running, service) = env.serve(&[]).await;
    service.activate_with_mailed_code(BOB).await;
    service.activate_with_mailed_code(ADA).await;
}

#[cfg(target_os = "linux")]
async fn postgresql_hangs_then_all_stores_and_the_provider_hang() {
    use crate::private_servers::{Frozen, PrivatePostgres};
    use crate::serve::idle_connection;

    let postgres = PrivatePostgres::start("shutdown").await;
    let env = Environment::with_stores(postgres.url(), postgres.redis_url()).await;
    let (mut idle_process, service) = env.serve(&[]).await;
    let connection = idle_connection(&service.url).await;
    let frozen = Frozen::new(postgres.pid());
    assert_eq!(Answer::of(service.request(Method::GET, "/readyz")).await.status, 503);
    // The call in progress ends after DATABASE_TIMEOUT, five seconds.
    terminate(&mut idle_process).await;
    drop((frozen, connection));

    let (mut running, service) = env.serve(&[]).await;
    env.provider.set_behavior(Behavior::Hang);
    service.register_pending(ADA).await;
    env.provider.wait_for_attempts(1).await;
    let frozen = [Frozen::new(postgres.pid()), Frozen::new(postgres.redis_pid())];
    terminate(&mut running).await;
    drop(frozen);
    env.provider.set_behavior(Behavior::Accept);
    let (_running, service) = env.serve(&[]).await;
    service.activate_with_mailed_code(ADA).await;
}
