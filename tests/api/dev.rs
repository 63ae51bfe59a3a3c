//! `sixty dev`: one command starts the whole stack, and Ctrl-C ends all its processes.

use std::collections::HashMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use reqwest::Method;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::process::{
    CHEAP_HASHES, Folder, Running, failure_line, output, process_tree, send_signal, shell, sixty, wait_until_ended,
};
use super::support::{Answer, PASSWORD, Service, eventually};

/// Returns the command `sixty dev` on free ports.
pub fn on_free_ports() -> Command {
    let mut command = sixty(&["dev"]);
    command.envs(["API_ADDR", "MAIL_MOCK_ADDR", "OPS_ADDR"].map(|name| (name, "127.0.0.1:0")));
    command.args(CHEAP_HASHES);
    command
}

/// Returns the command `sixty dev` on free ports, with its data in `folder`.
pub fn command(folder: &Folder) -> Command {
    let mut command = on_free_ports();
    command.arg("--dev-folder").arg(&folder.0);
    command
}

/// A running `sixty dev`.
pub struct Dev {
    running: Running,
    env_file: PathBuf,
    /// The variables in the file, as a shell reads them.
    pub env: HashMap<String, String>,
}

impl Dev {
    async fn start(folder: &Folder) -> Dev {
        Dev::run(&mut command(folder), folder.join("env")).await
    }

    pub async fn run(command: &mut Command, env_file: PathBuf) -> Dev {
        let mut running = Running::start(command);
        running.until("file `env`", async |_| env_file.exists().then_some(())).await;
        let env = source(&env_file).await;
        Dev { running, env_file, env }
    }

    /// Returns all processes: the program, the guardian, Redis and the processes of PostgreSQL.
    fn processes(&self) -> Vec<u32> {
        let processes = process_tree(self.running.pid());
        assert!(processes.len() > 6, "{processes:?}");
        processes
    }

    /// Returns a client for the service at `api`, which uses the stores and the mail provider of this `sixty dev`.
    async fn service(&self, api: &str) -> Service {
        let [mail, database, prefix] = ["MAIL_URL", "DATABASE_URL", "REDIS_PREFIX"].map(|name| &*self.env[name]);
        Service::connect(api.to_owned(), mail, database, prefix, CancellationToken::new()).await
    }

    /// Returns a client for the service of this `sixty dev`.
    pub async fn own_service(&self) -> Service {
        self.service(&self.env["API_URL"]).await
    }

    pub async fn stop(&mut self) {
        let processes = self.processes();
        assert!(self.running.end(Signal::SIGTERM).await.success(), "{}", self.running.stderr());
        // `sixty dev` exits only after all processes that it started.
        wait_until_ended(&processes).await;
        assert!(!self.env_file.exists());
    }
}

