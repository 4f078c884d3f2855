//! The origin of a peer, and the networks around it that may belong to one customer.

use std::net::{IpAddr, Ipv6Addr};

/// One host, as far as its address tells: an IPv4 address, or the first 64 bits of an IPv6 address,
/// which all addresses on one link share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin(IpAddr);

/// An origin, or a network around it that providers give to one customer (RFC 6177).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    prefix: IpAddr,
    bits: u8,
}

impl Origin {
    /// Returns the origin of a peer at `address`.
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => masked(address, 64),
            address => address,
        })
    }

    /// Returns the networks of this origin, the narrowest first: the address itself in IPv4; /64, /56 and
    /// /48 in IPv6.
    pub fn networks(self) -> impl DoubleEndedIterator<Item = Network> {
        let bits: &[u8] = if self.0.is_ipv4() { &[32] } else { &[64, 56, 48] };
        bits.iter().map(move |&bits| Network {
            prefix: match self.0 {
                IpAddr::V6(address) => masked(address, bits),
                address => address,
            },
            bits,
        })
    }
}

impl Network {
    /// Returns the number of links (/64) for which it counts. A wide network may contain more.
    pub fn links(self) -> u32 {
        match self.bits {
            48 => 16,
            56 => 4,
            _ => 1,
        }
    }
}

fn masked(address: Ipv6Addr, bits: u8) -> IpAddr {
    IpAddr::V6((address.to_bits() & (u128::MAX << (128 - bits))).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(address: &str) -> Origin {
        Origin::of(address.parse().expect("an address"))
    }

    #[test]
    fn a_network_of_ipv6_is_one_origin_and_a_mapped_address_is_that_of_ipv4() {
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
    }

    #[test]
    fn wider_networks_hold_neighbouring_origins() {
        let shared = |a: &str, b: &str| of(a).networks().filter(|n| of(b).networks().any(|m| m == *n)).count();
        assert_eq!(shared("2001:db8:1:2::", "2001:db8:1:2::9"), 3);
        assert_eq!(shared("2001:db8:1:2::", "2001:db8:1:3::"), 2);
        assert_eq!(shared("2001:db8:1:2::", "2001:db8:1:102::"), 1);
        assert_eq!(shared("2001:db8:1::", "2001:db8:2::"), 0);
        assert_eq!(of("10.0.0.1").networks().count(), 1);
    }
}
