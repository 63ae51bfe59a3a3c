//! Servers of a test's own, to be killed, frozen and started again. They end with the thread that started them.

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

use super::process::{Folder, PROGRAM, all_end, family, send};
use super::support::eventually;

/// A process and all below it, stopped until this is dropped: what is stopped cannot end either.
pub struct Frozen(Vec<Pid>);

impl Frozen {
    pub fn new(root: u32) -> Frozen {
        let mut frozen = Frozen(vec![]);
        // The root first: what does not run starts no further ones.
        frozen.stop(&[root]);
        frozen.stop(&family(root)[1..]);
        frozen
    }

    fn stop(&mut self, pids: &[u32]) {
        for pid in pids.iter().map(|pid| Pid::from_raw((*pid).try_into().unwrap())) {
            // One of them may have ended in between.
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

/// Holds the port of a server that is not there: connections are refused, and nobody else gets it.
fn vacant(port: u16) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    // Who wants the same can have the port all the same, as long as nobody listens. Servers do.
    socket.set_reuseaddr(true).unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], port))).unwrap();
    socket
}

/// Nothing of it is ever on a disk.
pub struct OwnRedis {
    pub url: String,
    port: u16,
    process: Child,
    vacant: Option<TcpSocket>,
}

impl OwnRedis {
    pub async fn start() -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = format!("redis://127.0.0.1:{port}");
        let redis = Self { url, port, process: Self::spawn(port), vacant: None };
        redis.answers().await;
        redis
    }

    fn spawn(port: u16) -> Child {
        Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "redis-server", "--bind", "127.0.0.1", "--save", ""])
            .args(["--port", &port.to_string()])
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    async fn answers(&self) {
        eventually("Redis", async || self.ask::<String>(&["PING"]).await.ok()).await;
    }

    pub async fn ask<T: redis::FromRedisValue>(&self, words: &[&str]) -> redis::RedisResult<T> {
        let mut redis = redis::Client::open(&self.url[..])?.get_multiplexed_async_connection().await?;
        redis::cmd(words[0]).arg(&words[1..]).query_async(&mut redis).await
    }

    pub fn signal(&self, signal: Signal) {
        send(self.process.id(), signal);
    }

    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.process.wait().unwrap();
        self.vacant = Some(vacant(self.port));
    }

    /// With nothing in it.
    pub async fn start_again(&mut self) {
        self.process = Self::spawn(self.port);
        self.answers().await;
        self.vacant = None;
    }

    /// Holds everything that writes, until `go_on`.
    pub async fn hold_writes(&self) {
        let () = self.ask(&["CLIENT", "PAUSE", "600000", "WRITE"]).await.unwrap();
    }

    /// Waits until there is something to hold.
    pub async fn holds_something(&self) {
        eventually("a script that is held", async || {
            let clients: String = self.ask(&["CLIENT", "LIST"]).await.unwrap();
            clients.lines().any(|client| client.contains(" flags=b ") && client.contains(" cmd=eval")).then_some(())
        })
        .await;
    }

    pub async fn go_on(&self) {
        let () = self.ask(&["CLIENT", "UNPAUSE"]).await.unwrap();
    }
}

impl Drop for OwnRedis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A PostgreSQL, and a Redis with it.
pub struct OwnPostgres {
    pid: u32,
    port: u16,
    /// Its command line, user and group.
    command: (Vec<String>, u32, u32),
    restarted: Option<Child>,
    vacant: Option<TcpSocket>,
    stack: Stack,
    _folder: Folder,
}

impl OwnPostgres {
    pub async fn start(test: &str) -> OwnPostgres {
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
        OwnPostgres { pid, port, command, restarted: None, vacant: None, stack, _folder: folder }
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

    /// As an operator stops it: whoever is connected is told.
    pub async fn stop(&mut self) {
        let family = family(self.pid);
        send(self.pid, Signal::SIGINT);
        all_end(&family).await;
        self.vacant = Some(vacant(self.port));
    }

    pub async fn start_again(&mut self) {
        let mut command = self.as_its_user();
        // It goes to its data by itself, and may not enter our folder.
        command.args(["--pdeathsig", "KILL", "--"]).args(&self.command.0).current_dir("/").env("LC_ALL", "C");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        self.pid = child.id();
        self.restarted = Some(child);
        eventually("PostgreSQL", async || PgConnection::connect(self.url()).await.ok().map(drop)).await;
        self.vacant = None;
    }

    /// Lets no file of it grow beyond so many octets, or `unlimited`. To PostgreSQL that is a disk that is full.
    pub fn limit_files(&self, octets: &str) {
        for pid in family(self.pid) {
            // Not as root, who may not do that everywhere. One of them may have ended in between.
            let mut prlimit = self.as_its_user();
            prlimit.args(["prlimit", "--pid", &pid.to_string(), &format!("--fsize={octets}:")]);
            prlimit.stderr(Stdio::null()).status().unwrap();
        }
    }

    fn as_its_user(&self) -> Command {
        let (_, uid, gid) = &self.command;
        let mut command = Command::new("setpriv");
        if Uid::effective().is_root() {
            command.arg(format!("--reuid={uid}")).arg(format!("--regid={gid}")).arg("--clear-groups");
        }
        command
    }
}

impl Drop for OwnPostgres {
    fn drop(&mut self) {
        if let Some(child) = &mut self.restarted {
            send(child.id(), Signal::SIGQUIT);
            let _ = child.wait();
        }
    }
}

/// A way to a server on which so many octets go a second, as long as this lives: the URL that takes it.
pub async fn slow_way(url: &str, octets_a_second: usize) -> (String, DropGuard) {
    let (scheme, address) = url.split_once("://").unwrap();
    let address = address.split('/').next().unwrap().to_owned();
    let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let slow = format!("{scheme}://{}", door.local_addr().unwrap());
    let stop = CancellationToken::new();
    let serve = async move {
        while let Ok((client, _)) = door.accept().await {
            let server = TcpStream::connect(&address).await.unwrap();
            let ((mut from, mut back), (mut answers, mut to)) = (client.into_split(), server.into_split());
            tokio::spawn(async move { tokio::io::copy(&mut answers, &mut back).await });
            tokio::spawn(async move {
                let mut octets = vec![0; octets_a_second / 20];
                while let Ok(n @ 1..) = from.read(&mut octets).await {
                    to.write_all(&octets[..n]).await?;
                    tokio::time::sleep(Duration::from_secs_f64(n as f64 / octets_a_second as f64)).await;
                }
                std::io::Result::Ok(())
            });
        }
    };
    tokio::spawn(stop.clone().run_until_cancelled_owned(serve));
    (slow, stop.drop_guard())
}
