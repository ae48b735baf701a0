//! Which packets come to the socket.

use libc::sock_filter;

use crate::acd::ArpPacket;
use crate::socket_filter::{
    AND, IF_EQUAL, INTERFACE, LOAD_BYTE, LOAD_HALF, LOAD_WORD, OTHERHOST, PACKET_TYPE, RETURN,
    jump, op,
};

const ETHERNET_IPV4: u32 = 0x0001_0800;
const LENGTHS: u32 = 0x0604;
/// The most links that a filter leaves out.
const LEFT_OUT_MAX: usize = 64;

/// ARP requests and replies for IPv4 over Ethernet that are not for another station, of
/// which the padding is cut off. The socket is a cooked one: byte 0 is the first of ARP.
pub const ARP: [sock_filter; 11] = [
    op(LOAD_BYTE, PACKET_TYPE),
    jump(IF_EQUAL, OTHERHOST, 8, 0),
    op(LOAD_WORD, 0),
    jump(IF_EQUAL, ETHERNET_IPV4, 0, 6),
    op(LOAD_HALF, 4),
    jump(IF_EQUAL, LENGTHS, 0, 4),
    op(LOAD_HALF, 6),
    jump(IF_EQUAL, 1, 1, 0),
    jump(IF_EQUAL, 2, 0, 1),
    op(RETURN, ArpPacket::LEN as u32),
    op(RETURN, 0),
];

/// No packet.
pub const NOTHING: [sock_filter; 1] = [op(RETURN, 0)];

/// Where the sender's address stands, and the one that is asked for.
const SENDER: u32 = 14;
const TARGET: u32 = 24;
/// 169.254.0.0/16.
const LINK_LOCAL: u32 = 0xa9fe_0000;
const LINK_LOCAL_MASK: u32 = 0xffff_0000;

/// Of these packets, those whose sender has a link-local address, or has none and looks for
/// one; none of the links `left_out`, 64 at the most.
#[must_use]
pub fn link_local(left_out: &[u32]) -> Vec<sock_filter> {
    let (end, arp) = (op(RETURN, 0), ARP.get(..9).unwrap_or_default());
    let mut filter = vec![op(LOAD_WORD, INTERFACE)];
    for index in left_out.iter().take(LEFT_OUT_MAX) {
        filter.extend([jump(IF_EQUAL, *index, 0, 1), end]);
    }
    filter.extend_from_slice(arp);
    filter.extend([
        // What is right goes over the drop behind it.
        jump(IF_EQUAL, 0, 1, 1),
        end,
        op(LOAD_WORD, SENDER),
        jump(IF_EQUAL, 0, 0, 1),
        op(LOAD_WORD, TARGET),
        op(AND, LINK_LOCAL_MASK),
        jump(IF_EQUAL, LINK_LOCAL, 0, 1),
        op(RETURN, ArpPacket::LEN as u32),
        end,
    ]);
    filter
}
