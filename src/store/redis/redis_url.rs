//! Parses `REDIS_URL`: one server, the Sentinels that name it, or some nodes of a cluster.

use deadpool_redis::redis::{ConnectionInfo, IntoConnectionInfo as _, RedisConnectionInfo, TlsMode};

use crate::store::url::{InvalidUrl, StoreUrl, decode, host_and_port};

const EXPECTED: &str = "must be a Redis URL, such as redis://default:password@host:6379/0, or with TLS rediss://, or unix:///run/redis.sock";
const TCP: [&str; 4] = ["redis", "rediss", "valkey", "valkeys"];
const UNIX: [&str; 3] = ["unix", "redis+unix", "valkey+unix"];

const SENTINEL: [&str; 4] = ["redis+sentinel", "rediss+sentinel", "valkey+sentinel", "valkeys+sentinel"];
/// Redis's own name for the master in its examples.
const DEFAULT_SERVICE: &str = "mymaster";

/// The server, the Sentinels that name it, or the nodes of a cluster.
pub(super) enum Servers {
    One(Box<ConnectionInfo>),
    Sentinel(Sentinels),
    Cluster(Vec<ConnectionInfo>),
}

/// The Sentinels, and the master that they name.
pub(super) struct Sentinels {
    pub hosts: Vec<ConnectionInfo>,
    /// The name of the master.
    pub service: String,
    pub master: RedisConnectionInfo,
    /// That of the hosts and of the master. `None`: no TLS.
    pub tls: Option<TlsMode>,
}

/// Parses one URL, or several with commas between them. A comma inside of a URL belongs to its password.
pub(super) fn parse(text: &str) -> Result<Servers, InvalidUrl> {
    let urls = split(text.trim().trim_end_matches(','));
    if let [url] = urls[..]
        && is_sentinel(url)
    {
        return Ok(Servers::Sentinel(sentinels(url)?));
    }
    let nodes: Vec<Node> = urls.iter().map(|url| Node::parse(url)).collect::<Result<_, _>>()?;
    let [first, others @ ..] = &nodes[..] else {
        return Err(InvalidUrl::new(EXPECTED));
    };
    if others.is_empty() {
        return Ok(Servers::One(Box::new(first.connection_info()?)));
    }
    if nodes.iter().any(|node| node.is_unix) {
        return Err(InvalidUrl::new("several URLs are the nodes of a cluster, which has no unix sockets"));
    }
    if nodes.iter().any(|node| node.database != 0) {
        return Err(InvalidUrl::new("several URLs are the nodes of a cluster, which has database 0 only"));
    }
    if others.iter().any(|node| !node.has_credentials_of(first)) {
        return Err(InvalidUrl::new("all nodes of a cluster must have the same scheme, user and password"));
    }
    Ok(Servers::Cluster(nodes.iter().map(Node::connection_info).collect::<Result<_, _>>()?))
}

/// Splits at each comma that a URL follows.
fn split(text: &str) -> Vec<&str> {
    let begins_url = |rest: &str| {
        let scheme = rest.trim_start().split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        scheme.is_some_and(|scheme| TCP.iter().chain(&UNIX).any(|known| *known == scheme))
    };
    let (mut urls, mut start) = (vec![], 0);
    for (at, _) in text.match_indices(',') {
        if begins_url(&text[at + 1..]) {
            urls.push(text[start..at].trim());
            start = at + 1;
        }
    }
    urls.push(text[start..].trim());
    urls
}

fn is_sentinel(url: &str) -> bool {
    url.split_once("://").is_some_and(|(scheme, _)| SENTINEL.contains(&&*scheme.to_ascii_lowercase()))
}

/// Parses `redis+sentinel://user:password@host1,host2/master/0`. The path may leave out the name, the database, or both.
fn sentinels(text: &str) -> Result<Sentinels, InvalidUrl> {
    let url = StoreUrl::split(text, EXPECTED)?;
    let tls = ["rediss+sentinel", "valkeys+sentinel"].contains(&&*url.scheme);
    let insecure = insecure(&url, tls)?;
    let protocol = protocol(&url, &["protocol", "service", "sentinel_user", "sentinel_password"])?;
    let parameter =
        |name: &str| url.parameters.iter().rfind(|(known, _)| known == name).map(|(_, value)| value.clone());
    let path = decode(url.path.trim_end_matches('/'))?;
    let (service, db) = match path.rsplit_once('/') {
        Some((service, db)) => (service, database(db)?),
        None => database(&path).map_or((&*path, 0), |db| ("", db)),
    };
    let service = Some(service).filter(|service| !service.is_empty()).map(str::to_owned);
    let hosts = url.hosts.split(',').map(|host| {
        let sentinel = Node {
            url: tcp_url(host, tls, insecure, &protocol, 26_379)?,
            is_unix: false,
            tls,
            database: 0,
            user: parameter("sentinel_user"),
            password: parameter("sentinel_password"),
        };
        sentinel.connection_info()
    });
    let hosts = hosts.collect::<Result<Vec<_>, InvalidUrl>>()?;
    let master = Node {
        url: tcp_url("master", tls, insecure, &protocol, 6379)?,
        is_unix: false,
        tls,
        database: db,
        user: url.user.clone(),
        password: url.password.clone(),
    };
    Ok(Sentinels {
        hosts,
        service: service.or(parameter("service")).unwrap_or_else(|| DEFAULT_SERVICE.to_owned()),
        master: master.connection_info()?.redis_settings().clone(),
        tls: tls.then_some(if insecure.is_empty() { TlsMode::Secure } else { TlsMode::Insecure }),
    })
}

