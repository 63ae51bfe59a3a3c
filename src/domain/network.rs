//! The client network, by which requests are rate-limited.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A network by which clients are counted: an IPv4 address, or an IPv6 prefix.
///
/// A provider gives each customer an IPv6 /64 at least, and the customer can choose addresses from it at will.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// The network of a command on this machine.
    pub const LOCAL: Self = Self { address: IpAddr::V4(Ipv4Addr::LOCALHOST), prefix: 32 };

    /// Returns the network of a client: its IPv4 address, or its IPv6 /64.
    ///
    /// An IPv4-mapped IPv6 address (`::ffff:192.0.2.1`) is the IPv4 address.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self { address: address.into(), prefix: 32 },
            IpAddr::V6(address) => Self { address: address.into(), prefix: 128 }.truncated(64),
        }
    }

    /// Returns this network and the wider ones that count too: /56 and /48 of an IPv6 network. The widest comes last.
    ///
    /// A rented /48 has 65,536 networks of /64. Without the wider levels each would have quotas of its own.
    pub fn levels(self) -> Vec<Self> {
        match self.address {
            IpAddr::V4(_) => vec![self],
            IpAddr::V6(_) => vec![self, self.truncated(56), self.truncated(48)],
        }
    }

    /// Returns the network that shares one queue of the hasher: the IPv4 address, or the IPv6 /48.
    pub fn fairness_key(self) -> Self {
        match self.address {
            IpAddr::V4(_) => self,
            IpAddr::V6(_) => self.truncated(48),
        }
    }

    fn truncated(self, prefix: u8) -> Self {
        match self.address {
            IpAddr::V4(_) => self,
            IpAddr::V6(address) => {
                let mask = u128::MAX << (128 - prefix);
                Self { address: Ipv6Addr::from_bits(address.to_bits() & mask).into(), prefix }
            }
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn an_ipv6_network_is_counted_by_its_wider_prefixes_too() {
        let levels =
            |address: &str| Network::of(address.parse().unwrap()).levels().into_iter().map(|it| it.to_string());
        assert!(levels("192.0.2.1").eq(["192.0.2.1/32"]));
        assert!(levels("2001:db8:1:23ff::5").eq(["2001:db8:1:23ff::/64", "2001:db8:1:2300::/56", "2001:db8:1::/48"]));
        let key = |address: &str| Network::of(address.parse().unwrap()).fairness_key().to_string();
        assert_eq!(key("192.0.2.1"), "192.0.2.1/32");
        assert_eq!(key("2001:db8:1:23ff::5"), "2001:db8:1::/48");
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
