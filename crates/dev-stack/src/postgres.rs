//! The private PostgreSQL: made once, started anew on a free port each time.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{ConnectOptions, Connection};
use tokio::time::{Instant, sleep, timeout};

use super::account::Launcher;
use super::binaries::PostgresBinaries;
use super::error::StartError;
use super::folder::{Folder, random_hex, remove};
use super::guardian::tell;
use super::leftovers;
use super::server::{NotReady, Server, free_port};

/// The name of the superuser and of the database.
const NAME: &str = "sixty";
/// `initdb` writes 40 MB and waits for the disk; on a slow one that takes its time.
const INITDB_PATIENCE: Duration = Duration::from_secs(120);
const READY_PATIENCE: Duration = Duration::from_secs(30);
/// Ports lost to somebody faster before we stop trying.
const PORT_ATTEMPTS: u32 = 5;

/// The settings that trade what survives a power cut for speed.
const FLEETING: [&str; 3] = ["fsync=off", "synchronous_commit=off", "full_page_writes=off"];

/// Starts it, in `slot` from the first moment on, so that whoever cancels this can stop it. Returns its URL.
///
/// # Errors
///
/// The data cannot be made or were made by another version, or the server does not start.
pub(super) async fn start(
    binaries: &PostgresBinaries,
    launcher: &Launcher,
    folder: &Folder,
    keep: bool,
    slot: &mut Option<Server>,
) -> Result<String, StartError> {
    let data = folder.data().join("postgres");
    leftovers::end_postgres(&data).await?;
    let password = match existing(binaries, folder, &data).await? {
        Some(password) => password,
        None => init(binaries, launcher, folder, keep, &data, slot).await?,
    };
    let deadline = Instant::now() + READY_PATIENCE;
    let mut ports_lost = 0;
    loop {
        let port = free_port()?;
        let mut command = launcher.command(&binaries.postgres);
        command.current_dir(folder.data()).arg("-D").arg(&data).arg("-p").arg(port.to_string());
        let settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=200"];
        let fleeting = if keep { &[][..] } else { &FLEETING };
        for setting in settings.iter().chain(fleeting) {
            command.arg("-c").arg(setting);
        }
        let log = folder.home().join("postgres.log");
        // SIGINT is its fast shutdown: SIGTERM would wait until the last client has gone.
        let server = slot.insert(Server::start("PostgreSQL", &mut command, Signal::SIGINT, &log)?);
        match server.until_ready(deadline, async || check(port, &password, &data).await).await {
            Ok(()) => return Ok(format!("postgres://{NAME}:{password}@127.0.0.1:{port}/{NAME}")),
            Err(NotReady::Ended(_)) if server.lost_its_port() && ports_lost < PORT_ATTEMPTS => ports_lost += 1,
            // The processes of one that was killed a moment ago are still ending.
            Err(NotReady::Ended(_))
                if server.log_text().contains("pre-existing shared memory block") && Instant::now() < deadline =>
            {
                sleep(Duration::from_millis(100)).await;
            }
            Err(why) => return Err(server.failure(why)),
        }
    }
}

/// The password of the data that were made before, `None` when there are none.
async fn existing(binaries: &PostgresBinaries, folder: &Folder, data: &Path) -> Result<Option<String>, StartError> {
    let Ok(version) = fs::read_to_string(data.join("PG_VERSION")) else { return Ok(None) };
    let path = password_file(folder);
    let Ok(password) = fs::read_to_string(&path) else {
        if folder.data() == folder.home() {
            return Err(StartError::PasswordLost { data: data.to_owned(), password: path });
        }
        // The folder was removed, and these are its data that had to live elsewhere: they go with it.
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

/// Makes the data under another name first: a folder called `postgres` is always complete.
async fn init(
    binaries: &PostgresBinaries,
    launcher: &Launcher,
    folder: &Folder,
    keep: bool,
    data: &Path,
    slot: &mut Option<Server>,
) -> Result<String, StartError> {
    if keep {
        tell(format!("Making an empty database, the first time only, in {} …", data.display()));
    }
    let new = folder.renew("postgres.new").await?;
    let password = random_hex::<24>()?;
    folder.write_private(&password_file(folder), &password, false)?;
    let for_initdb = folder.data().join("initdb-password");
    folder.write_private(&for_initdb, &password, true)?;

    let mut command = launcher.command(&binaries.initdb);
    command.current_dir(folder.data()).arg("--pgdata").arg(&new).arg("--pwfile").arg(&for_initdb);
    command.args(["--username", NAME, "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]);
    if !keep {
        command.arg("--no-sync");
    }
    let log = folder.home().join("initdb.log");
    let initdb = slot.insert(Server::start("PostgreSQL's initdb", &mut command, Signal::SIGTERM, &log)?);
    let outcome = timeout(INITDB_PATIENCE, initdb.ended()).await;
    fs::remove_file(&for_initdb).map_err(StartError::file("remove", &for_initdb))?;
    match outcome {
        Ok(Ok(status)) if status.success() => {}
        Ok(ended) => return Err(initdb.failure(NotReady::Ended(ended))),
        Err(_) => return Err(initdb.failure(NotReady::Late(format!("more than {INITDB_PATIENCE:?}")))),
    }
    fs::rename(&new, data).map_err(StartError::file("rename", &new))?;
    Ok(password)
}

fn password_file(folder: &Folder) -> PathBuf {
    folder.home().join("password")
}

/// Whether the server at `port` is the one on `data`, and has the database.
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
    // It is only said good-bye to.
    let _ = connection.close().await;
    if outcome? { Ok(()) } else { Err(format!("port {port} answers, but is another PostgreSQL")) }
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
