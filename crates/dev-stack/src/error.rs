//! Why the servers could not be started. Every message is one line that a person can act on.

use std::io;
use std::path::{Path, PathBuf};

use super::binaries::MissingBinaries;

/// What the guardian reports instead of the servers' addresses.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error(transparent)]
    Missing(#[from] MissingBinaries),
    #[error(
        "PostgreSQL does not run as root, and this machine has neither a user `postgres` nor `nobody` to run it as"
    )]
    NoAccount,
    #[error(
        "another `sixty dev` (pid {pid}) is running in {folder}: end it, or give this one a folder of its own \
         (--dev-folder)"
    )]
    Running { pid: String, folder: PathBuf },
    #[error("{folder} exists but is not a folder of ours that others cannot change: remove it")]
    Foreign { folder: PathBuf },
    #[error("the password of the database in {data} is lost ({password} is missing): remove {data} to start anew")]
    PasswordLost { data: PathBuf, password: PathBuf },
    #[error(
        "the data in {data} were made by PostgreSQL {made_by}, but the programs found are PostgreSQL {found}: \
         install version {made_by}, or remove {data} to start anew"
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
    /// For `map_err`: what was tried, on which path.
    pub(super) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StartError {
        let path = path.to_owned();
        move |source| StartError::File { action, path, source }
    }

    /// For `map_err`: what was tried where no path is concerned.
    pub(super) fn system(action: &'static str) -> impl FnOnce(io::Error) -> StartError {
        move |source| StartError::System { action, source }
    }
}
