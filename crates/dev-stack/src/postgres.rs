//! The private PostgreSQL: `initdb` creates the data once; each start uses a free port.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{ConnectOptions, Connection};
use tokio::time::{Instant, sleep, timeout};

use super::binaries::PostgresBinaries;
use super::error::StartError;
use super::folder::{Folder, random_hex, remove};
use super::orphans;
use super::protocol::send_step;
use super::server::{NotReady, Server, free_port};
use super::server_command::ServerCommands;

/// The name of the superuser and of the database.
const NAME: &str = "sixty";
/// `initdb` writes 40 MB and syncs them, which takes long on a slow disk.
const INITDB_TIMEOUT: Duration = Duration::from_secs(120);
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Number of retries after another process has taken the chosen port.
const PORT_RETRIES: u32 = 5;

/// PostgreSQL's error if the pid in `postmaster.pid` is that of a running process, or if the file is empty.
const PID_FILE_EXISTS: &str = "lock file \"postmaster.pid\" ";

/// Settings that give up durability for speed.
const NON_DURABLE: [&str; 3] = ["fsync=off", "synchronous_commit=off", "full_page_writes=off"];

/// Starts PostgreSQL and returns its URL. Stores the process in `slot` at once, so that the caller can stop it after
/// cancelling this future.
///
/// # Errors
///
/// The data cannot be created, another major version created them, or the server does not start.
pub(super) async fn start(
    binaries: &PostgresBinaries,
    commands: &ServerCommands,
    folder: &Folder,
    keep: bool,
    slot: &mut Option<Server>,
) -> Result<String, StartError> {
    let data = folder.data().join("postgres");
    orphans::stop_postgres(&data).await?;
    let password = match existing_password(binaries, folder, &data).await? {
        Some(password) => password,
        None => initialize(binaries, commands, folder, keep, &data, slot).await?,
    };
    let deadline = Instant::now() + START_TIMEOUT;
    let mut ports_lost = 0;
    loop {
        let port = free_port()?;
        let mut command = commands.command(&binaries.postgres);
        command.current_dir(folder.data()).arg("-D").arg(&data).arg("-p").arg(port.to_string());
        let settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=200"];
        let durability = if keep { &[][..] } else { &NON_DURABLE };
        for setting in settings.iter().chain(durability) {
            command.arg("-c").arg(setting);
        }
        let log = folder.home().join("postgres.log");
        // SIGINT requests the fast shutdown; SIGTERM would wait for the last client to disconnect.
        let server = slot.insert(Server::start("PostgreSQL", &mut command, Signal::SIGINT, &log)?);
        match server.until_ready(deadline, async || check(port, &password, &data).await).await {
            Ok(()) => return Ok(format!("postgres://{NAME}:{password}@127.0.0.1:{port}/{NAME}")),
            Err(NotReady::Ended(_)) if server.lost_its_port() && ports_lost < PORT_RETRIES => ports_lost += 1,
            // Processes of a server that was just killed are still ending.
            Err(NotReady::Ended(_))
                if server.log_text().contains("pre-existing shared memory block") && Instant::now() < deadline =>
            {
                sleep(Duration::from_millis(100)).await;
            }
            // The killed server wrote its pid file after `stop_postgres` had looked for it.
            Err(NotReady::Ended(_)) if server.log_text().contains(PID_FILE_EXISTS) && Instant::now() < deadline => {
                sleep(Duration::from_millis(100)).await;
                orphans::stop_postgres(&data).await?;
            }
            Err(why) => return Err(server.failure(why)),
        }
    }
}

/// Returns the password of existing data, or `None` if there are no data.
async fn existing_password(
    binaries: &PostgresBinaries,
    folder: &Folder,
    data: &Path,
) -> Result<Option<String>, StartError> {
    let Ok(version) = fs::read_to_string(data.join("PG_VERSION")) else { return Ok(None) };
    let path = password_file(folder);
    let Ok(password) = fs::read_to_string(&path) else {
        if folder.data() == folder.home() {
            return Err(StartError::PasswordLost { data: data.to_owned(), password: path });
        }
        // Somebody removed the folder, but its data are in a substitute folder. Remove them too.
        remove(data).await.map_err(StartError::file("remove", data))?;
        return Ok(None);
    };
    if version.trim() != binaries.major.to_string() {
        return Err(StartError::OtherVersion {
            data: data.to_owned(),
            made_by: version.trim().to_owned(),
            found: binaries.major,
        });
    }
    Ok(Some(password))
}

/// Creates the data under a temporary name and then renames the folder, so that a folder `postgres` is always complete.
async fn initialize(
    binaries: &PostgresBinaries,
    commands: &ServerCommands,
    folder: &Folder,
    keep: bool,
    data: &Path,
    slot: &mut Option<Server>,
) -> Result<String, StartError> {
    if keep {
        send_step(format!("Creating an empty database for the first start in {} …", data.display()));
    }
    let new = folder.create_empty("postgres.new").await?;
    let password = random_hex::<24>()?;
    folder.write_private(&password_file(folder), &password, None)?;
    let for_initdb = folder.data().join("initdb-password");
    folder.write_private(&for_initdb, &password, folder.server_user())?;

    let mut command = commands.command(&binaries.initdb);
    command.current_dir(folder.data()).arg("--pgdata").arg(&new).arg("--pwfile").arg(&for_initdb);
    command.args(["--username", NAME, "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]);
    if !keep {
        command.arg("--no-sync");
    }
    let log = folder.home().join("initdb.log");
    let initdb = slot.insert(Server::start("PostgreSQL's initdb", &mut command, Signal::SIGTERM, &log)?);
    let outcome = timeout(INITDB_TIMEOUT, initdb.ended()).await;
    fs::remove_file(&for_initdb).map_err(StartError::file("remove", &for_initdb))?;
    match outcome {
        Ok(Ok(status)) if status.success() => {}
        Ok(ended) => return Err(initdb.failure(NotReady::Ended(ended))),
        Err(_) => return Err(initdb.failure(NotReady::TimedOut(format!("it took more than {INITDB_TIMEOUT:?}")))),
    }
    fs::rename(&new, data).map_err(StartError::file("rename", &new))?;
    Ok(password)
}

fn password_file(folder: &Folder) -> PathBuf {
    folder.home().join("password")
}

/// Checks that the server at `port` runs on `data`, and creates the database if it is missing.
async fn check(port: u16, password: &str, data: &Path) -> Result<(), String> {
    let mut connection = connect(port, password).await.map_err(|error| error.to_string())?;
    let outcome = async {
        let served: String =
            sqlx::query_scalar("SELECT current_setting('data_directory')").fetch_one(&mut connection).await?;
        if Path::new(&served) != data {
            return Ok(false);
        }
        let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = 'sixty')")
            .fetch_one(&mut connection)
            .await?;
        if !exists {
            sqlx::query("CREATE DATABASE sixty").execute(&mut connection).await?;
        }
        Ok(true)
    };
    let outcome = outcome.await.map_err(|error: sqlx::Error| error.to_string());
    // An error while closing does not matter.
    let _ = connection.close().await;
    if outcome? { Ok(()) } else { Err(format!("another PostgreSQL answers on port {port}")) }
}

async fn connect(port: u16, password: &str) -> sqlx::Result<PgConnection> {
    PgConnectOptions::new_without_pgpass()
        .host("127.0.0.1")
        .port(port)
        .username(NAME)
        .password(password)
        .database("postgres")
        .ssl_mode(PgSslMode::Disable)
        .connect()
        .await
}
