//! The address on which a server listens, as people write it: `127.0.0.1:8000`, `localhost:8000`, `[::]:8000`, `:8000`.

mod listener;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use thiserror::Error;

pub use self::listener::Listener;

/// A host or all interfaces, and a port. Port 0 selects a free port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenAddress {
    host: Host,
    port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    /// All interfaces, IPv6 and IPv4: `[::]`, `*` or nothing before the colon.
    All,
    Ip(IpAddr),
    /// A host name. A server listens on each of its addresses.
    Name(String),
}

#[derive(Debug, Error, PartialEq, Eq)]
#[error("must be an address and a port, such as 127.0.0.1:8000, localhost:8000, [::]:8000 or :8000")]
pub struct InvalidListenAddress;

impl FromStr for ListenAddress {
    type Err = InvalidListenAddress;

    fn from_str(text: &str) -> Result<Self, InvalidListenAddress> {
        let (host, port) = text.trim().rsplit_once(':').ok_or(InvalidListenAddress)?;
        // `u16::from_str` accepts a plus sign.
        let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|_| is_number).ok_or(InvalidListenAddress)?;
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(address) => Host::of(IpAddr::V6(address.parse().map_err(|_| InvalidListenAddress)?)),
            None if host.is_empty() || host == "*" => Host::All,
            None => match host.parse::<Ipv4Addr>() {
                Ok(address) => Host::of(address.into()),
                Err(_) if is_name(host) => Host::Name(host.to_owned()),
                Err(_) => return Err(InvalidListenAddress),
            },
        };
        Ok(Self { host, port })
    }
}

impl Host {
    fn of(address: IpAddr) -> Self {
        if address == Ipv6Addr::UNSPECIFIED { Self::All } else { Self::Ip(address) }
    }
}

/// Whether the text is a host name. A last label of digits belongs to a mistyped IPv4 address.
fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    text.split('.').all(is_label) && !last.bytes().all(|byte| byte.is_ascii_digit())
}

impl ListenAddress {
    pub const fn loopback(port: u16) -> Self {
        Self { host: Host::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST)), port }
    }

    /// Whether two servers cannot have these two addresses, as far as the texts show it.
    pub fn overlaps(&self, other: &Self) -> bool {
        let covers = |one: &Host, other: &Host| match (one, other) {
            (Host::All, _) => true,
            (Host::Ip(ip), Host::Ip(other)) if *ip == Ipv4Addr::UNSPECIFIED => other.is_ipv4(),
            _ => one == other,
        };
        let same_port = self.port == other.port && self.port != 0;
        same_port && (covers(&self.host, &other.host) || covers(&other.host, &self.host))
    }

    /// Returns host and port of URLs that reach a server with this address from this machine, the likeliest first.
    pub fn local_authorities(&self) -> Vec<String> {
        let port = self.port;
        match &self.host {
            Host::All => vec![format!("127.0.0.1:{port}"), format!("[::1]:{port}")],
            Host::Ip(ip) if ip.is_unspecified() => vec![format!("127.0.0.1:{port}")],
            Host::Ip(_) | Host::Name(_) => vec![self.to_string()],
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::All => write!(f, "[::]:{}", self.port),
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            Host::Ip(IpAddr::V4(ip)) => write!(f, "{ip}:{}", self.port),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> ListenAddress {
        text.parse().unwrap_or_else(|_| panic!("{text} is an address"))
    }

    #[test]
    fn addresses_are_accepted_as_people_write_them() {
        for (text, shown) in [
            ("127.0.0.1:8000", "127.0.0.1:8000"),
            (" 0.0.0.0:0\n", "0.0.0.0:0"),
            (":8000", "[::]:8000"),
            ("*:8000", "[::]:8000"),
            ("[::]:8000", "[::]:8000"),
            ("[::1]:8000", "[::1]:8000"),
            ("localhost:8000", "localhost:8000"),
            ("api_1.internal:80", "api_1.internal:80"),
        ] {
            assert_eq!(parse(text).to_string(), shown);
        }
        for text in [
            "",
            ":",
            "8000",
            "localhost",
            "::1:8000",
            "::",
            "[::1]",
            "[::1:8000",
            "[127.0.0.1]:80",
            "1.2.3:80",
            "1.2.3.256:80",
            "a..b:80",
            "http://localhost:80",
            "localhost:80/",
            "localhost:65536",
            "localhost:+80",
            "localhost: 80",
            "local host:80",
        ] {
            assert_eq!(text.parse::<ListenAddress>(), Err(InvalidListenAddress), "{text}");
        }
    }

    #[test]
    fn addresses_of_one_port_overlap_if_one_covers_the_other() {
        for (one, other, expected) in [
            ("127.0.0.1:8000", "127.0.0.1:8000", true),
            ("localhost:8000", "localhost:8000", true),
            (":8000", "127.0.0.1:8000", true),
            ("[::1]:8000", "[::]:8000", true),
            ("0.0.0.0:8000", "127.0.0.1:8000", true),
            ("0.0.0.0:8000", "[::1]:8000", false),
            ("127.0.0.1:8000", "127.0.0.2:8000", false),
            ("127.0.0.1:8000", "127.0.0.1:9000", false),
            (":0", ":0", false),
        ] {
            assert_eq!(parse(one).overlaps(&parse(other)), expected, "{one} {other}");
            assert_eq!(parse(other).overlaps(&parse(one)), expected, "{other} {one}");
        }
    }

    #[test]
    fn a_server_on_all_interfaces_is_reached_over_loopback() {
        assert_eq!(parse(":80").local_authorities(), ["127.0.0.1:80", "[::1]:80"]);
        assert_eq!(parse("0.0.0.0:80").local_authorities(), ["127.0.0.1:80"]);
        assert_eq!(parse("[::1]:80").local_authorities(), ["[::1]:80"]);
        assert_eq!(parse("sixty:80").local_authorities(), ["sixty:80"]);
    }
}
