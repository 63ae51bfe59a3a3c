//! A look at one Redis server, step by step, over a connection of its own: the driver reports a failed connection without
//! the reason that the server gave.

use std::time::Duration;

use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::{
    self, AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, RedisConnectionInfo, RedisError, RedisResult,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{reason, silent};
use crate::store::fault::{Cure, Fault};

/// The oldest version, major and minor.
const MIN_VERSION: (u32, u32) = (6, 2);

/// What a server says about itself.
#[derive(Debug, Clone, Default)]
pub(super) struct ServerInfo {
    /// `None`: the user may not read it (`INFO`).
    pub version: Option<String>,
    pub is_cluster: bool,
    pub eviction_policy: Option<String>,
    /// Why the cluster serves no keys.
    pub cluster_fault: Option<Fault>,
    /// The clock of the server, in seconds since 1970.
    pub epoch: f64,
}

/// Connects, authenticates and asks. The whole is bounded by `timeout`. `key` is any key of this service.
pub(super) async fn look_at(server: &ConnectionInfo, key: &str, timeout: Duration) -> Result<ServerInfo, Fault> {
    let looked = tokio::time::timeout(timeout, try_look_at(server, key, timeout)).await;
    match looked {
        Ok(Ok(info)) => check_version(info),
        Ok(Err(error)) => Err(or_mismatch(reason::fault(&error), server, timeout).await),
        Err(_) => Err(or_mismatch(silent(timeout), server, timeout).await),
    }
}

async fn try_look_at(server: &ConnectionInfo, key: &str, timeout: Duration) -> RedisResult<ServerInfo> {
    let mut connection = connect_without_login(server, timeout).await?;
    let settings = server.redis_settings();
    if let Some(password) = settings.password() {
        let mut auth = redis::cmd("AUTH");
        if let Some(user) = settings.username() {
            auth.arg(user);
        }
        auth.arg(password).exec_async(&mut connection).await?;
    }
    if settings.db() != 0 {
        redis::cmd("SELECT").arg(settings.db()).exec_async(&mut connection).await?;
    }
    let (seconds, micros): (f64, f64) = redis::cmd("TIME").query_async(&mut connection).await?;
    // The driver repeats the commands to a cluster that is down until the time is over.
    let exists: RedisResult<u8> = redis::cmd("EXISTS").arg(key).query_async(&mut connection).await;
    let cluster_fault = exists.err().filter(|error| error.code() == Some("CLUSTERDOWN"));
    // Not all users may read it; the scripts need it not.
    let info: String = redis::cmd("INFO").query_async(&mut connection).await.unwrap_or_default();
    let cluster_fault = cluster_fault.map(|error| reason::fault(&error));
    Ok(ServerInfo { epoch: seconds + micros / 1e6, cluster_fault, ..parse_info(&info) })
}

async fn connect_without_login(server: &ConnectionInfo, timeout: Duration) -> RedisResult<MultiplexedConnection> {
    let anonymous = server.clone().set_redis_settings(RedisConnectionInfo::default());
    Client::open(anonymous)?.get_multiplexed_async_connection_with_config(&timeouts(timeout)).await
}

fn parse_info(info: &str) -> ServerInfo {
    let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    ServerInfo {
        version: field("redis_version").map(str::to_owned),
        is_cluster: field("cluster_enabled") == Some("1"),
        eviction_policy: field("maxmemory_policy").map(str::to_owned),
        ..ServerInfo::default()
    }
}

fn check_version(info: ServerInfo) -> Result<ServerInfo, Fault> {
    let Some(version) = &info.version else { return Ok(info) };
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or(u32::MAX));
    let found = (numbers.next().unwrap_or(u32::MAX), numbers.next().unwrap_or(0));
    if found < MIN_VERSION { Err(reason::too_old(version)) } else { Ok(info) }
}

/// Returns the fault, or a more exact one if one side speaks TLS and the other does not. No secret is sent.
async fn or_mismatch(fault: Fault, server: &ConnectionInfo, timeout: Duration) -> Fault {
    let probe = async {
        match (server.addr(), fault.summary) {
            // A server without TLS takes the handshake for a command that has not ended, and waits.
            (ConnectionAddr::TcpTls { host, port, .. }, "does not answer" | "closed the connection") => {
                let answer = plain_ping(host, *port).await.ok()?;
                answer.starts_with(['+', '-']).then(reason::plain_server)
            }
            // A server with TLS closes the connection. Only a handshake tells that from a restart.
            (ConnectionAddr::Tcp(host, port), "closed the connection" | "speaks another protocol") => {
                let answer = plain_ping(host, *port).await.unwrap_or_default();
                if answer.starts_with('-') && !answer.starts_with("-NOAUTH") {
                    return Some(reason::fault(
                        &redis::parse_redis_value(answer.as_bytes()).ok()?.extract_error().err()?,
                    ));
                }
                let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
                let client = Client::open(format!("rediss://{host}:{port}")).ok()?;
                match client.get_multiplexed_async_connection_with_config(&timeouts(timeout)).await {
                    Ok(_) => Some(reason::tls_server()),
                    // The certificate may be wrong, or the server may want one. Both need TLS.
                    Err(error) => speaks_tls(&error).then(reason::tls_server),
                }
            }
            _ => None,
        }
    };
    tokio::time::timeout(timeout, probe).await.ok().flatten().unwrap_or(fault)
}

fn timeouts(timeout: Duration) -> AsyncConnectionConfig {
    AsyncConnectionConfig::new().set_connection_timeout(Some(timeout)).set_response_timeout(Some(timeout))
}

/// Sends `PING` without TLS, and returns the begin of the response.
async fn plain_ping(host: &str, port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((host, port)).await?;
    stream.write_all(b"PING\r\n").await?;
    let mut answer = [0; 512];
    let length = stream.read(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}

fn speaks_tls(error: &RedisError) -> bool {
    let fault = reason::fault(error);
    fault.cure == Cure::Setting && fault != reason::plain_server()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_versions_are_refused() {
        let check = |version: &str| {
            check_version(parse_info(&format!("# Server\r\nredis_version:{version}\r\ncluster_enabled:0\r\n")))
        };
        for old in ["2.8.9", "5.0.14", "6.0.20", "6.1.0"] {
            assert!(check(old).unwrap_err().reason.contains(&format!("Redis {old} is too old")), "{old}");
        }
        for new in ["6.2.0", "7.0.15", "8.4.0", "10.0.1", "255.255.255", "unstable"] {
            assert!(check(new).is_ok(), "{new}");
        }
        assert!(check_version(ServerInfo::default()).is_ok(), "INFO may be forbidden");
    }

    #[test]
    fn info_names_cluster_and_eviction_policy() {
        let info = parse_info("# Memory\r\nmaxmemory_policy:allkeys-lru\r\n# Cluster\r\ncluster_enabled:1\r\n");
        assert!(info.is_cluster && info.eviction_policy.as_deref() == Some("allkeys-lru"));
        assert!(!parse_info("").is_cluster);
    }
}
