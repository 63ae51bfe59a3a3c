//! PostgreSQL: the pool, its limits, the migrations.

pub mod outbox;
pub mod users;

use std::future::Future;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection as _, PgPool};

use thiserror::Error;

use crate::accounts::ports::StoreError;

const STORE: &str = "PostgreSQL";

/// A connection that answered so short a time ago is used without asking. Under load all are like that, and there it is
/// a quarter of all round trips; a restart of the server takes longer.
const STILL_ALIVE: Duration = Duration::from_millis(100);

/// The migrations in `sql/`. A database that is ahead of this binary is tolerated, so that a release can be rolled back.
pub fn migrator() -> Migrator {
    let mut migrator = sqlx::migrate!("./sql");
    migrator.set_ignore_missing(true);
    migrator
}

#[derive(Debug, Clone)]
pub struct PostgresConfig {
    pub url: SecretString,
    pub max_connections: u32,
    /// For a connection from the pool, and for all that a call does with it. The server cancels a statement by itself
    /// after as long.
    pub timeout: Duration,
}

/// A pool that connects when it is first asked, and the bound on every call.
#[derive(Debug, Clone)]
pub struct Postgres {
    pool: PgPool,
    timeout: Duration,
}

impl Postgres {
    /// # Errors
    /// When the URL is none of PostgreSQL's.
    pub fn new(config: &PostgresConfig) -> Result<Self, sqlx::Error> {
        let url = config.url.expose_secret();
        // The driver takes a URL of anything; what it does not find there it takes from PG… variables and defaults.
        if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err(sqlx::Error::Configuration("the scheme must be postgres".into()));
        }
        let options: PgConnectOptions = url.parse()?;
        let options = options
            .application_name("sixty")
            .options([("statement_timeout", config.timeout.as_millis().to_string())])
            // A slow statement would be logged with its text; ours carry no values, but the line says nothing of use.
            .disable_statement_logging();
        let pool = PgPoolOptions::new()
            .max_connections(config.max_connections)
            .acquire_timeout(config.timeout)
            // The driver asks a connection whether it lives when it is given back, and would again when it is taken.
            .test_before_acquire(false)
            .before_acquire(|connection, idle| {
                Box::pin(async move { Ok(idle.idle_for < STILL_ALIVE || connection.ping().await.is_ok()) })
            })
            .connect_lazy_with(options);
        Ok(Self { pool, timeout: config.timeout })
    }

    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Whether the server answers, and has our tables.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.bounded(async { sqlx::query("SELECT FROM outbox LIMIT 0").execute(&self.pool).await.map(drop) }).await
    }

    /// Waits for the call as long as the configuration says: a server that froze answers nothing, not even an error.
    async fn bounded<T>(&self, call: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StoreError> {
        match tokio::time::timeout(self.timeout, call).await {
            Ok(answer) => answer.map_err(store_error),
            Err(_) => Err(StoreError::Unavailable { store: STORE, reason: format!("no answer in {:?}", self.timeout) }),
        }
    }
}

/// How long to wait before a database that is not there yet is asked again.
const MIGRATE_AGAIN: Duration = Duration::from_millis(500);

/// Why no patience helps.
#[derive(Debug, Error)]
pub enum MigrateError {
    #[error("DATABASE_URL: {0}")]
    Setting(String),
    /// They do not fit the database, most likely.
    #[error("the migrations cannot be applied: {0}")]
    Apply(String),
    #[error("the migrations cannot be listed: {0}")]
    List(String),
}

/// One migration, as `sixty migrate status` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    pub version: i64,
    pub description: String,
    /// Whether this binary has it.
    known: bool,
    applied: bool,
}

impl Migration {
    pub fn state(&self) -> &'static str {
        match (self.applied, self.known) {
            (true, true) => "applied",
            (true, false) => "newer",
            (false, _) => "pending",
        }
    }
}

