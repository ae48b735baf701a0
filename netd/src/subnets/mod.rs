//! Which subnet the link of a machine or of a zone has.
//!
//! Each keeps its subnets. New ones are looked for from a place that the
//! name gives, and taken if nothing of the host overlaps them.

mod owner;
mod store;

use std::hash::Hasher;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use registry::HostId;
use siphasher::sip::SipHasher24;

pub use owner::{Owner, OwnerError};
pub use store::{StoreError, SubnetStore, parse_file, write};

/// Length of the prefix of a veth's IPv4 subnet.
pub const VETH_PREFIX: u8 = 28;
/// Length of the prefix of a zone's IPv4 subnet.
pub const ZONE_PREFIX: u8 = 24;
/// Length of the prefix of a link's IPv6 subnet (RFC 4291, section 2.5.4).
pub const IPV6_PREFIX: u8 = 64;
/// How many candidates of a pool are tried.
const CANDIDATES: u32 = 64;

/// The subnets of a machine's link. The host has the first address of each,
/// `host0` the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnets {
    /// The IPv4 subnet; none where no pool had one to spare.
    pub v4: Option<Ipv4Network>,
    /// The IPv6 subnet, of unique local addresses (RFC 4193).
    pub v6: Option<Ipv6Network>,
}

/// Where subnets are taken from.
#[derive(Clone, Debug)]
pub struct Pools {
    /// IPv4 pools, in the order in which they are tried.
    pub v4: Vec<Ipv4Network>,
    /// What is never taken.
    pub exclude: Vec<IpNetwork>,
}

impl Default for Pools {
    fn default() -> Self {
        let pool = |ip, prefix| Ipv4Network::new(ip, prefix).ok();
        Self {
            v4: [
                pool(Ipv4Addr::new(192, 168, 0, 0), 16),
                pool(Ipv4Addr::new(172, 16, 0, 0), 12),
                pool(Ipv4Addr::new(10, 0, 0, 0), 8),
            ]
            .into_iter()
            .flatten()
            .collect(),
            exclude: Vec::new(),
        }
    }
}

impl Subnets {
    /// The host's addresses on the link.
    pub fn host(&self) -> impl Iterator<Item = IpNetwork> {
        self.nth(1)
    }

    /// The container's addresses on the link.
    pub fn container(&self) -> impl Iterator<Item = IpNetwork> {
        self.nth(2)
    }

    /// Both subnets.
    pub fn prefixes(&self) -> impl Iterator<Item = IpNetwork> {
        self.nth(0)
    }

    fn nth(&self, n: u8) -> impl Iterator<Item = IpNetwork> {
        let v4 = self.v4.and_then(|subnet| {
            let ip = Ipv4Addr::from(u32::from(subnet.network()) + u32::from(n));
            Ipv4Network::new(ip, subnet.prefix())
                .ok()
                .map(IpNetwork::V4)
        });
        let v6 = self.v6.and_then(|subnet| {
            let ip = Ipv6Addr::from(u128::from(subnet.network()) + u128::from(n));
            Ipv6Network::new(ip, subnet.prefix())
                .ok()
                .map(IpNetwork::V6)
        });
        v4.into_iter().chain(v6)
    }
}

impl Pools {
    /// The IPv4 subnets with a prefix of this length that may be `owner`'s, best first.
    pub fn candidates_v4(&self, owner: &Owner, prefix: u8) -> impl Iterator<Item = Ipv4Network> {
        let hash = hash_of(owner.file_name().as_bytes());
        let prefix = prefix.clamp(1, 32);
        let large_enough = self.v4.iter().filter(move |pool| pool.prefix() <= prefix);
        large_enough.flat_map(move |pool| {
            let bits = prefix.saturating_sub(pool.prefix()).min(31);
            let count = 1_u32 << bits;
            (0..CANDIDATES.min(count)).filter_map(move |probe| {
                let at = (hash as u32).wrapping_add(probe) % count;
                let network = u32::from(pool.network()).checked_add(at << (32 - prefix))?;
                Ipv4Network::new(network.into(), prefix).ok()
            })
        })
    }

