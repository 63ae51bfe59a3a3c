//! PostgreSQL restarts, vanishes, becomes read-only, or another server takes over.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::{register, statuses};
use crate::private_servers::PrivatePostgres;
use crate::support::{Answer, Relay, Service, create_database, eventually};

/// A service behind a relay to its database, with the handle of a service that reaches the database directly.
async fn start() -> (Relay, Service) {
    let direct = Service::start().await;
    let relay = Relay::before(&direct.database_url).await;
    let url = relay.redirect(&direct.database_url);
    let flags = ["--database-url", &url, "--database-timeout=3s", "--database-max-connections=4"];
    let service = direct.replica(&flags).await;
    (relay, service)
}

/// Returns the session that locks the table `addresses` until its ROLLBACK. No mail waits for the lock: each has been tried,
/// without success, because the provider is gone.
async fn lock_addresses(service: &Service) -> PgConnection {
    eventually("the end of all attempts", async || {
        let is_idle = "SELECT NOT EXISTS (SELECT FROM outbox WHERE lease IS NOT NULL OR attempts = 0)";
        let is_idle: bool = sqlx::query_scalar(is_idle).fetch_one(&service.db).await.unwrap();
        is_idle.then_some(())
    })
    .await;
    let mut session = PgConnection::connect(&service.database_url).await.unwrap();
    let lock = sqlx::raw_sql("BEGIN; LOCK TABLE addresses IN ACCESS EXCLUSIVE MODE").execute(&mut session);
    lock.await.unwrap();
    session
}

async fn wait_for_four_locks(service: &Service) {
    eventually("four waiting statements", async || {
        let waiting = "SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%addresses%'";
        let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(&service.db).await.unwrap();
        (waiting >= 4).then_some(())
    })
    .await;
}

#[tokio::test]
async fn connections_whose_packets_are_dropped_fail_only_the_calls_that_use_them() {
    let (relay, service) = start().await;
    assert_eq!(statuses(&service, 8).await, [201; 8]);
    for _ in 0..3 {
        let mut lock = lock_addresses(&service).await;
        // Four calls use all connections, and four wait for one.
        let busy = statuses(&service, 8);
        let drop_packets = async {
            wait_for_four_locks(&service).await;
            relay.silence();
            sqlx::raw_sql("ROLLBACK").execute(&mut lock).await.unwrap();
        };
        let (failed, ()) = tokio::join!(busy, drop_packets);
        assert!(failed.iter().filter(|status| **status == 503).count() >= 4, "{failed:?}");
        // All places of the pool are free, and nothing else fails.
        let answers = join_all((0..8).map(|_| register(&service))).await;
        assert!(answers.iter().all(|answer| answer.status == 201), "{answers:?}");
    }
}

/// Otherwise they would wait for a place that a stuck connection never gives back.
#[tokio::test]
async fn calls_that_wait_for_a_stuck_pool_go_on_in_the_new_one() {
    let (relay, service) = start().await;
    assert_eq!(statuses(&service, 8).await, [201; 8]);
    let mut lock = lock_addresses(&service).await;
    let stuck = statuses(&service, 4);
    let waiting = async {
        wait_for_four_locks(&service).await;
        relay.silence();
        sqlx::raw_sql("ROLLBACK").execute(&mut lock).await.unwrap();
        // They wait for 2.5 seconds at most, and the stuck calls end after three.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        statuses(&service, 4).await
    };
    assert_eq!(tokio::join!(stuck, waiting), (vec![503; 4], vec![201; 4]));
}

#[tokio::test]
async fn after_a_cut_no_request_fails() {
    let (relay, service) = start().await;
    for _ in 0..3 {
        assert_eq!(statuses(&service, 8).await, [201; 8]);
        // Longer than the time within which a connection is trusted after its last use.
        tokio::time::sleep(Duration::from_millis(200)).await;
        relay.cut();
        for _ in 0..5 {
            assert_eq!(register(&service).await.status, 201);
        }
    }
}

