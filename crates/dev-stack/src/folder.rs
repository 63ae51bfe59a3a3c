//! The folder of a stack: its lock, the place of the data, and the removal of what earlier runs left behind.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::Uid;
use rand::TryRng;
use rand::rngs::SysRng;
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep};

use super::error::StartError;
use super::orphans;
use super::protocol::send_step;
use super::system_user::SystemUser;

/// The file in which `sixty dev` writes the addresses of all servers, as shell assignments. It exists while they run.
pub const ENV_FILE: &str = "env";

/// The longest wait for the lock: the guardian that holds it may be stopping.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to retry the removal of a folder: processes of a killed PostgreSQL may still write files.
const REMOVAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Prefix of the folders of runs that do not keep their data.
const RUN_PREFIX: &str = "run-";

/// A folder that this process has locked. The lock ends when this value is dropped.
#[derive(Debug)]
pub(super) struct Folder {
    home: PathBuf,
    data: PathBuf,
    server_user: Option<SystemUser>,
    _lock: File,
}

impl Folder {
    /// Locks `root`, or, without `keep`, a new folder in it. In the latter case it first removes the folders of earlier runs
    /// that were killed.
    ///
    /// # Errors
    ///
    /// Another process holds the lock, or the folder cannot be written.
    pub async fn open(root: &Path, keep: bool) -> Result<Folder, StartError> {
        fs::create_dir_all(root).map_err(StartError::file("create", root))?;
        let root = root.canonicalize().map_err(StartError::file("read", root))?;
        if keep {
            let lock = lock(&root, "lock").await?;
            let folder = Folder::with_data_folder(root, lock)?;
            // If the guardian of the last run was killed, the file contains outdated addresses.
            folder.remove_env_file()?;
            return Ok(folder);
        }
        // Without this lock, a concurrent start could remove a new folder before its own lock exists.
        let _sweep_lock = lock(&root, "sweep.lock").await?;
        remove_orphaned_runs(&root).await?;
        let home = root.join(format!("{RUN_PREFIX}{}", random_hex::<8>()?));
        fs::create_dir(&home).map_err(StartError::file("create", &home))?;
        let lock = lock(&home, "lock").await?;
        Folder::with_data_folder(home, lock)
    }

    /// Chooses the user of the servers and the folder of their data.
    fn with_data_folder(home: PathBuf, lock: File) -> Result<Folder, StartError> {
        let server_user = SystemUser::for_servers(&home.join("postgres"))?;
        if let Some(user) = server_user
            && !user.may_enter(&home).map_err(StartError::file("read", &home))?
        {
            let data = substitute_for(&home);
            let server_user = create_substitute(&data)?;
            return Ok(Folder { home, data, server_user, _lock: lock });
        }
        Ok(Folder { data: home.clone(), home, server_user, _lock: lock })
    }

    /// Returns the folder of the guardian's own files: the password and the logs.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Returns the parent of the servers' data folders. It differs from [`Folder::home`] if the servers' user may not enter
    /// that folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Returns the user that runs the servers, or `None` for the current user.
    pub fn server_user(&self) -> Option<SystemUser> {
        self.server_user
    }

    /// Creates an empty folder `name` that only the servers' user can enter. Removes an existing one first.
    pub async fn create_empty(&self, name: &str) -> Result<PathBuf, StartError> {
        let path = self.data.join(name);
        remove(&path).await.map_err(StartError::file("remove", &path))?;
        DirBuilder::new().mode(0o700).create(&path).map_err(StartError::file("create", &path))?;
        change_owner(&path, self.server_user)?;
        Ok(path)
    }

    /// Writes a file that only its owner can read: `owner`, or the current user without it.
    pub fn write_private(&self, path: &Path, text: &str, owner: Option<SystemUser>) -> Result<(), StartError> {
        let write = || {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        };
        write().map_err(StartError::file("write", path))?;
        change_owner(path, owner)
    }

    /// Removes [`ENV_FILE`]. Requires the lock: the file could belong to another running stack.
    pub fn remove_env_file(&self) -> Result<(), StartError> {
        let path = self.home.join(ENV_FILE);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StartError::file("remove", &path)(error)),
            _ => Ok(()),
        }
    }

    /// Removes the folder and the data.
    pub async fn remove(self) -> io::Result<()> {
        if self.data != self.home {
            remove(&self.data).await?;
        }
        remove(&self.home).await
    }
}

fn change_owner(path: &Path, owner: Option<SystemUser>) -> Result<(), StartError> {
    let Some(SystemUser { uid, gid }) = owner else { return Ok(()) };
    lchown(path, Some(uid), Some(gid)).map_err(StartError::file("change the owner of", path))
}

