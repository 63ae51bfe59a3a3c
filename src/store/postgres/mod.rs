//! PostgreSQL: the connection pool and its timeouts.

mod advisory_lock;
mod concurrent_indexes;
mod current_pool;
mod database_url;
pub mod events;
mod inspection;
mod migrations;
pub mod outbox;
mod reason;
mod schema;
mod session;
mod tls_files;
pub mod users;

use std::future::Future;
use std::panic::Location;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::PgPoolOptions;
use sqlx::{ConnectOptions as _, Connection as _, Transaction};
use tracing::{Instrument as _, Span};

use self::current_pool::CurrentPool;
use self::reason::{READ_ONLY, fault, is_of_connection, read_only, silent};
use self::session::Session;
use self::tls_files::TlsFiles;
use super::PoolState;
use super::fault::{Cure, Fault, SILENT};
use super::url::InvalidUrl;
use crate::accounts::ports::StoreError;
use crate::telemetry::spans;

pub use self::inspection::{Inspection, MIN_VERSION};
pub use self::migrations::{MigrateError, Migration, State};
pub use self::schema::SchemaError;

const STORE: &str = "PostgreSQL";

/// Readiness checks that follow each other within this time write once.
const WRITE_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The driver gives no access to its sockets. So the server probes a silent connection, in seconds, and after 45 ends one
/// whose other end is gone. The pool does not wait for that: see `current_pool.rs`.
const KEEPALIVE: [(&str, &str); 4] = [
    ("tcp_keepalives_idle", "15"),
    ("tcp_keepalives_interval", "10"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "45s"),
];

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
    pool: CurrentPool,
    timeout: Duration,
    tls_files: Arc<TlsFiles>,
    /// Why no statement may run. The service closes the database until all migrations are applied.
    closed: Arc<RwLock<Option<Fault>>>,
    latest_fault: Arc<tokio::sync::Mutex<Option<(Instant, Fault)>>>,
    /// When a check last wrote.
    latest_write: Arc<Mutex<Option<Instant>>>,
}

impl Postgres {
    /// # Errors
    /// If the URL is not a PostgreSQL URL.
    pub fn new(config: &PostgresConfig) -> Result<Self, InvalidUrl> {
        let hosts = database_url::parse(config.url.expose_secret())?.into_iter().map(|options| {
            let name = options.get_application_name().unwrap_or("sixty").to_owned();
            // Shorter than the timeout of a call, so that a slow statement is told from a server that does not answer.
            let statement_timeout = config.timeout - diagnosis_time(config.timeout);
            options
                .application_name(&name)
                .options([
                    ("statement_timeout", statement_timeout.as_millis().to_string()),
                    // Frees the locks of a process that froze inside a transaction.
                    ("idle_in_transaction_session_timeout", config.timeout.as_millis().to_string()),
                ])
                .options(KEEPALIVE)
                // The driver would log slow statements with their text, which does not help operators.
                .disable_statement_logging()
        });
        let hosts = hosts.collect();
        let pool_options = PgPoolOptions::new()
            .max_connections(config.max_connections)
            // Shorter than the whole timeout, which leaves time to find out why there is no connection.
            .acquire_timeout(config.timeout - diagnosis_time(config.timeout));
        Ok(Self {
            pool: CurrentPool::new(pool_options, hosts, diagnosis_time(config.timeout)),
            timeout: config.timeout,
            tls_files: Arc::new(TlsFiles::of(config.url.expose_secret())),
            closed: Arc::default(),
            latest_fault: Arc::default(),
            latest_write: Arc::default(),
        })
    }

    /// Refuses all calls until [`Postgres::open`]: without its schema, a statement would fail as a defect does.
    pub fn close(&self, fault: Fault) {
        *self.closed.write().unwrap_or_else(PoisonError::into_inner) = Some(fault);
    }

    /// Does the same as [`Postgres::close`], until the first attempt to prepare the schema has a result.
    pub fn close_until_prepared(&self) {
        self.close(not_inspected());
    }

