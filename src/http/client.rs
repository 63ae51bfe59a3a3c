//! Who is asking: the address that a connection comes from or, behind a proxy that is trusted, the one that the proxy
//! names in `X-Forwarded-For` or `Forwarded` (RFC 7239).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use ipnet::IpNet;
use poem::http::{HeaderMap, HeaderName, HeaderValue, header};
use poem::{Addr, Endpoint, FromRequest, IntoResponse, Request, RequestBody, Response};
use thiserror::Error;

use crate::domain::network::Network;
use crate::store::redis::limits::QuotaState;

/// Who a request came from, and what its answer says of this network's quota.
#[derive(Debug, Clone)]
pub struct Client {
    pub network: Network,
    standing: Arc<Mutex<Option<QuotaState>>>,
}

impl Client {
    /// Tells the client by the answer, whatever that will be.
    pub fn tell(&self, standing: QuotaState) {
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner) = Some(standing);
    }

    fn write(&self, headers: &mut HeaderMap) {
        let Some(standing) = *self.standing.lock().unwrap_or_else(PoisonError::into_inner) else {
            return;
        };
        for (name, value) in [(RATELIMIT_POLICY, standing.policy()), (RATELIMIT, standing.to_string())] {
            headers.insert(name, HeaderValue::try_from(value).expect("names and numbers are visible ASCII"));
        }
    }
}

/// `draft-ietf-httpapi-ratelimit-headers`.
pub const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
pub const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

impl<'a> FromRequest<'a> for Client {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        Ok(request.data::<Self>().expect("every request is identified").clone())
    }
}

/// Says who asks before anything looks at the request, and writes what came of it into the answer.
pub async fn identify<E: Endpoint<Output: IntoResponse>>(
    endpoint: Arc<E>,
    mut request: Request,
    proxies: TrustedProxies,
) -> poem::Result<Response> {
    let peer = match &request.remote_addr().0 {
        Addr::SocketAddr(peer) => peer.ip(),
        // Nothing else is listened on.
        _ => Ipv4Addr::UNSPECIFIED.into(),
    };
    let client = Client { network: proxies.client(peer, request.headers()), standing: Arc::default() };
    request.set_data(client.clone());
    let mut response = match endpoint.call(request).await {
        Err(error) if error.is_from_response() => error.into_response(),
        answered => answered?.into_response(),
    };
    client.write(response.headers_mut());
    Ok(response)
}

/// The proxies whose word counts. Nobody's, by default: a client can write these fields itself.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies(Arc<[IpNet]>);

#[derive(Debug, Error)]
#[error("must be addresses and networks such as 192.0.2.1,10.0.0.0/8")]
pub struct NoNetworks;

impl FromStr for TrustedProxies {
    type Err = NoNetworks;

    fn from_str(list: &str) -> Result<Self, NoNetworks> {
        let networks = list.split(',').map(str::trim).filter(|item| !item.is_empty()).map(|item| {
            let address = || item.parse::<IpAddr>().map(|address| IpNet::from(address.to_canonical()));
            item.parse().or_else(|_| address()).map_err(|_| NoNetworks)
        });
        Ok(Self(networks.collect::<Result<_, _>>()?))
    }
}

