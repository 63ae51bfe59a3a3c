//! The `sixty` program.

use std::process::ExitCode;

use clap::Parser;
use sixty::dev::guardian;

#[derive(Parser)]
#[command(version, about)]
enum Sixty {
    /// Parent of the private PostgreSQL and Redis
    #[command(hide = true)]
    Guardian(guardian::Arguments),
}

fn main() -> ExitCode {
    match Sixty::parse() {
        Sixty::Guardian(arguments) => guardian::run(&arguments),
    }
}
