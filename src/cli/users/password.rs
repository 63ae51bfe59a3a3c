//! A password from whoever sits at the terminal, who does not see it, or from standard input. Never an argument: those
//! are seen by everybody on the machine, and kept by the shell.

use std::io::{self, IsTerminal as _, Write as _};

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::super::{CliError, on_signal};

/// The first line of standard input; at a terminal it is asked for twice.
pub(super) async fn read() -> Result<Zeroizing<String>, CliError> {
    if !io::stdin().is_terminal() {
        return line().await;
    }
    let _silence = Silence::begin().map_err(|error| failed(&error))?;
    let password = asked("Password: ").await?;
    if *asked("The same again: ").await? != *password {
        return Err(CliError::Failed("the two passwords differ; nothing was changed".to_owned()));
    }
    Ok(password)
}

async fn asked(prompt: &str) -> Result<Zeroizing<String>, CliError> {
    eprint!("{prompt}");
    let _ = io::stderr().flush();
    line().await
}

/// Without its end. A signal is waited for as well, so that the terminal is not left silent.
async fn line() -> Result<Zeroizing<String>, CliError> {
    let stop = on_signal()?;
    let reading = tokio::task::spawn_blocking(|| {
        let mut line = Zeroizing::new(String::new());
        io::stdin().read_line(&mut line).map(|_| line)
    });
    let mut line = tokio::select! {
        read = reading => read.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?,
        () = stop.cancelled() => {
            eprintln!();
            return Err(CliError::Failed("stopped; nothing was changed".to_owned()));
        }
    };
    let end = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(end);
    Ok(line)
}

fn failed(error: &dyn std::error::Error) -> CliError {
    CliError::Failed(format!("the password cannot be read from standard input: {error}"))
}

/// A terminal that does not show what is typed, until this is dropped.
struct Silence(Termios);

impl Silence {
    fn begin() -> nix::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO);
        silent.local_flags.insert(LocalFlags::ECHONL);
        tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &silent)?;
        Ok(Self(before))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &self.0);
    }
}
