//! Settings of PostgreSQL and Redis, and the limits and timeouts of the service.

use std::time::Duration;

use clap::Args;
use secrecy::SecretString;

use crate::config::error::InvalidSetting;
use crate::config::values::{boolean, number, secret, text, time, time_or_zero};

/// The database. `sixty serve`, `sixty migrate` and `sixty users` share this setting.
#[derive(Clone, Args)]
pub struct DatabaseArgs {
    /// PostgreSQL: postgres://user:password@host/database
    ///
    /// With a port and TLS: host:5432/database?sslmode=verify-full. Of several hosts, a:5432,b:5432, the one that accepts changes is used. Special characters of a password are percent-encoded: %2F is /
    // Optional for clap, because it does not allow a global argument to be required.
    #[arg(long, env, value_name = "URL", required = true, value_parser = secret)]
    database_url: Option<SecretString>,
}

impl DatabaseArgs {
    pub fn new(url: &str) -> Self {
        Self { database_url: Some(url.into()) }
    }

    /// Returns `DATABASE_URL`, or the error that it must be set.
    pub fn url(self) -> Result<SecretString, InvalidSetting> {
        self.database_url.ok_or_else(|| InvalidSetting::new("DATABASE_URL", "must be set"))
    }
}

/// The stores of the service.
#[derive(Clone, Args)]
#[command(next_help_heading = "Stores")]
pub struct StoreArgs {
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// Redis: redis://default:password@host/0
    ///
    /// rediss:// uses TLS, unix:///run/redis.sock a socket, redis+sentinel://host:26379/name the master that Sentinel names. Several URLs, separated by commas, are nodes of a Redis Cluster
    #[arg(long, env, value_name = "URL", value_parser = secret)]
    pub redis_url: SecretString,
    /// Apply pending migrations at startup
    ///
    /// A lock makes replicas that start together apply them one after the other
    #[arg(long, env, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set, value_parser = boolean)]
    pub migrate: bool,
}

/// Limits and timeouts of connections, requests and the shutdown.
#[derive(Clone, Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitArgs {
    /// Maximum number of PostgreSQL connections
    #[arg(long, env, value_name = "N", default_value_t = 10, value_parser = number::<u32>(1..))]
    pub database_max_connections: u32,
    /// Timeout of a call to PostgreSQL
    ///
    /// It includes the wait for a pooled connection
    #[arg(long, env, value_name = "TIME", default_value = "5s", value_parser = time)]
    pub database_timeout: Duration,
    /// Maximum number of Redis connections
    #[arg(long, env, value_name = "N", default_value_t = 16, value_parser = number::<u32>(1..))]
    pub redis_max_connections: u32,
    /// Timeout of a call to Redis
    ///
    /// It includes the wait for a pooled connection
    #[arg(long, env, value_name = "TIME", default_value = "1s", value_parser = time)]
    pub redis_timeout: Duration,
    /// Prefix of every key in Redis
    #[arg(long, env, value_name = "TEXT", default_value = "sixty", value_parser = text)]
    pub redis_prefix: String,
    /// Approximate length of the event stream
    ///
    /// Redis deletes the oldest events beyond this number, whether or not a consumer has read them
    #[arg(long, env, value_name = "N", default_value_t = 100_000, value_parser = number::<u64>(1..))]
    pub events_maxlen: u64,
    /// Maximum number of HTTP connections
    ///
    /// For each of API_ADDR and OPS_ADDR
    #[arg(long, env, value_name = "N", default_value_t = 1024, value_parser = number::<u32>(1..))]
    pub max_connections: u32,
    /// Timeout of reading a request
    ///
    /// For the header from its first octet, again for the body, and for each time that a client reads some of a response
    #[arg(long, env, value_name = "TIME", default_value = "10s", value_parser = time)]
    pub request_timeout: Duration,
    /// Time until an idle connection is closed
    ///
    /// Longer than the reverse proxy keeps its idle connections, or the proxy sends requests over closed ones
    #[arg(long, env, value_name = "TIME", default_value = "75s", value_parser = time)]
    pub idle_timeout: Duration,
    /// Time to keep serving after a stop signal
    ///
    /// /readyz answers 503 meanwhile, so that load balancers notice before the service refuses connections
    #[arg(long, env, value_name = "TIME", default_value = "0s", value_parser = time_or_zero)]
    pub shutdown_delay: Duration,
    /// Time to finish open requests and mails
    ///
    /// It starts after SHUTDOWN_DELAY
    #[arg(long, env, value_name = "TIME", default_value = "10s", value_parser = time)]
    pub shutdown_grace: Duration,
}
