//! The reasons why the servers could not be started. Each message is one line and tells what to do.

use std::io;
use std::path::{Path, PathBuf};

use super::binaries::MissingBinaries;

/// The servers could not be started.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error(transparent)]
    Missing(#[from] MissingBinaries),
    #[error(
        "PostgreSQL refuses to run as root, and this machine has neither a user `postgres` nor a user `nobody`: add one of \
         them"
    )]
    NoSystemUser,
    #[error(
        "another `sixty dev` (pid {pid}) is running in {folder}: stop it, or choose another folder with --dev-folder"
    )]
    FolderInUse { pid: String, folder: PathBuf },
    #[error("{folder} exists, but another user owns it or can write to it: remove it")]
    UnsafeFolder { folder: PathBuf },
    #[error("{password}, the password of the database in {data}, is missing: remove {data} to create a new database")]
    PasswordLost { data: PathBuf, password: PathBuf },
    #[error(
        "the data in {data} were made by PostgreSQL {made_by}, but PostgreSQL {found} is installed: install version \
         {made_by}, or remove {data} to create a new database"
    )]
    OtherVersion { data: PathBuf, made_by: String, found: u32 },
    #[error("{server} did not start: {reason} (its log: {log})")]
    Server { server: &'static str, reason: String, log: PathBuf },
    #[error("cannot {action} {path}: {source}")]
    File { action: &'static str, path: PathBuf, source: io::Error },
    #[error("cannot {action}: {source}")]
    System { action: &'static str, source: io::Error },
}

impl StartError {
    /// Returns a function for `map_err` that adds the failed action and its path.
    pub fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StartError {
        let path = path.to_owned();
        move |source| StartError::File { action, path, source }
    }

    /// Returns a function for `map_err` that adds the failed action.
    pub fn system(action: &'static str) -> impl FnOnce(io::Error) -> StartError {
        move |source| StartError::System { action, source }
    }
}
