//! What an error of the Redis driver means: the only place that classifies them.
//!
//! Of a message of the server only known phrases are read, because the message can repeat arguments of the command.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use deadpool_redis::PoolError;
use deadpool_redis::redis::{ErrorKind, RedisError, ServerErrorKind};

use super::STORE;
use crate::store::fault::{Cure, Fault, SILENT};

/// The codes that stand inside a message whose own code is `ERR` or `EXECABORT`: Redis 6 reports so the errors of scripts.
const INNER_CODES: [&str; 9] =
    ["OOM", "READONLY", "MISCONF", "NOREPLICAS", "WRONGTYPE", "NOPERM", "LOADING", "NOSCRIPT", "MASTERDOWN"];

/// The summary of a connection that ended.
const CLOSED: &str = "closed the connection";
/// The summaries of a server that has done nothing, and that another may have replaced.
const READ_ONLY: &str = "is read-only";
const LOADING: &str = "is loading its data";
const MASTER_DOWN: &str = "is disconnected from its master";
const NO_MASTER: &str = "has no master";
/// The server of the URL is a node of a cluster, and another one has the key.
pub(super) const MOVED: &str = "has moved the key";
const MOVING: &str = "moves the key";
const CLUSTER_DOWN: &str = "has a cluster that is down";
/// The summaries of servers that cannot be reached.
const REFUSED: &str = "refuses connections";
const NO_NODE: &str = "has no reachable node";

/// Returns whether the connection is bad, and probably every other that is as old.
pub(super) fn is_of_connection(summary: &str) -> bool {
    is_refusal(summary) || [CLOSED, SILENT].contains(&summary)
}

/// Returns whether a server has refused a call because it is not the master of its key, or not yet. It has done nothing.
pub(super) fn is_refusal(summary: &str) -> bool {
    [READ_ONLY, LOADING, MASTER_DOWN, NO_MASTER, MOVED, MOVING, CLUSTER_DOWN].contains(&summary)
}

/// Returns whether a node of a cluster did not respond at all.
pub(super) fn is_out_of_reach(summary: &str) -> bool {
    [SILENT, CLOSED, REFUSED, NO_NODE].contains(&summary)
}

/// Returns whether another connection to the cluster may do what this one could not.
pub(super) fn is_of_cluster(summary: &str) -> bool {
    is_of_connection(summary) || [REFUSED, NO_NODE].contains(&summary)
}

/// The fault of a master that is not called, because it did not respond less than `length` ago.
pub(super) fn paused(length: Duration) -> Fault {
    let reason =
        format!("REDIS_URL: a master of the Redis Cluster did not respond less than {length:?} ago, and is not called");
    time(SILENT, &reason)
}

/// The fault of a cluster of which some masters have one, from that of one of them.
pub(super) fn of_masters(fault: &Fault, faulty: usize, masters: usize) -> Fault {
    let summary = if faulty < masters { "has a master that cannot be used" } else { fault.summary };
    Fault {
        summary,
        reason: format!("{faulty} of {masters} masters of the Redis Cluster: {}", fault.reason),
        ..fault.clone()
    }
}

pub(super) fn pool_fault(error: &PoolError) -> Fault {
    match error {
        PoolError::Backend(error) => fault(error),
        PoolError::Timeout(_) => time(
            "has no free connection",
            "REDIS_URL: the wait for a connection took too long: Redis is slow, or REDIS_MAX_CONNECTIONS is too low",
        ),
        other => time("cannot be used", &format!("REDIS_URL: the connection failed: {other}")),
    }
}

