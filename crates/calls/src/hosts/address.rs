//! Addresses of hosts in the public Internet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A range of addresses that have their first `bits` bits in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    first: IpAddr,
    bits: u32,
}

impl Range {
    /// `None` if an address of this family has fewer bits.
    pub fn new(first: IpAddr, bits: u32) -> Option<Range> {
        let most = if first.is_ipv4() { 32 } else { 128 };
        (bits <= most).then_some(Range { first, bits })
    }

    pub fn one(address: IpAddr) -> Range {
        Range { first: address, bits: if address.is_ipv4() { 32 } else { 128 } }
    }

    const fn v4(a: u8, b: u8, c: u8, bits: u32) -> Range {
        Range { first: IpAddr::V4(Ipv4Addr::new(a, b, c, 0)), bits }
    }

    const fn v6(a: u16, b: u16, c: u16, bits: u32) -> Range {
        Range { first: IpAddr::V6(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0)), bits }
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.first, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                (first.to_bits() ^ address.to_bits()).checked_shr(32 - self.bits).unwrap_or(0) == 0
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                (first.to_bits() ^ address.to_bits()).checked_shr(128 - self.bits).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// <https://www.iana.org/assignments/iana-ipv4-special-registry>
const NOT_PUBLIC_V4: &[Range] = &[
    Range::v4(0, 0, 0, 8),
    Range::v4(10, 0, 0, 8),
    Range::v4(100, 64, 0, 10),
    Range::v4(127, 0, 0, 8),
    Range::v4(169, 254, 0, 16),
    Range::v4(172, 16, 0, 12),
    Range::v4(192, 0, 0, 24),
    Range::v4(192, 0, 2, 24),
    Range::v4(192, 88, 99, 24),
    Range::v4(192, 168, 0, 16),
    Range::v4(198, 18, 0, 15),
    Range::v4(198, 51, 100, 24),
    Range::v4(203, 0, 113, 24),
    // Multicast, reserved, broadcast.
    Range::v4(224, 0, 0, 3),
    // A public address that belongs to the host of Azure's virtual machines.
    Range { first: IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)), bits: 32 },
];

/// The public addresses of IPv6, except for [`NOT_PUBLIC_V6`].
const GLOBAL_V6: Range = Range::v6(0x2000, 0, 0, 3);
/// Exceptions: <https://www.iana.org/assignments/iana-ipv6-special-registry>
const NOT_PUBLIC_V6: &[Range] = &[
    // Teredo, benchmarking and others.
    Range::v6(0x2001, 0, 0, 23),
    Range::v6(0x2001, 0xdb8, 0, 32),
    // 6to4.
    Range::v6(0x2002, 0, 0, 16),
    Range::v6(0x3fff, 0, 0, 20),
];

/// Addresses that are translated to the IPv4 address in their last 32 bits (NAT64).
const TRANSLATED: Range = Range::v6(0x64, 0xff9b, 0, 96);

/// Returns the address that a connection to `address` reaches: 127.0.0.1 for `::ffff:127.0.0.1`.
pub fn plain(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// True for the address of a single host in the public Internet.
pub fn is_public(address: IpAddr) -> bool {
    match plain(address) {
        IpAddr::V6(v6) if TRANSLATED.contains(v6.into()) => {
            is_public(Ipv4Addr::from_bits(v6.to_bits() as u32).into())
        }
        v6 @ IpAddr::V6(_) => GLOBAL_V6.contains(v6) && !NOT_PUBLIC_V6.iter().any(|range| range.contains(v6)),
        v4 => !NOT_PUBLIC_V4.iter().any(|range| range.contains(v4)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_addresses() {
        for public in [
            "1.1.1.1",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::1",
            "2a00::1",
            "::ffff:1.1.1.1",
            "64:ff9b::1.1.1.1",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn other_addresses() {
        for other in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::1.1.1.1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:0:127.0.0.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1.1.1.1",
            "100::1",
            "2001::1",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            "2001:2::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:101:101::",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(other.parse().unwrap()), "{other}");
        }
    }

    #[test]
    fn ranges() {
        let range = |first: &str, bits| Range::new(first.parse().unwrap(), bits).unwrap();
        let contains = |range: Range, address: &str| range.contains(address.parse().unwrap());
        assert!(contains(range("10.1.2.3", 8), "10.255.0.0") && !contains(range("10.0.0.0", 8), "11.0.0.0"));
        assert!(contains(range("0.0.0.0", 0), "9.9.9.9") && !contains(range("0.0.0.0", 0), "::1"));
        assert!(contains(range("::", 0), "ffff::") && contains(range("fd00::", 8), "fdff::1"));
        assert!(contains(range("10.0.0.1", 32), "10.0.0.1") && !contains(range("10.0.0.1", 32), "10.0.0.0"));
        assert!(Range::new("1.1.1.1".parse().unwrap(), 33).is_none());
    }
}
