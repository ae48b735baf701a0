//! Which packets come to the socket.

use libc::sock_filter;

use crate::acd::ArpPacket;
use crate::socket_filter::{
    IF_EQUAL, LOAD_BYTE, LOAD_HALF, LOAD_WORD, OTHERHOST, PACKET_TYPE, RETURN, jump, op,
};

const ETHERNET_IPV4: u32 = 0x0001_0800;
const LENGTHS: u32 = 0x0604;

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
