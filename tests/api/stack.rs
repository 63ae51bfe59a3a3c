//! The private PostgreSQL and Redis: they start, keep what they should, and leave no process behind however they end.
//!
//! What is told about processes is read from `/proc`; on other systems those tests are left out.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use sixty::dev::{Event, Stack, StackError, StackOptions};
use sqlx::{Connection, PgConnection};

const PROGRAM: &str = env!("CARGO_BIN_EXE_sixty");
const PATIENCE: Duration = Duration::from_secs(20);

/// A folder of this test's own, empty at first and removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Folder {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("stack-{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Folder(path)
    }

    fn options(&self, keep: bool) -> StackOptions {
        StackOptions { program: PROGRAM.into(), folder: self.0.clone(), keep }
    }

    fn start(&self, keep: bool) -> Stack {
        Stack::start(&self.options(keep)).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

async fn sql(stack: &Stack) -> PgConnection {
    PgConnection::connect(stack.database_url()).await.unwrap()
}

async fn setting(connection: &mut PgConnection, name: &str) -> String {
    sqlx::query_scalar("SELECT current_setting($1)").bind(name).fetch_one(connection).await.unwrap()
}

async fn ping(stack: &Stack) -> String {
    let client = redis::Client::open(stack.redis_url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    redis::cmd("PING").query_async(&mut connection).await.unwrap()
}

fn send(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
}

/// The process and all below it.
fn family(pid: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, status(pid)?.1)))
        .collect();
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(parent) = family.get(next).copied() {
        family.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(child, _)| child));
        next += 1;
    }
    family
}

/// The state letter and the parent of a process.
fn status(pid: u32) -> Option<(char, u32)> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name between the parentheses may hold anything.
    let mut fields = line.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// A dead process that nobody has waited for yet (state `Z`) runs no more.
fn running(pids: &[u32]) -> Vec<u32> {
    pids.iter().copied().filter(|pid| status(*pid).is_some_and(|(state, _)| !"ZX".contains(state))).collect()
}

async fn assert_all_end(pids: &[u32]) {
    assert!(pids.len() > 5, "a guardian, PostgreSQL's processes and Redis, not {pids:?}");
    let deadline = Instant::now() + PATIENCE;
    while !running(pids).is_empty() {
        assert!(Instant::now() < deadline, "still running: {:?} of {pids:?}", running(pids));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A guardian whose lifeline is held by a process that can be killed: `sleep`, which has the pipe as its output.
struct Orphanable {
    holder: Child,
    guardian: Child,
    reports: BufReader<ChildStdout>,
}

impl Orphanable {
    fn start(folder: &Folder) -> Orphanable {
        let mut holder = Command::new("sleep").arg("600").stdout(Stdio::piped()).spawn().unwrap();
        let mut guardian = Command::new(PROGRAM)
            .args(["guardian", "--folder"])
            .arg(&folder.0)
            .stdin(holder.stdout.take().unwrap())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let reports = BufReader::new(guardian.stdout.take().unwrap());
        Orphanable { holder, guardian, reports }
    }

    fn report(&mut self) -> Value {
        let mut line = String::new();
        self.reports.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or(Value::Null)
    }
}

impl Drop for Orphanable {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
        let _ = self.guardian.wait();
    }
}

#[tokio::test]
async fn both_servers_answer_and_nothing_is_left_of_a_stack_for_tests() {
    let folder = Folder::new("answers");
    let stack = folder.start(false);
    let mut connection = sql(&stack).await;
    for (name, value) in [
        ("server_encoding", "UTF8"),
        ("max_connections", "200"),
        ("listen_addresses", "127.0.0.1"),
        ("unix_socket_directories", ""),
        ("fsync", "off"),
    ] {
        assert_eq!(setting(&mut connection, name).await, value, "{name}");
    }
    assert_eq!(ping(&stack).await, "PONG");
    let without_password = stack.database_url().split('@').next_back().unwrap();
    PgConnection::connect(&format!("postgres://sixty@{without_password}")).await.unwrap_err();

    stack.stop();
    let left: Vec<_> = fs::read_dir(&folder.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name == "guardian.log" || name == "sweep.lock"), "{left:?}");
}

#[tokio::test]
async fn two_folders_hold_two_stacks() {
    let (first, second) = (Folder::new("one"), Folder::new("two"));
    let (one, two) = (first.start(false), second.start(false));
    assert_ne!(one.database_url(), two.database_url());
    assert_ne!(one.redis_url(), two.redis_url());
    for stack in [&one, &two] {
        sqlx::raw_sql("CREATE TABLE same_name ()").execute(&mut sql(stack).await).await.unwrap();
        assert_eq!(ping(stack).await, "PONG");
    }
    one.stop();
    two.stop();
}

#[tokio::test]
async fn stacks_for_tests_share_a_folder() {
    let folder = Folder::new("shared");
    let (one, two) = (folder.start(false), folder.start(false));
    assert_ne!(one.database_url(), two.database_url());
    assert_eq!(ping(&one).await, "PONG");
    assert_eq!(ping(&two).await, "PONG");
    one.stop();
    two.stop();
}

