//! PostgreSQL: the connection pool and its timeouts.

pub mod events;
mod migrations;
pub mod outbox;
pub mod users;

use std::future::Future;
use std::panic::Location;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection as _, PgPool};
use tracing::{Instrument as _, Span};

use super::PoolState;
use crate::accounts::ports::StoreError;
use crate::telemetry::spans;

pub use migrations::{MigrateError, Migration, State};

const STORE: &str = "PostgreSQL";

/// A connection that was used within this time is not pinged before its next use. Under load this saves a quarter of all
/// round trips. A restart of the server takes longer than this.
const PING_AFTER: Duration = Duration::from_millis(100);

#[derive(Debug, Clone)]
pub struct PostgresConfig {
    pub url: SecretString,
    pub max_connections: u32,
    /// Timeout of acquiring a connection, and of one call with all its statements. It is also the `statement_timeout` of
    /// the server.
    pub timeout: Duration,
}

/// A lazily connecting pool, with a timeout for every call.
#[derive(Debug, Clone)]
pub struct Postgres {
    pool: PgPool,
    timeout: Duration,
}

impl Postgres {
    /// # Errors
    /// If the URL is not a PostgreSQL URL.
    pub fn new(config: &PostgresConfig) -> Result<Self, sqlx::Error> {
        let url = config.url.expose_secret();
        // The driver accepts any scheme. It fills missing parts from `PG…` variables and defaults.
        if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err(sqlx::Error::Configuration("the scheme must be postgres".into()));
        }
        let options: PgConnectOptions = url.parse()?;
        let options = options
            .application_name("sixty")
            .options([
                ("statement_timeout", config.timeout.as_millis().to_string()),
                // Frees the locks of a process that froze inside a transaction.
                ("idle_in_transaction_session_timeout", config.timeout.as_millis().to_string()),
            ])
            // The driver would log slow statements with their text, which does not help operators.
            .disable_statement_logging();
        let pool = PgPoolOptions::new()
            .max_connections(config.max_connections)
            .acquire_timeout(config.timeout)
            // The driver pings a connection when it returns to the pool; a ping on every acquire would repeat that.
            .test_before_acquire(false)
            .before_acquire(|connection, idle| {
                Box::pin(async move { Ok(idle.idle_for < PING_AFTER || connection.ping().await.is_ok()) })
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

    /// Checks that the server answers.
    pub async fn answers(&self) -> Result<(), StoreError> {
        self.bounded(async { sqlx::query("SELECT").execute(&self.pool).await.map(drop) }).await
    }

    /// Checks that the server answers and has the tables of this service.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.bounded(async { sqlx::query("SELECT FROM outbox LIMIT 0").execute(&self.pool).await.map(drop) }).await
    }

    /// Runs statements within the configured timeout.
    #[track_caller]
    fn bounded<T>(
        &self,
        statements: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> impl Future<Output = Result<T, StoreError>> {
        self.within_timeout(async { statements.await.map_err(store_error) })
    }

    /// Runs a call within the configured timeout. A frozen server returns nothing, not even an error.
    #[track_caller]
    fn within_timeout<T, E: From<StoreError>>(
        &self,
        call: impl Future<Output = Result<T, E>>,
    ) -> impl Future<Output = Result<T, E>> {
        let span = spans::store("postgresql", Location::caller());
        let call = async {
            let result = tokio::time::timeout(self.timeout, call).await.unwrap_or_else(|_| {
                let reason = format!("no response within {:?}", self.timeout);
                Err(StoreError::Unavailable { store: STORE, reason }.into())
            });
            if result.is_err() {
                spans::record_failure(&Span::current());
            }
            result
        };
        call.instrument(span)
    }
}

fn broken(reason: impl ToString) -> StoreError {
    StoreError::Broken { store: STORE, reason: reason.to_string() }
}

/// Classifies an error as temporary or as a defect. Of a server error only the SQLSTATE is kept, because the message can
/// contain values.
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