/// Returns the fragment that switches the check of certificates off, or nothing.
fn insecure(url: &StoreUrl<'_>, tls: bool) -> Result<&'static str, InvalidUrl> {
    match url.fragment {
        None => Ok(""),
        Some("insecure") if tls => Ok("#insecure"),
        Some(_) => Err(InvalidUrl::new(
            "must not contain # (only rediss:// and valkeys:// may end with #insecure); in a password, write %23",
        )),
    }
}

/// Returns the URL of a server as the driver understands it.
fn tcp_url(host: &str, tls: bool, insecure: &str, protocol: &str, default_port: u16) -> Result<String, InvalidUrl> {
    let (host, port) = host_and_port(host)?;
    let host = host.ok_or_else(|| InvalidUrl::new("must name a host, as in redis://127.0.0.1:6379"))?;
    if host.starts_with('/') {
        return Err(InvalidUrl::new("a unix socket is written unix:///run/redis.sock"));
    }
    if ["0.0.0.0", "::"].contains(&&*host) {
        return Err(InvalidUrl::new("must name the address of a server, such as 127.0.0.1"));
    }
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let scheme = if tls { "rediss" } else { "redis" };
    Ok(format!("{scheme}://{host}:{}?{protocol}{insecure}", port.unwrap_or(default_port)))
}

struct Node {
    /// The URL as the driver understands it, without database.
    url: String,
    is_unix: bool,
    tls: bool,
    database: u32,
    user: Option<String>,
    password: Option<String>,
}

impl Node {
    fn parse(text: &str) -> Result<Self, InvalidUrl> {
        let url = StoreUrl::split(text, EXPECTED)?;
        if TCP.contains(&&*url.scheme) {
            Self::tcp(&url)
        } else if UNIX.contains(&&*url.scheme) {
            Self::unix(url)
        } else {
            Err(InvalidUrl::new(EXPECTED))
        }
    }

    fn tcp(url: &StoreUrl<'_>) -> Result<Self, InvalidUrl> {
        let tls = ["rediss", "valkeys"].contains(&&*url.scheme);
        let (insecure, protocol) = (insecure(url, tls)?, protocol(url, &["protocol"])?);
        if url.hosts.contains(',') {
            return Err(InvalidUrl::new(
                "each node of a cluster must have its own URL, as in redis://a:7000,redis://b:7001",
            ));
        }
        Ok(Self {
            url: tcp_url(url.hosts, tls, insecure, &protocol, 6379)?,
            is_unix: false,
            tls,
            database: database(url.path.trim_end_matches('/'))?,
            user: url.user.clone(),
            password: url.password.clone(),
        })
    }

    fn unix(url: StoreUrl<'_>) -> Result<Self, InvalidUrl> {
        if !url.hosts.is_empty() || url.user.is_some() || url.path.is_empty() || url.fragment.is_some() {
            return Err(InvalidUrl::new(
                "a unix socket is written unix:///run/redis.sock?db=0&user=default&pass=password",
            ));
        }
        let protocol = protocol(&url, &["db", "user", "pass", "protocol"])?;
        let parameter =
            |name: &str| url.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        Ok(Self {
            url: format!("unix:///{}?{protocol}", url.path),
            is_unix: true,
            tls: false,
            database: database(&parameter("db").unwrap_or_default())?,
            user: parameter("user"),
            password: parameter("pass"),
        })
    }

    fn has_credentials_of(&self, other: &Self) -> bool {
        (self.tls, &self.user, &self.password) == (other.tls, &other.user, &other.password)
    }

    fn connection_info(&self) -> Result<ConnectionInfo, InvalidUrl> {
        let info = self.url.as_str().into_connection_info().map_err(|_| InvalidUrl::new(EXPECTED))?;
        let mut redis = info.redis_settings().clone().set_db(self.database.into());
        if let Some(user) = &self.user {
            redis = redis.set_username(user);
        }
        if let Some(password) = &self.password {
            redis = redis.set_password(password);
        }
        Ok(info.set_redis_settings(redis))
    }
}

/// Returns the parameter of the protocol's version. All other parameters must be in `known`.
fn protocol(url: &StoreUrl<'_>, known: &[&str]) -> Result<String, InvalidUrl> {
    let mut protocol = String::new();
    for (name, value) in &url.parameters {
        match &**name {
            name if !known.contains(&name) => return Err(url.unknown_parameter(name, known)),
            "protocol" if !["2", "3", "resp2", "resp3"].contains(&&**value) => {
                return Err(InvalidUrl::new("protocol must be one of: resp2, resp3"));
            }
            "protocol" => protocol = format!("protocol={value}"),
            _ => {}
        }
    }
    Ok(protocol)
}

fn database(text: &str) -> Result<u32, InvalidUrl> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    match text {
        "" => Ok(0),
        text => text.parse().ok().filter(|_| is_number).ok_or_else(|| {
            InvalidUrl::new("the database must be a number, as in redis://host/0 or unix:///run/redis.sock?db=0")
        }),
    }
}

