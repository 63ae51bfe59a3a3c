//! The migrations in `sql/`: applying them under a lock, and telling what a database has of them.

use std::time::Duration;

use sqlx::migrate::{MigrateError as DriverError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, FromRow};
use thiserror::Error;

use super::{Postgres, store_error};
use crate::accounts::ports::StoreError;
use crate::backoff::Backoff;

/// The pauses while PostgreSQL does not answer, or another process has not applied the migrations yet.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));

/// Those of this binary. A database that is ahead of them is tolerated, so that a release can be rolled back.
fn migrator() -> Migrator {
    let mut migrator = sqlx::migrate!("./sql");
    migrator.set_ignore_missing(true);
    migrator
}

/// Why no patience helps, but for `Silent`.
#[derive(Debug, Error)]
pub enum MigrateError {
    #[error("DATABASE_URL: {0}")]
    Setting(String),
    #[error("DATABASE_URL: PostgreSQL does not answer: {0}")]
    Silent(String),
    #[error(
        "migration {0:04} is not the one that was applied: its file was edited since. Run the release that applied it, or \
         put the file back"
    )]
    Edited(i64),
    #[error(
        "migration {0:04} is half applied: it began and did not end. Undo by hand what it has done, delete its row from \
         _sqlx_migrations, and start again"
    )]
    Half(i64),
    #[error("migration {0:04} is a newer release's, which alone can revert it: migrate down with that one first")]
    Ahead(i64),
    /// They do not fit the database, most likely.
    #[error("the migrations cannot be applied: {0}")]
    Apply(String),
    #[error("the migrations cannot be listed: {0}")]
    List(String),
}

/// What a database has of a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Applied,
    Pending,
    /// A newer release has applied it.
    Newer,
    /// It was applied as something else.
    Edited,
    /// It began and did not end.
    Half,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Pending => "pending",
            Self::Newer => "newer",
            Self::Edited => "edited",
            Self::Half => "half",
        }
    }
}

/// One migration, as `sixty migrate status` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    pub version: i64,
    pub description: String,
    pub state: State,
}

#[derive(FromRow)]
struct Applied {
    version: i64,
    description: String,
    success: bool,
    checksum: Vec<u8>,
}