#[tokio::test]
async fn sessions_that_are_read_only_are_replaced_when_the_server_accepts_changes_again() {
    let (relay, service) = start().await;
    let database = service.database_url.rsplit('/').next().unwrap();
    let mut admin = PgConnection::connect(&create_database().await).await.unwrap();
    let mut alter = async |change: &str| {
        let alter = AssertSqlSafe(format!("ALTER DATABASE \"{database}\" {change}"));
        sqlx::raw_sql(alter).execute(&mut admin).await.unwrap();
    };
    alter("SET default_transaction_read_only = on").await;
    relay.cut();
    let refused = eventually("a read-only session", async || {
        let answer = register(&service).await;
        (answer.status == 503).then_some(answer)
    })
    .await;
    assert_eq!(refused.body["detail"], "PostgreSQL is read-only.");
    alter("RESET default_transaction_read_only").await;
    for _ in 0..5 {
        assert_eq!(register(&service).await.status, 201);
    }
}

/// Reading works, and no commit returns.
#[tokio::test]
async fn without_its_synchronous_standby_postgresql_is_not_ready() {
    let postgres = PrivatePostgres::start("no-standby").await;
    let mut admin = PgConnection::connect(postgres.url()).await.unwrap();
    // The servers of tests do not wait for their disks.
    sqlx::raw_sql("ALTER ROLE CURRENT_USER SET synchronous_commit = on").execute(&mut admin).await.unwrap();
    let service = Service::start_in(postgres.url()).await;
    let ready = async || Answer::of(service.request(Method::GET, "/readyz")).await;
    for change in ["ALTER SYSTEM SET synchronous_standby_names = 'nobody'", "SELECT pg_reload_conf()"] {
        sqlx::raw_sql(change).execute(&mut admin).await.unwrap();
    }
    let detail = "Not ready: postgresql (does not answer)";
    eventually("an unready service", async || (ready().await.body["detail"] == detail).then_some(())).await;
    for change in ["ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()"] {
        sqlx::raw_sql(change).execute(&mut admin).await.unwrap();
    }
    eventually("a ready service", async || (ready().await.status == 200).then_some(())).await;
}

async fn set_read_only(url: &str, value: &str) {
    let mut admin = PgConnection::connect(url).await.unwrap();
    let set = AssertSqlSafe(format!("ALTER SYSTEM SET default_transaction_read_only = {value}"));
    sqlx::raw_sql(set).execute(&mut admin).await.unwrap();
    sqlx::raw_sql("SELECT pg_reload_conf()").execute(&mut admin).await.unwrap();
    eventually("the setting", async || {
        let mut session = PgConnection::connect(url).await.unwrap();
        let found: String =
            sqlx::query_scalar("SHOW default_transaction_read_only").fetch_one(&mut session).await.unwrap();
        (found == value).then_some(())
    })
    .await;
}

#[tokio::test]
async fn of_several_hosts_the_one_that_accepts_changes_is_used() {
    let [mut first, second] = [PrivatePostgres::start("first-host").await, PrivatePostgres::start("second-host").await];
    let mut services = vec![];
    for server in [&first, &second] {
        let mut admin = PgConnection::connect(server.url()).await.unwrap();
        sqlx::raw_sql("ALTER ROLE sixty PASSWORD 'test-only'").execute(&mut admin).await.unwrap();
        let (_, address) = server.url().rsplit_once('@').unwrap();
        services.push(Service::start_in(&format!("postgres://sixty:test-only@{address}")).await);
    }
    let [on_first, on_second] = &services[..] else { unreachable!() };
    let users = async |on: &Service| {
        sqlx::query_scalar::<_, i64>("SELECT count(*) FROM users").fetch_one(&on.db).await.unwrap()
    };
    set_read_only(&on_first.database_url, "on").await;
    let (first_host, _) = on_first.database_url.rsplit_once('/').unwrap();
    let (_, second_host) = on_second.database_url.rsplit_once('@').unwrap();
    let url = format!("{first_host},{second_host}?target_session_attrs=read-write");
    let service = on_second.replica(&["--database-url", &url]).await;
    assert_eq!(statuses(&service, 8).await, [201; 8]);
    assert_eq!((users(on_first).await, users(on_second).await), (0, 8));

    // The servers change their roles, and keep all connections.
    set_read_only(&on_second.database_url, "on").await;
    set_read_only(&on_first.database_url, "off").await;
    eventually("a user on the first host", async || {
        assert_eq!(register(&service).await.status, 201);
        (users(on_first).await > 0).then_some(())
    })
    .await;

    // The one that accepts changes stops. The other takes over before a call would give up.
    first.stop().await;
    let waiting = register(&service);
    let promotion = set_read_only(&on_second.database_url, "off");
    let answer = tokio::join!(waiting, promotion).0;
    assert_eq!(answer.status, 201, "{answer:?}");
}
