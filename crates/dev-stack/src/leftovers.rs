//! Servers of a former guardian that could not take them along: `kill -9` on a system without death signals, or a
//! machine that lost its power.
//!
//! All of it presumes that we hold the folder's lock, so that no living guardian answers for what is found.

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

/// How long a leftover may take to end on each signal.
const PATIENCE: Duration = Duration::from_secs(5);

/// Ends the PostgreSQL that runs on `data`, if any, and sees to it that its pid file does not keep the next one from
/// starting.
///
/// PostgreSQL overrules the file itself when no process has that pid. When another one has it by now (after a reboot, or
/// in a container, where pids are small and come again) it would refuse to start. Deleting the file would also delete
/// the key of the shared memory by which PostgreSQL knows that processes of the crashed one still write; so only the pid
/// is changed, to that of its future parent, which it never takes for a rival.
pub(super) async fn end_postgres(data: &Path) -> Result<(), StartError> {
    let file = data.join("postmaster.pid");
    let Ok(text) = fs::read_to_string(&file) else { return Ok(()) };
    let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
    let Some(pid) = first.trim().parse().ok().filter(|pid| *pid > 1) else {
        // Cut short by a crash: PostgreSQL would call it bogus and give up.
        return fs::remove_file(&file).map_err(StartError::file("remove", &file));
    };
    if command_line(pid).await.is_some_and(|words| words.iter().any(|word| Path::new(word) == data)) {
        // Its clients are as stale as it is; the next one recovers what this one does not finish.
        end(pid, Signal::SIGQUIT).await;
        return Ok(());
    }
    if kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH) {
        return Ok(());
    }
    let owner = data.metadata().map_err(StartError::file("read", data))?;
    fs::remove_file(&file).map_err(StartError::file("remove", &file))?;
    // A new file rather than the old one rewritten: the folder may belong to another user, who could have put a link there.
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

/// Ends the Redis whose pid and port a former guardian noted in `note`, if it is still that one.
pub(super) async fn end_redis(note: &Path) {
    let Ok(text) = fs::read_to_string(note) else { return };
    let Some((pid, port)) = text.trim().split_once(' ') else { return };
    let Ok(pid) = pid.parse() else { return };
    // Redis shows its address there: `redis-server 127.0.0.1:6379`.
    let address = format!("127.0.0.1:{port}");
    if command_line(pid).await.is_some_and(|words| words.contains(&address)) {
        end(pid, Signal::SIGTERM).await;
    }
}

/// The words of a running process' command line, `None` when there is no such process.
async fn command_line(pid: i32) -> Option<Vec<String>> {
    let words = |bytes: &[u8], between: fn(&u8) -> bool| -> Option<Vec<String>> {
        let words = bytes.split(between).map(|word| String::from_utf8_lossy(word).into_owned());
        Some(words.filter(|word| !word.is_empty()).collect::<Vec<_>>()).filter(|words| !words.is_empty())
    };
    if Path::new("/proc/self/cmdline").exists() {
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        // A process that set its own title pads it with spaces.
        return words(&line, |byte| *byte == 0).map(|words| match &words[..] {
            [title] => title.split(' ').map(str::to_owned).collect(),
            _ => words,
        });
    }
    let output = Command::new("ps").args(["-ww", "-o", "command=", "-p", &pid.to_string()]).output().await.ok()?;
    words(&output.stdout, u8::is_ascii_whitespace)
}

/// It is not our child, so it is watched instead of waited for.
async fn end(pid: i32, polite: Signal) {
    for signal in [polite, Signal::SIGKILL] {
        eprintln!("ending pid {pid}, left by an earlier run: {signal}");
        let _ = kill(Pid::from_raw(pid), signal);
        let gone = async {
            while command_line(pid).await.is_some() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        if timeout(PATIENCE, gone).await.is_ok() {
            return;
        }
    }
}