#[cfg(test)]
mod tests {
    use deadpool_redis::redis::ConnectionAddr;

    use super::*;

    /// Returns address, database, user and password of each server.
    fn parsed(text: &str) -> Vec<String> {
        let nodes = match parse(text).unwrap_or_else(|error| panic!("{text}: {error}")) {
            Servers::One(server) => vec![*server],
            Servers::Sentinel(_) => panic!("{text} is no server"),
            Servers::Cluster(nodes) => nodes,
        };
        let shown = nodes.iter().map(|info| {
            let redis = info.redis_settings();
            let text = |part: Option<&str>| part.unwrap_or("-").to_owned();
            format!("{} {} {} {}", info.addr(), redis.db(), text(redis.username()), text(redis.password()))
        });
        shown.collect()
    }

    #[test]
    fn all_forms_of_a_url_work() {
        for (url, expected) in [
            ("redis://redis", "redis:6379 0 - -"),
            ("Redis://redis:6380/", "redis:6380 0 - -"),
            ("redis://default:pw@redis.example.com:6380/15", "redis.example.com:6380 15 default pw"),
            ("redis://:pw@[2001:db8::1]:6380/1/", "2001:db8::1:6380 1 - pw"),
            ("valkey://redis", "redis:6379 0 - -"),
            ("rediss://redis/2", "redis:6379 2 - -"),
            ("valkeys://redis#insecure", "redis:6379 0 - -"),
            ("redis://redis?protocol=resp3", "redis:6379 0 - -"),
            ("unix:///run/redis.sock", "/run/redis.sock 0 - -"),
            ("redis+unix:///run/redis.sock?db=3&user=ada&pass=a%2Fb", "/run/redis.sock 3 ada a/b"),
        ] {
            assert_eq!(parsed(url), [expected], "{url}");
        }
        for (url, tls, insecure) in
            [("redis://h", false, false), ("rediss://h", true, false), ("rediss://h#insecure", true, true)]
        {
            let Servers::One(info) = parse(url).unwrap() else { panic!("{url} is one server") };
            let found = match info.addr() {
                ConnectionAddr::TcpTls { insecure, .. } => (true, *insecure),
                _ => (false, false),
            };
            assert_eq!(found, (tls, insecure), "{url}");
        }
    }

    #[test]
    fn a_password_may_contain_every_character() {
        let all: String = (' '..='~').chain("é€\u{1f600}".chars()).collect();
        let encoded: String = all.bytes().map(|octet| format!("%{octet:02X}")).collect();
        for url in [format!("redis://:{encoded}@h"), format!("unix:///s?pass={encoded}")] {
            let Servers::One(info) = parse(&url).unwrap() else { panic!("{url} is one server") };
            assert_eq!(info.redis_settings().password(), Some(&*all));
        }
        for written in ["a,b", ",", "a,redis", "a@b", "a:b", "50%", "a+b", "é", "a,b,c"] {
            assert_eq!(parsed(&format!("redis://:{written}@h")), [format!("h:6379 0 - {written}")]);
            let cluster = format!("redis://:{written}@h:1,redis://:{written}@h:2");
            assert_eq!(parsed(&cluster), [format!("h:1 0 - {written}"), format!("h:2 0 - {written}")]);
        }
    }

    #[test]
    fn urls_with_commas_between_them_are_nodes_of_a_cluster() {
        for text in ["redis://a:1,redis://b:2", "redis://a:1 , REDIS://b:2\n", "redis://a:1,redis://b:2,"] {
            assert!(matches!(parse(text), Ok(Servers::Cluster(nodes)) if nodes.len() == 2), "{text}");
        }
        assert!(matches!(parse("redis://a:1,"), Ok(Servers::One(_))));
    }

