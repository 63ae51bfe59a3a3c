//! `sixty migrate`: operators' only way to the schema, and the way by which replicas that start together take turns.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use futures_util::future::join_all;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::process::Command;

use super::process::{Running, complaint, output, sixty};
use super::support::{CODE_SECRET, create_database, stack};

fn migrate(url: &str, action: &str) -> Command {
    let mut command = sixty(&["migrate", action]);
    // Only what went wrong: the rest is told on standard output.
    command.env("DATABASE_URL", url).env("LOG_LEVEL", "error");
    command
}

/// Runs it and returns what it printed.
async fn run(url: &str, action: &str) -> String {
    let output = output(&mut migrate(url, action)).await;
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), err.as_str()), (Some(0), ""));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs it and returns the state of each migration, the oldest first.
async fn states(url: &str, action: &str) -> Vec<String> {
    let printed = run(url, action).await;
    let listed = printed.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_digit()));
    listed.map(|line| line.split_whitespace().nth(1).unwrap().to_owned()).collect()
}

/// As many as there are files.
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
async fn settings_are_taken_before_the_action_and_after_it() {
    let url = create_database().await;
    for arguments in [
        ["migrate", "--log-level=error", "--database-url", &url, "up"],
        ["migrate", "up", "--log-level=error", "--database-url", &url],
    ] {
        let output = output(&mut sixty(&arguments)).await;
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    }
    let (status, line) = complaint(&mut sixty(&["migrate", "up", "--log-level=c4n4ry=c4n4ry"])).await;
    assert_eq!(status, 2);
    assert!(line.starts_with("sixty: LOG_LEVEL: "), "{line}");
}

#[tokio::test]
async fn eight_at_once_take_turns() {
    let url = create_database().await;
    for states in join_all((0..8).map(|_| states(&url, "up"))).await {
        assert_eq!(states, all("applied"));
    }
}

#[tokio::test]
async fn a_database_that_is_ahead_is_left_as_it_is() {
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
    // What only the next release can revert stays, and what is below it.
    let (status, line) = complaint(&mut migrate(&url, "down")).await;
    assert_eq!(status, 1);
    assert!(line.starts_with("sixty: migration 9999 is a newer release's"), "{line}");
    assert_eq!(states(&url, "status").await, ahead());
}

#[tokio::test]
async fn an_edited_migration_is_refused_in_one_line() {
    let url = create_database().await;
    run(&url, "up").await;
    execute(&url, r"UPDATE _sqlx_migrations SET checksum = '\x00' WHERE version = 1").await;
    let (status, line) = complaint(&mut migrate(&url, "up")).await;
    assert_eq!(status, 1);
    assert!(line.starts_with("sixty: migration 0001 is not the one that was applied: "), "{line}");
    assert_eq!(complaint(&mut migrate(&url, "down")).await, (1, line.clone()));
    assert_eq!(states(&url, "status").await[0], "edited");
    assert_eq!(serve(&url).await, line);
}

#[tokio::test]
async fn a_half_applied_migration_is_refused_in_one_line() {
    let url = create_database().await;
    run(&url, "up").await;
    execute(&url, "UPDATE _sqlx_migrations SET success = false WHERE version = 1").await;
    for action in ["up", "down"] {
        let (status, line) = complaint(&mut migrate(&url, action)).await;
        assert_eq!(status, 1);
        assert!(line.starts_with("sixty: migration 0001 is half applied: "), "{line}");
        assert_eq!(serve(&url).await, line);
    }
    assert_eq!(states(&url, "status").await[0], "half");
}

/// What `sixty serve` ends with, whether it migrates or waits for somebody who does.
async fn serve(url: &str) -> String {
    let ends = async |migrate: &str| {
        let mut serve =
            sixty(&["serve", migrate, "--log-level=error", "--api-addr=127.0.0.1:0", "--ops-addr=127.0.0.1:0"]);
        serve.env("DATABASE_URL", url).env("REDIS_URL", stack().redis_url());
        let (status, line) =
            complaint(serve.env("MAIL_URL", "http://127.0.0.1:1").env("CODE_SECRET", CODE_SECRET)).await;
        assert_eq!(status, 1);
        line
    };
    let line = ends("--migrate=true").await;
    assert_eq!(ends("--migrate=false").await, line);
    line
}

#[tokio::test]
async fn a_database_that_refuses_is_one_line_without_the_password() {
    create_database().await;
    let (rest, _) = stack().database_url().rsplit_once('/').unwrap();
    let (_, server) = rest.rsplit_once('@').unwrap();
    for (url, reason) in [
        (format!("{rest}/c4n4ry"), "has no such database"),
        (format!("postgres://sixty:c4n4ry@{server}/sixty"), "refuses the user or the password"),
        (format!("postgres://c4n4ry:c4n4ry@{server}/sixty"), "refuses the user or the password"),
    ] {
        for action in ["up", "down", "status"] {
            let (status, line) = complaint(&mut migrate(&url, action)).await;
            assert_eq!(status, 1);
            assert!(line.starts_with(&format!("sixty: DATABASE_URL: PostgreSQL {reason} ")), "{line}");
            assert!(!line.contains("c4n4ry"), "{line}");
        }
    }
}

#[tokio::test]
async fn a_database_that_is_not_there_is_waited_for_aloud_and_listed_in_no_time() {
    let nowhere = "postgres://sixty:c4n4ry@127.0.0.1:1/sixty";
    // The kernel takes its connections, and nobody ever answers them.
    let frozen = TcpListener::bind("127.0.0.1:0").unwrap();
    let frozen = format!("postgres://sixty:c4n4ry@{}/sixty", frozen.local_addr().unwrap());
    for (url, reason) in [(nowhere, "Connection refused"), (&frozen, "no response within ")] {
        for action in ["status", "down"] {
            let (status, line) = complaint(&mut migrate(url, action)).await;
            assert_eq!(status, 1);
            let expected = format!("sixty: DATABASE_URL: PostgreSQL does not answer: {reason}");
            assert!(line.starts_with(&expected) && !line.contains("c4n4ry"), "{line}");
        }
    }

    let mut waiting = Running::start(migrate(nowhere, "up").env("LOG_LEVEL", "warn"));
    waiting.until("a word", async |waiting| waiting.stderr().contains("waiting for PostgreSQL").then_some(())).await;
    assert!(!waiting.stderr().contains("c4n4ry"));
}
