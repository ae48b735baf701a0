//! Which addresses a zone's members are to have.

use std::hash::Hasher;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use ipnetwork::{Ipv4Network, Ipv6Network};
use registry::{Mac, MachineName};
use siphasher::sip::SipHasher24;

/// How many are tried at most, of a subnet that is wider than any zone has members.
const CANDIDATES: u32 = 1 << 16;
const HASH_KEY: (u64, u64) = (0x7273_7061_776e_2d6d, 0x656d_6265_722d_7631);

/// The addresses that may be a member's, best first: beginning at a place that its name
/// gives, all of the subnet but the host's and what is kept for clients that netd does not
/// know.
pub fn member_addresses(
    subnet: Ipv4Network,
    dynamic: &RangeInclusive<Ipv4Addr>,
    name: &MachineName,
) -> impl Iterator<Item = Ipv4Addr> + use<> {
    let first = u32::from(subnet.network()).saturating_add(2);
    let end = u32::from(subnet.broadcast()).max(first);
    // What lies before those for others, and what lies behind them.
    let left = u32::from(*dynamic.start()).clamp(first, end);
    let right = u32::from(*dynamic.end()).saturating_add(1).clamp(left, end);
    let count = (left - first) + (end - right);
    let mut hasher = SipHasher24::new_with_keys(HASH_KEY.0, HASH_KEY.1);
    hasher.write(name.as_bytes());
    let start = hasher.finish() as u32;
    (0..count.min(CANDIDATES)).map(move |probe| {
        let offset = (u64::from(start) + u64::from(probe)) % u64::from(count);
        let address = first + offset as u32;
        Ipv4Addr::from(if address < left {
            address
        } else {
            address + (right - left)
        })
    })
}

/// Whether an address may be a member's.
#[must_use]
pub fn is_member_address(
    subnet: Ipv4Network,
    dynamic: &RangeInclusive<Ipv4Addr>,
    address: Ipv4Addr,
) -> bool {
    let first = u32::from(subnet.network()).saturating_add(2);
    (first..u32::from(subnet.broadcast())).contains(&u32::from(address))
        && !dynamic.contains(&address)
}

/// A member's address in an IPv6 subnet: the one that it would give itself there by its
/// Ethernet address (RFC 4291, appendix A). Nothing where the subnet has no room for that.
#[must_use]
pub fn member_address_v6(subnet: Ipv6Network, mac: Mac) -> Option<Ipv6Addr> {
    let [a, b, c, d, e, f] = mac.0;
    let id = u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
    let network = u128::from(subnet.network());
    (subnet.prefix() <= 64).then(|| (network | u128::from(id)).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_member_has_in_ipv6_what_it_would_give_itself() {
        let subnet = "fd12:3456:789a:1::/64".parse().unwrap();
        let mac = Mac([0x02, 0x11, 0x22, 0x33, 0x44, 0x55]);
        let address = member_address_v6(subnet, mac).unwrap();
        assert_eq!(address.to_string(), "fd12:3456:789a:1:11:22ff:fe33:4455");
        let narrow = "fd12:3456:789a:1::/120".parse().unwrap();
        assert_eq!(member_address_v6(narrow, mac), None);
    }

    proptest! {
        #[test]
        fn each_address_comes_once_and_is_a_hosts(
            name in "[a-z0-9]{1,40}",
            prefix in 20..=30u8,
            offset in 1..200u32,
        ) {
            let name: MachineName = name.parse().unwrap();
            let subnet = Ipv4Network::new([10, 1, 0, 0].into(), prefix).unwrap();
            let base = u32::from(subnet.network());
            let dynamic = Ipv4Addr::from(base + offset)..=Ipv4Addr::from(base + offset + 9);
            let all: Vec<_> = member_addresses(subnet, &dynamic, &name).collect();
            let fitting = subnet.iter().filter(|ip| is_member_address(subnet, &dynamic, *ip));
            prop_assert_eq!(all.len(), fitting.count());
            let mut once = all.clone();
            once.sort();
            once.dedup();
            prop_assert_eq!(once.len(), all.len());
            for address in all {
                prop_assert!(subnet.contains(address) && !dynamic.contains(&address));
                prop_assert!(u32::from(address) > base + 1 && address < subnet.broadcast());
            }
        }
    }
}
