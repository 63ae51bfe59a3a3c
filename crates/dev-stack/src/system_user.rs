//! The operating-system user that runs the servers.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::{Uid, User};

use super::error::StartError;

/// A user other than the current one, who owns the data and runs the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SystemUser {
    pub uid: u32,
    pub gid: u32,
}

impl SystemUser {
    /// Chooses the user for servers with the folder `data`. Returns `None` if the current user runs the servers.
    ///
    /// PostgreSQL refuses to run as root. Root therefore gets the owner of the existing `data`, so that a user added later
    /// does not make the data unreadable; without data, the user `postgres`, or else `nobody`.
    ///
    /// # Errors
    ///
    /// The current user is root, and neither `postgres` nor `nobody` exists.
    pub fn for_servers(data: &Path) -> Result<Option<SystemUser>, StartError> {
        if !Uid::effective().is_root() {
            return Ok(None);
        }
        if let Ok(owner) = data.symlink_metadata()
            && owner.is_dir()
            && owner.uid() != 0
        {
            return Ok(Some(SystemUser { uid: owner.uid(), gid: owner.gid() }));
        }
        ["postgres", "nobody"]
            .into_iter()
            .find_map(|name| User::from_name(name).ok().flatten())
            .map(|user| Some(SystemUser { uid: user.uid.as_raw(), gid: user.gid.as_raw() }))
            .ok_or(StartError::NoSystemUser)
    }

    /// Returns whether the user may reach files in `folder`, an absolute path without symbolic links. Other users cannot
    /// enter a clone below `/root`, for example.
    pub fn may_enter(&self, folder: &Path) -> io::Result<bool> {
        for ancestor in folder.ancestors() {
            let metadata = fs::metadata(ancestor)?;
            let search_permission = if metadata.uid() == self.uid {
                0o100
            } else if metadata.gid() == self.gid {
                0o010
            } else {
                0o001
            };
            if metadata.mode() & search_permission == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
