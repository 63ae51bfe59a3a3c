//! Trusted reverse proxies: which client a forwarded request comes from.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::{Arc, Once};

use ipnet::IpNet;
use poem::http::{HeaderMap, HeaderName, header};
use thiserror::Error;
use tracing::warn;

use crate::domain::network::Network;

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
        let client_in = |field: &HeaderName, parse: fn(&[u8]) -> Vec<Option<IpAddr>>| {
            let lines = headers.get_all(field).iter().rev();
            self.first_untrusted(peer, lines.flat_map(|line| parse(line.as_bytes())))
        };
        let x_forwarded_for = client_in(&X_FORWARDED_FOR, parse_x_forwarded_for);
        let forwarded = client_in(&header::FORWARDED, parse_forwarded);
        // A proxy writes one of the headers, mostly X-Forwarded-For. The client may have forged the other.
        if x_forwarded_for.is_some() && forwarded.is_some() && x_forwarded_for != forwarded {
            static LOGGED: Once = Once::new();
            LOGGED.call_once(|| {
                warn!(
                    "a trusted proxy sent X-Forwarded-For and Forwarded with different clients; X-Forwarded-For counts; let the \
                     proxy delete the header that it does not write"
                );
            });
        }
        Network::of(x_forwarded_for.or(forwarded).unwrap_or(peer))
    }

    /// Returns the rightmost address that is not a trusted proxy, or the leftmost address if all are trusted. `None` if
    /// there are no addresses. `hops` begins with the rightmost element.
    fn first_untrusted(&self, peer: IpAddr, hops: impl Iterator<Item = Option<IpAddr>>) -> Option<IpAddr> {
        let mut last = None;
        for hop in hops {
            let Some(address) = hop else {
                return Some(last.unwrap_or(peer));
            };
            last = Some(address);
            if !self.trusts(address) {
                break;
            }
        }
        last
    }

    pub(super) fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Parses one line of `X-Forwarded-For`, from the right. An element that is not an address gives `None`.
fn parse_x_forwarded_for(line: &[u8]) -> Vec<Option<IpAddr>> {
    line.rsplit(|octet| *octet == b',').filter(|element| !is_empty(element)).map(parse_node).collect()
}

/// Parses one line of `Forwarded`, from the right: the parameter `for` of every element. An element without one address
/// gives `None`.
fn parse_forwarded(line: &[u8]) -> Vec<Option<IpAddr>> {
    let parse_element = |element: &[u8]| {
        let (pairs, Quotes::Balanced) = split_from_right(element, b';') else {
            return None;
        };
        let mut nodes = pairs.into_iter().filter(|_| element.is_ascii()).filter_map(|pair| {
            let at = pair.iter().position(|octet| *octet == b'=')?;
            let (name, value) = (&pair[..at], &pair[at + 1..]);
            name.trim_ascii().eq_ignore_ascii_case(b"for").then(|| value.trim_ascii())
        });
        let (Some(node), None) = (nodes.next(), nodes.next()) else {
            return None;
        };
        parse_node(node)
    };
    split_from_right(line, b',').0.into_iter().filter(|element| !is_empty(element)).map(parse_element).collect()
}

/// Whether an element of a list is empty. Such elements do not count (RFC 9110, section 5.6.1.2).
fn is_empty(element: &[u8]) -> bool {
    element.trim_ascii().is_empty()
}

/// Whether every quoted string of a text begins and ends.
enum Quotes {
    Balanced,
    Unbalanced,
}

/// Splits at separators outside of quoted strings (RFC 9110, section 5.6.4). The first part is the rightmost.
///
/// It reads from the right, because a proxy appends its element to what the client sent: a quote that the client opens and
/// does not close must not hide the proxy's element.
fn split_from_right(text: &[u8], separator: u8) -> (Vec<&[u8]>, Quotes) {
    let (mut parts, mut end, mut quoted) = (vec![], text.len(), false);
    for (at, octet) in text.iter().enumerate().rev() {
        if *octet == b'"' {
            // Inside of a quoted string, an odd number of backslashes escapes the quote.
            let backslashes = text[..at].iter().rev().take_while(|octet| **octet == b'\\').count();
            quoted = !quoted || backslashes % 2 == 1;
        } else if *octet == separator && !quoted {
            parts.push(&text[at + 1..end]);
            end = at;
        }
    }
    parts.push(&text[..end]);
    (parts, if quoted { Quotes::Unbalanced } else { Quotes::Balanced })
}

/// Parses an address that may be quoted.
fn parse_node(text: &[u8]) -> Option<IpAddr> {
    let text = text.trim_ascii();
    parse_address(text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\"")).unwrap_or(text))
}

