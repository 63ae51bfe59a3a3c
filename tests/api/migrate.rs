//! `sixty migrate` applies, reverts and lists the migrations. Replicas that migrate at the same time do so one after
//! another.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use futures_util::future::join_all;
use nix::sys::signal::Signal;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::process::Command;

use super::process::{Running, failure_line, output, sixty};
use super::support::{CODE_SECRET, create_database, eventually, stack};

fn migrate(url: &str, action: &str) -> Command {
    let mut command = sixty(&["migrate", action]);
    // Standard error shows only errors; results go to standard output.
    command.env("DATABASE_URL", url).env("LOG_LEVEL", "error");
    command
}

/// Runs `sixty migrate`, which must succeed. Returns its standard output.
async fn run(url: &str, action: &str) -> String {
    let output = output(&mut migrate(url, action)).await;
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), err.as_str()), (Some(0), ""));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs `sixty migrate`. Returns the printed state of each migration, oldest first.
async fn states(url: &str, action: &str) -> Vec<String> {
    let printed = run(url, action).await;
    let listed = printed.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_digit()));
    listed.map(|line| line.split_whitespace().nth(1).unwrap().to_owned()).collect()
}

/// Returns `state` once for each migration in `sql/`.
fn all(state: &str) -> Vec<String> {
    let files = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("sql")).unwrap();
    let ups = files.filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().ends_with(".up.sql"));
    vec![state.to_owned(); ups.count()]
}

async fn execute(url: &str, sql: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
}

#[tokio::test]
async fn migrations_go_up_and_down_and_up_again() {
    let url = create_database().await;
    assert_eq!(states(&url, "status").await, all("pending"));
    assert_eq!(states(&url, "up").await, all("applied"));
    assert_eq!(states(&url, "status").await, all("applied"));
    assert_eq!(states(&url, "up").await, all("applied"));
    let versions: Vec<String> = run(&url, "status").await.lines().map(|line| line[..4].to_owned()).collect();
    for (applied, version) in versions.iter().enumerate().rev() {
        let printed = run(&url, "down").await;
        assert!(printed.starts_with(&format!("reverted {version}\n")), "{printed}");
        assert_eq!(states(&url, "status").await.iter().filter(|state| *state == "applied").count(), applied);
    }
    assert!(run(&url, "down").await.starts_with("nothing to revert\n"));
    assert_eq!(states(&url, "up").await, all("applied"));
}

#[tokio::test]
async fn settings_may_stand_before_or_after_the_action() {
    let url = create_database().await;
    for arguments in [
        ["migrate", "--log-level=error", "--database-url", &url, "up"],
        ["migrate", "up", "--log-level=error", "--database-url", &url],
    ] {
        let output = output(&mut sixty(&arguments)).await;
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    }
    let (status, line) = failure_line(&mut sixty(&["migrate", "up", "--log-level=c4n4ry=c4n4ry"])).await;
    assert_eq!(status, 2);
    assert!(line.starts_with("sixty: LOG_LEVEL: "), "{line}");
}

#[tokio::test]
async fn eight_concurrent_migrations_run_one_after_another() {
    let url = create_database().await;
    for states in join_all((0..8).map(|_| states(&url, "up"))).await {
        assert_eq!(states, all("applied"));
    }
}

#[tokio::test]
async fn newer_migrations_are_listed_and_not_reverted() {
    let url = create_database().await;
    run(&url, "up").await;
    execute(
        &url,
        r"INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
          VALUES (9999, 'of the next release', true, '\x00', 0)",
    )
    .await;
    let ahead = || [all("applied"), vec!["newer".to_owned()]].concat();
    assert_eq!(states(&url, "up").await, ahead());
    assert!(run(&url, "status").await.ends_with("9999 newer    of the next release\n"));
    // Only the newer release can revert its migration, so neither it nor an older one is reverted.
    let (status, line) = failure_line(&mut migrate(&url, "down")).await;
    assert_eq!(status, 1);
    assert!(line.starts_with("sixty: migration 9999 is a newer release's"), "{line}");
    assert_eq!(states(&url, "status").await, ahead());
}

