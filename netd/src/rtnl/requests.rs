//! Changes of links, their addresses and routes.
//!
//! The kernel carries out a request within `send()`: nothing here waits, and many
//! requests cost one call. It answers only what it refuses, so that silence is success.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use ipnetwork::IpNetwork;
use netlink_packet_core::{
    DefaultNla, NLA_F_NESTED, NLM_F_APPEND, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST,
    NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressProtocol,
    AddressScope,
};
use rtnetlink::packet_route::link::{
    AfSpecInet, AfSpecUnspec, LinkAttribute, LinkFlags, LinkMessage, Prop,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::net::SendFlags;
use rustix::net::netlink::SocketAddrNetlink;

use super::{ADDRESS_PROTOCOL, LeaseAddress, LeaseRoute, Route, RtnlError};
use crate::netlink::{self, DATAGRAM_MAX};

/// Changes the host's links.
#[derive(Debug)]
pub struct Requests {
    socket: OwnedFd,
    buffer: Vec<u8>,
    sequence: u32,
}

/// A change of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Remove it.
    Delete,
    /// Set it up.
    SetUp,
    /// Set it down.
    SetDown,
    /// Give it this maximum transmission unit, in bytes.
    SetMtu(u32),
    /// Make it a port of the bridge with this interface index; of none by 0.
    Join(u32),
    /// Give it another name.
    Rename(String),
    /// Take its alternative names.
    RemoveAltnames(Vec<String>),
    /// Add an address, marked as netd's; one that is there already is updated.
    AddAddress(IpNetwork),
    /// Remove an address.
    RemoveAddress(IpNetwork),
    /// Add the route that the kernel makes with an address, to the address's subnet.
    AddRoute(IpNetwork),
    /// Remove a route that leads to it.
    RemoveRoute(Route),
    /// Give it an address for a time, or another time to one that it has.
    Lease(LeaseAddress),
    /// Add a route of a lease, in place of one to the same destination with its metric.
    AddLeaseRoute(LeaseRoute),
    /// Remove such a route.
    RemoveLeaseRoute(LeaseRoute),
    /// Set IPv4 parameters (`/proc/sys/net/ipv4/conf/LINK`), by their names.
    SetIpv4Parameters(Vec<(&'static str, u32)>),
}

impl Requests {
    /// Opens the socket for requests, in the caller's network namespace.
    ///
    /// # Errors
    /// [`RtnlError::Open`].
    pub fn new() -> Result<Self, RtnlError> {
        Ok(Self {
            socket: super::monitor::open().map_err(RtnlError::Open)?,
            buffer: vec![0; DATAGRAM_MAX],
            sequence: 0,
        })
    }

    /// Changes a link, one request after the other, whether or not those before it
    /// could be carried out. Gives the requests that failed, by their place.
    pub fn carry_out(&mut self, index: u32, requests: &[Request]) -> Vec<(usize, RtnlError)> {
        if requests.is_empty() {
            return Vec::new();
        }
        crate::operations::count(|done| &done.link_changes, requests.len());
        let first = self.sequence.wrapping_add(1);
        let mut bytes = Vec::with_capacity(256);
        for request in requests {
            self.sequence = self.sequence.wrapping_add(1);
            netlink::append(&mut bytes, self.sequence, request.message(index));
        }
        let failed = |place: usize, source| {
            let request = requests.get(place)?;
            Some((place, request.failed(index, source)))
        };
        match self.send(&bytes) {
            Err(error) => {
                let raw = error.raw_os_error();
                let again =
                    || raw.map_or_else(|| error.kind().into(), io::Error::from_raw_os_error);
                let all = 0..requests.len();
                all.filter_map(|place| failed(place, again())).collect()
            }
            Ok(refused) => refused
                .into_iter()
                .filter_map(|(sequence, source)| {
                    let place = usize::try_from(sequence.wrapping_sub(first)).ok()?;
                    failed(place, source)
                })
                .collect(),
        }
    }

    /// Sends requests, and gives the sequence numbers of those that were refused.
    fn send(&mut self, bytes: &[u8]) -> io::Result<Vec<(u32, io::Error)>> {
        let kernel = SocketAddrNetlink::new(0, 0);
        let sent = rustix::net::sendto(&self.socket, bytes, SendFlags::empty(), &kernel)?;
        if sent != bytes.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let mut refused = Vec::new();
        while let Some(datagram) = netlink::receive(self.socket.as_fd(), &mut self.buffer)? {
            for message in datagram.messages() {
                let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(message)
                else {
                    continue;
                };
                if let NetlinkPayload::Error(error) = message.payload
                    && error.code.is_some()
                {
                    refused.push((message.header.sequence_number, error.to_io()));
                }
            }
        }
        Ok(refused)
    }
}

impl Request {
    fn message(&self, index: u32) -> NetlinkMessage<RouteNetlinkMessage> {
        let (inner, flags) = match self {
            Self::Delete => {
                let mut link = LinkMessage::default();
                link.header.index = index;
                (RouteNetlinkMessage::DelLink(link), 0)
            }
            Self::SetUp => (
                set_link(index, |link| {
                    link.header.flags = LinkFlags::Up;
                    link.header.change_mask = LinkFlags::Up;
                }),
                0,
            ),
            Self::SetDown => (
                set_link(index, |link| {
                    link.header.change_mask = LinkFlags::Up;
                }),
                0,
            ),
            Self::SetMtu(mtu) => (
                set_link(index, |link| {
                    link.attributes.push(LinkAttribute::Mtu(*mtu));
                }),
                0,
            ),
            Self::Join(bridge) => (
                set_link(index, |link| {
                    link.attributes.push(LinkAttribute::Controller(*bridge));
                }),
                0,
            ),
            Self::Rename(name) => (
                set_link(index, |link| {
                    link.attributes.push(LinkAttribute::IfName(name.clone()));
                }),
                0,
            ),
            Self::RemoveAltnames(names) => {
                let props = names.iter().cloned().map(Prop::AltIfName).collect();
                let mut link = LinkMessage::default();
                link.header.index = index;
                link.attributes.push(LinkAttribute::PropList(props));
                (RouteNetlinkMessage::DelLinkProp(link), 0)
            }
            Self::SetIpv4Parameters(parameters) => (
                set_link(index, |link| {
                    let conf = AfSpecInet::Other(ipv4_conf(parameters));
                    let families = vec![AfSpecUnspec::Inet(vec![conf])];
                    link.attributes.push(LinkAttribute::AfSpecUnspec(families));
                }),
                0,
            ),
            Self::AddAddress(address) => (
                RouteNetlinkMessage::NewAddress(marked(address_message(index, *address))),
                NLM_F_CREATE | NLM_F_REPLACE,
            ),
            Self::AddRoute(address) => (
                RouteNetlinkMessage::NewRoute(Route::message(index, *address)),
                // As the kernel does, which looks for none but the very same.
                NLM_F_CREATE | NLM_F_APPEND,
            ),
            Self::RemoveRoute(route) => (RouteNetlinkMessage::DelRoute(route.removal(index)), 0),
            Self::RemoveAddress(address) => (
                RouteNetlinkMessage::DelAddress(address_message(index, *address)),
                0,
            ),
            Self::Lease(lease) => (
                RouteNetlinkMessage::NewAddress(lease.message(index)),
                NLM_F_CREATE | NLM_F_REPLACE,
            ),
            Self::AddLeaseRoute(route) => (
                RouteNetlinkMessage::NewRoute(route.message(index)),
                NLM_F_CREATE | NLM_F_REPLACE,
            ),
            Self::RemoveLeaseRoute(route) => {
                (RouteNetlinkMessage::DelRoute(route.message(index)), 0)
            }
        };
        let mut message = NetlinkMessage::from(inner);
        message.header.flags = NLM_F_REQUEST | flags;
        message
    }

    fn failed(&self, index: u32, source: io::Error) -> RtnlError {
        let link = |what| {
            move |source| RtnlError::Link {
                what,
                index,
                source,
            }
        };
        match self {
            Self::Delete => link("remove")(source),
            Self::SetUp => link("set up")(source),
            Self::SetDown => link("set down")(source),
            Self::SetMtu(_) => link("set the MTU of")(source),
            Self::Join(_) => link("make a port of")(source),
            Self::Rename(_) => link("rename")(source),
            Self::SetIpv4Parameters(_) => link("set IPv4 parameters of")(source),
            Self::RemoveAltnames(_) => link("take the altnames of")(source),
            Self::AddAddress(address) => address_failed("add", *address)(index, source),
            Self::RemoveAddress(address) => address_failed("remove", *address)(index, source),
            Self::Lease(lease) => {
                address_failed("set", IpNetwork::V4(lease.address))(index, source)
            }
            Self::AddLeaseRoute(route) => {
                address_failed("add the route to", IpNetwork::V4(route.destination))(index, source)
            }
            Self::RemoveLeaseRoute(route) => {
                let destination = IpNetwork::V4(route.destination);
                address_failed("remove the route to", destination)(index, source)
            }
            Self::AddRoute(address) => address_failed("add the route of", *address)(index, source),
            Self::RemoveRoute(route) => {
                address_failed("remove the route of", route.destination)(index, source)
            }
        }
    }
}

fn address_failed(
    what: &'static str,
    address: IpNetwork,
) -> impl FnOnce(u32, io::Error) -> RtnlError {
    move |index, source| RtnlError::Address {
        what,
        address,
        index,
        source,
    }
}

fn set_link(index: u32, change: impl FnOnce(&mut LinkMessage)) -> RouteNetlinkMessage {
    let mut link = LinkMessage::default();
    link.header.index = index;
    change(&mut link);
    RouteNetlinkMessage::SetLink(link)
}

/// The parameters as nested attributes, named by their numbers (IPV4_DEVCONF_* of
/// linux/ip.h).
fn ipv4_conf(parameters: &[(&'static str, u32)]) -> DefaultNla {
    const IFLA_INET_CONF: u16 = 1;
    let mut value = Vec::with_capacity(parameters.len() * 8);
    for (name, parameter) in parameters {
        if let Some(number) = ipv4_parameter_number(name) {
            value.extend(8_u16.to_ne_bytes());
            value.extend(number.to_ne_bytes());
            value.extend(parameter.to_ne_bytes());
        }
    }
    DefaultNla::new(IFLA_INET_CONF | NLA_F_NESTED, value)
}

fn ipv4_parameter_number(name: &str) -> Option<u16> {
    Some(match name {
        "forwarding" => 1,
        "proxy_arp" => 3,
        "accept_redirects" => 4,
        "send_redirects" => 6,
        "rp_filter" => 8,
        "accept_source_route" => 9,
        "arp_filter" => 13,
        "arp_accept" => 21,
        "accept_local" => 23,
        "route_localnet" => 26,
        _ => return None,
    })
}

fn address_message(index: u32, address: IpNetwork) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = index;
    message.header.prefix_len = address.prefix();
    message.header.scope = AddressScope::Universe;
    let ip = address.ip();
    message.attributes.push(AddressAttribute::Address(ip));
    message.header.family = match address {
        IpNetwork::V4(v4) => {
            message.attributes.push(AddressAttribute::Local(ip));
            message
                .attributes
                .push(AddressAttribute::Broadcast(v4.broadcast()));
            AddressFamily::Inet
        }
        IpNetwork::V6(_) => AddressFamily::Inet6,
    };
    message
}

fn marked(mut message: AddressMessage) -> AddressMessage {
    message
        .attributes
        .push(AddressAttribute::Protocol(AddressProtocol::Other(
            ADDRESS_PROTOCOL,
        )));
    if message.header.family == AddressFamily::Inet6 {
        // Nobody else can have it: the subnet is this link's alone. Without the probe
        // it serves at once.
        message.header.flags = AddressHeaderFlags::Nodad;
        message
            .attributes
            .push(AddressAttribute::Flags(AddressFlags::Nodad));
    }
    message
}
