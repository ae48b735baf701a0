//! What the table says: its sets, chains and rules, as data.
//!
//! | chain | hook | what it does |
//! |---|---|---|
//! | `prerouting` | filter, -1000 | hands DHCP requests and router solicitations to netd; drops what a container must not send: DHCP for the host's own port or for other clients, sources that do not belong to its link, 127/8, redirects and router advertisements; and sources that a link invents faster than hosts come up |
//! | `forward` | filter | lets new flows into containers only from other containers, for published ports, or by the set `inbound_open`; holds back who looks for containers one address after the other |
//! | `postrouting` | nat, srcnat | masquerades what leaves our links for other ones |
//!
//! # Why new addresses are held back
//!
//! Each address that the host has an answer or a packet for costs an entry of the
//! kernel's neighbour table, 1024 of each family for all links together (`gc_thresh3`).
//! A link of /64 has no end of addresses, so one container could fill the table, and no
//! other, nor the uplink, would reach anybody new. Of each link, so many entries can be
//! made within the five seconds for which the kernel holds them at the least:
//!
//! | by | at once | a second | remembered | within 5 s |
//! |---|---|---|---|---|
//! | IPv4 sources of the link | 16 | 4 | as long as they send, and 2 min | 36, of a /28 13 |
//! | IPv6 sources of the link | 16 | 4 | 5 s | 36 |
//! | others' addresses that it sends to and that have not been heard of | 32 | 5 | 5 s | 57 |
//!
//! Addresses that are known (all sources that were heard of) cost nothing, so ordinary
//! traffic never meets a limit: the 13 IPv4 sources of a /28 may even come up at once, and
//! whoever is asked once a minute is known each time. A zone's members are known from the
//! start: their addresses are what netd gave them, so there are as many as there are machines.
//!
//! When a link ends, its elements are removed ([`super::Table::forget`]); what cannot be named ends
//! by its time.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use netlink_packet_netfilter::nftables::InetHookNumber;

use super::expr::{self, Code, Family, Limit, Transport};
use super::sets::{Elements, Kind, Ours, Set};

/// Set of link indices that new flows from outside may enter (`Inbound=yes`).
pub const INBOUND_OPEN: &str = "inbound_open";
/// Set of the ICMPv6 types that may come from `::`.
const FROM_UNSPECIFIED: &str = "icmpv6_from_unspecified";
/// Set of the ICMPv6 types that a container may not send us.
const NOT_FROM_CONTAINERS: &str = "icmpv6_of_routers";

/// Set of the IPv4 addresses that were heard of, by link.
pub(super) const IPV4_HOSTS: &str = "ipv4_hosts";
/// Set of the IPv6 addresses that were heard of, by link.
const IPV6_HOSTS: &str = "ipv6_hosts";
/// Set of the IPv4 addresses of zones' members, by the zone's bridge.
pub(super) const IPV4_MEMBERS: &str = "ipv4_members";
/// Set of the IPv6 addresses of zones' members, by the zone's bridge.
pub(super) const IPV6_MEMBERS: &str = "ipv6_members";
/// Set of the links that new IPv4 sources come from.
const NEW_IPV4_SOURCES: &str = "new_ipv4_sources";
/// Set of the links that new IPv6 sources come from.
const NEW_IPV6_SOURCES: &str = "new_ipv6_sources";
/// Set of the links that look for hosts which were not heard of.
const NEW_DESTINATIONS: &str = "new_destinations";

/// Set of the links that ask for addresses.
const DHCP_REQUESTS: &str = "dhcp_requests";

/// Set of the links that ask for a router.
const ROUTER_SOLICITATIONS: &str = "router_solicitations";

/// The sets whose elements are links that packets came from.
pub(super) const BY_LINK: [&str; 5] = [
    NEW_IPV4_SOURCES,
    NEW_IPV6_SOURCES,
    NEW_DESTINATIONS,
    DHCP_REQUESTS,
    ROUTER_SOLICITATIONS,
];