#[tokio::test]
async fn an_edited_migration_is_refused_in_one_line() {
    let url = create_database().await;
    run(&url, "up").await;
    execute(&url, r"UPDATE _sqlx_migrations SET checksum = '\x00' WHERE version = 1").await;
    let (status, line) = failure_line(&mut migrate(&url, "up")).await;
    assert_eq!(status, 1);
    assert!(line.starts_with("sixty: migration 0001 is not the one that was applied: "), "{line}");
    assert_eq!(failure_line(&mut migrate(&url, "down")).await, (1, line.clone()));
    assert_eq!(states(&url, "status").await[0], "edited");
    assert_eq!(serve_failure_line(&url).await, line);
}

#[tokio::test]
async fn a_half_applied_migration_is_refused_in_one_line() {
    let url = create_database().await;
    run(&url, "up").await;
    execute(&url, "UPDATE _sqlx_migrations SET success = false WHERE version = 1").await;
    for action in ["up", "down"] {
        let (status, line) = failure_line(&mut migrate(&url, action)).await;
        assert_eq!(status, 1);
        assert!(line.starts_with("sixty: migration 0001 is half applied: "), "{line}");
        assert_eq!(serve_failure_line(&url).await, line);
    }
    assert_eq!(states(&url, "status").await[0], "half");
}

/// Returns the error line of `sixty serve`, which must be the same with `--migrate=true` and `--migrate=false`.
async fn serve_failure_line(url: &str) -> String {
    let failure_line_with = async |migrate: &str| {
        let mut serve =
            sixty(&["serve", migrate, "--log-level=error", "--api-addr=127.0.0.1:0", "--ops-addr=127.0.0.1:0"]);
        serve.env("DATABASE_URL", url).env("REDIS_URL", stack().redis_url());
        let (status, line) =
            failure_line(serve.env("MAIL_URL", "http://127.0.0.1:1").env("CODE_SECRET", CODE_SECRET)).await;
        assert_eq!(status, 2);
        line
    };
    let line = failure_line_with("--migrate=true").await;
    assert_eq!(failure_line_with("--migrate=false").await, line);
    line
}

#[tokio::test]
async fn a_refused_connection_is_reported_in_one_line_without_the_password() {
    create_database().await;
    let (rest, _) = stack().database_url().rsplit_once('/').unwrap();
    let (_, server) = rest.rsplit_once('@').unwrap();
    for (url, reason) in [
        (format!("{rest}/c4n4ry"), "has no such database"),
        (format!("postgres://sixty:c4n4ry@{server}/sixty"), "refuses the user or the password"),
        (format!("postgres://c4n4ry:c4n4ry@{server}/sixty"), "refuses the user or the password"),
    ] {
        for action in ["up", "down", "status"] {
            let (status, line) = failure_line(&mut migrate(&url, action)).await;
            assert_eq!(status, 1);
            assert!(line.starts_with(&format!("sixty: DATABASE_URL: PostgreSQL {reason} ")), "{line}");
            assert!(!line.contains("c4n4ry"), "{line}");
        }
    }
}

#[tokio::test]
async fn up_waits_for_a_missing_database_and_other_actions_fail_at_once() {
    let nowhere = "postgres://sixty:c4n4ry@127.0.0.1:1/sixty";
    // The kernel accepts connections to this port, and no program answers them.
    let frozen = TcpListener::bind("127.0.0.1:0").unwrap();
    let frozen = format!("postgres://sixty:c4n4ry@{}/sixty", frozen.local_addr().unwrap());
    for (url, reason) in [(nowhere, "Connection refused"), (&frozen, "no response within ")] {
        for action in ["status", "down"] {
            let (status, line) = failure_line(&mut migrate(url, action)).await;
            assert_eq!(status, 1);
            let expected = format!("sixty: DATABASE_URL: PostgreSQL does not answer: {reason}");
            assert!(line.starts_with(&expected) && !line.contains("c4n4ry"), "{line}");
        }
    }

    let mut waiting = Running::start(migrate(nowhere, "up").env("LOG_LEVEL", "warn"));
    waiting
        .until("log line about the missing database", async |waiting| {
            waiting.stderr().contains("waiting for PostgreSQL").then_some(())
        })
        .await;
    assert!(!waiting.stderr().contains("c4n4ry"));
}