    #[test]
    fn sentinels_name_a_master() {
        for (url, expected) in [
            ("redis+sentinel://a", "a:26379 mymaster 0 - -"),
            ("redis+sentinel://a:1,[::1]/", "a:1,::1:26379 mymaster 0 - -"),
            ("valkey+sentinel://ada:pw@a,b/sixty", "a:26379,b:26379 sixty 0 ada pw"),
            ("Redis+Sentinel://:a%2Fb@a/sixty/3", "a:26379 sixty 3 - a/b"),
            ("redis+sentinel://a/3?service=sixty", "a:26379 sixty 3 - -"),
        ] {
            let Ok(Servers::Sentinel(parsed)) = parse(url) else { panic!("{url} names no Sentinels") };
            let hosts: Vec<_> = parsed.hosts.iter().map(|host| host.addr().to_string()).collect();
            let (db, user, password) = (parsed.master.db(), parsed.master.username(), parsed.master.password());
            let [user, password] = [user, password].map(|part| part.unwrap_or("-"));
            assert_eq!(format!("{} {} {db} {user} {password}", hosts.join(","), parsed.service), expected, "{url}");
            assert_eq!(parsed.tls, None);
        }
        let url = "rediss+sentinel://:pw@a/sixty?sentinel_user=ada&sentinel_password=other";
        let Ok(Servers::Sentinel(parsed)) = parse(url) else { panic!() };
        assert_eq!(parsed.tls, Some(TlsMode::Secure));
        let sentinel = parsed.hosts[0].redis_settings();
        assert_eq!((sentinel.username(), sentinel.password()), (Some("ada"), Some("other")));
        for (url, reason) in [
            ("redis+sentinel://", "must name a host"),
            ("redis+sentinel://a/sixty/c4n4ry", "database must be a number"),
            ("redis+sentinel://a?c4n4ry=1", "the parameter c4n4ry is not supported"),
        ] {
            let error = parse(url).map(drop).unwrap_err().to_string();
            assert!(error.contains(reason), "{url}: {error}");
        }
    }

    #[test]
    fn an_invalid_url_is_refused_with_a_reason_and_without_its_values() {
        for (url, reason) in [
            ("c4n4ry", "must be a Redis URL"),
            ("http://:c4n4ry@h", "must be a Redis URL"),
            ("redis:c4n4ry", "must be a Redis URL"),
            ("redis://", "must name a host"),
            ("redis:///0", "must name a host"),
            ("redis://0.0.0.0", "must name the address"),
            ("redis://[::]", "must name the address"),
            ("redis://:c4n4ry/x@h", "percent-encoded"),
            ("redis://:c4n4ry?x@h", "percent-encoded"),
            ("redis://:c4n4ry#x@h", "percent-encoded"),
            ("redis://:1/c4n4ry@h", "percent-encoded"),
            ("redis://:1?c4n4ry=@h", "percent-encoded"),
            ("redis://h#c4n4ry", "must not contain #"),
            ("redis://h#insecure", "must not contain #"),
            ("redis://h:c4n4ry", "port must be a number"),
            ("redis://h:70000", "port must be a number"),
            ("redis://::1", "must have brackets"),
            ("redis://h/c4n4ry", "database must be a number"),
            ("redis://h/-1", "database must be a number"),
            ("redis://h/0/1", "database must be a number"),
            ("redis://h?c4n4ry=1", "the parameter c4n4ry is not supported"),
            ("redis://h?db=2", "the parameter db is not supported"),
            ("redis://h?protocol=c4n4ry", "protocol must be one of"),
            ("redis://%2Frun%2Fredis.sock", "unix:///run/redis.sock"),
            ("unix://run/redis.sock", "unix:///run/redis.sock"),
            ("unix://", "unix:///run/redis.sock"),
            ("unix:///run/redis.sock?db=c4n4ry", "database must be a number"),
            ("redis://a:7000,b:7001", "each node of a cluster must have its own URL"),
            ("redis://a/0,redis://b/1", "database 0 only"),
            ("redis://a/2,redis://b/2", "database 0 only"),
            ("redis://a,unix:///run/redis.sock", "no unix sockets"),
            ("redis://a,rediss://b", "same scheme"),
            ("redis://:c4n4ry@a,redis://b", "same scheme, user and password"),
        ] {
            let error = parse(url).map(drop).unwrap_err().to_string();
            assert!(error.contains(reason), "{url}: {error}");
            assert!(reason.contains("c4n4ry") || !error.contains("c4n4ry"), "{url}: {error}");
        }
    }
}
