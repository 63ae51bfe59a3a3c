//! The folder everything lives in: who holds it, where in it (or beside it) the data are, what is cleared away.

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

use super::ENV_FILE;
use super::account::Account;
use super::error::StartError;
use super::guardian::tell;
use super::leftovers;

/// How long to wait for the one before us, who may be stopping.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
/// How long to insist on removing files: the processes of a killed PostgreSQL write for a moment longer.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(5);
/// The folders of runs that keep nothing begin with this.
const RUN_PREFIX: &str = "run-";

/// A folder that we alone hold, for as long as this value lives.
#[derive(Debug)]
pub(super) struct Folder {
    home: PathBuf,
    data: PathBuf,
    account: Option<Account>,
    _lock: File,
}

impl Folder {
    /// Takes `root` itself, or for a run that keeps nothing a new folder in it, after clearing away those of earlier
    /// runs that were killed.
    ///
    /// # Errors
    ///
    /// Somebody else holds it, or it cannot be written.
    pub(super) async fn open(root: &Path, keep: bool) -> Result<Folder, StartError> {
        fs::create_dir_all(root).map_err(StartError::file("create", root))?;
        let root = root.canonicalize().map_err(StartError::file("read", root))?;
        if keep {
            let lock = lock(&root, "lock").await?;
            let folder = Folder::settle(root, lock)?;
            // One left by a run whose guardian was killed would lead nowhere.
            folder.forget_addresses()?;
            return Ok(folder);
        }
        // Between its making and its locking a new folder looks like one that was left behind.
        let _sweeping = lock(&root, "sweep.lock").await?;
        sweep(&root).await?;
        let home = root.join(format!("{RUN_PREFIX}{}", random_hex::<8>()?));
        fs::create_dir(&home).map_err(StartError::file("create", &home))?;
        let lock = lock(&home, "lock").await?;
        Folder::settle(home, lock)
    }

    /// Decides who owns the data and where they are.
    fn settle(home: PathBuf, lock: File) -> Result<Folder, StartError> {
        let account = Account::for_servers(&home.join("postgres"))?;
        if let Some(account) = account
            && !account.may_enter(&home).map_err(StartError::file("read", &home))?
        {
            let data = elsewhere(&home);
            let account = own_elsewhere(&data)?;
            return Ok(Folder { home, data, account, _lock: lock });
        }
        Ok(Folder { data: home.clone(), home, account, _lock: lock })
    }

    /// Where our own notes are: the password, the logs.
    pub(super) fn home(&self) -> &Path {
        &self.home
    }

    /// Where the servers' own folders are: the same as [`Folder::home`], unless the account may not enter that.
    pub(super) fn data(&self) -> &Path {
        &self.data
    }

    /// Whom the servers run as, `None` for ourselves.
    pub(super) fn account(&self) -> Option<Account> {
        self.account
    }

    /// Makes an empty folder `name` for the servers, which nobody else can enter; what was there is removed.
    pub(super) async fn renew(&self, name: &str) -> Result<PathBuf, StartError> {
        let path = self.data.join(name);
        remove(&path).await.map_err(StartError::file("remove", &path))?;
        DirBuilder::new().mode(0o700).create(&path).map_err(StartError::file("create", &path))?;
        self.give(&path)?;
        Ok(path)
    }

    /// Writes a file that only its owner can read: the servers' account with `given`, else we.
    pub(super) fn write_private(&self, path: &Path, text: &str, given: bool) -> Result<(), StartError> {
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
        if given { self.give(path) } else { Ok(()) }
    }

    fn give(&self, path: &Path) -> Result<(), StartError> {
        let Some(Account { uid, gid }) = self.account else { return Ok(()) };
        lchown(path, Some(uid), Some(gid)).map_err(StartError::file("change the owner of", path))
    }

    /// Removes the file that says where everything is. Only who holds the folder may: it could be another's.
    pub(super) fn forget_addresses(&self) -> Result<(), StartError> {
        let path = self.home.join(ENV_FILE);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StartError::file("remove", &path)(error)),
            _ => Ok(()),
        }
    }

    /// Removes all of it: the end of a run that keeps nothing.
    pub(super) async fn remove(self) -> io::Result<()> {
        if self.data != self.home {
            remove(&self.data).await?;
        }
        remove(&self.home).await
    }
}

