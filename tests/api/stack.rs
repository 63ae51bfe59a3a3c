//! The crate dev-stack: PostgreSQL and Redis start, keep their data if asked to, and leave no process behind however
//! they end.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use dev_stack::{Stack, StackError, StackEvent, StackOptions};
use nix::sys::signal::Signal;
use serde_json::Value;
use sqlx::{Connection, PgConnection};

use super::process::{Folder, PROGRAM, process_tree, send_signal, wait_until_ended};
use super::support::eventually;

fn options(folder: &Folder, keep: bool) -> StackOptions {
    StackOptions { program: PROGRAM.into(), folder: folder.0.clone(), keep }
}

fn start(folder: &Folder, keep: bool) -> Stack {
    Stack::start(&options(folder, keep), |_| ()).unwrap()
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

async fn assert_all_end(pids: &[u32]) {
    assert!(pids.len() > 5, "expected a guardian, PostgreSQL's processes and Redis, found {pids:?}");
    wait_until_ended(pids).await;
}

/// A guardian whose parent can be killed. A guardian ends when its standard input closes; here the process `sleep`
/// holds the other end of that pipe.
struct GuardianWithParent {
    parent: Child,
    guardian: Child,
    reports: BufReader<ChildStdout>,
}

impl GuardianWithParent {
    fn start(folder: &Folder) -> GuardianWithParent {
        let mut parent = Command::new("sleep").arg("600").stdout(Stdio::piped()).spawn().unwrap();
        let mut guardian = Command::new(PROGRAM)
            .args(["guardian", "--folder"])
            .arg(&folder.0)
            .stdin(parent.stdout.take().unwrap())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let reports = BufReader::new(guardian.stdout.take().unwrap());
        GuardianWithParent { parent, guardian, reports }
    }

    /// Returns the guardian's next report that is not about a step of the start, or null at the end of its output.
    fn report(&mut self) -> Value {
        let mut reports = self.reports.by_ref().lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap());
        reports.find(|report: &Value| report["step"].is_null()).unwrap_or(Value::Null)
    }
}

impl Drop for GuardianWithParent {
    fn drop(&mut self) {
        let _ = self.parent.kill();
        let _ = self.parent.wait();
        let _ = self.guardian.wait();
    }
}