/// A database with users on the schema before the migration of the collation, as an earlier release left it.
async fn database_of_an_earlier_release() -> String {
    let url = create_database().await;
    run(&url, "up").await;
    loop {
        let printed = run(&url, "down").await;
        if printed.starts_with("reverted 0012\n") {
            break;
        }
    }
    execute(
        &url,
        "INSERT INTO addresses (address, salt, hash_cost, granted_at, wait, short_granted_at)
            SELECT n || '@example.com', decode(repeat('00', 16), 'hex'), 'm=8,t=1,p=1', now(), '60 s', '{}'
            FROM generate_series(1, 1000) AS n;
         INSERT INTO users (id, address, email, password_hash, status, activated_at)
            SELECT gen_random_uuid(), address, address, '-', 'active', now() FROM addresses",
    )
    .await;
    url
}

#[tokio::test]
async fn indexes_are_built_while_others_write_and_again_after_an_interruption() {
    let url = database_of_an_earlier_release().await;
    // The build of an index waits for the end of older snapshots.
    let mut reader = PgConnection::connect(&url).await.unwrap();
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT";
    sqlx::raw_sql(begin).execute(&mut reader).await.unwrap();
    let mut migration = Running::start(&mut migrate(&url, "up"));
    let mut observer = PgConnection::connect(&url).await.unwrap();
    let backend: i32 = eventually("an index that is not valid yet", async || {
        let building = "SELECT pid FROM pg_stat_activity JOIN pg_index ON NOT indisvalid
            WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE 'CREATE%CONCURRENTLY%'";
        sqlx::query_scalar(building).fetch_optional(&mut observer).await.unwrap()
    })
    .await;
    execute(
        &url,
        "SET statement_timeout = '20 s';
         INSERT INTO addresses (address, salt, hash_cost, granted_at, wait, short_granted_at)
            VALUES ('ada@example.com', decode(repeat('00', 16), 'hex'), 'm=8,t=1,p=1', now(), '60 s', '{}')",
    )
    .await;
    migration.end(Signal::SIGKILL).await;
    sqlx::query("SELECT pg_terminate_backend($1)").bind(backend).execute(&mut observer).await.unwrap();
    eventually("the end of the session", async || {
        let running = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1";
        let running: i64 = sqlx::query_scalar(running).bind(backend).fetch_one(&mut observer).await.unwrap();
        (running == 0).then_some(())
    })
    .await;
    sqlx::raw_sql("COMMIT").execute(&mut reader).await.unwrap();
    assert_eq!(states(&url, "up").await, all("applied"));
    let invalid: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_index WHERE NOT indisvalid")
        .fetch_one(&mut observer)
        .await
        .unwrap();
    assert_eq!(invalid, 0);
}

/// Otherwise every request would queue behind the migration, which waits for the reader.
#[tokio::test]
async fn a_migration_that_waits_for_a_lock_gives_way_and_tries_again() {
    let url = database_of_an_earlier_release().await;
    let mut reader = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("BEGIN; SELECT FROM outbox LIMIT 1").execute(&mut reader).await.unwrap();
    let mut migration = Running::start(migrate(&url, "up").env("LOG_LEVEL", "warn"));
    let logged = "a migration waits for a lock that a long transaction holds";
    migration.until("the log line", async |running| running.stderr().contains(logged).then_some(())).await;
    sqlx::raw_sql("COMMIT").execute(&mut reader).await.unwrap();
    eventually("the migrations", async || (states(&url, "status").await == all("applied")).then_some(())).await;
}

/// Prepared statements of the release before return a column whose collation changes.
#[tokio::test]
async fn connections_that_are_older_than_the_collation_are_closed() {
    let url = database_of_an_earlier_release().await;
    let older = format!("{url}?application_name=sixty");
    let mut pooled = PgConnection::connect(&older).await.unwrap();
    let resend = "SELECT address, password_hash FROM users WHERE email = $1";
    sqlx::query(resend).bind("1@example.com").fetch_one(&mut pooled).await.unwrap();
    assert_eq!(states(&url, "up").await, all("applied"));
    sqlx::query(resend).bind("1@example.com").fetch_one(&mut pooled).await.unwrap_err();
    let mut next = PgConnection::connect(&older).await.unwrap();
    sqlx::query(resend).bind("1@example.com").fetch_one(&mut next).await.unwrap();
}
