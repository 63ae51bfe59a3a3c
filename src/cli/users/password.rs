//! Reads a password from the terminal without echo, or from standard input. A password is never a command-line argument:
//! other users could see it in the process list, and the shell would keep it in its history.

use std::io::{self, IsTerminal as _, Write as _};

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::cli::error::CliError;
use crate::cli::process::{on_signal, print_error};

/// Reads the first line of standard input. If standard input is a terminal, prompts twice and compares.
pub(super) async fn read() -> Result<Zeroizing<String>, CliError> {
    if !io::stdin().is_terminal() {
        return read_line().await;
    }
    let _echo_off = EchoOff::begin().map_err(|error| failed(&error))?;
    let password = prompt("Password: ").await?;
    if *prompt("Repeat the password: ").await? != *password {
        return Err(CliError::Failed("the two passwords differ; the account is unchanged".to_owned()));
    }
    Ok(password)
}

async fn prompt(text: &str) -> Result<Zeroizing<String>, CliError> {
    let _ = write!(io::stderr(), "{text}").and_then(|()| io::stderr().flush());
    read_line().await
}

/// Reads a line without its line break. Returns early on a stop signal, so that the caller can switch the echo on again.
async fn read_line() -> Result<Zeroizing<String>, CliError> {
    let stop = on_signal()?;
    let reading = tokio::task::spawn_blocking(|| {
        let mut line = Zeroizing::new(String::new());
        io::stdin().read_line(&mut line).map(|_| line)
    });
    let mut line = tokio::select! {
        read = reading => read.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?,
        () = stop.cancelled() => {
            print_error("");
            return Err(CliError::Failed("stopped by a signal; the account is unchanged".to_owned()));
        }
    };
    let end = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(end);
    Ok(line)
}

fn failed(error: &dyn std::error::Error) -> CliError {
    CliError::Failed(format!("cannot read the password from standard input: {error}"))
}

/// Switches the terminal's echo off until it is dropped. Holds the previous state of the terminal.
struct EchoOff(Termios);

impl EchoOff {
    fn begin() -> nix::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut without_echo = before.clone();
        without_echo.local_flags.remove(LocalFlags::ECHO);
        without_echo.local_flags.insert(LocalFlags::ECHONL);
        tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &without_echo)?;
        Ok(Self(before))
    }
}

impl Drop for EchoOff {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &self.0);
    }
}
