//! What a PostgreSQL server and its database are: version, encoding, rights, free connections, migrations.

use std::time::{Duration, Instant};

use sqlx::{ConnectOptions as _, Connection as _, FromRow, PgConnection};

use super::migrations::Migration;
use super::reason::{connecting_fault, fault, silent};
use super::{Postgres, STORE};
use crate::store::fault::{Cure, Fault};

/// The oldest major version: PostgreSQL 14 has `idle_session_timeout`, on which the relay depends.
pub const MIN_VERSION: i32 = 14;

/// The tables of this service. A test compares them with `sql/`.
pub(super) const TABLES: [&str; 10] = [
    "addresses",
    "users",
    "outbox",
    "not_me_links",
    "disowned",
    "events",
    "mailboxes",
    "password_resets",
    "address_changes",
    "address_links",
];

/// One look at a database, over one connection.
#[derive(Debug, Clone)]
pub struct Inspection {
    server: Server,
    /// Rights that the role lacks, such as `INSERT on users`.
    missing_rights: Vec<String>,
    pub migrations: Vec<Migration>,
    /// `transaction_read_only`
    pub read_only: bool,
    /// From connecting to the first answer.
    pub answered_in: Duration,
    /// The time of the server minus the time of this process, in seconds.
    pub clock_offset: f64,
}

#[derive(Debug, Clone, FromRow)]
struct Server {
    version: String,
    version_num: i32,
    encoding: String,
    collation: String,
    read_only: bool,
    /// The schema in which tables are created. `None`: the role may use no schema of its search path.
    schema: Option<String>,
    may_create: Option<bool>,
    connections: i64,
    max_connections: i64,
    statement_timeout: String,
    epoch: f64,
}

/// One statement, since each costs a round trip at the start. `pg_stat_database` counts the connections of all roles for
/// every role.
const SERVER: &str = "
    SELECT current_setting('server_version') AS version, current_setting('server_version_num')::int4 AS version_num,
        pg_encoding_to_char(database.encoding)::text AS encoding, database.datcollate::text AS collation,
        current_setting('transaction_read_only')::bool AS read_only, current_schema()::text AS schema,
        has_schema_privilege(current_schema(), 'CREATE') AS may_create,
        (SELECT sum(numbackends) FROM pg_stat_database)::int8 AS connections,
        least(current_setting('max_connections')::int8 - current_setting('superuser_reserved_connections')::int8,
            nullif(database.datconnlimit, -1), nullif(role.rolconnlimit, -1)) AS max_connections,
        current_setting('statement_timeout') AS statement_timeout,
        extract(epoch FROM clock_timestamp())::float8 AS epoch
    FROM pg_database AS database, pg_roles AS role
    WHERE database.datname = current_database() AND role.rolname = current_user";

const MISSING_RIGHTS: &str = "
    SELECT privilege || ' on ' || name
    FROM unnest($1) AS name, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege
    WHERE NOT has_table_privilege(to_regclass(name), privilege)";

impl Postgres {
    /// Looks at the server and the database, over a connection of its own. Makes one attempt.
    pub async fn inspect(&self) -> Result<Inspection, Fault> {
        self.tls_files.check()?;
        match tokio::time::timeout(self.timeout, self.try_inspect()).await {
            Ok(inspected) => inspected,
            Err(_) => Err(silent(self.timeout)),
        }
    }

    async fn try_inspect(&self) -> Result<Inspection, Fault> {
        let begun = Instant::now();
        // Not from the pool: it would retry until its timeout and then report only the timeout.
        // Not under the name of the service, whose sessions a migration may end.
        let options = self.pool.connect_options().await?.clone().application_name("sixty check");
        let connection = options.connect().await.map_err(|error| connecting_fault(&error))?;
        Self::look_at(connection, begun).await.map_err(|error| fault(&error))
    }

