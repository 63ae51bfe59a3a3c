//! The client network, by which requests are rate-limited.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// An IPv4 address or an IPv6 /64. A provider assigns each customer at least a /64, from which the customer can use any
/// address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network(IpAddr);

impl Network {
    /// Returns the network of an address. An IPv4-mapped IPv6 address (`::ffff:192.0.2.1`) counts as the IPv4 address.
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => write!(f, "{address}/32"),
            IpAddr::V6(address) => write!(f, "{address}/64"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use proptest::prelude::*;

    fn network(address: &str) -> String {
        Network::of(address.parse().unwrap()).to_string()
    }

    #[test]
    fn network_is_the_ipv4_address_or_the_ipv6_64() {
        assert_eq!(network("192.0.2.1"), "192.0.2.1/32");
        assert_eq!(network("::ffff:192.0.2.1"), "192.0.2.1/32");
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        assert_eq!(network("::1"), "::/64");
    }

    proptest! {
        #[test]
        fn lower_half_of_an_ipv6_address_is_ignored(upper in 1_u64.., a: u64, b: u64) {
            let network = |lower: u64| Network::of(Ipv6Addr::from_bits(u128::from(upper) << 64 | u128::from(lower)).into());
            prop_assert_eq!(network(a), network(b));
            prop_assert_ne!(network(a), Network::of(Ipv6Addr::from_bits(u128::from(!upper) << 64).into()));
        }

        #[test]
        fn different_ipv4_addresses_are_different_networks(a: u32, b: u32) {
            let network = |address: u32| Network::of(Ipv4Addr::from_bits(address).into());
            prop_assert_eq!(network(a) == network(b), a == b);
        }
    }
}
