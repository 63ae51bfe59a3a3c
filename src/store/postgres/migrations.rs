//! The migrations in `sql/`: applies them under a lock, reverts them, and lists their states in a database.

use std::time::Duration;

use sqlx::migrate::{MigrateError as DriverError, Migrator};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, FromRow, PgConnection};
use thiserror::Error;

use super::reason::fault;
use super::schema::SchemaError;
use super::{Postgres, advisory_lock, concurrent_indexes};
use crate::backoff::Backoff;
use crate::store::fault::{Cure, Fault};
use crate::store::waiting::Waiting;

/// The longest pause between two attempts to get the lock of the migrations.
const LOCK_BACKOFF: Backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(500));

/// Returns the migrations of this binary. A database with newer migrations is accepted, so that a release can be rolled
/// back.
///
/// The driver's lock is not used: it is one for all schemas, and a session that waits for it blocks the concurrent build of
/// an index.
fn migrator() -> Migrator {
    let mut migrator = sqlx::migrate!("./sql");
    migrator.set_ignore_missing(true);
    migrator.set_locking(false);
    migrator
}

/// Why the migrations cannot be used.
#[derive(Debug, Error)]
pub enum MigrateError {
    #[error("{0}")]
    Store(Fault),
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
        let mut waiting = Waiting::without_grace();
        loop {
            match self.prepare_schema(true).await {
                Ok(_) => return Ok(()),
                Err(SchemaError::Migrate(error)) => return Err(error),
                Err(SchemaError::Store(fault)) => waiting.pause(fault).await.map_err(MigrateError::Store)?,
            }
        }
    }

    /// Applies pending migrations. Each is one transaction, so that an interrupted migration changed nothing.
    pub(super) async fn apply_migrations(&self) -> Result<(), SchemaError> {
        let options = self.pool.connect_options().await.map_err(SchemaError::Store)?;
        let (error, version) = match self.migrate_once(options).await {
            Ok(()) => return Ok(()),
            Err(DriverError::Execute(error)) => (error, None),
            Err(DriverError::ExecuteMigration(error, version)) => (error, Some(version)),
            Err(DriverError::VersionMismatch(version)) => return Err(MigrateError::Edited(version).into()),
            Err(DriverError::Dirty(version)) => return Err(MigrateError::Half(version).into()),
            Err(other) => return Err(MigrateError::Apply(other.to_string()).into()),
        };
        match error.as_database_error().and_then(|error| error.code()).as_deref() {
            Some("42501") => return Err(SchemaError::Store(super::schema::may_not_migrate(version))),
            // Duplicate table, or another duplicate object.
            Some("42P07" | "42710") => return Err(SchemaError::Store(super::schema::foreign_table(version))),
            _ => {}
        }
        match fault(&error) {
            Fault { cure: Cure::Defect, reason, .. } => Err(MigrateError::Apply(reason).into()),
            fault => Err(SchemaError::Store(fault)),
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
        let options = self.pool.connect_options().await.map_err(MigrateError::Store)?;
        let undone = async {
            let mut session = self.lock_migrations(options).await?;
            migrator().undo(&mut session, before).await?;
            session.close().await.map_err(DriverError::Execute)
        };
        undone.await.map_err(|error| MigrateError::Apply(error.to_string()))?;
        Ok(Some(latest))
    }

    /// Returns all migrations in order: those of this binary, and those that a newer binary applied. Makes one attempt
    /// only, because a person waits for the list.
    pub async fn migrations(&self) -> Result<Vec<Migration>, MigrateError> {
        Ok(self.inspect().await.map_err(MigrateError::Store)?.migrations)
    }

    /// Does the same as [`Postgres::migrations`], on an open connection.
    pub(super) async fn migrations_on(connection: &mut PgConnection) -> sqlx::Result<Vec<Migration>> {
        // Another schema on the search path may have a table of this name: that of another installation.
        let table = "SELECT to_regclass(quote_ident(current_schema()) || '._sqlx_migrations') IS NOT NULL";
        let has_table: Option<bool> = sqlx::query_scalar(table).fetch_one(&mut *connection).await?;
        let rows = "SELECT version, description, success, checksum FROM _sqlx_migrations ORDER BY version";
        let applied = match has_table {
            Some(true) => sqlx::query_as::<_, Applied>(rows).fetch_all(connection).await,
            _ => Ok(vec![]),
        };
        let applied = match applied {
            Ok(applied) => applied,
            // SQLSTATE 42P01, undefined table: no migration was ever applied.
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42P01") => vec![],
            Err(error) => return Err(error),
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

    async fn migrate_once(&self, options: &PgConnectOptions) -> Result<(), DriverError> {
        let mut session = self.lock_migrations(options).await?;
        let migrator = migrator();
        // `run` and `run_to` make the future of the caller not `Send`: the compiler cannot prove that every lifetime fits.
        for (version, indexes) in concurrent_indexes::MIGRATIONS {
            migrator.run_direct(Some(version - 1), &mut session, false).await?;
            let is_applied: bool =
                sqlx::query_scalar("SELECT EXISTS (SELECT FROM _sqlx_migrations WHERE version = $1)")
                    .bind(version)
                    .fetch_one(&mut session)
                    .await?;
            if !is_applied {
                concurrent_indexes::build(&mut session, indexes).await?;
            }
        }
        migrator.run_direct(None, &mut session, false).await?;
        session.close().await.map_err(DriverError::Execute)
    }

    /// Opens a session that holds the lock of the migrations until it ends. The session has no statement timeout, because a
    /// migration may take long.
    async fn lock_migrations(&self, options: &PgConnectOptions) -> Result<PgConnection, DriverError> {
        let options = options.clone().application_name("sixty migrate").options([("statement_timeout", "0")]);
        let connect = tokio::time::timeout(self.timeout, options.connect());
        let mut session = connect.await.map_err(|_| sqlx::Error::PoolTimedOut)??;
        let (mut logged, mut backoff) = (false, LOCK_BACKOFF);
        while !advisory_lock::try_lock(&mut session, advisory_lock::MIGRATIONS).await? {
            if !std::mem::replace(&mut logged, true) {
                tracing::info!("waiting for another process that applies the migrations");
            }
            tokio::time::sleep(backoff.next_pause()).await;
        }
        Ok(session)
    }
}

/// Fails if a migration was edited or is half applied: no release can continue from there.
pub(super) fn check_states(migrations: &[Migration]) -> Result<(), MigrateError> {
    for migration in migrations {
        match migration.state {
            State::Edited => return Err(MigrateError::Edited(migration.version)),
            State::Half => return Err(MigrateError::Half(migration.version)),
            State::Applied | State::Pending | State::Newer => {}
        }
    }
    Ok(())
}
