//! The private Redis: nothing on disk, started anew on a free port each time.

use std::path::Path;
use std::time::Duration;

use ::redis::{Client, InfoDict, RedisResult};
use nix::sys::signal::Signal;
use tokio::time::Instant;

use super::account::Launcher;
use super::error::StartError;
use super::folder::Folder;
use super::leftovers;
use super::server::{NotReady, Server, free_port};

const READY_PATIENCE: Duration = Duration::from_secs(30);
/// Ports lost to somebody faster before we stop trying.
const PORT_ATTEMPTS: u32 = 5;

/// Starts it, in `slot` from the first moment on, so that whoever cancels this can stop it. Returns its URL.
///
/// # Errors
///
/// It does not start.
pub(super) async fn start(
    program: &Path,
    launcher: &Launcher,
    folder: &Folder,
    slot: &mut Option<Server>,
) -> Result<String, StartError> {
    let note = folder.home().join("redis.pid");
    leftovers::end_redis(&note).await;
    let own = folder.renew("redis").await?;
    let deadline = Instant::now() + READY_PATIENCE;
    let mut ports_lost = 0;
    loop {
        let port = free_port()?;
        let mut command = launcher.command(program);
        command.current_dir(&own).args(["--bind", "127.0.0.1", "--port", &port.to_string()]);
        command.args(["--save", "", "--appendonly", "no", "--dir"]).arg(&own);
        let log = folder.home().join("redis.log");
        let server = slot.insert(Server::start("Redis", &mut command, Signal::SIGTERM, &log)?);
        let pid = server.pid();
        folder.write_private(&note, &format!("{pid} {port}\n"), false)?;
        let url = format!("redis://127.0.0.1:{port}/0");
        match server.until_ready(deadline, async || check(&url, pid).await).await {
            Ok(()) => return Ok(url),
            Err(NotReady::Ended(_)) if server.lost_its_port() && ports_lost < PORT_ATTEMPTS => ports_lost += 1,
            Err(why) => return Err(server.failure(why)),
        }
    }
}

/// Whether the Redis at `url` is our child: another one may have taken the port, and would answer as readily.
async fn check(url: &str, pid: u32) -> Result<(), String> {
    let answer = async {
        let mut connection = Client::open(url)?.get_multiplexed_async_connection().await?;
        let _: String = ::redis::cmd("PING").query_async(&mut connection).await?;
        let info: InfoDict = ::redis::cmd("INFO").arg("server").query_async(&mut connection).await?;
        RedisResult::Ok(info.get::<u32>("process_id"))
    };
    match answer.await {
        Ok(found) if found == Some(pid) => Ok(()),
        Ok(_) => Err(format!("{url} answers, but is another Redis")),
        Err(error) => Err(error.to_string()),
    }
}
