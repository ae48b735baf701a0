//! Addresses of links.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressFlags, AddressMessage, AddressProtocol, AddressScope,
};

/// The value of IFA_PROTO by which netd knows the addresses that it set.
pub const ADDRESS_PROTOCOL: u8 = 0x72;

/// An address of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkAddress {
    /// Interface index.
    pub index: u32,
    /// The address, with the length of its subnet's prefix.
    pub address: IpNetwork,
    /// Whether netd set it.
    pub ours: bool,
    /// Whether it may be used for what comes from elsewhere: of global scope, not
    /// link-local, not tentative, not deprecated.
    pub usable: bool,
}

impl LinkAddress {
    /// Reads an address from a message.
    pub(crate) fn from_message(message: &AddressMessage) -> Option<Self> {
        let (mut local, mut remote, mut flags) = (None, None, AddressFlags::empty());
        let mut ours = false;
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Local(ip) => local = Some(*ip),
                AddressAttribute::Address(ip) => remote = Some(*ip),
                AddressAttribute::Flags(value) => flags = *value,
                AddressAttribute::Protocol(value) => {
                    ours = *value == AddressProtocol::Other(ADDRESS_PROTOCOL);
                }
                _ => {}
            }
        }
        // IPv6 names only IFA_ADDRESS; for a point-to-point IPv4 address that is
        // the other end.
        let ip: IpAddr = local.or(remote)?;
        let waiting = AddressFlags::Tentative | AddressFlags::Deprecated | AddressFlags::Dadfailed;
        Some(Self {
            index: message.header.index,
            address: IpNetwork::new(ip, message.header.prefix_len).ok()?,
            ours,
            usable: message.header.scope == AddressScope::Universe
                && !flags.intersects(waiting)
                && !is_link_local(ip),
        })
    }
}

/// Whether an address counts on its link alone (RFC 3927, RFC 4291 section 2.5.6).
pub(crate) fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}
