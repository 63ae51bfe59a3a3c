//! PostgreSQL: the pool and its limits.

pub mod events;
mod migrations;
pub mod outbox;
pub mod users;

use std::future::Future;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection as _, PgPool};

use super::PoolState;
use crate::accounts::ports::StoreError;

pub use migrations::{MigrateError, Migration, State};

const STORE: &str = "PostgreSQL";

/// A connection that answered so short a time ago is used without asking. Under load all are like that, and there it is
/// a quarter of all round trips; a restart of the server takes longer.
const STILL_ALIVE: Duration = Duration::from_millis(100);

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
            .options([
                ("statement_timeout", config.timeout.as_millis().to_string()),
                // What a process holds that froze in a transaction: its locks.
                ("idle_in_transaction_session_timeout", config.timeout.as_millis().to_string()),
            ])
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

    pub fn pool_state(&self) -> PoolState {
        let (open, idle) = (self.pool.size() as usize, self.pool.num_idle());
        let max = self.pool.options().get_max_connections() as usize;
        PoolState { idle, used: open.saturating_sub(idle), max }
    }

    /// Whether the server answers.
    pub async fn answers(&self) -> Result<(), StoreError> {
        self.bounded(async { sqlx::query("SELECT").execute(&self.pool).await.map(drop) }).await
    }

    /// Whether the server answers, and has our tables.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.bounded(async { sqlx::query("SELECT FROM outbox LIMIT 0").execute(&self.pool).await.map(drop) }).await
    }

    /// Runs statements within the configured timeout.
    async fn bounded<T>(&self, statements: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StoreError> {
        self.within_timeout(async { statements.await.map_err(store_error) }).await
    }

    /// Runs a call within the configured timeout. A frozen server returns nothing, not even an error.
    async fn within_timeout<T, E: From<StoreError>>(&self, call: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        match tokio::time::timeout(self.timeout, call).await {
            Ok(result) => result,
            Err(_) => {
                Err(StoreError::Unavailable { store: STORE, reason: format!("no response within {:?}", self.timeout) }
                    .into())
            }
        }
    }
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
