//! The client of a request: its network, for rate limits.
//!
//! The network comes from the peer address of the connection. If the peer is a trusted reverse proxy, it comes from
//! `X-Forwarded-For` or `Forwarded` (RFC 7239).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use ipnet::IpNet;
use poem::http::{HeaderMap, HeaderName, HeaderValue, header};
use poem::{Addr, Endpoint, FromRequest, IntoResponse, Request, RequestBody, Response};
use thiserror::Error;

use crate::domain::network::Network;
use crate::store::redis::limits::QuotaState;

/// The client of a request, and the quota state that the response reports to it.
#[derive(Debug, Clone)]
pub struct Client {
    pub network: Network,
    quota_state: Arc<Mutex<Option<QuotaState>>>,
}

impl Client {
    /// Sets the quota state for the `RateLimit` headers of the response.
    pub fn report_quota(&self, state: QuotaState) {
        *self.quota_state.lock().unwrap_or_else(PoisonError::into_inner) = Some(state);
    }

    fn add_quota_headers(&self, headers: &mut HeaderMap) {
        let Some(state) = *self.quota_state.lock().unwrap_or_else(PoisonError::into_inner) else {
            return;
        };
        for (name, value) in [(RATELIMIT_POLICY, state.policy()), (RATELIMIT, state.to_string())] {
            headers.insert(name, HeaderValue::try_from(value).expect("quota names and numbers are visible ASCII"));
        }
    }
}

/// The header of draft-ietf-httpapi-ratelimit-headers with the remaining quota.
pub const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// The header of draft-ietf-httpapi-ratelimit-headers with the quota and its window.
pub const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

impl<'a> FromRequest<'a> for Client {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        Ok(request.data::<Self>().expect("`identify` adds the client to every request").clone())
    }
}

/// Middleware: adds the [`Client`] to the request, and the `RateLimit` headers to the response.
pub async fn identify<E: Endpoint<Output: IntoResponse>>(
    endpoint: Arc<E>,
    mut request: Request,
    proxies: TrustedProxies,
) -> poem::Result<Response> {
    let peer = match &request.remote_addr().0 {
        Addr::SocketAddr(peer) => peer.ip(),
        // The service listens on IP sockets only.
        _ => Ipv4Addr::UNSPECIFIED.into(),
    };
    let client = Client { network: proxies.client_network(peer, request.headers()), quota_state: Arc::default() };
    request.set_data(client.clone());
    let mut response = match endpoint.call(request).await {
        Err(error) if error.is_from_response() => error.into_response(),
        answered => answered?.into_response(),
    };
    client.add_quota_headers(response.headers_mut());
    Ok(response)
}

/// Trusted reverse proxies. None by default: any client can send the forwarding headers itself.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies(Arc<[IpNet]>);

#[derive(Debug, Error)]
#[error("must be addresses and networks such as 192.0.2.1,10.0.0.0/8")]
pub struct TrustedProxiesError;

impl FromStr for TrustedProxies {
    type Err = TrustedProxiesError;

    fn from_str(list: &str) -> Result<Self, TrustedProxiesError> {
        let networks = list.split(',').map(str::trim).filter(|item| !item.is_empty()).map(|item| {
            let address = || item.parse::<IpAddr>().map(IpNet::from);
            item.parse().or_else(|_| address()).map(canonical_network).map_err(|_| TrustedProxiesError)
        });
        Ok(Self(networks.collect::<Result<_, _>>()?))
    }
}

/// Returns the IPv4 network of an IPv4-mapped one: peer addresses are canonical, so the mapped form would match no peer.
fn canonical_network(network: IpNet) -> IpNet {
    /// The prefix length of `::ffff:0:0/96`, which holds all IPv4-mapped addresses.
    const MAPPED: u8 = 96;
    let prefix = network.prefix_len().checked_sub(MAPPED);
    match (network.addr().to_canonical(), network, prefix) {
        (address @ IpAddr::V4(_), IpNet::V6(_), Some(prefix)) => {
            IpNet::new(address, prefix).expect("an IPv6 prefix is at most 128")
        }
        _ => network,
    }
}

