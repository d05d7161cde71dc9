//! What kind of place an IP address is. Decided on the address itself, never on a name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Who is meant to be reached by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    Public,
    /// Loopback, and networks that the public one does not lead to.
    Private,
    /// Link-local, multicast, unspecified and the like, and the metadata services of clouds: nothing that the hub does for
    /// others leads there.
    Reserved,
}

pub fn class(address: IpAddr) -> Class {
    match address {
        IpAddr::V4(address) => class_v4(address),
        IpAddr::V6(address) => class_v6(address),
    }
}

fn class_v4(address: Ipv4Addr) -> Class {
    match address.octets() {
        // Metadata and host services of clouds that lie outside the link-local range: Alibaba, Oracle, Azure.
        [100, 100, 100, 200] | [192, 0, 0, 192] | [168, 63, 129, 16] => Class::Reserved,
        // "This network", link-local (most clouds' metadata), multicast, reserved and broadcast.
        [0, ..] | [169, 254, ..] | [224..=255, ..] => Class::Reserved,
        // Loopback, RFC 1918, shared address space (RFC 6598), protocol assignments, benchmarking.
        [127 | 10, ..]
        | [172, 16..=31, ..]
        | [192, 168, ..]
        | [100, 64..=127, ..]
        | [192, 0, 0, _]
        | [198, 18..=19, ..] => Class::Private,
        _ => Class::Public,
    }
}

fn class_v6(address: Ipv6Addr) -> Class {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        class_v4(Ipv4Addr::new(a, b, c, d))
    };
    match (a, b, c, d, e, f) {
        _ if address == Ipv6Addr::LOCALHOST => Class::Private,
        // Mapped, compatible, translated (RFC 2765): an IPv4 address in other clothes. This holds `::` too.
        (0, 0, 0, 0, 0, 0xffff | 0) | (0, 0, 0, 0, 0xffff, 0) => v4(g, h),
        // NAT64 (RFC 6052) and its local prefix (RFC 8215): at least private, for it leads where the gateway does.
        (0x64, 0xff9b, 0, 0, 0, 0) => v4(g, h),
        (0x64, 0xff9b, 1, ..) => v4(g, h).max(Class::Private),
        // 6to4 (RFC 3056).
        (0x2002, ..) => v4(b, c),
        // Metadata services: Amazon's fd00:ec2::/32, Google's fd20:ce::254.
        (0xfd00, 0x0ec2, ..) | (0xfd20, 0x00ce, ..) => Class::Reserved,
        // Link-local, multicast, discard.
        (0xfe80..=0xfebf, ..) | (0xff00..=0xffff, ..) | (0x100, 0, 0, 0, ..) => Class::Reserved,
        // Unique local; site-local (deprecated, still routed by some).
        (0xfc00..=0xfdff, ..) | (0xfec0..=0xfeff, ..) => Class::Private,
        _ => Class::Public,
    }
}