/// Returns the variables that the file defines when a shell sources it.
async fn source(env_file: &Path) -> HashMap<String, String> {
    let read = output(shell(r#"set -eu; set -a; . "$1"; env"#).arg(env_file).env_clear()).await;
    assert_eq!((read.status.code(), read.stderr.as_slice()), (Some(0), &b""[..]));
    let pairs = String::from_utf8(read.stdout).unwrap();
    pairs.lines().filter_map(|line| line.split_once('=')).map(|(name, value)| (name.into(), value.into())).collect()
}

async fn assert_is_active(service: &Service, email: &str) {
    assert_eq!(service.activate(email, PASSWORD, "0000000000").await.outcome(), (409, "already-active"));
}

#[tokio::test]
async fn one_command_starts_everything_and_ctrl_c_ends_everything() {
    let folder = Folder::new("dev-account");
    let mut dev = Dev::start(&folder).await;
    // Slow steps are announced, in plain text because there is no terminal.
    let stderr = dev.running.stderr();
    let steps = ["Starting PostgreSQL ", "Creating an empty database", "Applying migrations"];
    assert!(
        stderr.lines().zip(steps).all(|(line, step)| line.starts_with(step)) && !stderr.contains('\x1b'),
        "{stderr}"
    );
    let service = dev.own_service().await;
    service.register_active("ada@example.com").await;
    assert_is_active(&service, "ada@example.com").await;
    let metrics = service.http.get(format!("{}/metrics", dev.env["OPS_URL"])).send().await.unwrap();
    assert!(metrics.text().await.unwrap().contains("sixty_codes_verified_total 1"));

    let processes = dev.processes();
    // On Ctrl-C, a terminal sends SIGINT to the whole process group.
    killpg(Pid::from_raw(dev.running.pid().try_into().unwrap()), Signal::SIGINT).unwrap();
    assert!(dev.running.wait().await.success(), "{}", dev.running.stderr());
    wait_until_ended(&processes).await;
    assert!(!dev.env_file.exists());
}

#[tokio::test]
async fn a_second_service_joins_with_the_env_file_alone() {
    let folder = Folder::new("dev-join");
    // `sixty dev` must ignore the stores in the caller's environment, which belong to other programs.
    let foreign = TcpListener::bind("127.0.0.1:0").unwrap();
    foreign.set_nonblocking(true).unwrap();
    let port = foreign.local_addr().unwrap().port();
    let mut first = command(&folder);
    first
        .env("DATABASE_URL", format!("postgres://127.0.0.1:{port}/foreign"))
        .env("REDIS_URL", format!("redis://127.0.0.1:{port}"))
        .env("PGHOST", "127.0.0.1")
        .env("PGPORT", port.to_string())
        .env("REDIS_PREFIX", "it's a $prefix")
        .env("PUBLIC_URL", "https://foreign.example")
        .env("EXISTING_ACCOUNT", "reveal")
        .env("MAIL_DIALECT", "mailjet")
        .env("MAILJET_API_KEY", "key")
        .env("MAILJET_API_SECRET", "it's a $ecret")
        .env("RESEND_API_KEY", "another $ecret")
        .env("CODE_DIGITS", "6")
        .env("PASSWORD_MIN_LENGTH", "9");
    let mut dev = Dev::run(&mut first, folder.join("env")).await;
    assert_eq!(fs::metadata(&dev.env_file).unwrap().permissions().mode() & 0o777, 0o600);
    for name in ["API_URL", "MAIL_URL", "OPS_URL", "DATABASE_URL", "REDIS_URL", "CODE_SECRET"] {
        assert!(!dev.env[name].is_empty() && !dev.env[name].contains("foreign"), "{name}");
    }
    assert_eq!(dev.env["REDIS_PREFIX"], "it's a $prefix");
    assert_eq!(dev.env["PUBLIC_URL"], dev.env["API_URL"]);
    assert_eq!((&*dev.env["CODE_DIGITS"], &*dev.env["PASSWORD_MIN_LENGTH"]), ("6", "9"));

    assert_eq!(dev.env["RESEND_API_KEY"], "another $ecret");

    let (mut second, api) = Running::serve(sixty(&["serve"]).envs(&dev.env)).await;
    let (here, there) = (dev.own_service().await, dev.service(&api).await);
    for (registers, activates, email) in [(&here, &there, "ada@example.com"), (&there, &here, "grace@example.com")] {
        registers.register_pending(email).await;
        let code = registers.wait_for_code(email, 1).await;
        // The link works whichever service sent the mail.
        here.wait_for_not_me_link(email, 1).await;
        assert_eq!(activates.activate(email, PASSWORD, &code).await.status, 200);
        assert_is_active(registers, email).await;
        assert_eq!(
            activates.register(email, PASSWORD).await.outcome(),
            (409, "email-taken"),
            "both services have EXISTING_ACCOUNT=reveal"
        );
    }

    assert!(second.end(Signal::SIGTERM).await.success());
    dev.stop().await;
    assert!(foreign.accept().is_err(), "a process connected to the stores in the environment");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_kill_leaves_no_process_and_keeps_the_users() {
    let folder = Folder::new("dev-killed");
    let mut dev = Dev::start(&folder).await;
    dev.own_service().await.register_active("ada@example.com").await;
    let processes = dev.processes();
    dev.running.end(Signal::SIGKILL).await;
    wait_until_ended(&processes).await;
    assert!(!dev.env_file.exists(), "the file would name servers that have ended");

    let mut again = Dev::start(&folder).await;
    assert_is_active(&again.own_service().await, "ada@example.com").await;
    again.stop().await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_stop_during_the_start_leaves_no_process() {
    let folder = Folder::new("dev-starting");
    let mut running = Running::start(&mut command(&folder));
    let processes = running
        .until("process initdb", async |running| Some(process_tree(running.pid())).filter(|all| all.len() > 3))
        .await;
    assert!(running.end(Signal::SIGTERM).await.success());
    wait_until_ended(&processes).await;
    assert!(!folder.join("env").exists());
}

#[tokio::test]
async fn each_folder_holds_one_running_dev() {
    let folders = [Folder::new("dev-one"), Folder::new("dev-two")];
    let (mut one, mut two) = tokio::join!(Dev::start(&folders[0]), Dev::start(&folders[1]));
    for name in ["API_URL", "MAIL_URL", "OPS_URL", "DATABASE_URL", "REDIS_URL", "CODE_SECRET"] {
        assert_ne!(one.env[name], two.env[name], "{name}");
    }
    let second = output(&mut command(&folders[0])).await;
    let refusal = String::from_utf8(second.stderr).unwrap();
    let expected = format!("sixty: another `sixty dev` (pid {}) is running in ", one.running.pid());
    assert!(refusal.starts_with("Waiting up to 10 s for another `sixty dev` (pid "), "{refusal}");
    assert!(!second.status.success() && refusal.lines().last().unwrap().starts_with(&expected), "{refusal}");

    assert_eq!(source(&one.env_file).await, one.env, "the second process did not change the file");
    for dev in [&one, &two] {
        dev.own_service().await.register_pending("ada@example.com").await;
    }
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn without_settings_it_chooses_a_folder_and_free_ports_and_prints_commands() {
    let folder = Folder::new("dev-default");
    fs::create_dir_all(&folder.0).unwrap();
    // The bind fails if another process has the port; the port is taken in both cases.
    let taken = TcpListener::bind("127.0.0.1:8000");
    let env_file = folder.join("target/dev/env");
    let mut dev = Dev::run(sixty(&["dev"]).args(CHEAP_HASHES).current_dir(&folder.0), env_file).await;
    let port: u16 = dev.env["API_URL"].rsplit_once(':').unwrap().1.parse().unwrap();
    assert!((8000..8100).contains(&port));
    if taken.is_ok() {
        assert_ne!(port, 8000);
        let notice = format!("Port 8000 is in use; API_ADDR is 127.0.0.1:{port} instead.");
        assert!(dev.running.stderr().contains(&notice), "{}", dev.running.stderr());
    }

    let shown = dev.running.until("overview on standard output", async |running| {
        Some(running.stdout()).filter(|shown| shown.contains("Ctrl-C"))
    });
    let shown = shown.await;
    for name in ["API_URL", "MAIL_URL", "OPS_URL", "DATABASE_URL", "REDIS_URL"] {
        assert!(shown.contains(&dev.env[name]), "{name} in {shown}");
    }
    let tour: Vec<&str> = shown.lines().filter(|line| line.contains("curl ")).collect();
    assert_eq!(tour.len(), 3, "{shown}");
    // curl may be missing on this machine.
    if Command::new("curl").arg("--version").output().await.is_ok() {
        let registered = output(&mut shell(tour[0])).await;
        assert!(registered.stdout.starts_with(b"HTTP/1.1 201 "));
        let email = tour[0].split('"').find(|part| part.contains('@')).unwrap();
        dev.own_service().await.wait_for_code(email, 1).await;
        let activated = output(&mut shell(&tour[1..].join("\n"))).await;
        assert!(activated.stdout.starts_with(b"HTTP/1.1 200 "));
    }
    dev.stop().await;
}

#[tokio::test]
async fn bad_settings_are_reported_in_one_line_before_anything_starts() {
    let folder = Folder::new("dev-refused");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    for setting in ["API_ADDR", "MAIL_MOCK_ADDR", "OPS_ADDR"] {
        let (_, line) = failure_line(command(&folder).env(setting, &addr)).await;
        let expected = format!("{setting}: cannot listen on {addr}: ");
        assert!(line.contains(&expected), "{line}");
    }
    let (_, line) = failure_line(command(&folder).arg("--code-ttl=2m")).await;
    assert!(line.starts_with("sixty: CODE_WAIT: "), "{line}");
    let (_, line) = failure_line(command(&folder).env("CODE_SECRET", "Y2FuYXJ5")).await;
    assert!(line.starts_with("sixty: CODE_SECRET: ") && !line.contains("Y2FuYXJ5"), "{line}");
    assert!(!folder.0.exists());
}

#[tokio::test]
async fn it_exits_if_it_cannot_write_the_env_file() {
    let folder = Folder::new("dev-no-env-file");
    fs::create_dir_all(folder.join("env.new/in the way")).unwrap();
    let mut running = Running::start(&mut command(&folder));
    assert_eq!(running.wait().await.code(), Some(1));
    let stderr = running.stderr();
    assert!(stderr.lines().last().unwrap().starts_with("sixty: cannot write "), "{stderr}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_killed_store_is_reported_and_the_rest_runs_on() {
    let folder = Folder::new("dev-store");
    for (is_wanted, name) in [
        ((|name: &str| name == "postgres") as fn(&str) -> bool, "PostgreSQL"),
        (|name| ["redis-server", "valkey-server"].contains(&name), "Redis"),
    ] {
        let mut dev = Dev::start(&folder).await;
        let service = dev.own_service().await;
        let processes = dev.processes();
        send_signal(first_named(&processes, is_wanted), Signal::SIGKILL);
        dev.running
            .until("log line about the killed store", async |running| {
                let log = running.stderr();
                log.lines().find(|line| line.contains(name) && line.contains("SIGKILL")).map(drop)
            })
            .await;
        // PostgreSQL's other processes may answer for a moment longer.
        eventually("unready service", async || {
            // The service is ready without Redis, unless Redis is required.
            let answer = Answer::of(service.request(Method::GET, "/readyz?require=redis")).await;
            answer.body["detail"].as_str()?.contains(&name.to_lowercase()).then_some(())
        })
        .await;
        let answer = Answer::of(service.request(Method::GET, "/livez")).await;
        assert_eq!(answer.status, 200);

        assert!(dev.running.end(Signal::SIGTERM).await.success(), "{}", dev.running.stderr());
        wait_until_ended(&processes).await;
        assert!(!dev.env_file.exists());
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_killed_guardian_ends_it_with_one_line() {
    let folder = Folder::new("dev-guardian");
    let mut dev = Dev::start(&folder).await;
    let processes = dev.processes();
    send_signal(first_named(&processes[1..], |name| name == "sixty"), Signal::SIGKILL);
    assert_eq!(dev.running.wait().await.code(), Some(1));
    let stderr = dev.running.stderr();
    let lines: Vec<&str> = stderr.lines().filter(|line| line.starts_with("sixty: ")).collect();
    assert!(lines.len() == 1 && stderr.lines().last() == Some(lines[0]), "{stderr}");
    assert!(lines[0].starts_with("sixty: the guardian of ") && lines[0].contains("SIGKILL"), "{stderr}");
    wait_until_ended(&processes).await;
    assert!(!dev.env_file.exists());
}

/// Returns the first process whose program has a wanted name.
fn first_named(pids: &[u32], is_wanted: impl Fn(&str) -> bool) -> u32 {
    let name = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    *pids.iter().find(|pid| is_wanted(name(pid).trim())).unwrap()
}