/// How many DHCP requests of a link are looked at: more than its server answers, and so
/// few that a flood of them costs netd next to nothing.
const DHCP_LIMIT: Limit = Limit {
    per_second: 250,
    burst: 100,
};
/// How many router solicitations of a link are looked at: more than are answered one by one,
/// so that where somebody floods all are answered together.
const SOLICITATION_LIMIT: Limit = Limit {
    per_second: 100,
    burst: 100,
};
/// How many sources of a link may come up, of each protocol.
const SOURCES_LIMIT: Limit = Limit {
    per_second: 4,
    burst: 16,
};
/// How many hosts that were not heard of a link may send to.
const DESTINATIONS_LIMIT: Limit = Limit {
    per_second: 5,
    burst: 32,
};
/// How long an address counts as known where a link can have any number of them.
const REMEMBERED: Duration = Duration::from_secs(5);
/// How long an IPv4 address counts as known after it was a source: there are few of them.
/// Longer than the minute at which most programs ask others whether they are well.
const IPV4_REMEMBERED: Duration = Duration::from_secs(2 * 60);
/// How long a link's limit is kept that is not in use, more than it takes to fill again.
const LIMIT_KEPT: Duration = Duration::from_secs(10);
/// Name of the chain that filters what containers send.
pub const PREROUTING: &str = "prerouting";
/// Name of the chain that filters what is forwarded to containers.
pub const FORWARD: &str = "forward";
/// Name of the chain that masquerades.
pub const POSTROUTING: &str = "postrouting";

/// UDP port of a DHCP server, RFC 2131 section 4.1.
const DHCP_SERVER_PORT: u16 = 67;
/// UDP port of a DHCP client, RFC 2131 section 4.1.
pub(super) const DHCP_CLIENT_PORT: u16 = 68;
/// UDP port of a DHCPv6 client, RFC 8415 section 7.2.
pub(super) const DHCPV6_CLIENT_PORT: u16 = 546;
/// ICMP Redirect, RFC 792.
const ICMP_REDIRECT: u8 = 5;
/// ICMPv6 Router Solicitation, RFC 4861 section 4.1.
const ROUTER_SOLICITATION: u8 = 133;
/// ICMPv6 Router Advertisement and Redirect, RFC 4861 sections 4.2 and 4.5.
pub(super) const ROUTER_TYPES: [u8; 2] = [134, 137];
/// What a host may send before it has an address: MLD report and done (RFC 2710, RFC
/// 3590), Router Solicitation and Neighbour Solicitation (RFC 4861 sections 4.1 and
/// 4.3), MLDv2 report (RFC 3810).
const UNSPECIFIED_TYPES: [u8; 5] = [131, 132, 133, 135, 143];

/// What a base chain does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChainType {
    Filter,
    Nat,
}

impl ChainType {
    pub fn name(self) -> &'static str {
        match self {
            ChainType::Filter => "filter",
            ChainType::Nat => "nat",
        }
    }
}

/// A base chain; its policy is accept.
#[derive(Debug, Clone)]
pub(super) struct Chain {
    pub name: &'static str,
    pub chain_type: ChainType,
    pub hook: InetHookNumber,
    pub priority: i32,
    pub rules: Vec<Rule>,
}

/// A rule and the sentence that nft shows with it.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub code: Code,
    pub comment: &'static str,
}

/// The whole table as it should be.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub sets: Vec<Set>,
    pub chains: Vec<Chain>,
}

impl Layout {
    /// The table for links of `group`, whose DHCP requests are logged to `dhcp_log`, with these
    /// elements of our own.
    pub fn new(group: u32, dhcp_log: Option<u16>, ours: &Ours) -> Layout {
        Layout {
            sets: vec![
                icmpv6_types(NOT_FROM_CONTAINERS, &ROUTER_TYPES),
                icmpv6_types(FROM_UNSPECIFIED, &UNSPECIFIED_TYPES),
                Set::ours(INBOUND_OPEN, Kind::Link, ours),
                Set::ours(IPV4_MEMBERS, Kind::LinkAndIpv4, ours),
                Set::ours(IPV6_MEMBERS, Kind::LinkAndIpv6, ours),
                of_packets(IPV4_HOSTS, Kind::LinkAndIpv4, IPV4_REMEMBERED),
                of_packets(IPV6_HOSTS, Kind::LinkAndIpv6, REMEMBERED),
                of_packets(NEW_IPV4_SOURCES, Kind::Link, LIMIT_KEPT),
                of_packets(NEW_IPV6_SOURCES, Kind::Link, LIMIT_KEPT),
                of_packets(NEW_DESTINATIONS, Kind::Link, LIMIT_KEPT),
                of_packets(DHCP_REQUESTS, Kind::Link, LIMIT_KEPT),
                of_packets(ROUTER_SOLICITATIONS, Kind::Link, LIMIT_KEPT),
            ],
            chains: vec![
                prerouting(group, dhcp_log),
                forward(group),
                postrouting(group),
            ],
        }
    }
}

/// A link index as an element of [`INBOUND_OPEN`].
pub(super) fn link_element(index: u32) -> Vec<u8> {
    index.to_ne_bytes().to_vec()
}