/// Waits for the lock and notes in it who holds it: our parent, which is the process that a person knows.
async fn lock(folder: &Path, name: &str) -> Result<File, StartError> {
    let path = folder.join(name);
    let failed = || StartError::file("lock", &path);
    let mut options = OpenOptions::new();
    let mut file = options.read(true).write(true).create(true).truncate(false).open(&path).map_err(failed())?;
    let holder = || {
        let pid = fs::read_to_string(&path).unwrap_or_default();
        if pid.trim().is_empty() { "unknown".to_owned() } else { pid.trim().to_owned() }
    };
    let deadline = Instant::now() + LOCK_PATIENCE;
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::Error(error)) => return Err(failed()(error)),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                if !std::mem::replace(&mut told, true) {
                    tell(format!(
                        "Waiting for another `sixty dev` (pid {}) to end, which holds {}; at most {} s …",
                        holder(),
                        folder.display(),
                        LOCK_PATIENCE.as_secs()
                    ));
                }
                sleep(Duration::from_millis(20)).await;
            }
            Err(TryLockError::WouldBlock) => {
                return Err(StartError::Running { pid: holder(), folder: folder.to_owned() });
            }
        }
    }
    file.set_len(0).and_then(|()| writeln!(file, "{}", std::os::unix::process::parent_id())).map_err(failed())?;
    Ok(file)
}

/// Removes the folders of runs whose guardian was killed: those that nobody holds.
async fn sweep(root: &Path) -> Result<(), StartError> {
    for entry in root.read_dir().map_err(StartError::file("read", root))?.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(RUN_PREFIX) {
            continue;
        }
        let home = entry.path();
        let held = File::open(home.join("lock"));
        if held.as_ref().is_ok_and(|lock| lock.try_lock().is_err()) {
            continue;
        }
        let data = elsewhere(&home);
        for data in [&home, &data] {
            // What fails here is another user's. It costs space, and does no other harm.
            let _ = leftovers::end_postgres(&data.join("postgres")).await;
        }
        leftovers::end_redis(&home.join("redis.pid")).await;
        let _ = remove(&data).await;
        let _ = remove(&home).await;
    }
    Ok(())
}

/// The stand-in for a folder that the servers' account may not enter, the same every time.
fn elsewhere(home: &Path) -> PathBuf {
    let hash = Sha256::digest(home.as_os_str().as_encoded_bytes());
    Path::new("/var/tmp").join(format!("sixty-{}", hex::encode(&hash[..8])))
}

/// Makes the stand-in, or checks that it is ours: everybody may create names in `/var/tmp`. It stays root's, so that the
/// account, which may run other things, cannot exchange what root is about to work on.
fn own_elsewhere(path: &Path) -> Result<Option<Account>, StartError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(StartError::file("create", path)(error));
        }
        _ => {}
    }
    let metadata = path.symlink_metadata().map_err(StartError::file("read", path))?;
    if !metadata.is_dir() || metadata.uid() != Uid::effective().as_raw() || metadata.mode() & 0o022 != 0 {
        return Err(StartError::Foreign { folder: path.to_owned() });
    }
    let account = Account::for_servers(&path.join("postgres"))?;
    if let Some(account) = account {
        lchown(path, None, Some(account.gid)).map_err(StartError::file("change the group of", path))?;
        fs::set_permissions(path, Permissions::from_mode(0o710)).map_err(StartError::file("open", path))?;
    }
    Ok(account)
}

/// Removes a folder and all in it; one that does not exist is as good.
pub(super) async fn remove(path: &Path) -> io::Result<()> {
    let deadline = Instant::now() + REMOVAL_PATIENCE;
    loop {
        match fs::remove_dir_all(path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            // Filled again while it was emptied.
            Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty || Instant::now() >= deadline => {
                return Err(error);
            }
            Err(_) => sleep(Duration::from_millis(20)).await,
        }
    }
}

/// `N` bytes from the operating system, as lower-case hexadecimal digits.
pub(super) fn random_hex<const N: usize>() -> Result<String, StartError> {
    let mut bytes = [0; N];
    SysRng
        .try_fill_bytes(&mut bytes)
        .map_err(|error| StartError::system("draw random bytes")(io::Error::other(error)))?;
    Ok(hex::encode(bytes))
}