    /// The IPv6 subnets that may be `owner`'s, best first: a global id from the
    /// host, a subnet id from the name (RFC 4193, section 3.1).
    pub fn candidates_v6(
        host: &HostId,
        owner: &Owner,
    ) -> impl Iterator<Item = Ipv6Network> + use<> {
        let global = u128::from(hash_of(host.as_bytes()) & ((1 << 40) - 1));
        let hash = hash_of(owner.file_name().as_bytes());
        (0..CANDIDATES).filter_map(move |probe| {
            let id = u128::from((hash as u16).wrapping_add(probe as u16));
            let network = 0xfd << 120 | global << 80 | id << 64;
            Ipv6Network::new(network.into(), IPV6_PREFIX).ok()
        })
    }

    /// Whether a prefix is never to be taken.
    #[must_use]
    pub fn excludes(&self, prefix: IpNetwork) -> bool {
        self.exclude
            .iter()
            .any(|excluded| match (excluded, prefix) {
                (IpNetwork::V4(a), IpNetwork::V4(b)) => a.overlaps(b),
                (IpNetwork::V6(a), IpNetwork::V6(b)) => a.overlaps(b),
                _ => false,
            })
    }
}

/// Whether hosts can have the addresses of a network that begins here.
#[must_use]
pub fn is_for_hosts(network: Ipv4Addr) -> bool {
    let [first, ..] = network.octets();
    (1..240).contains(&first)
        && !network.is_loopback()
        && !network.is_link_local()
        && !network.is_multicast()
}

fn hash_of(bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher24::new_with_keys(0x7273_7061_776e_2d73, 0x7562_6e65_7473_2d31);
    hasher.write(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_host_is_first_and_the_container_second() {
        let subnets = Subnets {
            v4: Some("192.168.7.16/28".parse().unwrap()),
            v6: Some("fd12:3456:789a:1::/64".parse().unwrap()),
        };
        let texts = |addresses: &mut dyn Iterator<Item = IpNetwork>| {
            addresses
                .map(|address| address.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            texts(&mut subnets.host()),
            ["192.168.7.17/28", "fd12:3456:789a:1::1/64"]
        );
        assert_eq!(
            texts(&mut subnets.container()),
            ["192.168.7.18/28", "fd12:3456:789a:1::2/64"]
        );
    }

    #[test]
    fn a_pool_smaller_than_the_candidates_gives_each_once() {
        let pools = Pools {
            v4: vec!["10.0.0.0/26".parse().unwrap()],
            exclude: Vec::new(),
        };
        let mut all: Vec<_> = pools.candidates_v4(&"web".parse().unwrap(), 28).collect();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 4);
    }

    proptest! {
        #[test]
        fn candidates_of_any_size_lie_in_the_pools_that_hold_them(
            name in "[a-z0-9]{1,40}",
            prefix in 8..=30u8,
            small in 8..=28u8,
        ) {
            let name: Owner = name.parse().unwrap();
            let mut pools = Pools::default();
            pools.v4.push(Ipv4Network::new([100, 64, 0, 0].into(), small.max(10)).unwrap());
            for subnet in pools.candidates_v4(&name, prefix) {
                prop_assert_eq!((subnet.prefix(), subnet.ip()), (prefix, subnet.network()));
                let holds = |pool: &Ipv4Network| pool.prefix() <= prefix && pool.contains(subnet.ip());
                prop_assert!(pools.v4.iter().any(holds));
            }
        }

        #[test]
        fn candidates_lie_in_their_pools(name in "[a-z0-9]{1,40}", id: [u8; 16]) {
            let name: Owner = name.parse().unwrap();
            let pools = Pools::default();
            let v4: Vec<_> = pools.candidates_v4(&name, VETH_PREFIX).collect();
            prop_assert_eq!(v4.len(), 192);
            for (subnet, pool) in v4.chunks(64).zip(&pools.v4) {
                prop_assert!(subnet.iter().all(|s| s.prefix() == 28 && pool.contains(s.network())));
            }
            for subnet in Pools::candidates_v6(&HostId::from_bytes(id), &name) {
                prop_assert_eq!(subnet.ip().octets()[0], 0xfd);
                prop_assert_eq!(subnet.network(), subnet.ip());
            }
        }
    }
}
