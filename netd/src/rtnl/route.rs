//! Routes, as far as they say which destinations are taken, and those of links' addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};

/// The table that routes are looked up in where no rule says otherwise (RT_TABLE_MAIN).
const MAIN_TABLE: u32 = 254;
/// The metric of IPv6 routes that the kernel makes with an address (IP6_RT_PRIO_ADDRCONF).
const ADDRESS_METRIC_V6: u32 = 256;

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
    /// The route that the kernel makes with an address of a link: to all that is on the
    /// link by the address. There is none where that is the address alone.
    #[must_use]
    pub fn of_address(index: u32, address: IpNetwork) -> Option<Self> {
        let is_v4 = address.is_ipv4();
        if address.prefix() == host_prefix(is_v4) {
            return None;
        }
        Some(Self {
            destination: IpNetwork::new(address.network(), address.prefix()).ok()?,
            link: Some(index),
            table: MAIN_TABLE,
            priority: if is_v4 { 0 } else { ADDRESS_METRIC_V6 },
            tos: 0,
        })
    }

    /// Whether the destination is one that every link has of its own, so that nobody takes
    /// it from another.
    #[must_use]
    pub fn is_link_local(&self) -> bool {
        super::address::is_link_local(self.destination.ip())
    }

    /// Whether the route stands for "everywhere else": the default route, and the
    /// two halves that VPN programs put in its place.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.destination.prefix() <= 1
    }

    /// Reads a route from a message; `None` for what says nothing that an address
    /// does not say as well (the entries that the kernel makes for each address), and for
    /// multicast.
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
        let one_host = destination.prefix() == host_prefix(ip.is_ipv4());
        // An entry of the kernel's for one such address.
        let nobodys = super::address::is_link_local(ip) && ip.is_ipv6() && one_host;
        let tells = match header.kind {
            RouteType::Unicast
            | RouteType::BlackHole
            | RouteType::Unreachable
            | RouteType::Prohibit
            | RouteType::Throw => !nobodys,
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

    /// Makes the route that belongs to an address, as the kernel would.
    /// What removes the route, by whatever gateway it leads.
    pub(super) fn removal(&self, index: u32) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.destination_prefix_length = self.destination.prefix();
        message.header.address_family = match self.destination {
            IpNetwork::V4(_) => AddressFamily::Inet,
            IpNetwork::V6(_) => AddressFamily::Inet6,
        };
        // For those that a byte cannot name.
        message.header.table = u8::try_from(self.table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC);
        message.attributes = vec![
            RouteAttribute::Table(self.table),
            RouteAttribute::Oif(index),
            RouteAttribute::Destination(match self.destination.network() {
                IpAddr::V4(network) => RouteAddress::Inet(network),
                IpAddr::V6(network) => RouteAddress::Inet6(network),
            }),
        ];
        message
    }

    pub(super) fn message(index: u32, address: IpNetwork) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.destination_prefix_length = address.prefix();
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.protocol = RouteProtocol::Kernel;
        message.header.kind = RouteType::Unicast;
        let attributes = &mut message.attributes;
        attributes.push(RouteAttribute::Oif(index));
        match (address.network(), address.ip()) {
            (IpAddr::V4(network), IpAddr::V4(ip)) => {
                message.header.address_family = AddressFamily::Inet;
                message.header.scope = RouteScope::Link;
                attributes.push(RouteAttribute::Destination(RouteAddress::Inet(network)));
                attributes.push(RouteAttribute::PrefSource(RouteAddress::Inet(ip)));
            }
            (IpAddr::V6(network), _) => {
                message.header.address_family = AddressFamily::Inet6;
                attributes.push(RouteAttribute::Destination(RouteAddress::Inet6(network)));
                attributes.push(RouteAttribute::Priority(ADDRESS_METRIC_V6));
            }
            // An address and its network are of one family.
            (IpAddr::V4(_), IpAddr::V6(_)) => {}
        }
        message
    }
}

fn host_prefix(is_v4: bool) -> u8 {
    if is_v4 { 32 } else { 128 }
}
