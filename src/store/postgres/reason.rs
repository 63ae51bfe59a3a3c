//! What an error of the PostgreSQL driver means: the only place that classifies them.
//!
//! Of a message of the server only known phrases are read, because the message can contain values.

use std::io;
use std::time::Duration;

use sqlx::error::DatabaseError;

use super::STORE;
use super::inspection::TABLES;
use crate::store::fault::{Cure, Fault, SILENT};

/// The summary of a connection that ended.
const CLOSED: &str = "closed the connection";

/// The summary of a server that accepts no changes.
pub(super) const READ_ONLY: &str = "is read-only";

/// Returns whether the connection is bad, and probably every other that is as old.
pub(super) fn is_of_connection(summary: &str) -> bool {
    [CLOSED, READ_ONLY, SILENT].contains(&summary)
}

/// The summary of a call that waited in vain for a connection of the pool.
pub(super) const NO_FREE_CONNECTION: &str = "has no free connection";

/// Returns the fault behind an error of the driver.
///
/// After `PoolTimedOut` the reason is unknown: the pool retries refused connections and reports only its own timeout. See
/// `Postgres::unavailability`.
pub(super) fn fault(error: &sqlx::Error) -> Fault {
    match error {
        sqlx::Error::Database(error) => database_fault(&**error),
        sqlx::Error::Io(error) => io_fault(error),
        sqlx::Error::Tls(error) => tls_fault(&error.to_string()),
        sqlx::Error::Configuration(error) => {
            setting("has invalid connection settings", &configuration(&error.to_string()))
        }
        // The driver takes the end of the connection for an octet 0.
        sqlx::Error::Protocol(text) if text.contains("SSLRequest: 0x00") => time(
            CLOSED,
            "the connection was closed before PostgreSQL answered; is a proxy in between that has no server now?",
        ),
        // What another kind of server answers.
        sqlx::Error::Protocol(_) => setting_or_time(
            "speaks another protocol",
            "the server at its host and port does not speak PostgreSQL's protocol; correct the host or the port",
        ),
        sqlx::Error::PoolTimedOut => {
            time(NO_FREE_CONNECTION, "the wait for a connection took too long; see DATABASE_MAX_CONNECTIONS")
        }
        sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => time("is disconnected", &error.to_string()),
        other => defect(other.to_string()),
    }
}

/// Returns the fault behind an error of the driver while it connects.
pub(super) fn connecting_fault(error: &sqlx::Error) -> Fault {
    let code = error.as_database_error().and_then(|error| error.code()).unwrap_or_default();
    match &*code {
        "42501" => setting_or_time(
            "refuses the service",
            "the role may not connect to the database (SQLSTATE 42501); GRANT CONNECT ON DATABASE to it",
        ),
        "F0000" => {
            time("refuses connections", "PostgreSQL's own configuration is invalid (SQLSTATE F0000); see its log")
        }
        // Only the parameters of the connection are evaluated so early.
        code if code.starts_with("22") || code.starts_with("42") => setting(
            "refuses the connection settings",
            &format!("PostgreSQL refuses the parameter options of the URL (SQLSTATE {code}); correct or remove it"),
        ),
        _ => fault(error),
    }
}

