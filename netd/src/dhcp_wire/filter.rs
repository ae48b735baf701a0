//! Which packets come to the socket of a link.

use libc::sock_filter;

use crate::socket_filter::{
    AND, IF_ANY_BIT, IF_EQUAL, LOAD_BYTE, LOAD_HALF, LOAD_HALF_AFTER_X, OTHERHOST, PACKET_TYPE,
    RETURN, WHOLE, X_IS_IP_HEADER_LEN, jump, op,
};

const UDP: u32 = 17;
/// "More fragments", and the offset.
const FRAGMENT: u32 = 0x3fff;

/// Unfragmented IPv4 UDP packets to port 67 that are not another station's. The
/// socket is a cooked one: byte 0 is the IPv4 header's first.
pub const DHCP_REQUESTS: [sock_filter; 14] = [
    op(LOAD_BYTE, PACKET_TYPE),
    jump(IF_EQUAL, OTHERHOST, 11, 0),
    op(LOAD_BYTE, 0),
    op(AND, 0xf0),
    jump(IF_EQUAL, 0x40, 0, 8),
    op(LOAD_BYTE, 9),
    jump(IF_EQUAL, UDP, 0, 6),
    op(LOAD_HALF, 6),
    jump(IF_ANY_BIT, FRAGMENT, 4, 0),
    op(X_IS_IP_HEADER_LEN, 0),
    op(LOAD_HALF_AFTER_X, 2),
    jump(IF_EQUAL, crate::dhcp::SERVER_PORT as u32, 0, 1),
    op(RETURN, WHOLE),
    op(RETURN, 0),
];
