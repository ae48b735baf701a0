//! Whether a bridge has ports, asked of the kernel there and then.

use std::io;
use std::os::fd::AsFd;

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkExtentMask, LinkMessage};
use rustix::net::SendFlags;
use rustix::net::netlink::SocketAddrNetlink;

use super::RtnlError;
use crate::netlink::{self, DATAGRAM_MAX};

/// Whether any link, of whomever, is a port of the bridge with this interface index, in the
/// calling thread's network namespace.
///
/// # Errors
/// [`RtnlError::Open`], [`RtnlError::Dump`].
pub fn has_ports(bridge: u32) -> Result<bool, RtnlError> {
    let socket = super::monitor::open().map_err(RtnlError::Open)?;
    let failed = |source| RtnlError::Dump {
        what: "ports of a bridge",
        source,
    };
    let mut request = LinkMessage::default();
    request.attributes = vec![
        LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]),
        LinkAttribute::Controller(bridge),
    ];
    let mut message = NetlinkMessage::from(RouteNetlinkMessage::GetLink(request));
    message.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut bytes = Vec::new();
    netlink::append(&mut bytes, 1, message);
    let kernel = SocketAddrNetlink::new(0, 0);
    rustix::net::sendto(&socket, &bytes, SendFlags::empty(), &kernel)
        .map_err(|error| failed(error.into()))?;
    let mut buffer = vec![0; DATAGRAM_MAX];
    let mut found = false;
    // The kernel puts its next part there as the one before is read: nothing waits.
    while let Some(datagram) = netlink::receive(socket.as_fd(), &mut buffer).map_err(failed)? {
        for message in datagram.messages() {
            let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(message) else {
                continue;
            };
            match message.payload {
                // Kernels that do not know the filter list all links.
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => {
                    let of_bridge = LinkAttribute::Controller(bridge);
                    found |= link.attributes.contains(&of_bridge);
                }
                NetlinkPayload::Done(done) if done.code < 0 => {
                    let error = io::Error::from_raw_os_error(done.code.saturating_neg());
                    return Err(failed(error));
                }
                NetlinkPayload::Done(_) => return Ok(found),
                NetlinkPayload::Error(error) if error.code.is_some() => {
                    return Err(failed(error.to_io()));
                }
                _ => {}
            }
        }
    }
    Err(failed(io::ErrorKind::UnexpectedEof.into()))
}
