//! Commands that run a server as the right user and tie its life to the guardian's.

use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use super::system_user::SystemUser;

/// Builds the commands of the servers.
#[derive(Debug)]
pub(super) struct ServerCommands {
    user: Option<SystemUser>,
    has_setpriv: bool,
}

impl ServerCommands {
    /// Tests whether `setpriv` has all needed options: BusyBox's lacks `--pdeathsig`, and macOS has no `setpriv`.
    pub async fn new(user: Option<SystemUser>) -> ServerCommands {
        let with_setpriv = ServerCommands { user, has_setpriv: true };
        let mut trial = with_setpriv.command(Path::new("true"));
        trial.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let has_setpriv = trial.status().await.is_ok_and(|status| status.success());
        ServerCommands { user, has_setpriv }
    }

    /// Returns a command for `program`, to be spawned from the guardian's main thread.
    ///
    /// With `setpriv` the kernel sends SIGKILL to the program when the spawning thread ends. `setpriv` also changes the
    /// user: the kernel clears the death signal if the user changes after it was set.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = if self.has_setpriv {
            let mut command = Command::new("setpriv");
            if let Some(SystemUser { uid, gid }) = self.user {
                command.arg(format!("--reuid={uid}")).arg(format!("--regid={gid}")).arg("--clear-groups");
            }
            command.args(["--pdeathsig", "KILL", "--"]).arg(program);
            command
        } else {
            let mut command = Command::new(program);
            if let Some(SystemUser { uid, gid }) = self.user {
                command.uid(uid).gid(gid);
            }
            command
        };
        // `Server` searches the logs for English messages. The locale C exists on every system.
        command.env("LC_ALL", "C").stdin(Stdio::null());
        command
    }
}