/// Waits for the lock and writes the pid of its holder into the file: the pid of the guardian's parent, because a person
/// knows that process.
async fn lock(folder: &Path, name: &str) -> Result<File, StartError> {
    let path = folder.join(name);
    let failed = || StartError::file("lock", &path);
    let mut options = OpenOptions::new();
    let mut file = options.read(true).write(true).create(true).truncate(false).open(&path).map_err(failed())?;
    let holder = || {
        let pid = fs::read_to_string(&path).unwrap_or_default();
        if pid.trim().is_empty() { "unknown".to_owned() } else { pid.trim().to_owned() }
    };
    let deadline = Instant::now() + LOCK_TIMEOUT;
    let mut waiting_reported = false;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::Error(error)) => return Err(failed()(error)),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                if !std::mem::replace(&mut waiting_reported, true) {
                    send_step(format!(
                        "Waiting up to {} s for another `sixty dev` (pid {}) to release {} …",
                        LOCK_TIMEOUT.as_secs(),
                        holder(),
                        folder.display(),
                    ));
                }
                sleep(Duration::from_millis(20)).await;
            }
            Err(TryLockError::WouldBlock) => {
                return Err(StartError::FolderInUse { pid: holder(), folder: folder.to_owned() });
            }
        }
    }
    file.set_len(0).and_then(|()| writeln!(file, "{}", std::os::unix::process::parent_id())).map_err(failed())?;
    Ok(file)
}

/// Stops the servers and removes the folders of runs whose guardian was killed. Such a folder has no lock holder.
async fn remove_orphaned_runs(root: &Path) -> Result<(), StartError> {
    for entry in root.read_dir().map_err(StartError::file("read", root))?.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(RUN_PREFIX) {
            continue;
        }
        let home = entry.path();
        let lock_file = File::open(home.join("lock"));
        if lock_file.as_ref().is_ok_and(|lock| lock.try_lock().is_err()) {
            continue;
        }
        let data = substitute_for(&home);
        for data in [&home, &data] {
            // A failure means that the data belong to another user. They cost disk space only.
            let _ = orphans::stop_postgres(&data.join("postgres")).await;
        }
        orphans::stop_redis(&home.join("redis.pid")).await;
        let _ = remove(&data).await;
        let _ = remove(&home).await;
    }
    Ok(())
}

/// Returns the substitute data folder for a `home` that the servers' user may not enter. Deterministic.
fn substitute_for(home: &Path) -> PathBuf {
    let hash = Sha256::digest(home.as_os_str().as_encoded_bytes());
    Path::new("/var/tmp").join(format!("sixty-{}", hex::encode(&hash[..8])))
}

/// Creates the substitute folder, or checks that root owns it: every user may create folders in `/var/tmp`. Root stays the
/// owner, so that other processes of the servers' user cannot replace files while root works on them.
fn create_substitute(path: &Path) -> Result<Option<SystemUser>, StartError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(StartError::file("create", path)(error));
        }
        _ => {}
    }
    let metadata = path.symlink_metadata().map_err(StartError::file("read", path))?;
    if !metadata.is_dir() || metadata.uid() != Uid::effective().as_raw() || metadata.mode() & 0o022 != 0 {
        return Err(StartError::UnsafeFolder { folder: path.to_owned() });
    }
    let user = SystemUser::for_servers(&path.join("postgres"))?;
    if let Some(user) = user {
        lchown(path, None, Some(user.gid)).map_err(StartError::file("change the group of", path))?;
        fs::set_permissions(path, Permissions::from_mode(0o710))
            .map_err(StartError::file("change the mode of", path))?;
    }
    Ok(user)
}

/// Removes a folder with its contents. Succeeds if the folder does not exist.
pub(super) async fn remove(path: &Path) -> io::Result<()> {
    let deadline = Instant::now() + REMOVAL_TIMEOUT;
    loop {
        match fs::remove_dir_all(path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            // Another process may have created a file in the folder during the removal: retry.
            Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty || Instant::now() >= deadline => {
                return Err(error);
            }
            Err(_) => sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Returns `N` random bytes from the operating system in lower-case hexadecimal.
pub(super) fn random_hex<const N: usize>() -> Result<String, StartError> {
    let mut bytes = [0; N];
    SysRng
        .try_fill_bytes(&mut bytes)
        .map_err(|error| StartError::system("draw random bytes")(io::Error::other(error)))?;
    Ok(hex::encode(bytes))
}
