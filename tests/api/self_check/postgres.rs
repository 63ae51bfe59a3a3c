//! A PostgreSQL that `serve` cannot use.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::{assert_refused, assert_waits, get, serve, stop, wait_until_ready};
use crate::process::{output, sixty};
use crate::support::{PASSWORD, Relay, create_database, eventually, stack, unique_name};

/// Runs statements as the superuser of the shared server.
pub async fn execute(database_url: &str, statements: &str) {
    let mut connection = PgConnection::connect(database_url).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut connection).await.unwrap();
}

/// Returns the URL with another user.
pub fn with_user(url: &str, user: &str, password: &str) -> String {
    let (_, rest) = url.split_once('@').unwrap();
    format!("postgres://{user}:{password}@{rest}")
}

/// Returns the URL with another database.
fn with_database(url: &str, name: &str) -> String {
    format!("{}/{name}", url.rsplit_once('/').unwrap().0)
}

/// Creates a role that may log in. Returns its name.
pub async fn create_role(database_url: &str) -> String {
    let role = format!("r{}", unique_name());
    execute(database_url, &format!("CREATE ROLE {role} LOGIN PASSWORD 'c4n4ry'")).await;
    role
}

async fn migrate_up(url: &str) {
    assert!(output(sixty(&["migrate", "up"]).env("DATABASE_URL", url)).await.status.success());
}

