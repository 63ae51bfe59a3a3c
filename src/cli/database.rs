//! The database connection of the commands that use PostgreSQL without the service.

use std::time::Duration;

use super::error::CliError;
use crate::config::{DatabaseArgs, InvalidSetting};
use crate::store::postgres::{Postgres, PostgresConfig};

/// Returns a pool that connects on first use. `timeout` limits each call, including the wait for a connection.
pub(super) fn pool(database: DatabaseArgs, max_connections: u32, timeout: Duration) -> Result<Postgres, CliError> {
    let config = PostgresConfig { url: database.url()?, max_connections, timeout };
    Ok(Postgres::new(&config).map_err(|error| InvalidSetting::new("DATABASE_URL", error))?)
}
