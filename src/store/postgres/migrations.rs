//! The migrations in `sql/`: applies them under a lock, reverts them, and lists their states in a database.

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

/// Returns the migrations of this binary. A database with newer migrations is accepted, so that a release can be rolled
/// back.
fn migrator() -> Migrator {
    let mut migrator = sqlx::migrate!("./sql");
    migrator.set_ignore_missing(true);
    migrator
}

/// Why the migrations cannot be used. Retrying helps only after `Silent`.
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
    /// Probably the migrations conflict with the content of the database.
    #[error("the migrations cannot be applied: {0}")]
    Apply(String),
    #[error("the migrations cannot be listed: {0}")]
    List(String),
}

/// State of a migration in a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Applied,
    Pending,
    /// A newer release applied the migration; this binary does not contain it.
    Newer,
    /// The file of the migration was edited after it was applied.
    Edited,
    /// The migration started and did not finish.
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
    /// Applies pending migrations under an advisory lock, so that one replica at a time does so. Waits for a database that
    /// does not answer.
    pub async fn migrate(&self) -> Result<(), MigrateError> {
        let (mut logged, mut backoff) = (false, BACKOFF);
        loop {
            let error = match self.migrate_once().await {
                Ok(()) => return Ok(()),
                Err(DriverError::Execute(error)) => unless_setting(error)?,
                // Each migration is one transaction, so an interrupted migration changed nothing.
                Err(DriverError::ExecuteMigration(error, _)) => error,
                Err(DriverError::VersionMismatch(version)) => return Err(MigrateError::Edited(version)),
                Err(DriverError::Dirty(version)) => return Err(MigrateError::Half(version)),
                Err(other) => return Err(MigrateError::Apply(other.to_string())),
            };
            match store_error(error) {
                StoreError::Unavailable { reason, .. } => {
                    if !std::mem::replace(&mut logged, true) {
                        tracing::warn!(reason, "waiting for PostgreSQL");
                    }
                    tokio::time::sleep(backoff.next_pause()).await;
                }
                broken => return Err(MigrateError::Apply(broken.to_string())),
            }
        }
    }

    /// Waits until all migrations of this binary are applied, no matter by which process.
    pub async fn await_migrations(&self) -> Result<Vec<Migration>, MigrateError> {
        let mut backoff = BACKOFF;
        loop {
            match self.migrations().await {
                Ok(migrations) => {
                    check_states(&migrations)?;
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

    /// Reverts the latest migration and returns its version; `None` if no migration is applied.
    pub async fn migrate_down(&self) -> Result<Option<i64>, MigrateError> {
        let migrations = self.migrations().await?;
        // When the driver reverts, it checks no checksums and skips migrations that it does not know.
        check_states(&migrations)?;
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

    /// Returns all migrations in order: those of this binary, and those that a newer binary applied. Makes one attempt
    /// only, because a person waits for the list.
    pub async fn migrations(&self) -> Result<Vec<Migration>, MigrateError> {
        // Not from the pool: it would retry until its timeout and then report only the timeout.
        let rows = async {
            let mut connection = self.pool.connect_options().connect().await?;
            let rows = "SELECT version, description, success, checksum FROM _sqlx_migrations ORDER BY version";
            sqlx::query_as::<_, Applied>(rows).fetch_all(&mut connection).await
        };
        let rows = tokio::time::timeout(self.timeout, rows)
            .await
            .map_err(|_| MigrateError::Silent(format!("no response within {:?}", self.timeout)))?;
        let applied = match rows {
            Ok(rows) => rows,
            Err(sqlx::Error::Io(error)) => return Err(MigrateError::Silent(error.to_string())),
            // SQLSTATE 42P01, undefined table: no migration was ever applied.
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42P01") => vec![],
            Err(error) => {
                return Err(match store_error(unless_setting(error)?) {
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
        // On a separate connection without a statement timeout, because a migration may take long.
        let options = PgConnectOptions::clone(&self.pool.connect_options()).options([("statement_timeout", "0")]);
        let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(self.timeout).connect_lazy_with(options);
        let outcome = migrator().run(&pool).await;
        pool.close().await;
        outcome
    }
}

/// Fails if a migration was edited or is half applied: no release can continue from there.
fn check_states(migrations: &[Migration]) -> Result<(), MigrateError> {
    for migration in migrations {
        match migration.state {
            State::Edited => return Err(MigrateError::Edited(migration.version)),
            State::Half => return Err(MigrateError::Half(migration.version)),
            State::Applied | State::Pending | State::Newer => {}
        }
    }
    Ok(())
}

/// Returns the error, unless a wrong setting caused it: then fails with [`MigrateError::Setting`].
fn unless_setting(error: sqlx::Error) -> Result<sqlx::Error, MigrateError> {
    let code = error.as_database_error().and_then(|error| error.code()).unwrap_or_default();
    let reason = match &*code {
        "28000" | "28P01" => "refuses the user or the password",
        "3D000" => "has no such database",
        _ => return Ok(error),
    };
    Err(MigrateError::Setting(format!("PostgreSQL {reason} (SQLSTATE {code})")))
}