impl TrustedProxies {
    /// Returns the network of the client whose request came over a connection from `peer`.
    ///
    /// Each proxy appends the address of its own peer to the right end of the header. So this reads addresses from the
    /// right until one is not a trusted proxy. Everything to the left of that address may be forged. An item that is not an
    /// address ends the search at the last address that was read.
    pub fn client_network(&self, peer: IpAddr, headers: &HeaderMap) -> Network {
        let peer = peer.to_canonical();
        if !self.trusts(peer) {
            return Network::of(peer);
        }
        let client_in = |field: &HeaderName, parse: fn(&str) -> Vec<Option<IpAddr>>| {
            let lines = headers.get_all(field).iter();
            let hops: Vec<_> = lines.flat_map(|line| line.to_str().map_or_else(|_| vec![None], parse)).collect();
            self.first_untrusted(peer, &hops)
        };
        let found =
            [client_in(&X_FORWARDED_FOR, parse_x_forwarded_for), client_in(&header::FORWARDED, parse_forwarded)];
        Network::of(match found {
            // A proxy writes one of the headers. The other may be forged by the client, and it is unknown which.
            [Some(one), Some(other)] if one != other => peer,
            [one, other] => one.or(other).unwrap_or(peer),
        })
    }

    /// Returns the rightmost address that is not a trusted proxy, or the leftmost address if all are trusted. `None` if
    /// there are no addresses.
    fn first_untrusted(&self, peer: IpAddr, hops: &[Option<IpAddr>]) -> Option<IpAddr> {
        let mut last = None;
        for hop in hops.iter().rev() {
            let Some(address) = hop else {
                return Some(last.unwrap_or(peer));
            };
            last = Some(*address);
            if !self.trusts(*address) {
                break;
            }
        }
        last
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Parses one line of `X-Forwarded-For`. An item that is not an address gives `None`.
fn parse_x_forwarded_for(line: &str) -> Vec<Option<IpAddr>> {
    line.split(',').map(|item| parse_address(item.trim())).collect()
}

/// Parses one line of `Forwarded`: the parameter `for` of every element. An element without one address gives `None`.
fn parse_forwarded(line: &str) -> Vec<Option<IpAddr>> {
    let parse_element = |element: &str| {
        let mut nodes = split_unquoted(element, ';').into_iter().filter_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            name.trim().eq_ignore_ascii_case("for").then(|| value.trim())
        });
        let (Some(node), None) = (nodes.next(), nodes.next()) else {
            return None;
        };
        parse_address(node.strip_prefix('"').and_then(|node| node.strip_suffix('"')).unwrap_or(node))
    };
    split_unquoted(line, ',').into_iter().map(parse_element).collect()
}

/// Splits at separators outside of quoted strings (RFC 9110, section 5.6.4).
fn split_unquoted(text: &str, separator: char) -> Vec<&str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(|c: char| {
        let literal = std::mem::take(&mut escaped);
        match c {
            '"' if !literal => quoted = !quoted,
            '\\' if quoted && !literal => escaped = true,
            _ => {}
        }
        c == separator && !quoted
    })
    .collect()
}

