//! Who is on a zone's bridge, as elements of the tables' sets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use registry::Mac;

use super::bridge_rules::{
    OWN_IPV4, OWN_IPV6, OWN_MACS, PORTS, TAKEN_IPV4, TAKEN_IPV6, TAKEN_MACS,
};
use super::rules::{self, IPV4_MEMBERS, IPV6_MEMBERS};
use super::sets::Ours;
use super::socket::Family;

/// A member of a zone, or the host on the zone's bridge: what it has is nobody else's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Station {
    /// Interface index of the zone's bridge.
    pub bridge: u32,
    /// Interface index of the bridge's port that it is behind; none for the host.
    pub port: Option<u32>,
    /// Its Ethernet address.
    pub mac: Mac,
    /// The addresses that it was given.
    pub addresses: Vec<IpAddr>,
}

/// Those who come and those who go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Who is there from now on.
    pub come: Vec<Station>,
    /// Who was there until now.
    pub gone: Vec<Station>,
}

impl Changes {
    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.come.is_empty() && self.gone.is_empty()
    }
}

/// The sets whose elements are stations, which the next netd takes over.
pub(super) fn sets_of(family: Family) -> &'static [&'static str] {
    match family {
        Family::Inet => &[IPV4_MEMBERS, IPV6_MEMBERS],
        Family::Bridge => &[
            PORTS, TAKEN_MACS, OWN_MACS, TAKEN_IPV4, OWN_IPV4, TAKEN_IPV6, OWN_IPV6,
        ],
    }
}

/// What stations are in the table of this family.
pub(super) fn elements_of(family: Family, stations: &[Station]) -> Ours {
    let mut elements = Ours::new();
    for station in stations {
        let mut add = |set, element| {
            elements.entry(set).or_default().insert(element);
        };
        match family {
            Family::Inet => as_members(station, &mut add),
            Family::Bridge => as_claims(station, &mut add),
        }
    }
    elements
}

fn as_members(station: &Station, add: &mut impl FnMut(&'static str, Vec<u8>)) {
    if station.port.is_none() {
        return;
    }
    for address in &station.addresses {
        match address {
            IpAddr::V4(ip) => add(IPV4_MEMBERS, rules::host_element(station.bridge, *ip)),
            IpAddr::V6(ip) => add(IPV6_MEMBERS, rules::host_element_v6(station.bridge, *ip)),
        }
    }
    let own = link_local(station.mac);
    add(IPV6_MEMBERS, rules::host_element_v6(station.bridge, own));
}

fn as_claims(station: &Station, add: &mut impl FnMut(&'static str, Vec<u8>)) {
    // What is the host's comes from no port.
    let port = station.port.unwrap_or(station.bridge);
    if let Some(port) = station.port {
        add(PORTS, rules::link_element(port));
    }
    let mac = station.mac.0;
    add(TAKEN_MACS, mac.to_vec());
    // Filled up to whole words.
    let own = [port.to_ne_bytes().as_slice(), &mac, &[0; 2]].concat();
    add(OWN_MACS, own);
    let local = IpAddr::V6(link_local(station.mac));
    for address in station.addresses.iter().copied().chain([local]) {
        match address {
            IpAddr::V4(ip) => {
                add(TAKEN_IPV4, Ipv4Addr::octets(&ip).to_vec());
                add(OWN_IPV4, rules::host_element(port, ip));
            }
            IpAddr::V6(ip) => {
                add(TAKEN_IPV6, ip.octets().to_vec());
                add(OWN_IPV6, rules::host_element_v6(port, ip));
            }
        }
    }
}

/// The link-local address that a station gives itself by its Ethernet address (RFC 4291,
/// appendix A). One that it makes up in another way is like any further address of its own.
fn link_local(mac: Mac) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    let id = u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
    (0xfe80 << 112 | u128::from(id)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_addresses_come_from_no_port() {
        let host = Station {
            bridge: 7,
            port: None,
            mac: Mac([2, 0, 0, 0, 0, 1]),
            addresses: vec!["10.0.0.1".parse().unwrap()],
        };
        let bridge = elements_of(Family::Bridge, std::slice::from_ref(&host));
        assert!(!bridge.contains_key(PORTS));
        assert_eq!(bridge[TAKEN_IPV4].len(), 1);
        assert_eq!(bridge[TAKEN_IPV6].len(), 1);
        assert!(elements_of(Family::Inet, &[host]).is_empty());
    }

    #[test]
    fn a_link_local_address_follows_from_the_mac() {
        let ip = link_local(Mac([0x02, 0x11, 0x22, 0x33, 0x44, 0x55]));
        assert_eq!(ip.to_string(), "fe80::11:22ff:fe33:4455");
    }
}