pub(super) fn fault(error: &RedisError) -> Fault {
    if let Some(fault) = server_fault(error) {
        return fault;
    }
    match error.kind() {
        ErrorKind::Io => io_fault(error),
        // The driver loses what the server said. It refuses the login also if it has too many clients.
        ErrorKind::AuthenticationFailed => setting_or_time(
            "refuses the service",
            "REDIS_URL: Redis refuses the login: the user or the password is wrong, or Redis has too many clients; run \
             `sixty doctor`",
        ),
        // The driver loses the code of a refused SELECT.
        ErrorKind::Server(ServerErrorKind::ResponseError) => response_fault(error.detail().unwrap_or_default()),
        ErrorKind::Parse => setting_or_time(
            "speaks another protocol",
            "REDIS_URL: the server at its host and port does not speak Redis's protocol; correct the host, the port or the scheme",
        ),
        ErrorKind::MasterNameNotFoundBySentinel => setting_or_time(
            NO_MASTER,
            "REDIS_URL: Sentinel knows no reachable master of the name in the URL; correct the name, or wait for the failover",
        ),
        ErrorKind::InvalidClientConfig if error.to_string().contains("sentinel") => setting(
            "is no Sentinel",
            "REDIS_URL: begins with redis+sentinel://, and the server at its host and port is no Sentinel; use its port, such as \
             26379, or the URL of a server",
        ),
        ErrorKind::ClusterConnectionNotFound => {
            time(NO_NODE, "REDIS_URL: no node of the cluster can be reached for a key; is a master down?")
        }
        ErrorKind::InvalidClientConfig => {
            setting("cannot be reached", "REDIS_URL: must be redis:// or rediss://, a host and a database")
        }
        ErrorKind::UnexpectedReturnType => {
            defect("REDIS_URL: a response of Redis has an unexpected type: is a proxy in between?")
        }
        _ => time("cannot be used", &format!("REDIS_URL: {}", error.category())),
    }
}

/// The fault of a server that answers with an error.
fn server_fault(error: &RedisError) -> Option<Fault> {
    let errors = error.clone().into_server_errors()?;
    // Of an aborted transaction, only the first command says why.
    let (_, first) = errors.first()?;
    let detail = first.details().unwrap_or_default();
    let code = match first.code() {
        "ERR" | "EXECABORT" => {
            let inner = INNER_CODES.into_iter().find(|code| detail.split([' ', '-', ':']).any(|word| word == *code));
            inner.unwrap_or(first.code())
        }
        code => code,
    };
    Some(match code {
        "WRONGPASS" | "NOAUTH" => refused_credentials(),
        "NOPERM" => missing_right(detail),
        "DENIED" => setting_or_time(
            "refuses the service",
            "REDIS_URL: Redis runs in protected mode (DENIED): set a password in Redis and in REDIS_URL, or protected-mode no",
        ),
        "OOM" => time("is out of memory", "Redis is out of memory (OOM): raise its maxmemory, or lower EVENTS_MAXLEN"),
        "MISCONF" => time(
            "accepts no changes",
            "Redis accepts no changes, because it cannot save to its disk (MISCONF): free space, or see Redis's log",
        ),
        "NOREPLICAS" => time(
            "accepts no changes",
            "Redis accepts no changes, because too few replicas are connected (NOREPLICAS, min-replicas-to-write)",
        ),
        "READONLY" => time(READ_ONLY, "REDIS_URL: leads to a read-only replica (READONLY); it must lead to the master"),
        "LOADING" => time(LOADING, "Redis loads its data from disk (LOADING); this passes by itself"),
        "MASTERDOWN" => time(MASTER_DOWN, "REDIS_URL: leads to a replica whose master is down (MASTERDOWN)"),
        "BUSY" | "UNKILLABLE" => time("is busy", "Redis is busy with a slow script of some client (BUSY)"),
        "CLUSTERDOWN" => time(CLUSTER_DOWN, "the Redis Cluster is down (CLUSTERDOWN): a master is missing"),
        "TRYAGAIN" | "ASK" => time(MOVING, &format!("the Redis Cluster moves the keys of a slot ({code})")),
        "MOVED" => time(MOVED, "another node of the Redis Cluster has the key (MOVED)"),
        "NOPROTO" => setting("is too old", "REDIS_URL: Redis does not know the protocol; upgrade it to 6.2 or newer"),
        "ERR" => response_fault(detail),
        "WRONGTYPE" => {
            defect("a key of this service has another type (WRONGTYPE): does another program use REDIS_PREFIX?")
        }
        "NOSCRIPT" => defect("Redis does not keep a script that was just loaded (NOSCRIPT): is a proxy in between?"),
        "CROSSSLOT" => defect("the keys of a script are in several hash slots (CROSSSLOT)"),
        code => defect(&format!("an error of Redis ({code})")),
    })
}

