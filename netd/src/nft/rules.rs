//! What the table says: its sets, chains and rules, as data.
//!
//! | chain | hook | what it does |
//! |---|---|---|
//! | `prerouting` | filter, raw | drops what a container must not send: DHCP for the host's own port, sources that do not belong to its link, 127/8, redirects and router advertisements |
//! | `forward` | filter | lets new flows into containers only from other containers, for published ports, or by the set `inbound_open` |
//! | `postrouting` | nat, srcnat | masquerades what leaves our links for other ones |

use std::collections::BTreeSet;

use netlink_packet_netfilter::nftables::InetHookNumber;

use super::expr::{self, Code, Family, Transport};

/// Set of link indices that new flows from outside may enter (`Inbound=yes`).
pub const INBOUND_OPEN: &str = "inbound_open";
/// Set of the ICMPv6 types that may come from `::`.
const FROM_UNSPECIFIED: &str = "icmpv6_from_unspecified";
/// Set of the ICMPv6 types that a container may not send us.
const NOT_FROM_CONTAINERS: &str = "icmpv6_of_routers";

/// Name of the chain that filters what containers send.
pub const PREROUTING: &str = "prerouting";
/// Name of the chain that filters what is forwarded to containers.
pub const FORWARD: &str = "forward";
/// Name of the chain that masquerades.
pub const POSTROUTING: &str = "postrouting";

/// UDP port of a DHCP server, RFC 2131 section 4.1.
const DHCP_SERVER_PORT: u16 = 67;
/// ICMP Redirect, RFC 792.
const ICMP_REDIRECT: u8 = 5;
/// ICMPv6 Router Advertisement and Redirect, RFC 4861 sections 4.2 and 4.5.
const ROUTER_TYPES: [u8; 2] = [134, 137];
/// What a host may send before it has an address: MLD report and done (RFC 2710, RFC
/// 3590), Router Solicitation and Neighbour Solicitation (RFC 4861 sections 4.1 and
/// 4.3), MLDv2 report (RFC 3810).
const UNSPECIFIED_TYPES: [u8; 5] = [131, 132, 133, 135, 143];

/// What the elements of a set are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Types of ICMPv6 messages, a byte each.
    Icmpv6Type,
    /// Link indices, 32 bits in the host's byte order.
    Link,
}

impl Kind {
    /// Number of the type by which the program nft shows the elements; the kernel keeps
    /// it without looking.
    pub fn shown_as(self) -> u32 {
        match self {
            Kind::Icmpv6Type => 29,
            Kind::Link => 20,
        }
    }

    /// Length of an element in bytes.
    pub fn length(self) -> u32 {
        match self {
            Kind::Icmpv6Type => 1,
            Kind::Link => 4,
        }
    }

    /// The elements are in the host's byte order.
    pub fn host_order(self) -> bool {
        self == Kind::Link
    }
}

/// A named set.
#[derive(Debug, Clone)]
pub(super) struct Set {
    pub name: &'static str,
    pub kind: Kind,
    /// The elements never change.
    pub constant: bool,
    pub elements: BTreeSet<Vec<u8>>,
}

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
    /// The table for links of `group`, with these link indices open to the outside.
    pub fn new(group: u32, inbound_open: &BTreeSet<u32>) -> Layout {
        Layout {
            sets: vec![
                icmpv6_types(NOT_FROM_CONTAINERS, &ROUTER_TYPES),
                icmpv6_types(FROM_UNSPECIFIED, &UNSPECIFIED_TYPES),
                Set {
                    name: INBOUND_OPEN,
                    kind: Kind::Link,
                    constant: false,
                    elements: inbound_open
                        .iter()
                        .map(|&index| link_element(index))
                        .collect(),
                },
            ],
            chains: vec![prerouting(group), forward(group), postrouting(group)],
        }
    }
}

/// A link index as an element of [`INBOUND_OPEN`].
pub(super) fn link_element(index: u32) -> Vec<u8> {
    index.to_ne_bytes().to_vec()
}

fn icmpv6_types(name: &'static str, types: &[u8]) -> Set {
    Set {
        name,
        kind: Kind::Icmpv6Type,
        constant: true,
        elements: types.iter().map(|&number| vec![number]).collect(),
    }
}

fn rule(comment: &'static str, parts: impl IntoIterator<Item = Code>) -> Rule {
    Rule {
        code: parts.into_iter().flatten().collect(),
        comment,
    }
}

/// At priority raw, before connection tracking: what is dropped here costs no entry.
fn prerouting(group: u32) -> Chain {
    let v4 = || expr::family(Family::V4);
    let v6 = || expr::family(Family::V6);
    let drop = expr::count_and_drop;
    let icmpv6 = || expr::transport(Transport::Icmpv6);
    Chain {
        name: PREROUTING,
        chain_type: ChainType::Filter,
        hook: InetHookNumber::PreRouting,
        priority: -300,
        rules: vec![
            rule(
                "not from a container",
                [expr::not_from_group(group), expr::accept()],
            ),
            // The packet socket has seen it. Without this a client that renews by
            // unicast gets an ICMP error, as no UDP socket listens.
            rule(
                "DHCP is served ahead of the firewall",
                [
                    v4(),
                    expr::transport(Transport::Udp),
                    expr::destination_port(DHCP_SERVER_PORT),
                    drop(),
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
        ],
    }
}

fn forward(group: u32) -> Chain {
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
                "between containers",
                [expr::from_group(group), expr::accept()],
            ),
            rule(
                "answers",
                [
                    expr::ct_state_any(expr::CT_ESTABLISHED_OR_RELATED),
                    expr::accept(),
                ],
            ),
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
        let count = |open: &BTreeSet<u32>| {
            Layout::new(1, open)
                .chains
                .iter()
                .map(|chain| chain.rules.len())
                .sum::<usize>()
        };
        assert_eq!(count(&BTreeSet::new()), count(&(2..4000).collect()));
    }
}
