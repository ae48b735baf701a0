//! Messages of nfnetlink_log (linux/netfilter/nfnetlink_log.h).

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_netfilter::nflog::{
    ConfigCmd, ConfigMode, ConfigNla, PacketNla, ULogMessage, config_request,
};
use netlink_packet_netfilter::{NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily};
use registry::Mac;

use super::frame::{self, Arrival, Checksum};
use super::{FrameError, Received};
use crate::ra::{self, Solicited};

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

/// A packet that was logged.
#[derive(Debug)]
pub(super) struct Packet {
    /// The index of the link that it came in by.
    pub ifindex: u32,
    /// Of a bridge's port, where the link is a bridge.
    port: Option<u32>,
    /// Where its frame came from.
    pub source: Option<Mac>,
    /// From the IP header on.
    pub bytes: Option<Vec<u8>>,
}

impl Packet {
    /// Reads a netlink message, with its header; nothing if it is something else or no link
    /// is named. Never panics, whatever its bytes are.
    pub fn read(message: &[u8]) -> Option<Self> {
        let message = NetlinkMessage::<NetfilterMessage>::deserialize(message).ok()?;
        let NetlinkPayload::InnerMessage(message) = message.payload else {
            return None;
        };
        let NetfilterMessageInner::ULog(ULogMessage::Packet(attributes)) = message.inner else {
            return None;
        };
        let (mut ifindex, mut port, mut source, mut bytes) = (None, None, None, None);
        for attribute in attributes {
            match attribute {
                PacketNla::IfIndexInDev(index) => ifindex = Some(index),
                PacketNla::IfIndexPhysInDev(index) => port = Some(index),
                PacketNla::HwHeader(header) => source = ethernet_source(&header),
                PacketNla::Payload(payload) => bytes = Some(payload),
                _ => {}
            }
        }
        Some(Self {
            ifindex: ifindex?,
            port,
            source,
            bytes,
        })
    }

    /// Whether it is of IPv6.
    pub fn is_ipv6(&self) -> bool {
        let first = self.bytes.as_ref().and_then(|bytes| bytes.first());
        first.is_some_and(|first| first >> 4 == 6)
    }

    /// A router solicitation, if it is one.
    pub fn solicited(&self) -> Option<Solicited> {
        let heard = ra::parse_frame(self.ifindex, self.bytes.as_deref()?)?;
        let station = self.source;
        Some(Solicited { heard, station })
    }

    /// A DHCP request, or what is wrong with it.
    pub fn request(self) -> Logged {
        let ifindex = self.ifindex;
        let arrival = Arrival {
            port: self.port.unwrap_or(ifindex),
            is_truncated: false,
            // What is for others never gets as far as the firewall.
            is_for_us: true,
            source: self.source,
            checksum: Checksum::Either,
        };
        let packet = self.bytes.ok_or(FrameError::Ip);
        let datagram = packet.and_then(|packet| frame::parse(&packet, &arrival));
        Logged {
            ifindex,
            received: datagram.into(),
        }
    }
}

/// Reads a netlink message, with its header, as a DHCP request that was logged; nothing if
/// it is something else or no link is named. Never panics, whatever its bytes are.
#[must_use]
pub fn logged(message: &[u8]) -> Option<Logged> {
    Packet::read(message).map(Packet::request)
}

fn ethernet_source(header: &[u8]) -> Option<Mac> {
    let bytes = header.get(ETHERNET_SOURCE)?;
    Some(Mac(bytes.try_into().ok()?))
}