/// The fault behind a message with the general code `ERR`.
fn response_fault(detail: &str) -> Fault {
    let says = |phrase: &str| detail.contains(phrase);
    if says("DB index") || says("SELECT is not allowed in cluster") {
        let rest = if says("cluster") { "a cluster has only database 0" } else { "see `databases` in redis.conf" };
        return setting(
            "has no such database",
            &format!("REDIS_URL: Redis does not have the database number after the last / of the URL; use 0 ({rest})"),
        );
    }
    if says("without any password configured") || says("invalid password") || says("no password is set") {
        return setting_or_time(
            "refuses the service",
            "REDIS_URL: has a password, but Redis has none for this user; remove it from the URL, or set it in Redis (requirepass)",
        );
    }
    if says("max number of clients") {
        return time(
            "has too many connections",
            "Redis has no connection left (max number of clients reached); raise its maxclients, or lower REDIS_MAX_CONNECTIONS",
        );
    }
    if says("cluster support disabled") {
        return no_cluster();
    }
    if says("no permissions") || says("can't run this command") || says("can't access") {
        return missing_right(detail);
    }
    if says("unknown command") || says("Unknown Redis command") || says("unknown subcommand") {
        return defect(
            "REDIS_URL: Redis does not know a command: it is older than 6.2, or the command is renamed or disabled",
        );
    }
    defect("an error of Redis (ERR)")
}

fn io_fault(error: &RedisError) -> Fault {
    let text = error.to_string();
    let io = error.source().and_then(io_error);
    match io.map(io::Error::kind) {
        _ if text.contains("lookup address") => time(
            "has an unknown host name",
            "REDIS_URL: the host name has no address (DNS); correct the host, or wait until its name is known",
        ),
        _ if error.is_timeout() || text.contains("timed out") => time(
            SILENT,
            "REDIS_URL: Redis does not answer in time; is it overloaded or frozen, or does a firewall drop packets?",
        ),
        Some(io::ErrorKind::InvalidData) | None if is_tls(&text) => tls_fault(&text),
        // Of a cluster, only the text is left.
        kind if kind == Some(io::ErrorKind::ConnectionRefused) || text.contains("Connection refused") => time(
            REFUSED,
            "REDIS_URL: the connection was refused; does Redis run at this host and port, and listen for the network (bind)?",
        ),
        Some(io::ErrorKind::NotFound) => {
            time("has no socket", "REDIS_URL: the unix socket does not exist; does Redis run, with this unixsocket?")
        }
        Some(io::ErrorKind::PermissionDenied) => {
            setting("cannot be reached", "REDIS_URL: the permission to open the unix socket is denied")
        }
        Some(io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable) => {
            time(SILENT, "REDIS_URL: the host cannot be reached; correct the host, or check the network")
        }
        Some(io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof) => time(
            CLOSED,
            "REDIS_URL: Redis closed the connection; it stops, is in protected mode (set a password), or has too many clients",
        ),
        Some(kind) => time(CLOSED, &format!("REDIS_URL: the connection to Redis broke: {kind}")),
        None => time(CLOSED, "REDIS_URL: the connection to Redis broke"),
    }
}