/// An address of a link as an element of [`IPV4_HOSTS`] and [`IPV4_MEMBERS`].
pub(super) fn host_element(index: u32, address: Ipv4Addr) -> Vec<u8> {
    [index.to_ne_bytes(), address.octets()].concat()
}

/// An address of a link as an element of [`IPV6_HOSTS`] and [`IPV6_MEMBERS`].
pub(super) fn host_element_v6(index: u32, address: Ipv6Addr) -> Vec<u8> {
    [index.to_ne_bytes().as_slice(), &address.octets()].concat()
}

pub(super) fn icmpv6_types(name: &'static str, types: &[u8]) -> Set {
    Set {
        name,
        kind: Kind::Icmpv6Type,
        elements: Elements::Constant(types.iter().map(|&number| vec![number]).collect()),
    }
}

fn of_packets(name: &'static str, kind: Kind, remembered: Duration) -> Set {
    Set {
        name,
        kind,
        elements: Elements::OfPackets(remembered),
    }
}

pub(super) fn rule(comment: &'static str, parts: impl IntoIterator<Item = Code>) -> Rule {
    Rule {
        code: parts.into_iter().flatten().collect(),
        comment,
    }
}

/// Ahead of connection tracking: what is dropped here costs no entry. And ahead of
/// everybody's rules, so that none keeps a container from its address.
fn prerouting(group: u32, dhcp_log: Option<u16>) -> Chain {
    let v4 = || expr::family(Family::V4);
    let v6 = || expr::family(Family::V6);
    let drop = expr::count_and_drop;
    let icmpv6 = || expr::transport(Transport::Icmpv6);
    Chain {
        name: PREROUTING,
        chain_type: ChainType::Filter,
        hook: InetHookNumber::PreRouting,
        priority: -1000,
        rules: vec![
            rule(
                "not from a container",
                [expr::not_from_group(group), expr::accept()],
            ),
            rule(
                "too many DHCP requests",
                [
                    v4(),
                    expr::transport(Transport::Udp),
                    expr::destination_port(DHCP_SERVER_PORT),
                    expr::incoming_link_is_over(DHCP_LIMIT, DHCP_REQUESTS),
                    drop(),
                ],
            ),
            // netd has seen it. Without this a client that renews by unicast gets an
            // ICMP error, as no UDP socket listens.
            rule(
                "DHCP is served ahead of the firewall",
                [
                    v4(),
                    expr::transport(Transport::Udp),
                    expr::destination_port(DHCP_SERVER_PORT),
                    dhcp_log.map(expr::log_to).unwrap_or_default(),
                    drop(),
                ],
            ),
            // Of all the answers that reach a client, the host's are the only ones.
            rule(
                "no container serves DHCP",
                [
                    v4(),
                    expr::transport(Transport::Udp),
                    expr::destination_port(DHCP_CLIENT_PORT),
                    drop(),
                ],
            ),
            rule(
                "no container serves DHCP",
                [
                    v6(),
                    expr::transport(Transport::Udp),
                    expr::destination_port(DHCPV6_CLIENT_PORT),
                    drop(),
                ],
            ),
            rule(
                "too many router solicitations",
                [
                    v6(),
                    icmpv6(),
                    expr::icmp_type(ROUTER_SOLICITATION),
                    expr::incoming_link_is_over(SOLICITATION_LIMIT, ROUTER_SOLICITATIONS),
                    drop(),
                ],
            ),
            // No rule of others keeps netd from hearing it.
            rule(
                "router solicitation",
                [
                    v6(),
                    icmpv6(),
                    expr::icmp_type(ROUTER_SOLICITATION),
                    dhcp_log.map(expr::log_to).unwrap_or_default(),
                ],
            ),
            rule(
                "loopback of the host",
                [v4(), expr::ipv4_destination_net8(127), drop()],
            ),
            rule(
                "redirect from a container",
                [
                    v4(),
                    expr::transport(Transport::Icmp),
                    expr::icmp_type(ICMP_REDIRECT),
                    drop(),
                ],
            ),
            rule(
                "router advertisement or redirect from a container",
                [
                    v6(),
                    icmpv6(),
                    expr::icmp_type_in(NOT_FROM_CONTAINERS),
                    drop(),
                ],
            ),
            // The kernel's look-up answers for some packets without an address of
            // their own as if they had a route, which depends on its version; so say it.
            rule(
                "a host that has no address yet",
                [
                    v6(),
                    expr::ipv6_source_unspecified(),
                    icmpv6(),
                    expr::icmp_type_in(FROM_UNSPECIFIED),
                    expr::accept(),
                ],
            ),
            rule(
                "no source address",
                [v6(), expr::ipv6_source_unspecified(), drop()],
            ),
            rule(
                "no source address",
                [v4(), expr::ipv4_source_net8(0), drop()],
            ),
            rule(
                "forged source address",
                [expr::source_has_no_route_back(), drop()],
            ),
            rule(
                "member of a zone",
                [v4(), expr::ipv4_source_in(IPV4_MEMBERS), expr::accept()],
            ),
            rule(
                "member of a zone",
                [v6(), expr::ipv6_source_in(IPV6_MEMBERS), expr::accept()],
            ),
            rule(
                "known source",
                [
                    v4(),
                    expr::ipv4_source_in(IPV4_HOSTS),
                    expr::keep_ipv4_source(IPV4_HOSTS),
                    expr::accept(),
                ],
            ),
            rule(
                "too many new sources",
                [
                    v4(),
                    expr::incoming_link_is_over(SOURCES_LIMIT, NEW_IPV4_SOURCES),
                    drop(),
                ],
            ),
            rule("new source", [v4(), expr::add_ipv4_source(IPV4_HOSTS)]),
            rule(
                "known source",
                [v6(), expr::ipv6_source_in(IPV6_HOSTS), expr::accept()],
            ),
            rule(
                "too many new sources",
                [
                    v6(),
                    expr::incoming_link_is_over(SOURCES_LIMIT, NEW_IPV6_SOURCES),
                    drop(),
                ],
            ),
            rule("new source", [v6(), expr::add_ipv6_source(IPV6_HOSTS)]),
        ],
    }
}