    async fn look_at(mut connection: PgConnection, begun: Instant) -> sqlx::Result<Inspection> {
        let asked = Instant::now();
        let server: Server = sqlx::query_as(SERVER).fetch_one(&mut connection).await?;
        let now = local_epoch() - asked.elapsed().as_secs_f64() / 2.0;
        let answered_in = begun.elapsed();
        let migrations = Self::migrations_on(&mut connection).await?;
        let missing_rights = missing_rights(&mut connection).await?;
        // Not waited for: the server needs no farewell.
        tokio::spawn(connection.close());
        let (clock_offset, read_only) = (server.epoch - now, server.read_only);
        Ok(Inspection { server, missing_rights, migrations, read_only, answered_in, clock_offset })
    }
}

async fn missing_rights(connection: &mut PgConnection) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(MISSING_RIGHTS).bind(&TABLES[..]).fetch_all(connection).await
}

#[expect(clippy::disallowed_methods, reason = "compares the clock of this machine with the server's")]
fn local_epoch() -> f64 {
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

impl Inspection {
    pub fn version(&self) -> &str {
        &self.server.version
    }

    pub fn encoding(&self) -> &str {
        &self.server.encoding
    }

    pub fn collation(&self) -> &str {
        &self.server.collation
    }

    /// `None`: the role may use no schema.
    pub fn schema(&self) -> Option<&str> {
        self.server.schema.as_deref()
    }

    pub fn may_create(&self) -> bool {
        self.server.may_create == Some(true)
    }

    /// How many connections the role can still open, and how many it could at most.
    pub fn free_connections(&self) -> (i64, i64) {
        let most = self.server.max_connections;
        ((most - self.server.connections).max(0), most)
    }

    /// Whether the server applies the statement timeout that this process asks for. A connection pooler may drop it.
    pub fn has_statement_timeout(&self) -> bool {
        self.server.statement_timeout != "0"
    }

    /// Returns the fault of a server or database that this service can never use.
    pub fn fault(&self) -> Option<Fault> {
        let server = &self.server;
        let reason = if server.version_num / 10_000 < MIN_VERSION {
            format!("PostgreSQL {} is too old; upgrade it to {MIN_VERSION} or newer", server.version)
        } else if server.encoding != "UTF8" {
            let encoding = &server.encoding;
            format!(
                "the database has the encoding {encoding}; create one with ENCODING 'UTF8' TEMPLATE template0, and name it"
            )
        } else if server.schema.is_none() {
            "the role may use no schema of its search_path; GRANT USAGE ON SCHEMA public to it".to_owned()
        } else {
            return None;
        };
        let reason = format!("DATABASE_URL: {reason}");
        Some(Fault { store: STORE, summary: "has an unusable database", reason, cure: Cure::Setting })
    }

    /// Returns the fault of a role that may not read and change all tables.
    pub fn missing_rights(&self) -> Option<Fault> {
        if self.missing_rights.is_empty() {
            return None;
        }
        let reason = format!(
            "DATABASE_URL: the role lacks {}; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {} to it",
            self.missing_rights.join(", "),
            self.schema().unwrap_or("public"),
        );
        Some(Fault { store: STORE, summary: "refuses the service", reason, cure: Cure::Defect })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_those_of_the_migrations() {
        let files = std::fs::read_dir("sql").unwrap().map(|file| file.unwrap().path());
        let ups = files.filter(|path| path.to_str().unwrap().ends_with(".up.sql"));
        let sql: Vec<String> = ups.map(|path| std::fs::read_to_string(path).unwrap()).collect();
        let mut created: Vec<&str> = sql
            .iter()
            .flat_map(|sql| sql.lines())
            .filter_map(|line| line.strip_prefix("CREATE TABLE ")?.split([' ', '(']).next())
            .collect();
        created.sort_unstable();
        let mut tables = TABLES;
        tables.sort_unstable();
        assert_eq!(created, tables);
    }
}