impl Postgres {
    /// Applies pending migrations, under the lock by which replicas take turns. A database that does not answer is
    /// waited for.
    pub async fn migrate(&self) -> Result<(), MigrateError> {
        let (mut told, mut backoff) = (false, BACKOFF);
        loop {
            let error = match self.migrate_once().await {
                Ok(()) => return Ok(()),
                Err(DriverError::Execute(error)) => refused(error)?,
                // Each is a transaction: one that was cut off has changed nothing.
                Err(DriverError::ExecuteMigration(error, _)) => error,
                Err(DriverError::VersionMismatch(version)) => return Err(MigrateError::Edited(version)),
                Err(DriverError::Dirty(version)) => return Err(MigrateError::Half(version)),
                Err(other) => return Err(MigrateError::Apply(other.to_string())),
            };
            match store_error(error) {
                StoreError::Unavailable { reason, .. } => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(reason, "waiting for PostgreSQL");
                    }
                    tokio::time::sleep(backoff.next_pause()).await;
                }
                broken => return Err(MigrateError::Apply(broken.to_string())),
            }
        }
    }

    /// Waits until everything that this binary needs is applied, by whomever.
    pub async fn await_migrations(&self) -> Result<Vec<Migration>, MigrateError> {
        let mut backoff = BACKOFF;
        loop {
            match self.migrations().await {
                Ok(migrations) => {
                    sound(&migrations)?;
                    if migrations.iter().all(|migration| migration.state != State::Pending) {
                        return Ok(migrations);
                    }
                }
                Err(MigrateError::Silent(_)) => {}
                Err(error) => return Err(error),
            }
            tokio::time::sleep(backoff.next_pause()).await;
        }
    }

    /// Reverts the latest migration. `None`: none is applied.
    pub async fn migrate_down(&self) -> Result<Option<i64>, MigrateError> {
        let migrations = self.migrations().await?;
        // The driver looks at no checksum on the way down, and passes over what it does not know.
        sound(&migrations)?;
        let mut applied = migrations.iter().rev().filter(|it| it.state != State::Pending);
        let latest = match applied.next() {
            None => return Ok(None),
            Some(newer) if newer.state == State::Newer => return Err(MigrateError::Ahead(newer.version)),
            Some(latest) => latest.version,
        };
        let before = applied.next().map_or(0, |migration| migration.version);
        let undone = migrator().undo(&self.pool, before).await;
        undone.map_err(|error| MigrateError::Apply(error.to_string()))?;
        Ok(Some(latest))
    }

    /// All migrations, in order: those of this binary, and those that a newer one has applied. A database that does not
    /// answer is asked once: somebody waits for the list.
    pub async fn migrations(&self) -> Result<Vec<Migration>, MigrateError> {
        // Not from the pool, which would try again until its time is over, and then say only that it is.
        let rows = async {
            let mut connection = self.pool.connect_options().connect().await?;
            let rows = "SELECT version, description, success, checksum FROM _sqlx_migrations ORDER BY version";
            sqlx::query_as::<_, Applied>(rows).fetch_all(&mut connection).await
        };
        let rows = tokio::time::timeout(self.timeout, rows)
            .await
            .map_err(|_| MigrateError::Silent(format!("nothing came in {:?}", self.timeout)))?;
        let applied = match rows {
            Ok(rows) => rows,
            Err(sqlx::Error::Io(error)) => return Err(MigrateError::Silent(error.to_string())),
            // Undefined table: nothing was ever applied.
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42P01") => vec![],
            Err(error) => {
                return Err(match store_error(refused(error)?) {
                    StoreError::Unavailable { reason, .. } => MigrateError::Silent(reason),
                    broken => MigrateError::List(broken.to_string()),
                });
            }
        };
        let migrator = migrator();
        let ups = || migrator.iter().filter(|migration| migration.migration_type.is_up_migration());
        let pending = ups().filter(|known| applied.iter().all(|row| row.version != known.version)).map(|known| {
            Migration { version: known.version, description: known.description.to_string(), state: State::Pending }
        });
        let mut migrations: Vec<Migration> = pending.collect();
        for Applied { version, description, success, checksum } in applied {
            let state = match ups().find(|known| known.version == version) {
                _ if !success => State::Half,
                None => State::Newer,
                Some(known) if *known.checksum != *checksum => State::Edited,
                Some(_) => State::Applied,
            };
            migrations.push(Migration { version, description, state });
        }
        migrations.sort_by_key(|migration| migration.version);
        Ok(migrations)
    }

    async fn migrate_once(&self) -> Result<(), DriverError> {
        // On a connection of its own: a migration takes as long as it takes, without a statement timeout.
        let options = PgConnectOptions::clone(&self.pool.connect_options()).options([("statement_timeout", "0")]);
        let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(self.timeout).connect_lazy_with(options);
        let outcome = migrator().run(&pool).await;
        pool.close().await;
        outcome
    }
}

/// Refuses what no release can go on from.
fn sound(migrations: &[Migration]) -> Result<(), MigrateError> {
    for migration in migrations {
        match migration.state {
            State::Edited => return Err(MigrateError::Edited(migration.version)),
            State::Half => return Err(MigrateError::Half(migration.version)),
            State::Applied | State::Pending | State::Newer => {}
        }
    }
    Ok(())
}

/// Passes on every error but those that a wrong setting makes.
fn refused(error: sqlx::Error) -> Result<sqlx::Error, MigrateError> {
    let code = error.as_database_error().and_then(|error| error.code()).unwrap_or_default();
    let reason = match &*code {
        "28000" | "28P01" => "refuses the user or the password",
        "3D000" => "has no such database",
        _ => return Ok(error),
    };
    Err(MigrateError::Setting(format!("PostgreSQL {reason} (SQLSTATE {code})")))
}