/// The fault of a server that answers and refuses, by SQLSTATE (PostgreSQL, appendix A).
fn database_fault(error: &dyn DatabaseError) -> Fault {
    let code = error.code().unwrap_or_default();
    let says = |phrase: &str| error.message().contains(phrase);
    let (make, summary, reason): (fn(&'static str, &str) -> Fault, _, _) = match &*code {
        "28000" if says("pg_hba.conf") && (says("no encryption") || says("SSL off")) => (
            setting_or_time,
            "refuses connections without TLS",
            "PostgreSQL has no pg_hba.conf entry for a connection without TLS from here (SQLSTATE 28000); set sslmode=require \
             or verify-full in the URL, or add an entry",
        ),
        "28000" if says("pg_hba.conf") => (
            setting_or_time,
            "refuses the service",
            "PostgreSQL's pg_hba.conf refuses this host, user or database (SQLSTATE 28000); add an entry, or correct the URL",
        ),
        "28000" if says("client certificate") => (
            setting_or_time,
            "refuses the service",
            "PostgreSQL asks for a client certificate (SQLSTATE 28000); set sslcert and sslkey in the URL",
        ),
        "28000" | "28P01" => {
            let reason = format!(
                "PostgreSQL refuses the user or the password (SQLSTATE {code}); correct them in the URL, or create the role"
            );
            return setting_or_time("refuses the service", &reason);
        }
        "3D000" => (
            setting_or_time,
            "has no such database",
            "PostgreSQL has no such database (SQLSTATE 3D000); create it, or correct the name after the last / of the URL",
        ),
        "55000" if says("not currently accepting connections") => (
            setting_or_time,
            "refuses connections to the database",
            "PostgreSQL accepts no connections to this database (SQLSTATE 55000), such as to a template; name another one",
        ),
        // The schema is that of an earlier release, which knows fewer tables and columns.
        "42P01" | "42703" => {
            let reason = format!("the migrations are not applied (SQLSTATE {code}); run `sixty migrate up`");
            return time("is not set up yet", &reason);
        }
        "25006" => return read_only(),
        "53300" => (
            time,
            "has too many connections",
            "PostgreSQL has no connection left (SQLSTATE 53300); raise its max_connections or the limit of the role, or lower \
             DATABASE_MAX_CONNECTIONS",
        ),
        "53100" => (time, "has no space left", "the disk of PostgreSQL is full (SQLSTATE 53100); free space"),
        "57P03" => (
            time,
            "is starting",
            "PostgreSQL is starting, stopping or recovering (SQLSTATE 57P03); this passes by itself",
        ),
        "57P01" | "57P02" | "57P05" => {
            return time(CLOSED, &format!("PostgreSQL ended the connection (SQLSTATE {code})"));
        }
        "55P03" => (
            time,
            "is not set up yet",
            "a migration waits for a lock that a long transaction holds (SQLSTATE 55P03); it is tried again",
        ),
        "57014" => (
            time,
            "takes too long",
            "PostgreSQL cancelled a statement after DATABASE_TIMEOUT (SQLSTATE 57014); is it overloaded?",
        ),
        "42501" => {
            let known = TABLES.iter().chain(&["_sqlx_migrations"]).find(|table| says(&format!("for table {table}")));
            let object = known.map_or_else(String::new, |table| format!(" on {table}"));
            return defect(format!(
                "DATABASE_URL: the role lacks a right{object} (SQLSTATE 42501); grant it: docs/operations lists the least rights"
            ));
        }
        "26000" | "42P05" => {
            return defect(format!(
                "DATABASE_URL: a prepared statement is lost (SQLSTATE {code}); a connection pooler must pool sessions, not \
                 transactions"
            ));
        }
        "08P01" => return pooler_fault(error.message()),
        _ => {
            // Connection exceptions, transaction rollbacks, lack of resources, operator intervention, system errors.
            return if ["08", "40", "53", "57", "58"].iter().any(|class| code.starts_with(class)) {
                time("cannot serve the request", &format!("SQLSTATE {code}"))
            } else {
                let constraint = error.constraint().map_or_else(String::new, |name| format!(", constraint {name}"));
                defect(format!(
                    "DATABASE_URL: PostgreSQL refuses a statement (SQLSTATE {code}{constraint}): a defect, or another program has \
                     changed the tables; its log has the statement"
                ))
            };
        }
    };
    make(summary, reason)
}

/// PgBouncer reports all its refusals by the SQLSTATE of a protocol violation, 08P01.
fn pooler_fault(message: &str) -> Fault {
    let says = |phrase: &str| message.contains(phrase);
    if says("unsupported startup parameter") {
        return setting(
            "refuses the service",
            "PgBouncer refuses a startup parameter (SQLSTATE 08P01); set ignore_startup_parameters = \
             options,extra_float_digits in pgbouncer.ini",
        );
    }
    if ["no such user", "auth", "password", "SASL", "login failed"].iter().any(|phrase| says(phrase)) {
        return setting_or_time(
            "refuses the service",
            "PgBouncer refuses the user or the password, or PostgreSQL refuses PgBouncer's (SQLSTATE 08P01); correct the URL or \
             PgBouncer's auth_file",
        );
    }
    if says("no such database") || says("database does not allow connections") || says("is disabled") {
        return setting_or_time(
            "has no such database",
            "PgBouncer has no such database (SQLSTATE 08P01); add it to [databases] in pgbouncer.ini, or correct the URL",
        );
    }
    if says("SSL required") || says("TLS") {
        return setting(
            "refuses connections without TLS",
            "PgBouncer refuses connections without TLS (SQLSTATE 08P01); set sslmode=require or verify-full in the URL",
        );
    }
    if says("max_client_conn") || says("no more connections") || says("too many") {
        return time(
            "has too many connections",
            "PgBouncer has no connection left (SQLSTATE 08P01); raise max_client_conn, or lower DATABASE_MAX_CONNECTIONS",
        );
    }
    time(
        "cannot serve the request",
        "PgBouncer, or another pooler, refuses the connection or ended it (SQLSTATE 08P01); its log has the reason. Is \
         PostgreSQL running behind it?",
    )
}

fn io_fault(error: &io::Error) -> Fault {
    let text = error.to_string();
    match error.kind() {
        _ if text.contains("lookup address") => time(
            "has an unknown host name",
            "the host name has no address (DNS); correct the host, or wait until its name is known",
        ),
        // How rustls reports a failed handshake.
        io::ErrorKind::InvalidData => tls_fault(&text),
        io::ErrorKind::ConnectionRefused => time(
            "refuses connections",
            "PostgreSQL does not answer: Connection refused; does it run at this host and port, and listen for the network \
             (listen_addresses)?",
        ),
        io::ErrorKind::NotFound => {
            time("has no socket", "the unix socket does not exist; does PostgreSQL run, with this directory?")
        }
        // Only an attempt to connect ends so. The open connections are not affected.
        io::ErrorKind::WouldBlock => time(
            "has too many connections",
            "the queue of PostgreSQL's unix socket is full: too many clients connect at the same time",
        ),
        io::ErrorKind::PermissionDenied => {
            setting("cannot be reached", "the permission to open the unix socket or a file of the URL is denied")
        }
        io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => time(
            SILENT,
            &format!("PostgreSQL does not answer: {}; correct the host, or check the network", error.kind()),
        ),
        kind => time(CLOSED, &format!("the connection to PostgreSQL broke: {kind}")),
    }
}

fn tls_fault(text: &str) -> Fault {
    let advice = if text.contains("does not support TLS") {
        "PostgreSQL does not offer TLS, and sslmode requires it; switch ssl on at the server, or set sslmode=disable"
    } else if text.contains("NotValidForName") || text.contains("not valid for name") {
        "the certificate of PostgreSQL is for another host name; use the name in the certificate, or sslmode=verify-ca"
    } else if text.contains("CaUsedAsEndEntity") || text.contains("UnknownIssuer") {
        "the certificate of PostgreSQL is not signed by a CA that is trusted; put the certificate of its CA, not the server's \
         own, into the file of sslrootcert"
    } else if text.to_lowercase().contains("expired") {
        "the certificate of PostgreSQL has expired; renew it, or correct the clock of this machine"
    } else if text.contains("NotValidYet") || text.contains("not valid yet") {
        "the certificate of PostgreSQL is not valid yet; correct the clock of this machine"
    } else if text.contains("nvalid certificate") || text.contains("BadEncoding") {
        "the file of sslrootcert or sslcert has no valid certificate in PEM form"
    } else {
        return setting(
            "fails the TLS handshake",
            &format!("the TLS handshake with PostgreSQL failed: {}", without_values(text)),
        );
    };
    setting("fails the TLS handshake", advice)
}

fn configuration(text: &str) -> String {
    if text.contains("must be given together") {
        "sslcert and sslkey must be set together".to_owned()
    } else if text.contains("no keys found") || text.contains("pem") {
        "the file of sslkey has no private key in PEM form".to_owned()
    } else {
        "must be a PostgreSQL URL, such as postgres://user:password@host:5432/database".to_owned()
    }
}

/// The beginning of a text of the TLS library, up to what may quote a certificate.
fn without_values(text: &str) -> String {
    text.split(['"', '`', '[']).next().unwrap_or_default().trim_end().to_owned()
}

pub(super) fn silent(within: Duration) -> Fault {
    Fault::silent(STORE, "DATABASE_URL", within)
}

/// The fault of a server that accepts no changes (SQLSTATE 25006).
pub(super) fn read_only() -> Fault {
    time(
        READ_ONLY,
        "PostgreSQL is read-only: a replica, or default_transaction_read_only; the URL must lead to the primary server, or \
         name all servers",
    )
}

fn time(summary: &'static str, reason: &str) -> Fault {
    new(summary, reason, Cure::Time)
}

fn setting_or_time(summary: &'static str, reason: &str) -> Fault {
    new(summary, reason, Cure::SettingOrTime)
}

fn setting(summary: &'static str, reason: &str) -> Fault {
    new(summary, reason, Cure::Setting)
}

fn new(summary: &'static str, reason: &str, cure: Cure) -> Fault {
    Fault { store: STORE, summary, reason: format!("DATABASE_URL: {reason}"), cure }
}

fn defect(reason: String) -> Fault {
    Fault { store: STORE, summary: "refuses a statement", reason, cure: Cure::Defect }
}

#[cfg(test)]
mod tests;