    pub fn open(&self) {
        *self.closed.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn fault_if_closed(&self) -> Result<(), Fault> {
        self.closed.read().unwrap_or_else(PoisonError::into_inner).clone().map_or(Ok(()), Err)
    }

    /// Returns the driver's pool, with all connections that no call uses.
    #[cfg(feature = "testing")]
    pub fn pool(&self) -> sqlx::PgPool {
        self.pool.with_kept()
    }

    async fn acquire(&self) -> Result<Session, sqlx::Error> {
        self.pool.acquire().await
    }

    pub fn pool_state(&self) -> PoolState {
        self.pool.state()
    }

    /// Checks within `limit` that the server answers and accepts changes, and that it has the tables of this service.
    pub async fn check(&self, limit: Duration) -> Result<(), Fault> {
        self.fault_if_closed()?;
        let begun = Instant::now();
        let result = self.try_check(limit).await;
        if let Err(fault) = &result
            && is_of_connection(fault.summary)
        {
            self.pool.replace(begun);
        }
        result
    }

    async fn try_check(&self, limit: Duration) -> Result<(), Fault> {
        let deadline = tokio::time::Instant::now() + limit - diagnosis_time(limit);
        let mut connection = match tokio::time::timeout_at(deadline, self.acquire()).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(sqlx::Error::PoolTimedOut)) | Err(_) => return Err(self.unavailability(limit).await),
            Ok(Err(error)) => return Err(fault(&error)),
        };
        // Anybody may ask for a check, and each write waits for a disk.
        let is_write = self
            .latest_write
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_none_or(|write| write.elapsed() >= WRITE_CHECK_INTERVAL);
        // The message is written to the log of changes alone. Its commit waits for a synchronous standby.
        let statement = "
            SELECT CASE WHEN current_setting('transaction_read_only')::bool THEN true
                WHEN $1 THEN pg_logical_emit_message(true, 'sixty', 'ready') IS NULL ELSE false END
            FROM (SELECT EXISTS (SELECT FROM outbox)) AS one";
        let query = sqlx::query_scalar(statement).bind(is_write).fetch_one(&mut *connection);
        match tokio::time::timeout_at(deadline, query).await {
            Ok(Ok(false)) => {}
            Ok(Ok(true)) => return Err(read_only()),
            Ok(Err(error)) => return Err(fault(&error)),
            Err(_) => return Err(silent(limit)),
        }
        if is_write {
            *self.latest_write.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        Ok(())
    }

