//! PostgreSQL and Redis servers that belong to one test, which may kill, freeze and restart them. The servers end with
//! the thread that started them.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use dev_stack::{Stack, StackOptions};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use sqlx::{Connection as _, PgConnection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::process::{Folder, PROGRAM, process_tree, send_signal, wait_until_ended};
use super::support::eventually;

/// A process tree that SIGSTOP has stopped. Dropping this value resumes it; a stopped process cannot exit either.
pub struct Frozen(Vec<Pid>);

impl Frozen {
    pub fn new(root: u32) -> Frozen {
        let mut frozen = Frozen(vec![]);
        // The root comes first: a stopped process cannot start further processes.
        frozen.stop(&[root]);
        frozen.stop(&process_tree(root)[1..]);
        frozen
    }

    fn stop(&mut self, pids: &[u32]) {
        for pid in pids.iter().map(|pid| Pid::from_raw((*pid).try_into().unwrap())) {
            // The process may have exited since the search.
            if kill(pid, Signal::SIGSTOP).is_ok() {
                self.0.push(pid);
            }
        }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        for pid in &self.0 {
            let _ = kill(*pid, Signal::SIGCONT);
        }
    }
}

/// Reserves the port of a stopped server: connections are refused, and no other process gets the port.
fn reserve_port(port: u16) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    // With SO_REUSEADDR on both sides, the restarted server can bind the port while nobody listens on it.
    socket.set_reuseaddr(true).unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], port))).unwrap();
    socket
}

/// A Redis server that never writes to disk.
pub struct PrivateRedis {
    pub url: String,
    port: u16,
    process: Child,
    reserved_port: Option<TcpSocket>,
}

impl PrivateRedis {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts a server with more arguments.
    pub async fn start_with(arguments: &[&str]) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = format!("redis://127.0.0.1:{port}");
        let redis = Self { url, port, process: Self::spawn(port, arguments), reserved_port: None };
        redis.wait_until_ready().await;
        redis
    }

    fn spawn(port: u16, arguments: &[&str]) -> Child {
        Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "redis-server", "--bind", "127.0.0.1", "--save", ""])
            // A replica would write what it loads to the current folder.
            .args(["--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0", "--repl-diskless-load", "swapdb"])
            .args(["--port", &port.to_string()])
            .args(arguments)
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    async fn wait_until_ready(&self) {
        eventually("response of Redis", async || self.command::<String>(&["PING"]).await.ok()).await;
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub async fn command<T: redis::FromRedisValue>(&self, words: &[&str]) -> redis::RedisResult<T> {
        let mut redis = redis::Client::open(&self.url[..])?.get_multiplexed_async_connection().await?;
        redis::cmd(words[0]).arg(&words[1..]).query_async(&mut redis).await
    }

    pub fn signal(&self, signal: Signal) {
        send_signal(self.process.id(), signal);
    }

    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.process.wait().unwrap();
        self.reserved_port = Some(reserve_port(self.port));
    }

    /// Starts Redis again after `kill`, without data.
    pub async fn restart(&mut self) {
        self.process = Self::spawn(self.port, &[]);
        self.wait_until_ready().await;
        self.reserved_port = None;
    }

    /// Blocks all commands that write, until `resume`.
    pub async fn pause_writes(&self) {
        let () = self.command(&["CLIENT", "PAUSE", "600000", "WRITE"]).await.unwrap();
    }

    /// Waits until a script is blocked by `pause_writes`.
    pub async fn wait_for_paused_script(&self) {
        eventually("blocked script", async || {
            let clients: String = self.command(&["CLIENT", "LIST"]).await.unwrap();
            clients.lines().any(|client| client.contains(" flags=b ") && client.contains(" cmd=eval")).then_some(())
        })
        .await;
    }

    pub async fn resume(&self) {
        let () = self.command(&["CLIENT", "UNPAUSE"]).await.unwrap();
    }
}

impl Drop for PrivateRedis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A PostgreSQL server, with a Redis server of the same stack.
pub struct PrivatePostgres {
    pid: u32,
    port: u16,
    /// The server's command line, user id and group id.
    command: (Vec<String>, u32, u32),
    restarted: Option<Child>,
    reserved_port: Option<TcpSocket>,
    stack: Stack,
    _folder: Folder,
}