fn forward(group: u32) -> Chain {
    let v4 = || expr::family(Family::V4);
    let v6 = || expr::family(Family::V6);
    let between = || expr::from_group(group);
    Chain {
        name: FORWARD,
        chain_type: ChainType::Filter,
        hook: InetHookNumber::Forward,
        priority: 0,
        rules: vec![
            rule(
                "not to a container",
                [expr::not_to_group(group), expr::accept()],
            ),
            rule(
                "answers",
                [
                    expr::ct_state_any(expr::CT_ESTABLISHED_OR_RELATED),
                    expr::accept(),
                ],
            ),
            rule(
                "to a member of a zone",
                [
                    between(),
                    v4(),
                    expr::ipv4_destination_in(IPV4_MEMBERS),
                    expr::accept(),
                ],
            ),
            rule(
                "to a member of a zone",
                [
                    between(),
                    v6(),
                    expr::ipv6_destination_in(IPV6_MEMBERS),
                    expr::accept(),
                ],
            ),
            rule(
                "between containers",
                [
                    between(),
                    v4(),
                    expr::ipv4_destination_in(IPV4_HOSTS),
                    expr::accept(),
                ],
            ),
            rule(
                "between containers",
                [
                    between(),
                    v6(),
                    expr::ipv6_destination_in(IPV6_HOSTS),
                    expr::accept(),
                ],
            ),
            rule(
                "too many unknown hosts",
                [
                    between(),
                    expr::incoming_link_is_over(DESTINATIONS_LIMIT, NEW_DESTINATIONS),
                    expr::count_and_drop(),
                ],
            ),
            // Remembered, so that who only listens can be sent to at any rate.
            rule(
                "unknown host",
                [
                    between(),
                    v4(),
                    expr::add_ipv4_destination(IPV4_HOSTS, REMEMBERED),
                ],
            ),
            rule(
                "unknown host",
                [
                    between(),
                    v6(),
                    expr::add_ipv6_destination(IPV6_HOSTS, REMEMBERED),
                ],
            ),
            rule("between containers", [between(), expr::accept()]),
            rule(
                "published ports",
                [expr::ct_status_any(expr::CT_DNAT), expr::accept()],
            ),
            rule(
                "Inbound=yes",
                [expr::to_link_in(INBOUND_OPEN), expr::accept()],
            ),
            rule("not published", [expr::count_and_drop()]),
        ],
    }
}

fn postrouting(group: u32) -> Chain {
    Chain {
        name: POSTROUTING,
        chain_type: ChainType::Nat,
        hook: InetHookNumber::PostRouting,
        priority: 100,
        rules: vec![rule(
            "from a container to the outside",
            [
                expr::from_group(group),
                expr::not_to_group(group),
                expr::masquerade(),
            ],
        )],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_rules_does_not_depend_on_the_links() {
        let count = |open: std::ops::Range<u32>| {
            let open = open.map(link_element).collect();
            Layout::new(1, Some(1), &Ours::from([(INBOUND_OPEN, open)]))
                .chains
                .iter()
                .map(|chain| chain.rules.len())
                .sum::<usize>()
        };
        assert_eq!(count(0..0), count(2..4000));
    }
}