    /// Runs statements within the configured timeout.
    #[track_caller]
    fn bounded<T>(
        &self,
        statements: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> impl Future<Output = Result<T, StoreError>> {
        // Boxed at once: a call has up to 30 kB, and each future around it would move it, and overflow the caller's stack.
        let statements = Box::pin(statements);
        self.traced(Location::caller(), Place::Pool, async { statements.await.map_err(store_error) })
    }

    /// Does the same on a session outside the pool, whose failure says nothing about the pool.
    #[track_caller]
    fn bounded_outside<T>(
        &self,
        statements: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> impl Future<Output = Result<T, StoreError>> {
        let statements = Box::pin(statements);
        self.traced(Location::caller(), Place::Session, async { statements.await.map_err(store_error) })
    }

    /// Runs a call within the configured timeout. A frozen server returns nothing, not even an error.
    #[track_caller]
    fn within_timeout<T, E: CallError>(
        &self,
        call: impl Future<Output = Result<T, E>>,
    ) -> impl Future<Output = Result<T, E>> {
        self.traced(Location::caller(), Place::Pool, Box::pin(call))
    }

    /// Runs a call that changes nothing. It is repeated once if its connection was bad.
    #[track_caller]
    fn repeated_read<T, E: CallError, F>(&self, call: impl Fn() -> F) -> impl Future<Output = Result<T, E>>
    where
        F: Future<Output = Result<T, E>>,
    {
        self.repeated(Location::caller(), call, |fault| fault != SILENT && is_of_connection(fault))
    }

    /// Runs a call that changes something. It is repeated once if PostgreSQL refused it because it had become read-only.
    #[track_caller]
    fn repeated_change<T, E: CallError, F>(&self, call: impl Fn() -> F) -> impl Future<Output = Result<T, E>>
    where
        F: Future<Output = Result<T, E>>,
    {
        self.repeated(Location::caller(), call, |fault| fault == READ_ONLY)
    }

    async fn repeated<T, E: CallError, F>(
        &self,
        caller: &'static Location<'static>,
        call: impl Fn() -> F,
        is_repeatable: fn(&str) -> bool,
    ) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
    {
        let begun = Instant::now();
        match self.traced(caller, Place::Pool, Box::pin(call())).await {
            // A request must not wait for two timeouts.
            Err(error)
                if begun.elapsed() < self.timeout / 2
                    && error.store_error().and_then(summary).is_some_and(is_repeatable) =>
            {
                self.traced(caller, Place::Pool, Box::pin(call())).await
            }
            result => result,
        }
    }

    fn traced<T, E: CallError>(
        &self,
        caller: &'static Location<'static>,
        place: Place,
        call: impl Future<Output = Result<T, E>>,
    ) -> impl Future<Output = Result<T, E>> {
        let span = spans::store("postgresql", caller);
        let call = async move {
            let result = self.call(place, call).await;
            if result.is_err() {
                spans::record_failure(&Span::current());
            }
            result
        };
        call.instrument(span)
    }

    async fn call<T, E: CallError>(&self, place: Place, call: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        self.fault_if_closed().map_err(StoreError::from)?;
        let call = async {
            match call.await {
                // The pool reports only that a call waited in vain.
                Err(error) if error.store_error().is_some_and(is_pool_timeout) => {
                    Err(StoreError::from(self.unavailability(self.timeout).await).into())
                }
                result => result,
            }
        };
        let begun = Instant::now();
        let result = match tokio::time::timeout(self.timeout, call).await {
            Ok(result) => result,
            Err(_) => Err(StoreError::from(silent(self.timeout)).into()),
        };
        if place == Place::Pool
            && let Err(error) = &result
            && error.store_error().and_then(summary).is_some_and(is_of_connection)
        {
            self.pool.replace(begun);
        }
        result
    }

    /// Begins a transaction. If its connection was bad, begins it on another one: nothing is done yet.
    async fn begin(&self) -> Result<Transaction<'static, sqlx::Postgres>, sqlx::Error> {
        let begun = Instant::now();
        match self.pool.begin().await {
            Err(error) if is_of_connection(fault(&error).summary) => {
                self.pool.replace(begun);
                self.pool.begin().await
            }
            result => result,
        }
    }

    /// Returns why a call within `limit` got no connection: the pool knows only that it waited in vain.
    ///
    /// All calls share one attempt to connect, which is repeated after a second.
    async fn unavailability(&self, limit: Duration) -> Fault {
        let mut latest = self.latest_fault.lock().await;
        match &*latest {
            Some((at, fault)) if at.elapsed() < Duration::from_secs(1) => return fault.clone(),
            _ => {}
        }
        let fault = match self.connect_within(diagnosis_time(limit)).await {
            Err(fault) => fault,
            Ok(()) => fault(&sqlx::Error::PoolTimedOut),
        };
        *latest = Some((Instant::now(), fault.clone()));
        fault
    }

    /// Opens a connection outside the pool, which would retry until its timeout and then report only the timeout.
    async fn connect_within(&self, limit: Duration) -> Result<(), Fault> {
        self.tls_files.check()?;
        match tokio::time::timeout(limit, self.pool.connect()).await {
            Ok(Ok((_, connection))) => {
                // Not waited for, because the time of the caller is limited.
                tokio::spawn(connection.close());
                Ok(())
            }
            Ok(Err(fault)) => Err(fault),
            Err(_) => Err(silent(limit)),
        }
    }
}

/// Where the statements of a call run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Pool,
    /// A session of its own.
    Session,
}

/// The error of a call, which may be an error of the store.
trait CallError: From<StoreError> {
    fn store_error(&self) -> Option<&StoreError>;
}

impl CallError for StoreError {
    fn store_error(&self) -> Option<&StoreError> {
        Some(self)
    }
}

fn summary(error: &StoreError) -> Option<&'static str> {
    match error {
        StoreError::Unavailable { summary, .. } => Some(summary),
        StoreError::Broken { .. } => None,
    }
}

fn is_pool_timeout(error: &StoreError) -> bool {
    summary(error) == Some(reason::NO_FREE_CONNECTION)
}

/// The part of a timeout in which the reason of a failure is found.
fn diagnosis_time(timeout: Duration) -> Duration {
    (timeout / 5).min(Duration::from_millis(500))
}

/// The fault of a database that was not looked at yet.
fn not_inspected() -> Fault {
    let reason = "DATABASE_URL: PostgreSQL has not answered yet since the start of this process";
    Fault { store: STORE, summary: "has not answered yet", reason: reason.into(), cure: Cure::Time }
}

fn broken(reason: impl ToString) -> StoreError {
    StoreError::Broken { store: STORE, reason: reason.to_string() }
}

fn store_error(error: sqlx::Error) -> StoreError {
    fault(&error).into()
}