/// Parses an address with or without a port. IPv6 addresses may have brackets.
fn parse_address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim();
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
        assert_eq!(follow("198.51.100.7, ,"), "198.51.100.7/32");
        assert_eq!(follow("\"[2001:db9::1]:4711\""), "2001:db9::/64");
        for nonsense in ["", ",", "unknown", "198.51.100.7, nobody", "198.51.100.7, caf\u{e9}", "1.2.3.4.5"] {
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

    fn client_of_octets(name: &'static str, value: &[u8]) -> String {
        let trusted: TrustedProxies = "10.0.0.0/8".parse().unwrap();
        let headers = HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap())]);
        trusted.client_network("10.0.0.1".parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn an_invalid_element_spoils_only_itself_and_the_elements_to_its_left() {
        for forged in
            [&b"caf\xe9"[..], "caf\u{e9}".as_bytes(), b"\xff\xfe", b"\"", b"\"a", b"a\\\"", b"1.2.3.4\"", b"\\"]
        {
            let shown = String::from_utf8_lossy(forged);
            let line = |last: &str| [b"203.0.113.9, ", forged, b", ", last.as_bytes()].concat();
            let header = "x-forwarded-for";
            assert_eq!(client_of_octets(header, &line("198.51.100.7")), "198.51.100.7/32", "{shown}");
            assert_eq!(client_of_octets(header, &line("198.51.100.7, 10.0.0.2")), "198.51.100.7/32", "{shown}");
            assert_eq!(client_of_octets(header, &line("10.0.0.2")), "10.0.0.2/32", "{shown}");

            for parameter in ["for=", "host=", "for=1.2.3.4;host=", "by=x;for=", "for=\"a,b\";host="] {
                let line =
                    |last: &str| [b"for=203.0.113.9, ", parameter.as_bytes(), forged, b", ", last.as_bytes()].concat();
                let follow = |last: &str| client_of_octets("forwarded", &line(last));
                assert_eq!(follow("for=198.51.100.7"), "198.51.100.7/32", "{parameter}{shown}");
                assert_eq!(follow("for=198.51.100.7, for=10.0.0.2"), "198.51.100.7/32", "{parameter}{shown}");
                assert_eq!(
                    follow("for=\"[2001:db8::1]:4711\";host=\"a\\\",b\""),
                    "2001:db8::/64",
                    "{parameter}{shown}"
                );
            }
        }
        // The element itself gives no address, even if one of its parameters does.
        for spoiled in [&b"for=198.51.100.7;host=\"a"[..], b"a\";for=198.51.100.7", b"for=198.51.100.7;host=caf\xe9"] {
            assert_eq!(client_of_octets("forwarded", spoiled), "10.0.0.1/32", "{}", String::from_utf8_lossy(spoiled));
        }
    }

    #[test]
    fn x_forwarded_for_counts_if_the_headers_contradict_each_other() {
        let both = |one, other| client("10.0.0.1", "10.0.0.1", &[("x-forwarded-for", one), ("forwarded", other)]);
        assert_eq!(both("198.51.100.7", "for=198.51.100.7"), "198.51.100.7/32");
        for forged in ["for=203.0.113.9", "for=unknown", "proto=https", "for=\"", ""] {
            assert_eq!(both("198.51.100.7", forged), "198.51.100.7/32", "{forged}");
        }
        assert_eq!(both("", "for=198.51.100.7"), "198.51.100.7/32");
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
        fn no_forged_octet_hides_the_element_that_the_proxy_appends(
            forged in proptest::collection::vec(prop_oneof![Just(b'"'), Just(b'\\'), Just(b','), 0x20..=0x7e_u8, 0x80..=0xff_u8], 0..40),
            v4: u32,
            v6: u128,
        ) {
            let v4 = std::net::Ipv4Addr::from_bits(v4 | 0x8000_0000).to_string();
            let v6 = std::net::Ipv6Addr::from_bits(v6 | 1 << 127);
            let line = |added: &str| [&forged[..], b", ", added.as_bytes()].concat();
            let network_of = |address: IpAddr| Network::of(address).to_string();
            let v4_network = format!("{v4}/32");
            prop_assert_eq!(&client_of_octets("x-forwarded-for", &line(&v4)), &v4_network);
            prop_assert_eq!(&client_of_octets("forwarded", &line(&format!("for={v4}"))), &v4_network);
            prop_assert_eq!(&client_of_octets("forwarded", &line(&format!("for=\"{v4}:80\";proto=http"))), &v4_network);
            let v6_network = network_of(v6.into());
            prop_assert_eq!(&client_of_octets("x-forwarded-for", &line(&v6.to_string())), &v6_network);
            prop_assert_eq!(&client_of_octets("forwarded", &line(&format!("for=\"[{v6}]:80\""))), &v6_network);
        }

        #[test]
        fn parsing_any_forwarding_header_does_not_panic(one in "\\PC{0,60}", other in "[a-z=,;:\"\\\\\\[\\]0-9. ]{0,60}") {
            client("::/0, 0.0.0.0/0", "10.0.0.1", &[("x-forwarded-for", &one), ("forwarded", &one)]);
            client("::/0, 0.0.0.0/0", "10.0.0.1", &[("x-forwarded-for", &other), ("forwarded", &other)]);
        }
    }
}
