//! Messages of nfnetlink_log (linux/netfilter/nfnetlink_log.h).

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_netfilter::nflog::{
    ConfigCmd, ConfigMode, ConfigNla, PacketNla, ULogMessage, config_request,
};
use netlink_packet_netfilter::{NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily};
use registry::Mac;

use super::frame::{self, Arrival, Checksum};
use super::{FrameError, Received};

/// An Ethernet header, as it is logged: destination, source, type.
const ETHERNET_SOURCE: std::ops::Range<usize> = 6..12;

/// A request and the link that it came in by.
#[derive(Debug, PartialEq, Eq)]
pub struct Logged {
    /// The link's index.
    pub ifindex: u32,
    /// The request.
    pub received: Received,
}

/// The request for all packets that are logged to a group, each whole and at once.
pub(super) fn bind(group: u16) -> NetlinkMessage<NetfilterMessage> {
    let wanted = vec![
        ConfigNla::Cmd(ConfigCmd::Bind),
        ConfigNla::Mode(ConfigMode::PACKET_MAX),
        ConfigNla::QThresh(1),
    ];
    config_request(NetfilterProtoFamily::Unspec, group, wanted)
}

/// Reads a netlink message, with its header, as a packet that was logged; nothing if it is
/// something else or no link is named. Never panics, whatever its bytes are.
#[must_use]
pub fn logged(message: &[u8]) -> Option<Logged> {
    let message = NetlinkMessage::<NetfilterMessage>::deserialize(message).ok()?;
    let NetlinkPayload::InnerMessage(message) = message.payload else {
        return None;
    };
    let NetfilterMessageInner::ULog(ULogMessage::Packet(attributes)) = message.inner else {
        return None;
    };
    let (mut ifindex, mut port, mut source, mut packet) = (None, None, None, None);
    for attribute in attributes {
        match attribute {
            PacketNla::IfIndexInDev(index) => ifindex = Some(index),
            // The bridge's port, where the link is a bridge.
            PacketNla::IfIndexPhysInDev(index) => port = Some(index),
            PacketNla::HwHeader(header) => source = ethernet_source(&header),
            PacketNla::Payload(bytes) => packet = Some(bytes),
            _ => {}
        }
    }
    let ifindex = ifindex?;
    let arrival = Arrival {
        port: port.unwrap_or(ifindex),
        is_truncated: false,
        // What is for others never gets as far as the firewall.
        is_for_us: true,
        source,
        checksum: Checksum::Either,
    };
    let packet = packet.ok_or(FrameError::Ip);
    let datagram = packet.and_then(|packet| frame::parse(&packet, &arrival));
    Some(Logged {
        ifindex,
        received: datagram.into(),
    })
}

fn ethernet_source(header: &[u8]) -> Option<Mac> {
    let bytes = header.get(ETHERNET_SOURCE)?;
    Some(Mac(bytes.try_into().ok()?))
}