/// Parses an address with or without a port. IPv6 addresses may have brackets.
fn parse_address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().or_else(|_| text.parse().map(|socket: SocketAddr| socket.ip()));
    address.ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use poem::http::HeaderValue;
    use proptest::prelude::*;

    fn client(trusted: &str, peer: &str, fields: &[(&'static str, &str)]) -> String {
        let trusted: TrustedProxies = trusted.parse().unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        trusted.client_network(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn forwarding_headers_of_untrusted_peers_are_ignored() {
        let forged = [("x-forwarded-for", "198.51.100.7"), ("forwarded", "for=198.51.100.7")];
        assert_eq!(client("", "192.0.2.1", &forged), "192.0.2.1/32");
        assert_eq!(client("10.0.0.0/8", "192.0.2.1", &forged), "192.0.2.1/32");
        assert_eq!(client("192.0.2.1", "::ffff:192.0.2.1", &forged), "198.51.100.7/32");
    }

    #[test]
    fn x_forwarded_for_is_read_from_the_right_until_an_untrusted_address() {
        let follow = |value| client("10.0.0.0/8, 2001:db8::/32", "10.0.0.1", &[("x-forwarded-for", value)]);
        assert_eq!(follow("198.51.100.7"), "198.51.100.7/32");
        assert_eq!(follow("203.0.113.9, 198.51.100.7"), "198.51.100.7/32");
        assert_eq!(follow("203.0.113.9, 198.51.100.7,10.0.0.2, 2001:db8::5"), "198.51.100.7/32");
        assert_eq!(follow("198.51.100.7:4711"), "198.51.100.7/32");
        assert_eq!(follow("[2001:db9::1]:4711"), "2001:db9::/64");
        assert_eq!(follow("2001:db9::1"), "2001:db9::/64");
        assert_eq!(follow("10.0.0.3, 10.0.0.2"), "10.0.0.3/32");
        for nonsense in ["", "unknown", "198.51.100.7,", "198.51.100.7, nobody", "198.51.100.7, caf\u{e9}", "1.2.3.4.5"]
        {
            assert_eq!(follow(nonsense), "10.0.0.1/32", "{nonsense}");
        }
        assert_eq!(follow("198.51.100.7, unknown, 10.0.0.2"), "10.0.0.2/32");
        let lines = [("x-forwarded-for", "203.0.113.9"), ("x-forwarded-for", "198.51.100.7, 10.0.0.2")];
        assert_eq!(client("10.0.0.0/8", "10.0.0.1", &lines), "198.51.100.7/32");
    }

    #[test]
    fn forwarded_is_read_from_the_right_until_an_untrusted_address() {
        let follow = |value| client("10.0.0.0/8", "10.0.0.1", &[("forwarded", value)]);
        assert_eq!(follow("for=198.51.100.7"), "198.51.100.7/32");
        assert_eq!(follow(r#"proto=https; For="198.51.100.7:4711";by=10.0.0.1"#), "198.51.100.7/32");
        assert_eq!(follow(r#"for=203.0.113.9, for="[2001:db8::1]:4711", for=10.0.0.2"#), "2001:db8::/64");
        assert_eq!(follow(r#"for=203.0.113.9;host="a,for=1.2.3.4""#), "203.0.113.9/32");
        for nonsense in
            ["", "for=unknown", "for=_hidden", "by=198.51.100.7", "for=1.2.3.4;for=5.6.7.8", "for=\"1.2.3.4"]
        {
            assert_eq!(follow(nonsense), "10.0.0.1/32", "{nonsense}");
        }
    }

    #[test]
    fn contradicting_headers_give_the_network_of_the_proxy() {
        let both = |one, other| client("10.0.0.1", "10.0.0.1", &[("x-forwarded-for", one), ("forwarded", other)]);
        assert_eq!(both("198.51.100.7", "for=198.51.100.7"), "198.51.100.7/32");
        assert_eq!(both("198.51.100.7", "for=203.0.113.9"), "10.0.0.1/32");
        assert_eq!(both("203.0.113.9", "for=198.51.100.7"), "10.0.0.1/32");
    }

    #[test]
    fn ipv4_mapped_networks_are_ipv4_networks() {
        let trusted =
            |list: &str, peer: &str| client(list, peer, &[("x-forwarded-for", "198.51.100.7")]) != format!("{peer}/32");
        assert!(trusted("::ffff:127.0.0.0/104", "127.0.0.9"));
        assert!(!trusted("::ffff:127.0.0.0/104", "128.0.0.1"));
        assert!(trusted("::ffff:192.0.2.1/128", "192.0.2.1"));
        assert!(trusted("::ffff:192.0.2.1", "192.0.2.1"));
        assert!(!trusted("::ffff:192.0.2.1", "192.0.2.2"));
        assert!(trusted("::ffff:0:0/96", "203.0.113.9"));
        // A shorter prefix is a network of IPv6 addresses.
        assert!(!trusted("::/95", "192.0.2.1"));
    }

    #[test]
    fn invalid_proxy_lists_are_rejected() {
        for list in ["10.0.0.0/33", "localhost", "10.0.0.1 10.0.0.2", "*"] {
            assert!(list.parse::<TrustedProxies>().is_err(), "{list}");
        }
    }

    proptest! {
        #[test]
        fn a_forged_header_does_not_hide_the_address_that_the_proxy_appends(forged in "[ -~]{0,60}", own: u32) {
            let own = std::net::Ipv4Addr::from_bits(own).to_string();
            prop_assume!(own != "127.0.0.1");
            let added = format!("{forged}, {own}");
            let in_one_line = client("127.0.0.1", "127.0.0.1", &[("x-forwarded-for", &added)]);
            prop_assert_eq!(in_one_line, format!("{own}/32"));
            let in_two_lines = client("127.0.0.1", "127.0.0.1", &[("x-forwarded-for", &forged), ("x-forwarded-for", &own)]);
            prop_assert_eq!(in_two_lines, format!("{own}/32"));
        }

        #[test]
        fn parsing_any_forwarding_header_does_not_panic(one in "\\PC{0,60}", other in "[a-z=,;:\"\\\\\\[\\]0-9. ]{0,60}") {
            client("::/0, 0.0.0.0/0", "10.0.0.1", &[("x-forwarded-for", &one), ("forwarded", &one)]);
            client("::/0, 0.0.0.0/0", "10.0.0.1", &[("x-forwarded-for", &other), ("forwarded", &other)]);
        }
    }
}