impl PrivatePostgres {
    pub async fn start(test: &str) -> PrivatePostgres {
        let folder = Folder::new(test);
        let options = StackOptions { program: PROGRAM.into(), folder: folder.0.clone(), keep: false };
        let stack = tokio::task::spawn_blocking(move || Stack::start(&options, |_| ()).unwrap()).await.unwrap();
        let pid = stack.postgres_pid();
        let cmdline = format!("/proc/{pid}/cmdline");
        let words = fs::read_to_string(&cmdline).unwrap();
        let words = words.trim_end_matches('\0').split('\0').map(str::to_owned).collect();
        let owner = fs::metadata(cmdline).unwrap();
        let command = (words, owner.uid(), owner.gid());
        let (_, port) = stack.database_url().rsplit_once(':').unwrap();
        let port = port.split('/').next().unwrap().parse().unwrap();
        PrivatePostgres { pid, port, command, restarted: None, reserved_port: None, stack, _folder: folder }
    }

    pub fn url(&self) -> &str {
        self.stack.database_url()
    }

    pub fn redis_url(&self) -> &str {
        self.stack.redis_url()
    }

    pub fn redis_pid(&self) -> u32 {
        self.stack.redis_pid()
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Stops PostgreSQL in its fast mode, which terminates all connections with an error.
    pub async fn stop(&mut self) {
        let processes = process_tree(self.pid);
        send_signal(self.pid, Signal::SIGINT);
        wait_until_ended(&processes).await;
        self.reserved_port = Some(reserve_port(self.port));
    }

    pub async fn restart(&mut self) {
        let mut command = self.command_as_server_user();
        // PostgreSQL changes to its data folder. Its user may not enter the test's folder.
        command.args(["--pdeathsig", "KILL", "--"]).args(&self.command.0).current_dir("/").env("LC_ALL", "C");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        self.pid = child.id();
        self.restarted = Some(child);
        eventually("connection to PostgreSQL", async || PgConnection::connect(self.url()).await.ok().map(drop)).await;
        self.reserved_port = None;
    }

    /// Limits the size of PostgreSQL's files to `octets`, a number or `unlimited`. PostgreSQL treats a reached limit
    /// like a full disk.
    pub fn limit_files(&self, octets: &str) {
        for pid in process_tree(self.pid) {
            // Runs as PostgreSQL's user, because root may lack the right in a container. A process may have exited
            // already.
            let mut prlimit = self.command_as_server_user();
            prlimit.args(["prlimit", "--pid", &pid.to_string(), &format!("--fsize={octets}:")]);
            prlimit.stderr(Stdio::null()).status().unwrap();
        }
    }

    /// Returns a `setpriv` command that runs a program as PostgreSQL's user.
    fn command_as_server_user(&self) -> Command {
        let (_, uid, gid) = &self.command;
        let mut command = Command::new("setpriv");
        if Uid::effective().is_root() {
            command.arg(format!("--reuid={uid}")).arg(format!("--regid={gid}")).arg("--clear-groups");
        }
        command
    }
}

impl Drop for PrivatePostgres {
    fn drop(&mut self) {
        if let Some(child) = &mut self.restarted {
            send_signal(child.id(), Signal::SIGQUIT);
            let _ = child.wait();
        }
    }
}

/// Starts a proxy to a server that forwards `octets_per_second` octets of requests per second. Returns the proxy's URL
/// and a guard; dropping the guard ends the proxy.
pub async fn throttled_proxy(url: &str, octets_per_second: usize) -> (String, DropGuard) {
    let authority = url.split_once("://").unwrap().1.split('/').next().unwrap();
    let address = authority.rsplit('@').next().unwrap().to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy_url = url.replace(&address, &listener.local_addr().unwrap().to_string());
    let stop = CancellationToken::new();
    let serve = async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&address).await.unwrap();
            let ((mut from, mut back), (mut answers, mut to)) = (client.into_split(), server.into_split());
            tokio::spawn(async move { tokio::io::copy(&mut answers, &mut back).await });
            tokio::spawn(async move {
                let mut octets = vec![0; octets_per_second / 20];
                while let Ok(n @ 1..) = from.read(&mut octets).await {
                    to.write_all(&octets[..n]).await?;
                    tokio::time::sleep(Duration::from_secs_f64(n as f64 / octets_per_second as f64)).await;
                }
                std::io::Result::Ok(())
            });
        }
    };
    tokio::spawn(stop.clone().run_until_cancelled_owned(serve));
    (proxy_url, stop.drop_guard())
}