/// The driver wraps an I/O error in an `Arc`, which hides its type from `downcast_ref`.
fn io_error<'a>(source: &'a (dyn std::error::Error + 'static)) -> Option<&'a io::Error> {
    let shared = source.downcast_ref::<std::sync::Arc<dyn std::error::Error + Send + Sync>>();
    match shared {
        Some(shared) => shared.downcast_ref(),
        None => source.downcast_ref(),
    }
}

fn is_tls(text: &str) -> bool {
    ["certificate", "corrupt message", "alert", "handshake", "tls", "TLS"].iter().any(|word| text.contains(word))
}

fn tls_fault(text: &str) -> Fault {
    let advice = if text.contains("corrupt message") || text.contains("InvalidContentType") {
        return plain_server();
    } else if text.contains("NotValidForName") || text.contains("not valid for name") {
        "the certificate of Redis is for another host name; use the name in the certificate"
    } else if text.contains("UnknownIssuer") || text.contains("CaUsedAsEndEntity") {
        "the certificate of Redis is not signed by a CA that this machine trusts; add its CA to the system's certificates, or \
         name its file in SSL_CERT_FILE"
    } else if text.to_lowercase().contains("expired") {
        "the certificate of Redis has expired; renew it, or correct the clock of this machine"
    } else if text.contains("CertificateRequired") || text.contains("certificate required") {
        "Redis asks for a client certificate, which is not supported; set tls-auth-clients to no"
    } else {
        "the TLS handshake with Redis failed; compare the scheme, the host and the certificate"
    };
    setting("fails the TLS handshake", &format!("REDIS_URL: {advice}"))
}

/// `rediss://` leads to a server without TLS.
pub(super) fn plain_server() -> Fault {
    setting(
        "offers no TLS",
        "REDIS_URL: begins with rediss:// (TLS), and the server at its port speaks without TLS; use redis://, or the TLS port",
    )
}

/// `redis://` leads to a server with TLS.
pub(super) fn tls_server() -> Fault {
    setting(
        "requires TLS",
        "REDIS_URL: begins with redis://, and the server at its port requires TLS; use rediss://, or the port without TLS",
    )
}

pub(super) fn cluster_without_address() -> Fault {
    setting(
        "is a cluster",
        "REDIS_URL: leads to a node of a Redis Cluster through Sentinel or a unix socket; use its address, as in redis://host:6379",
    )
}

pub(super) fn no_cluster() -> Fault {
    setting(
        "is no cluster",
        "REDIS_URL: lists several nodes, and Redis is no cluster (cluster-enabled no); use the URL of one server",
    )
}

pub(super) fn too_old(version: &str) -> Fault {
    setting("is too old", &format!("REDIS_URL: Redis {version} is too old; upgrade it to 6.2 or newer"))
}

fn refused_credentials() -> Fault {
    setting_or_time(
        "refuses the service",
        "REDIS_URL: Redis refuses the user or the password, or requires one (WRONGPASS, NOAUTH); correct it, as in \
         redis://user:password@host",
    )
}

/// The user may not run a command of the scripts.
pub(super) fn missing_right_to(command: &str) -> Fault {
    missing_right(&format!("run the '{}'", command.to_lowercase()))
}

/// Names the command, if the message does: it is a word of Redis's own.
fn missing_right(detail: &str) -> Fault {
    let command = detail.split_once("run the '").and_then(|(_, rest)| rest.split('\'').next());
    let right = match command {
        Some(command) if command.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"|-_.".contains(&octet)) => {
            format!("may not run {}; grant it, as in ACL SETUSER … +{command}", command.to_uppercase())
        }
        _ if detail.contains("keys") => {
            "may not use the keys that begin with REDIS_PREFIX; grant them, as in ACL SETUSER … ~sixty:*".to_owned()
        }
        _ => "may not run a command of a script".to_owned(),
    };
    defect(&format!("REDIS_URL: the user {right} (NOPERM); docs/operations lists the least rights"))
}

fn time(summary: &'static str, reason: &str) -> Fault {
    Fault { store: STORE, summary, reason: reason.to_owned(), cure: Cure::Time }
}

fn setting_or_time(summary: &'static str, reason: &str) -> Fault {
    Fault { cure: Cure::SettingOrTime, ..time(summary, reason) }
}

fn setting(summary: &'static str, reason: &str) -> Fault {
    Fault { cure: Cure::Setting, ..time(summary, reason) }
}

fn defect(reason: &str) -> Fault {
    Fault { cure: Cure::Defect, ..time("refuses a command", reason) }
}

#[cfg(test)]
mod tests;
