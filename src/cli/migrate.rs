//! `sixty migrate up|down|status`: applies, reverts or lists the migrations in `sql/`.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::database;
use super::error::CliError;
use super::process::print;
use crate::config::{DatabaseArgs, LogArgs};
use crate::telemetry;

#[derive(Args)]
pub struct MigrateArgs {
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    log: LogArgs,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Apply all pending migrations
    ///
    /// Waits until PostgreSQL answers. Concurrent runs are safe: a lock makes them apply migrations one after the other
    Up,
    /// Revert the latest migration, with data loss
    ///
    /// Drops the tables and columns that the migration created, with their data
    Down,
    /// List all migrations and their state
    Status,
}

pub async fn run(args: MigrateArgs) -> Result<(), CliError> {
    telemetry::start(&args.log.log_level, args.log.log_format, None).map_err(CliError::Failed)?;
    let failed = |error: &dyn std::error::Error| CliError::Failed(error.to_string());
    let postgres = database::pool(args.database, 2, Duration::from_secs(5))?;
    match args.action {
        Action::Up => postgres.migrate().await.map_err(|error| failed(&error))?,
        Action::Down => match postgres.migrate_down().await.map_err(|error| failed(&error))? {
            Some(version) => print(&format!("reverted {version:04}\n"))?,
            None => print("nothing to revert\n")?,
        },
        Action::Status => {}
    }
    for migration in postgres.migrations().await.map_err(|error| failed(&error))? {
        print(&format!("{:04} {:<8} {}\n", migration.version, migration.state.name(), migration.description))?;
    }
    Ok(())
}