#[tokio::test]
async fn a_postgresql_that_no_patience_can_cure_ends_the_start() {
    let url = create_database().await;
    let latin = format!("l{}", unique_name());
    let create = format!("CREATE DATABASE {latin} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
    execute(&url, &create).await;
    let ascii = format!("a{}", unique_name());
    let create = format!("CREATE DATABASE {ascii} ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
    execute(&url, &create).await;
    let role = create_role(&url).await;
    execute(&url, "REVOKE CREATE ON SCHEMA public FROM PUBLIC").await;
    let schemaless = create_database().await;
    execute(&schemaless, "REVOKE ALL ON SCHEMA public FROM PUBLIC").await;
    let cases = [
        (
            format!("{url}?sslmode=verify-full&sslrootcert=/no/ca.pem"),
            "sslrootcert: the file /no/ca.pem cannot be read",
        ),
        (format!("{url}?sslmode=require"), "does not offer TLS, and sslmode requires it"),
        (with_database(&url, &latin), "has the encoding LATIN1"),
        (with_database(&url, &ascii), "has the encoding SQL_ASCII"),
        (with_database(&url, "c4n4ry"), "has no such database (SQLSTATE 3D000)"),
        (with_user(&url, "sixty", "c4n4ry"), "refuses the user or the password (SQLSTATE 28"),
        (with_user(&url, &role, "c4n4ry"), "the role may not create or change the tables (SQLSTATE 42501)"),
        (with_user(&schemaless, &role, "c4n4ry"), "the role may use no schema"),
    ];
    let refused = cases.map(|(url, words)| {
        let serve = serve(&url, stack().redis_url());
        async move { assert_refused(serve, &["sixty: DATABASE_URL: ", words]).await }
    });
    futures_util::future::join_all(refused).await;
}

#[tokio::test]
async fn a_role_without_create_is_enough_when_nothing_is_pending() {
    let url = create_database().await;
    migrate_up(&url).await;
    let role = create_role(&url).await;
    execute(&url, "REVOKE CREATE ON SCHEMA public FROM PUBLIC").await;
    let service = with_user(&url, &role, "c4n4ry");
    let words = &["sixty: DATABASE_URL: ", "SQLSTATE 42501"];
    assert_refused(serve(&service, stack().redis_url()), words).await;
    execute(&url, &format!("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")).await;
    let words = &["sixty: DATABASE_URL: ", "the role lacks ", "INSERT on users", "GRANT SELECT, INSERT"];
    assert_refused(serve(&service, stack().redis_url()), words).await;
    execute(&url, &format!("GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}")).await;
    let (mut running, api) = assert_waits(serve(&service, stack().redis_url()), &["\"ready\""]).await;
    wait_until_ready(&mut running, &api).await;
    stop(running).await;
}

#[tokio::test]
async fn a_closed_port_and_an_unknown_host_are_waited_for() {
    let redis = stack().redis_url();
    let words = ["waiting for PostgreSQL: DATABASE_URL: ", "Connection refused"];
    let (running, _) = assert_waits(serve("postgres://sixty:c4n4ry@127.0.0.1:1/sixty", redis), &words).await;
    assert!(!running.stderr().contains("pool timed out"), "{}", running.stderr());
    stop(running).await;
    let words = ["waiting for PostgreSQL: DATABASE_URL: ", "has no address (DNS)"];
    let (running, _) = assert_waits(serve("postgres://sixty:c4n4ry@nowhere.invalid/sixty", redis), &words).await;
    stop(running).await;
}

#[tokio::test]
async fn a_database_that_is_created_late_is_used() {
    let url = create_database().await;
    let late = format!("d{}", unique_name());
    let words = ["waiting for PostgreSQL: DATABASE_URL: ", "has no such database"];
    let (mut running, api) = assert_waits(serve(&with_database(&url, &late), stack().redis_url()), &words).await;
    execute(&url, &format!("CREATE DATABASE {late}")).await;
    wait_until_ready(&mut running, &api).await;
    stop(running).await;
}

/// A proxy accepts connections and closes them at once while no server is behind it, as during a failover.
#[tokio::test]
async fn a_proxy_without_a_server_is_waited_for() {
    let url = create_database().await;
    let relay = Relay::before(&url).await;
    relay.lead_to("postgres://127.0.0.1:1/");
    let words = ["waiting for PostgreSQL: DATABASE_URL: ", "is a proxy in between that has no server now?"];
    let (mut running, api) = assert_waits(serve(&relay.redirect(&url), stack().redis_url()), &words).await;
    // Longer than a fault of a setting is waited for.
    tokio::time::sleep(Duration::from_secs(7)).await;
    relay.lead_to(&url);
    wait_until_ready(&mut running, &api).await;
    stop(running).await;
}

#[tokio::test]
async fn a_read_only_postgresql_is_waited_for_and_makes_a_running_service_unready() {
    let url = create_database().await;
    let name = url.rsplit_once('/').unwrap().1;
    let set_read_only = async |value: &str| {
        execute(stack().database_url(), &format!("ALTER DATABASE {name} SET default_transaction_read_only = {value}"))
            .await;
        // A session keeps its defaults until it ends.
        let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
        execute(stack().database_url(), &end).await;
    };
    set_read_only("on").await;
    let words = ["waiting for PostgreSQL: DATABASE_URL: PostgreSQL is read-only"];
    let (mut running, api) = assert_waits(serve(&url, stack().redis_url()), &words).await;
    let answer = get(format!("{api}/readyz")).await;
    assert!(answer.body["detail"].as_str().unwrap().contains("postgresql (is read-only)"), "{answer:?}");
    set_read_only("off").await;
    wait_until_ready(&mut running, &api).await;
    set_read_only("on").await;
    let answer = eventually("unready service", async || {
        Some(get(format!("{api}/readyz")).await)
            .filter(|answer| answer.body["detail"].to_string().contains("read-only"))
    })
    .await;
    assert_eq!(answer.outcome(), (503, "unavailable"));
    set_read_only("off").await;
    wait_until_ready(&mut running, &api).await;
    stop(running).await;
}

#[tokio::test]
async fn before_its_migrations_the_service_answers_503_and_says_what_it_waits_for() {
    let url = create_database().await;
    let mut serve = serve(&url, stack().redis_url());
    serve.env("MIGRATE", "false");
    let words = ["waiting for PostgreSQL: MIGRATE: is false", "`sixty migrate up`"];
    let (mut running, api) = assert_waits(serve, &words).await;
    let register = async || {
        let body = serde_json::json!({ "email": "ada@example.com", "password": PASSWORD });
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        crate::support::Answer::of(http.post(format!("{api}/v1/users")).json(&body)).await
    };
    let answer = register().await;
    assert_eq!(answer.outcome(), (503, "unavailable"));
    let detail = answer.body["detail"].as_str().unwrap();
    assert!(detail.starts_with("PostgreSQL is not set up yet"), "{detail}");
    // A schema of an earlier release, which lacks columns.
    migrate_up(&url).await;
    wait_until_ready(&mut running, &api).await;
    stop(running).await;
    assert!(output(sixty(&["migrate", "down"]).env("DATABASE_URL", &url)).await.status.success());
    let mut serve = super::serve(&url, stack().redis_url());
    serve.env("MIGRATE", "false");
    let (mut running, api) = assert_waits(serve, &words).await;
    let body = serde_json::json!({ "email": "ada@example.com", "password": PASSWORD });
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = crate::support::Answer::of(http.post(format!("{api}/v1/users")).json(&body)).await;
    assert_eq!(answer.outcome(), (503, "unavailable"));
    migrate_up(&url).await;
    wait_until_ready(&mut running, &api).await;
    stop(running).await;
}