impl TrustedProxies {
    /// The network of the client whose request came over a connection from `peer`.
    ///
    /// Each proxy adds to the right end the address that it was asked from. So the fields are read from the right, as far
    /// as those who wrote them are trusted; what is left of that may be made up. What cannot be read ends the way too, at
    /// the last address that is known.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> Network {
        let peer = peer.to_canonical();
        if !self.trust(peer) {
            return Network::of(peer);
        }
        let follow = |field: &HeaderName, addresses: fn(&str) -> Vec<Option<IpAddr>>| {
            let lines = headers.get_all(field).iter();
            let hops: Vec<_> = lines.flat_map(|line| line.to_str().map_or_else(|_| vec![None], addresses)).collect();
            self.outermost(peer, &hops)
        };
        let found = [follow(&X_FORWARDED_FOR, forwarded_for), follow(&header::FORWARDED, forwarded)];
        Network::of(match found {
            // The proxy writes one of them, and passes on the other as the client made it up.
            [Some(one), Some(other)] if one != other => peer,
            [one, other] => one.or(other).unwrap_or(peer),
        })
    }

    /// `None` when nothing was forwarded.
    fn outermost(&self, peer: IpAddr, hops: &[Option<IpAddr>]) -> Option<IpAddr> {
        let mut known = None;
        for hop in hops.iter().rev() {
            let Some(address) = hop else {
                return Some(known.unwrap_or(peer));
            };
            known = Some(*address);
            if !self.trust(*address) {
                break;
            }
        }
        known
    }

    fn trust(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Every item of a line, `None` for one that is no address.
fn forwarded_for(line: &str) -> Vec<Option<IpAddr>> {
    line.split(',').map(|item| address(item.trim())).collect()
}

/// As `forwarded_for`: the parameter `for` of every element.
fn forwarded(line: &str) -> Vec<Option<IpAddr>> {
    let of = |element: &str| {
        let mut nodes = split_unquoted(element, ';').into_iter().filter_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            name.trim().eq_ignore_ascii_case("for").then(|| value.trim())
        });
        let (Some(node), None) = (nodes.next(), nodes.next()) else {
            return None;
        };
        address(node.strip_prefix('"').and_then(|node| node.strip_suffix('"')).unwrap_or(node))
    };
    split_unquoted(line, ',').into_iter().map(of).collect()
}

/// Inside quotes a separator separates nothing (RFC 9110, section 5.6.4).
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

/// With or without a port, IPv6 with or without brackets.
fn address(text: &str) -> Option<IpAddr> {
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
        trusted.client(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn who_is_not_trusted_speaks_for_nobody() {
        let forged = [("x-forwarded-for", "198.51.100.7"), ("forwarded", "for=198.51.100.7")];
        assert_eq!(client("", "192.0.2.1", &forged), "192.0.2.1/32");
        assert_eq!(client("10.0.0.0/8", "192.0.2.1", &forged), "192.0.2.1/32");
        assert_eq!(client("192.0.2.1", "::ffff:192.0.2.1", &forged), "198.51.100.7/32");
    }

    #[test]
    fn the_way_is_followed_from_the_right_as_far_as_it_is_trusted() {
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
    fn so_is_the_standards_own_field() {
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
    fn a_field_that_the_proxy_did_not_write_wins_nothing() {
        let both = |one, other| client("10.0.0.1", "10.0.0.1", &[("x-forwarded-for", one), ("forwarded", other)]);
        assert_eq!(both("198.51.100.7", "for=198.51.100.7"), "198.51.100.7/32");
        assert_eq!(both("198.51.100.7", "for=203.0.113.9"), "10.0.0.1/32");
        assert_eq!(both("203.0.113.9", "for=198.51.100.7"), "10.0.0.1/32");
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for list in ["10.0.0.0/33", "localhost", "10.0.0.1 10.0.0.2", "*"] {
            assert!(list.parse::<TrustedProxies>().is_err(), "{list}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_client_sends_its_own_address_is_what_its_proxy_adds(forged in "[ -~]{0,60}", own: u32) {
            let own = std::net::Ipv4Addr::from_bits(own).to_string();
            prop_assume!(own != "127.0.0.1");
            let added = format!("{forged}, {own}");
            let as_one = client("127.0.0.1", "127.0.0.1", &[("x-forwarded-for", &added)]);
            prop_assert_eq!(as_one, format!("{own}/32"));
            let as_two = client("127.0.0.1", "127.0.0.1", &[("x-forwarded-for", &forged), ("x-forwarded-for", &own)]);
            prop_assert_eq!(as_two, format!("{own}/32"));
        }

        #[test]
        fn nothing_that_is_forwarded_can_panic(one in "\\PC{0,60}", other in "[a-z=,;:\"\\\\\\[\\]0-9. ]{0,60}") {
            client("::/0, 0.0.0.0/0", "10.0.0.1", &[("x-forwarded-for", &one), ("forwarded", &one)]);
            client("::/0, 0.0.0.0/0", "10.0.0.1", &[("x-forwarded-for", &other), ("forwarded", &other)]);
        }
    }
}
