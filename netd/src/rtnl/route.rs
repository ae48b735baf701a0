//! Routes, as far as they say which destinations are taken.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};

/// A route of any table that says where a destination is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Route {
    /// Destination, its host bits zero.
    pub destination: IpNetwork,
    /// Outgoing link, of the first next hop where there are several.
    pub link: Option<u32>,
    /// Routing table.
    pub table: u32,
    /// Metric.
    pub priority: u32,
    /// Type of service.
    pub tos: u8,
}

impl Route {
    /// Whether the route stands for "everywhere else": the default route, and the
    /// two halves that VPN programs put in its place.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.destination.prefix() <= 1
    }

    /// Reads a route from a message; `None` for what says nothing that an address
    /// does not say as well (the entries that the kernel makes for each address),
    /// and for multicast.
    pub(super) fn from_message(message: &RouteMessage) -> Option<Self> {
        let header = &message.header;
        let any: IpAddr = match header.address_family {
            AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
            AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
            _ => return None,
        };
        let (mut ip, mut link, mut priority) = (any, None, 0);
        let mut table = u32::from(header.table);
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Destination(RouteAddress::Inet(to)) => ip = (*to).into(),
                RouteAttribute::Destination(RouteAddress::Inet6(to)) => ip = (*to).into(),
                RouteAttribute::Oif(index) => link = Some(*index),
                RouteAttribute::Priority(value) => priority = *value,
                RouteAttribute::Table(value) => table = *value,
                RouteAttribute::MultiPath(hops) => {
                    link = hops.first().map(|hop| hop.interface_index);
                }
                _ => {}
            }
        }
        let destination = IpNetwork::new(ip, header.destination_prefix_length).ok()?;
        let one_host = destination.prefix() == if ip.is_ipv4() { 32 } else { 128 };
        let link_local = super::address::is_link_local(ip);
        let tells = match header.kind {
            RouteType::Unicast
            | RouteType::BlackHole
            | RouteType::Unreachable
            | RouteType::Prohibit
            | RouteType::Throw => !link_local,
            RouteType::Local => !one_host,
            _ => false,
        };
        tells.then_some(Self {
            destination,
            link,
            table,
            priority,
            tos: header.tos,
        })
    }
}
