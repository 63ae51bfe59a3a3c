//! `sixty migrate up|down|status`: the database's schema, as the files in `sql/` say.

use std::time::Duration;

use clap::{Args, Subcommand};
use secrecy::SecretString;

use super::{CliError, print};
use crate::config::{BadSetting, LogArgs};
use crate::store::postgres::{Postgres, PostgresConfig};
use crate::telemetry;

#[derive(Args)]
pub struct MigrateArgs {
    /// PostgreSQL: postgres://user:password@host/database
    ///
    /// With a port and TLS: host:5432/database?sslmode=verify-full
    #[arg(long, env, value_name = "URL")]
    database_url: Option<SecretString>,
    #[command(flatten)]
    log: LogArgs,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Apply what is pending, and wait for the database
    ///
    /// Several at once take turns
    Up,
    /// Revert the latest migration; what it made is lost
    ///
    /// Tables and columns are dropped, and the data in them
    Down,
    /// List the migrations and whether they are applied
    Status,
}

pub async fn run(args: MigrateArgs) -> Result<(), CliError> {
    telemetry::log(&args.log)?;
    let failed = |error: &dyn std::error::Error| CliError::Failed(error.to_string());
    let setting = |reason: &str| BadSetting { name: "DATABASE_URL", reason: reason.to_owned() };
    let url = args.database_url.ok_or_else(|| setting("must be set"))?;
    let config = PostgresConfig { url, max_connections: 2, timeout: Duration::from_secs(5) };
    let postgres = Postgres::new(&config).map_err(|_| setting("must be a URL of PostgreSQL"))?;
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
