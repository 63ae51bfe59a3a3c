//! The `sixty` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    sixty::cli::run()
}