impl Postgres {
    /// Applies pending migrations, under the lock by which replicas take turns. A database that does not answer is
    /// waited for.
    pub async fn migrate(&self) -> Result<(), MigrateError> {
        let mut told = false;
        loop {
            let error = match self.migrate_once().await {
                Ok(()) => return Ok(()),
                Err(sqlx::migrate::MigrateError::Execute(error)) => refused(error)?,
                Err(other) => return Err(MigrateError::Apply(other.to_string())),
            };
            match store_error(error) {
                StoreError::Unavailable { reason, .. } => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(reason, "waiting for PostgreSQL");
                    }
                    tokio::time::sleep(MIGRATE_AGAIN).await;
                }
                broken => return Err(MigrateError::Apply(broken.to_string())),
            }
        }
    }

    /// Reverts the latest migration that this binary knows. `None`: none is applied.
    pub async fn migrate_down(&self) -> Result<Option<i64>, MigrateError> {
        let applied = self.migrations().await?;
        let mut applied = applied.iter().filter(|migration| migration.applied && migration.known).rev();
        let Some(latest) = applied.next() else {
            return Ok(None);
        };
        let before = applied.next().map_or(0, |migration| migration.version);
        migrator().undo(&self.pool, before).await.map_err(|error| MigrateError::Apply(error.to_string()))?;
        Ok(Some(latest.version))
    }

    /// All migrations, in order: those of this binary, and those that a newer one has applied. A database that does not
    /// answer is asked once: somebody waits for the list.
    pub async fn migrations(&self) -> Result<Vec<Migration>, MigrateError> {
        let silent = |reason: &str| MigrateError::Setting(format!("PostgreSQL does not answer: {reason}"));
        // Not from the pool, which would try again until its time is over, and then say only that it is.
        let rows = async {
            let mut connection = self.pool.connect_options().connect().await?;
            sqlx::query_as("SELECT version, description FROM _sqlx_migrations WHERE success ORDER BY version")
                .fetch_all(&mut connection)
                .await
        };
        let rows: Result<Vec<(i64, String)>, sqlx::Error> = tokio::time::timeout(self.timeout, rows)
            .await
            .map_err(|_| silent(&format!("nothing came in {:?}", self.timeout)))?;
        let applied = match rows {
            Ok(rows) => rows,
            Err(sqlx::Error::Io(error)) => return Err(silent(&error.to_string())),
            // Undefined table: nothing was ever applied.
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42P01") => vec![],
            Err(error) => return Err(MigrateError::List(store_error(refused(error)?).to_string())),
        };
        let migrator = migrator();
        let mut migrations: Vec<Migration> = migrator
            .iter()
            .filter(|migration| migration.migration_type.is_up_migration())
            .map(|migration| Migration {
                version: migration.version,
                description: migration.description.to_string(),
                known: true,
                applied: applied.iter().any(|(version, _)| *version == migration.version),
            })
            .collect();
        for (version, description) in applied {
            if !migrations.iter().any(|migration| migration.version == version) {
                migrations.push(Migration { version, description, known: false, applied: true });
            }
        }
        migrations.sort_by_key(|migration| migration.version);
        Ok(migrations)
    }

    async fn migrate_once(&self) -> Result<(), sqlx::migrate::MigrateError> {
        // On a connection of its own: a migration takes as long as it takes, without a statement timeout.
        let options = PgConnectOptions::clone(&self.pool.connect_options()).options([("statement_timeout", "0")]);
        let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(self.timeout).connect_lazy_with(options);
        let outcome = migrator().run(&pool).await;
        pool.close().await;
        outcome
    }
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

fn broken(reason: impl ToString) -> StoreError {
    StoreError::Broken { store: STORE, reason: reason.to_string() }
}

/// Tells what may pass by itself from what is a defect. Messages of the server are reduced to their code: their text
/// may repeat values.
fn store_error(error: sqlx::Error) -> StoreError {
    let unavailable = |reason: String| StoreError::Unavailable { store: STORE, reason };
    match error {
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            if code == "42P01" {
                return unavailable("the migrations are not applied".to_owned());
            }
            // Connection exceptions, transaction rollbacks, lack of resources, operator intervention, system errors,
            // and a read-only replica (PostgreSQL, appendix A).
            if ["08", "40", "53", "57", "58"].iter().any(|class| code.starts_with(class)) || code == "25006" {
                unavailable(format!("SQLSTATE {code}"))
            } else {
                broken(format!("SQLSTATE {code}, constraint {:?}", error.constraint()))
            }
        }
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => unavailable(error.to_string()),
        other => broken(other),
    }
}
