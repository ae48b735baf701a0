//! What the table of the bridge family says: what a zone's member must not send to another.
//!
//! A frame from one port of a bridge to another never meets the table of the host. So this
//! one, ahead of everybody's rules for bridges, drops what a member sends in the name of
//! another or of the host: frames from its Ethernet address, ARP and neighbour advertisements
//! for its addresses, packets from them; and what only the host is to say: DHCP to clients,
//! router advertisements, redirects. Further addresses of its own a member may have.
//!
//! It is about the ports of zones whose members netd knows ([`PORTS`]); of all other bridges
//! of the host it accepts everything.

use netlink_packet_netfilter::nftables::InetHookNumber;

use super::expr::{self, Claim, Transport};
use super::rules::{
    self, Chain, ChainType, DHCP_CLIENT_PORT, DHCPV6_CLIENT_PORT, Layout, PREROUTING, ROUTER_TYPES,
    Rule, rule,
};
use super::sets::{Kind, Ours, Set};

/// Set of the ports that members are behind, by interface index.
pub(super) const PORTS: &str = "ports";
/// Set of the Ethernet addresses that are somebody's.
pub(super) const TAKEN_MACS: &str = "taken_macs";
/// Set of the same, by the port that they are to come from.
pub(super) const OWN_MACS: &str = "own_macs";
/// Set of the IPv4 addresses that netd has given somebody, and the host's.
pub(super) const TAKEN_IPV4: &str = "taken_ipv4";
/// Set of the same, by the port that they are to come from.
pub(super) const OWN_IPV4: &str = "own_ipv4";
/// Set of the IPv6 addresses that netd has given somebody, and the host's.
pub(super) const TAKEN_IPV6: &str = "taken_ipv6";
/// Set of the same, by the port that they are to come from.
pub(super) const OWN_IPV6: &str = "own_ipv6";
/// Set of the ICMPv6 types that none but the host may send.
const OF_ROUTERS: &str = "icmpv6_of_routers";

const IPV4: u16 = libc::ETH_P_IP as u16;
const IPV6: u16 = libc::ETH_P_IPV6 as u16;
const ARP: u16 = libc::ETH_P_ARP as u16;
/// A VLAN's tag, and a provider's (IEEE 802.1Q).
const TAG: u16 = libc::ETH_P_8021Q as u16;
const SERVICE_TAG: u16 = libc::ETH_P_8021AD as u16;
/// Neighbour Advertisement (RFC 4861, section 4.4).
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;

impl Layout {
    /// The table of the bridge family with these elements.
    pub fn of_bridges(ours: &Ours) -> Layout {
        Layout {
            sets: vec![
                rules::icmpv6_types(OF_ROUTERS, &ROUTER_TYPES),
                Set::ours(PORTS, Kind::Link, ours),
                Set::ours(TAKEN_MACS, Kind::Mac, ours),
                Set::ours(OWN_MACS, Kind::LinkAndMac, ours),
                Set::ours(TAKEN_IPV4, Kind::Ipv4, ours),
                Set::ours(OWN_IPV4, Kind::LinkAndIpv4, ours),
                Set::ours(TAKEN_IPV6, Kind::Ipv6, ours),
                Set::ours(OWN_IPV6, Kind::LinkAndIpv6, ours),
            ],
            chains: vec![prerouting()],
        }
    }
}

/// Before the bridge learns from the frame where its sender is.
fn prerouting() -> Chain {
    Chain {
        name: PREROUTING,
        chain_type: ChainType::Filter,
        hook: InetHookNumber::PreRouting,
        priority: -1000,
        rules: vec![
            rule(
                "not from a member",
                [expr::not_from_link_in(PORTS), expr::accept()],
            ),
            tagged(TAG),
            tagged(SERVICE_TAG),
            forged(
                "another's Ethernet address",
                &[],
                expr::ETHERNET_SOURCE,
                (OWN_MACS, TAKEN_MACS),
            ),
            forged(
                "ARP for another",
                &[expr::ether_type(ARP)],
                expr::ARP_SENDER,
                (OWN_IPV4, TAKEN_IPV4),
            ),
            forged(
                "another's address",
                &[expr::ether_type(IPV4)],
                expr::IPV4_SENDER,
                (OWN_IPV4, TAKEN_IPV4),
            ),
            forged(
                "another's address",
                &[expr::ether_type(IPV6)],
                expr::IPV6_SENDER,
                (OWN_IPV6, TAKEN_IPV6),
            ),
            forged(
                "neighbour advertisement for another",
                &[
                    expr::ether_type(IPV6),
                    expr::transport(Transport::Icmpv6),
                    expr::icmp_type(NEIGHBOUR_ADVERTISEMENT),
                ],
                expr::ADVERTISED,
                (OWN_IPV6, TAKEN_IPV6),
            ),
            served(IPV4, DHCP_CLIENT_PORT),
            served(IPV6, DHCPV6_CLIENT_PORT),
            rule(
                "router advertisement or redirect from a member",
                [
                    expr::ether_type(IPV6),
                    expr::transport(Transport::Icmpv6),
                    expr::icmp_type_in(OF_ROUTERS),
                    expr::count_and_drop(),
                ],
            ),
        ],
    }
}

/// The kernel takes one tag off a frame before this; what is still behind one here could not
/// be looked into, and whoever gets it takes that off, too.
fn tagged(protocol: u16) -> Rule {
    rule(
        "tagged twice",
        [expr::ether_type(protocol), expr::count_and_drop()],
    )
}

/// Drops what claims to be from somebody else.
fn forged(
    comment: &'static str,
    of: &[expr::Code],
    claim: Claim,
    (own, taken): (&str, &str),
) -> Rule {
    let parts = of.iter().cloned();
    rule(
        comment,
        parts.chain([expr::is_anothers(claim, own, taken), expr::count_and_drop()]),
    )
}

fn served(protocol: u16, port: u16) -> Rule {
    rule(
        "no member serves DHCP",
        [
            expr::ether_type(protocol),
            expr::transport(Transport::Udp),
            expr::destination_port(port),
            expr::count_and_drop(),
        ],
    )
}
