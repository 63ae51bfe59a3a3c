//! The private Redis: without persistence, with a new password and on a free port at each start.

use std::path::Path;
use std::time::Duration;

use ::redis::{Client, InfoDict, RedisResult};
use nix::sys::signal::Signal;
use tokio::time::Instant;

use super::error::StartError;
use super::folder::{Folder, random_hex};
use super::orphans;
use super::server::{NotReady, Server, free_port};
use super::server_command::ServerCommands;

const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Number of retries after another process has taken the chosen port.
const PORT_RETRIES: u32 = 5;

/// Starts Redis and returns its URL. Stores the process in `slot` at once, so that the caller can stop it after cancelling
/// this future.
///
/// # Errors
///
/// Redis does not start.
pub(super) async fn start(
    program: &Path,
    commands: &ServerCommands,
    folder: &Folder,
    slot: &mut Option<Server>,
) -> Result<String, StartError> {
    let pid_file = folder.home().join("redis.pid");
    orphans::stop_redis(&pid_file).await;
    let data = folder.create_empty("redis").await?;
    // Other users of the machine can connect to the port. Only a file hides the password from them: they see arguments.
    let password = random_hex::<16>()?;
    let config = data.join("redis.conf");
    folder.write_private(&config, &format!("requirepass {password}\n"), folder.server_user())?;
    let deadline = Instant::now() + START_TIMEOUT;
    let mut ports_lost = 0;
    loop {
        let port = free_port()?;
        let mut command = commands.command(program);
        command.current_dir(&data).arg(&config).args(["--bind", "127.0.0.1", "--port", &port.to_string()]);
        command.args(["--save", "", "--appendonly", "no", "--dir"]).arg(&data);
        let log = folder.home().join("redis.log");
        let server = slot.insert(Server::start("Redis", &mut command, Signal::SIGTERM, &log)?);
        let pid = server.pid();
        folder.write_private(&pid_file, &format!("{pid} {port}\n"), None)?;
        let url = format!("redis://default:{password}@127.0.0.1:{port}/0");
        match server.until_ready(deadline, async || check(&url, port, pid).await).await {
            Ok(()) => return Ok(url),
            Err(NotReady::Ended(_)) if server.lost_its_port() && ports_lost < PORT_RETRIES => ports_lost += 1,
            Err(why) => return Err(server.failure(why)),
        }
    }
}

/// Checks that the Redis at `url`, which has this port, is the child process: another Redis may have taken the port in the meantime.
async fn check(url: &str, port: u16, pid: u32) -> Result<(), String> {
    let answer = async {
        let mut connection = Client::open(url)?.get_multiplexed_async_connection().await?;
        let _: String = ::redis::cmd("PING").query_async(&mut connection).await?;
        let info: InfoDict = ::redis::cmd("INFO").arg("server").query_async(&mut connection).await?;
        RedisResult::Ok(info.get::<u32>("process_id"))
    };
    match answer.await {
        Ok(found) if found == Some(pid) => Ok(()),
        Ok(_) => Err(format!("another Redis answers at port {port}")),
        Err(error) => Err(error.to_string()),
    }
}
