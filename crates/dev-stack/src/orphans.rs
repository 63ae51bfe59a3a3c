//! Orphaned servers: those of a guardian that was killed on a system without death signals, or that ended with a power
//! failure.
//!
//! The caller must hold the folder's lock, so that no running guardian owns the servers found here.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use super::error::StartError;

/// The longest wait for an orphaned server to end after each signal.
const SIGNAL_TIMEOUT: Duration = Duration::from_secs(5);

/// Stops the PostgreSQL that runs on `data`, if any, and makes sure that its stale pid file does not prevent the next start.
///
/// PostgreSQL ignores the file if no process has that pid. PostgreSQL refuses to start if a process has the pid:
///
/// - the killed server itself, as a zombie that its new parent has not waited for yet,
/// - another program, after a reboot or in a container, where pids are small and recur.
///
/// Deleting the file would also delete the key of the shared memory, by which PostgreSQL detects that processes of the
/// crashed server still write. Therefore only the pid is replaced, by that of the guardian: PostgreSQL accepts the pid of
/// its own parent.
pub(super) async fn stop_postgres(data: &Path) -> Result<(), StartError> {
    let file = data.join("postmaster.pid");
    if let Ok(text) = fs::read_to_string(&file)
        && let Some(pid) = pid_in(&text)
        && command_line(pid).await.is_some_and(|args| args.iter().any(|arg| Path::new(arg) == data))
    {
        // Immediate shutdown: its clients are orphans too, and the next server recovers from the write-ahead log.
        stop(pid, Signal::SIGQUIT).await;
    }
    // Read the file again: a server that shuts down removes it.
    let Ok(text) = fs::read_to_string(&file) else { return Ok(()) };
    let Some(pid) = pid_in(&text) else {
        // A crash truncated the file. PostgreSQL would refuse to start because of it.
        return fs::remove_file(&file).map_err(StartError::file("remove", &file));
    };
    if kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH) {
        return Ok(());
    }
    let (_, rest) = text.split_once('\n').unwrap_or((&text, ""));
    let owner = data.metadata().map_err(StartError::file("read", data))?;
    fs::remove_file(&file).map_err(StartError::file("remove", &file))?;
    // Create a new file instead of writing to the old one: the owner of the folder could have replaced it by a link.
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&file)
        .and_then(|mut new| {
            write!(new, "{}\n{rest}", std::process::id())?;
            fchown(&new, Some(owner.uid()), Some(owner.gid()))
        })
        .map_err(StartError::file("write", &file))
}

/// Returns the pid in the first line of a `postmaster.pid`.
fn pid_in(text: &str) -> Option<i32> {
    text.lines().next()?.trim().parse().ok().filter(|pid| *pid > 1)
}

/// Stops the Redis whose pid and port are in `pid_file`, if that process is still this Redis.
pub(super) async fn stop_redis(pid_file: &Path) {
    let Ok(text) = fs::read_to_string(pid_file) else { return };
    let Some((pid, port)) = text.trim().split_once(' ') else { return };
    let Ok(pid) = pid.parse() else { return };
    // Redis puts its address into its process title: `redis-server 127.0.0.1:6379`.
    let address = format!("127.0.0.1:{port}");
    if command_line(pid).await.is_some_and(|args| args.contains(&address)) {
        stop(pid, Signal::SIGTERM).await;
    }
}

/// Returns the arguments of a running process, or `None` if there is no such process. A zombie has no arguments.
async fn command_line(pid: i32) -> Option<Vec<String>> {
    let split = |bytes: &[u8], is_separator: fn(&u8) -> bool| -> Option<Vec<String>> {
        let args = bytes.split(is_separator).map(|arg| String::from_utf8_lossy(arg).into_owned());
        Some(args.filter(|arg| !arg.is_empty()).collect::<Vec<_>>()).filter(|args| !args.is_empty())
    };
    if Path::new("/proc/self/cmdline").exists() {
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        // A process that has set its title has one argument, with spaces in it.
        return split(&line, |byte| *byte == 0).map(|args| match &args[..] {
            [title] => title.split(' ').map(str::to_owned).collect(),
            _ => args,
        });
    }
    let output = Command::new("ps").args(["-ww", "-o", "command=", "-p", &pid.to_string()]).output().await.ok()?;
    split(&output.stdout, u8::is_ascii_whitespace)
}

/// Sends `graceful`, then SIGKILL, and polls until the process has ended: only a parent can `wait` for it.
async fn stop(pid: i32, graceful: Signal) {
    for signal in [graceful, Signal::SIGKILL] {
        eprintln!("sending {signal} to pid {pid}, which an earlier run left behind");
        let _ = kill(Pid::from_raw(pid), signal);
        let gone = async {
            while command_line(pid).await.is_some() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        if timeout(SIGNAL_TIMEOUT, gone).await.is_ok() {
            return;
        }
    }
}