#[tokio::test]
async fn both_servers_answer_and_a_temporary_stack_leaves_no_data() {
    let folder = Folder::new("stack-answers");
    let stack = start(&folder, false);
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
async fn redis_is_closed_to_clients_without_its_password() {
    let folder = Folder::new("stack-closed");
    let stack = start(&folder, true);
    assert_eq!(ping(&stack).await, "PONG");
    let (credentials, address) = stack.redis_url().strip_prefix("redis://").unwrap().split_once('@').unwrap();
    for credentials in ["", ":@", ":wrong@"] {
        let client = redis::Client::open(format!("redis://{credentials}{address}")).unwrap();
        let answer: redis::RedisResult<String> = async {
            let mut connection = client.get_multiplexed_async_connection().await?;
            redis::cmd("PING").query_async(&mut connection).await
        }
        .await;
        answer.unwrap_err();
    }
    // Other users cannot read the password from the arguments or from a file.
    let password = credentials.trim_start_matches("default:");
    assert_eq!(password.len(), 32);
    let arguments = fs::read_to_string(format!("/proc/{}/cmdline", stack.redis_pid())).unwrap();
    assert!(arguments.contains("redis") && !arguments.contains(password), "{arguments}");
    let client = redis::Client::open(stack.redis_url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let info: redis::InfoDict = redis::cmd("INFO").arg("server").query_async(&mut connection).await.unwrap();
    let config: String = info.get("config_file").unwrap();
    assert!(fs::read_to_string(&config).unwrap().contains(password));
    assert_eq!(fs::metadata(&config).unwrap().permissions().mode() & 0o777, 0o600);
    stack.stop();
}

#[tokio::test]
async fn two_folders_hold_two_separate_stacks() {
    let (first, second) = (Folder::new("stack-one"), Folder::new("stack-two"));
    let (one, two) = (start(&first, false), start(&second, false));
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
async fn temporary_stacks_can_share_a_folder() {
    let folder = Folder::new("stack-shared");
    let (one, two) = (start(&folder, false), start(&folder, false));
    assert_ne!(one.database_url(), two.database_url());
    assert_eq!(ping(&one).await, "PONG");
    assert_eq!(ping(&two).await, "PONG");
    one.stop();
    two.stop();
}

#[tokio::test]
async fn the_next_run_removes_the_data_of_a_killed_run() {
    let folder = Folder::new("stack-sweep");
    let runs = || -> Vec<PathBuf> {
        let entries = fs::read_dir(&folder.0).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.is_dir()).collect()
    };
    let mut killed = start(&folder, false);
    let left = runs();
    send_signal(killed.guardian_pid(), Signal::SIGKILL);
    killed.event().await;
    let next = start(&folder, false);
    assert_eq!(runs().len(), 1);
    assert_ne!(runs(), left);
    next.stop();
}

#[test]
fn a_folder_in_use_is_refused_with_the_pid_of_its_user() {
    let folder = Folder::new("stack-in-use");
    let held = start(&folder, true);
    let messages = Mutex::new(vec![]);
    let refused = Stack::start(&options(&folder, true), |line| messages.lock().unwrap().push(line.to_owned()));
    let Err(StackError::Servers(line)) = refused else {
        panic!("expected a refusal, because another stack uses the folder")
    };
    let (pid, path) = (std::process::id(), folder.0.canonicalize().unwrap());
    let expected = format!("another `sixty dev` (pid {pid}) is running in {}: ", path.display());
    assert!(line.starts_with(&expected) && line.contains("--dev-folder"), "{line}");
    let waiting = format!("Waiting up to 10 s for another `sixty dev` (pid {pid}) to release {} …", path.display());
    assert_eq!(messages.into_inner().unwrap(), [waiting]);
    held.stop();
}

#[test]
fn data_of_another_postgresql_version_are_refused() {
    let folder = Folder::new("stack-version");
    fs::create_dir_all(folder.join("postgres")).unwrap();
    fs::write(folder.join("postgres/PG_VERSION"), "9\n").unwrap();
    fs::write(folder.join("password"), "secret").unwrap();
    let Err(StackError::Servers(line)) = Stack::start(&options(&folder, true), |_| ()) else {
        panic!("expected a refusal of the data of PostgreSQL 9")
    };
    assert_eq!(line.lines().count(), 1);
    assert!(line.contains("made by PostgreSQL 9") && line.contains("remove /"), "{line}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_killed_parent_ends_all_processes() {
    let folder = Folder::new("stack-parent");
    let mut guarded = GuardianWithParent::start(&folder);
    assert!(guarded.report()["ready"].is_object());
    let processes = process_tree(guarded.guardian.id());
    guarded.parent.kill().unwrap();
    assert_all_end(&processes).await;
    assert_eq!(guarded.report(), Value::Null);
    assert!(!fs::read_dir(&folder.0).unwrap().any(|entry| entry.unwrap().path().join("postgres").exists()));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_parent_killed_during_the_start_ends_all_processes() {
    let folder = Folder::new("stack-starting");
    let mut guarded = GuardianWithParent::start(&folder);
    let processes = eventually("processes of initdb and Redis", async || {
        Some(process_tree(guarded.guardian.id())).filter(|processes| processes.len() > 2)
    })
    .await;
    guarded.parent.kill().unwrap();
    assert!(guarded.guardian.wait().unwrap().success());
    wait_until_ended(&processes).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_killed_guardian_ends_the_servers_and_keeps_the_data() {
    let folder = Folder::new("stack-guardian");
    let mut stack = start(&folder, true);
    sqlx::raw_sql("CREATE TABLE kept (id int); INSERT INTO kept VALUES (60)")
        .execute(&mut sql(&stack).await)
        .await
        .unwrap();
    assert_eq!(setting(&mut sql(&stack).await, "fsync").await, "on");

    let processes = process_tree(stack.guardian_pid());
    send_signal(stack.guardian_pid(), Signal::SIGKILL);
    let event = stack.event().await;
    assert!(
        matches!(&event, StackEvent::GuardianEnded(line) if line.contains("guardian") && line.contains("SIGKILL")),
        "{event:?}"
    );
    // The next start must work even while the killed processes are still exiting.
    let again = start(&folder, true);
    assert_all_end(&processes).await;
    let kept: i32 = sqlx::query_scalar("SELECT id FROM kept").fetch_one(&mut sql(&again).await).await.unwrap();
    assert_eq!(kept, 60);
    again.stop();
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_killed_server_is_reported_and_the_other_runs_on() {
    let folder = Folder::new("stack-server");
    for (name, pid) in [("PostgreSQL", Stack::postgres_pid as fn(&Stack) -> u32), ("Redis", Stack::redis_pid)] {
        let mut stack = start(&folder, true);
        let processes = process_tree(stack.guardian_pid());
        send_signal(pid(&stack), Signal::SIGKILL);
        let event = stack.event().await;
        let StackEvent::ServerDied(line) = event else { panic!("{event:?}") };
        assert!(line.starts_with(name) && line.contains("SIGKILL"), "{line}");
        match name {
            "Redis" => assert_eq!(setting(&mut sql(&stack).await, "fsync").await, "on"),
            _ => assert_eq!(ping(&stack).await, "PONG"),
        }
        stack.stop();
        assert_all_end(&processes).await;
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn postgresql_starts_despite_a_stale_pid_file() {
    let folder = Folder::new("stack-stale");
    start(&folder, true).stop();
    let file = folder.join("postgres/postmaster.pid");
    // First the pid of another living program, as after a restart of a container; then an incomplete file.
    for stale in [format!("{}\n/elsewhere\n", std::process::id()), String::new()] {
        fs::write(&file, stale).unwrap();
        start(&folder, true).stop();
        assert!(!file.exists());
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn postgresql_starts_while_its_killed_predecessor_is_a_zombie() {
    use std::os::unix::fs::MetadataExt as _;
    use std::os::unix::process::CommandExt as _;

    let folder = Folder::new("stack-zombie");
    start(&folder, true).stop();
    let data = folder.0.canonicalize().unwrap().join("postgres");
    // Stands for the killed PostgreSQL: a process with the same user and argument, whose parent does not wait for its end.
    let owner = data.metadata().unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "read line"]).arg(&data).stdin(Stdio::piped()).uid(owner.uid()).gid(owner.gid());
    let mut predecessor = command.spawn().unwrap();
    fs::write(data.join("postmaster.pid"), format!("{}\n{}\n", predecessor.id(), data.display())).unwrap();
    start(&folder, true).stop();
    assert!(!predecessor.wait().unwrap().success(), "a signal ended the predecessor");
}
