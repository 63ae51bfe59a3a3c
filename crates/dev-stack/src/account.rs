//! As whom the servers run, and how they are tied to the guardian's life.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;

use nix::unistd::{Uid, User};
use tokio::process::Command;

use super::error::StartError;

/// The account that owns the data and runs the servers, where that is not our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Account {
    pub uid: u32,
    pub gid: u32,
}

impl Account {
    /// `None` for an ordinary user, who runs the servers as himself. For root, whom PostgreSQL refuses: the owner of the
    /// `data` that exist, so that an account added later does not make them unreadable, else `postgres`, else `nobody`.
    ///
    /// # Errors
    ///
    /// Root on a machine that has neither account.
    pub(super) fn for_servers(data: &Path) -> Result<Option<Account>, StartError> {
        if !Uid::effective().is_root() {
            return Ok(None);
        }
        if let Ok(owner) = data.symlink_metadata()
            && owner.is_dir()
            && owner.uid() != 0
        {
            return Ok(Some(Account { uid: owner.uid(), gid: owner.gid() }));
        }
        ["postgres", "nobody"]
            .into_iter()
            .find_map(|name| User::from_name(name).ok().flatten())
            .map(|user| Some(Account { uid: user.uid.as_raw(), gid: user.gid.as_raw() }))
            .ok_or(StartError::NoAccount)
    }

    /// Whether this account can reach what is in `folder`, an absolute path without symlinks: a clone below `/root` is
    /// closed to everybody else.
    pub(super) fn may_enter(&self, folder: &Path) -> io::Result<bool> {
        for ancestor in folder.ancestors() {
            let metadata = fs::metadata(ancestor)?;
            let search = if metadata.uid() == self.uid {
                0o100
            } else if metadata.gid() == self.gid {
                0o010
            } else {
                0o001
            };
            if metadata.mode() & search == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Makes the commands that run a server as the right account and have it killed when the guardian is.
#[derive(Debug)]
pub(super) struct Launcher {
    account: Option<Account>,
    has_setpriv: bool,
}

impl Launcher {
    /// Tries out whether this machine's `setpriv` can do all of it: BusyBox's knows no `--pdeathsig`, macOS has none.
    pub(super) async fn new(account: Option<Account>) -> Launcher {
        let launcher = Launcher { account, has_setpriv: true };
        let mut trial = launcher.command(Path::new("true"));
        trial.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let has_setpriv = trial.status().await.is_ok_and(|status| status.success());
        Launcher { account, has_setpriv }
    }

    /// A command for `program`, to be spawned from the guardian's main thread: the death signal is sent when the thread
    /// that spawned it ends, not the process. It is `setpriv` that changes the user as well, because the kernel forgets
    /// the death signal when the user changes after it was set.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = if self.has_setpriv {
            let mut command = Command::new("setpriv");
            if let Some(Account { uid, gid }) = self.account {
                command.arg(format!("--reuid={uid}")).arg(format!("--regid={gid}")).arg("--clear-groups");
            }
            command.args(["--pdeathsig", "KILL", "--"]).arg(program);
            command
        } else {
            let mut command = Command::new(program);
            if let Some(Account { uid, gid }) = self.account {
                command.uid(uid).gid(gid);
            }
            command
        };
        // Messages are searched for causes, and this locale is the one that is installed everywhere.
        command.env("LC_ALL", "C").stdin(Stdio::null());
        command
    }
}
