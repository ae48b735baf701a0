//! What a DHCP client sets on its link.

use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressMessage, AddressProtocol, AddressScope, CacheInfo,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope,
    RouteType,
};

use super::ADDRESS_PROTOCOL;

/// The lifetime that has no end (INFINITY_LIFE_TIME of linux/if_addr.h).
const FOREVER: u32 = u32::MAX;

/// An IPv4 address for a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseAddress {
    /// The address with the length of its subnet's prefix.
    pub address: Ipv4Network,
    /// The broadcast address, if it is not the last of the subnet.
    pub broadcast: Option<Ipv4Addr>,
    /// For how many seconds from now it is valid and preferred; for ever if `None`.
    pub seconds: Option<u32>,
    /// Whether it is marked as netd's.
    pub marked: bool,
}

/// A route by a link's lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeaseRoute {
    /// Where it leads, with no bits behind the prefix.
    pub destination: Ipv4Network,
    /// By which host; the destination is on the link itself if `None`.
    pub gateway: Option<Ipv4Addr>,
    /// Whether the gateway is on the link though no other route says so.
    pub onlink: bool,
    /// The address of this host that packets come from.
    pub source: Ipv4Addr,
    /// The metric: of several to one destination the least counts.
    pub metric: u32,
}

impl LeaseAddress {
    pub(super) fn message(&self, index: u32) -> AddressMessage {
        let ip = self.address.ip();
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.index = index;
        message.header.prefix_len = self.address.prefix();
        message.header.scope = if ip.is_link_local() {
            AddressScope::Link
        } else {
            AddressScope::Universe
        };
        let mut lifetime = CacheInfo::default();
        lifetime.ifa_valid = self.seconds.map_or(FOREVER, |seconds| seconds.max(1));
        lifetime.ifa_preferred = lifetime.ifa_valid;
        message.attributes = vec![
            AddressAttribute::Address(ip.into()),
            AddressAttribute::Local(ip.into()),
            AddressAttribute::CacheInfo(lifetime),
        ];
        if self.marked {
            let mark = AddressProtocol::Other(ADDRESS_PROTOCOL);
            message.attributes.push(AddressAttribute::Protocol(mark));
        }
        if self.address.prefix() < 31 {
            let broadcast = self.broadcast.unwrap_or_else(|| self.address.broadcast());
            let attribute = AddressAttribute::Broadcast(broadcast);
            message.attributes.push(attribute);
        }
        message
    }
}

impl LeaseRoute {
    pub(super) fn message(&self, index: u32) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        message.header.destination_prefix_length = self.destination.prefix();
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.protocol = RouteProtocol::Dhcp;
        message.header.kind = RouteType::Unicast;
        let attributes = &mut message.attributes;
        attributes.push(RouteAttribute::Oif(index));
        attributes.push(RouteAttribute::Priority(self.metric));
        let source = RouteAddress::Inet(self.source);
        attributes.push(RouteAttribute::PrefSource(source));
        if self.destination.prefix() > 0 {
            let destination = RouteAddress::Inet(self.destination.network());
            attributes.push(RouteAttribute::Destination(destination));
        }
        match self.gateway {
            Some(gateway) => {
                let gateway = RouteAddress::Inet(gateway);
                attributes.push(RouteAttribute::Gateway(gateway));
                if self.onlink {
                    message.header.flags |= RouteFlags::Onlink;
                }
            }
            None => message.header.scope = RouteScope::Link,
        }
        message
    }
}