#[tokio::test]
async fn what_a_killed_run_leaves_on_the_disk_is_cleared_away_by_the_next() {
    let folder = Folder::new("sweep");
    let runs = || -> Vec<PathBuf> {
        let entries = fs::read_dir(&folder.0).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.is_dir()).collect()
    };
    let mut killed = folder.start(false);
    let left = runs();
    send(killed.guardian_pid(), Signal::SIGKILL);
    killed.event().await;
    let next = folder.start(false);
    assert_eq!(runs().len(), 1);
    assert_ne!(runs(), left);
    next.stop();
}

#[test]
fn a_folder_in_use_is_refused_with_the_holder_named() {
    let folder = Folder::new("in-use");
    let held = folder.start(true);
    let Err(StackError::Servers(line)) = Stack::start(&folder.options(true)) else { panic!("two in one folder") };
    let path = folder.0.canonicalize().unwrap();
    let expected = format!("another `sixty dev` (pid {}) is running in {}", std::process::id(), path.display());
    assert_eq!(line, expected);
    held.stop();
}

#[test]
fn data_of_another_version_are_refused_by_name() {
    let folder = Folder::new("version");
    fs::create_dir_all(folder.0.join("postgres")).unwrap();
    fs::write(folder.0.join("postgres/PG_VERSION"), "9\n").unwrap();
    fs::write(folder.0.join("password"), "secret").unwrap();
    let Err(StackError::Servers(line)) = Stack::start(&folder.options(true)) else {
        panic!("PostgreSQL 9 is not here")
    };
    assert_eq!(line.lines().count(), 1);
    assert!(line.contains("made by PostgreSQL 9") && line.contains("remove /"), "{line}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_parent_that_is_killed_takes_everything_along() {
    let folder = Folder::new("parent");
    let mut orphan = Orphanable::start(&folder);
    assert!(orphan.report()["ready"].is_object());
    let family = family(orphan.guardian.id());
    orphan.holder.kill().unwrap();
    assert_all_end(&family).await;
    assert_eq!(orphan.report(), Value::Null);
    assert!(!fs::read_dir(&folder.0).unwrap().any(|entry| entry.unwrap().path().join("postgres").exists()));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_parent_that_is_killed_in_the_middle_of_the_start_does_too() {
    let folder = Folder::new("starting");
    let mut orphan = Orphanable::start(&folder);
    let deadline = Instant::now() + PATIENCE;
    while family(orphan.guardian.id()).len() < 3 {
        assert!(Instant::now() < deadline, "no initdb and Redis");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let family = family(orphan.guardian.id());
    orphan.holder.kill().unwrap();
    assert!(orphan.guardian.wait().unwrap().success());
    let deadline = Instant::now() + PATIENCE;
    while !running(&family).is_empty() {
        assert!(Instant::now() < deadline, "still running: {:?}", running(&family));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_guardian_that_is_killed_takes_the_servers_along_and_the_data_are_there_at_the_next_start() {
    let folder = Folder::new("guardian");
    let mut stack = folder.start(true);
    sqlx::raw_sql("CREATE TABLE kept (id int); INSERT INTO kept VALUES (60)")
        .execute(&mut sql(&stack).await)
        .await
        .unwrap();
    assert_eq!(setting(&mut sql(&stack).await, "fsync").await, "on");

    let family = family(stack.guardian_pid());
    send(stack.guardian_pid(), Signal::SIGKILL);
    let event = stack.event().await;
    assert!(matches!(&event, Event::Ended(line) if line.contains("guardian") && line.contains("SIGKILL")), "{event:?}");
    // At once, while the killed processes may still be about to end.
    let again = folder.start(true);
    assert_all_end(&family).await;
    let kept: i32 = sqlx::query_scalar("SELECT id FROM kept").fetch_one(&mut sql(&again).await).await.unwrap();
    assert_eq!(kept, 60);
    again.stop();
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_server_that_is_killed_is_reported_and_the_other_runs_on() {
    let folder = Folder::new("server");
    for (name, pid) in [("PostgreSQL", Stack::postgres_pid as fn(&Stack) -> u32), ("Redis", Stack::redis_pid)] {
        let mut stack = folder.start(true);
        let family = family(stack.guardian_pid());
        send(pid(&stack), Signal::SIGKILL);
        let event = stack.event().await;
        let Event::ServerDied(line) = event else { panic!("{event:?}") };
        assert!(line.starts_with(name) && line.contains("SIGKILL"), "{line}");
        match name {
            "Redis" => assert_eq!(setting(&mut sql(&stack).await, "fsync").await, "on"),
            _ => assert_eq!(ping(&stack).await, "PONG"),
        }
        stack.stop();
        assert_all_end(&family).await;
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_stale_pid_file_does_not_keep_postgresql_from_starting() {
    let folder = Folder::new("stale");
    folder.start(true).stop();
    let file = folder.0.join("postgres/postmaster.pid");
    // A pid that is alive but no PostgreSQL, as after a restart of a container; then one cut short.
    for stale in [format!("{}\n/elsewhere\n", std::process::id()), String::new()] {
        fs::write(&file, stale).unwrap();
        folder.start(true).stop();
        assert!(!file.exists());
    }
}
