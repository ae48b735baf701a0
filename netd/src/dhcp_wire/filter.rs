//! Which packets come to the socket of a link.

use libc::sock_filter;
use registry::Mac;

use crate::socket_filter::{
    AND, IF_ANY_BIT, IF_EQUAL, IN_VLAN, LINK_LAYER, LOAD_BYTE, LOAD_HALF, LOAD_HALF_AFTER_X,
    LOAD_WORD, OTHERHOST, PACKET_TYPE, PROTOCOL, RETURN, WHOLE, X_IS_IP_HEADER_LEN, jump, op,
};

const UDP: u32 = 17;
/// "More fragments", and the offset.
const FRAGMENT: u32 = 0x3fff;

/// Unfragmented IPv4 UDP packets to a port that are not another station's. The
/// socket is a cooked one: byte 0 is the IPv4 header's first.
pub const fn to_port(port: u16) -> [sock_filter; 14] {
    [
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
        jump(IF_EQUAL, port as u32, 0, 1),
        op(RETURN, WHOLE),
        op(RETURN, 0),
    ]
}

/// The same on the port of a bridge, where all protocols come, and what is for the bridge's
/// own address counts as another station's. What is in a VLAN is not the bridge's.
#[must_use]
pub fn requests_on_port(bridge: Mac) -> Vec<sock_filter> {
    let [a, b, c, d, e, f] = bridge.0;
    let requests = to_port(crate::dhcp::SERVER_PORT);
    let rest = requests.get(2..).unwrap_or_default();
    // From the operation behind the first ten to the last one, which drops.
    let last = u8::try_from(rest.len())
        .unwrap_or(u8::MAX)
        .saturating_sub(1);
    let mut filter = vec![
        op(LOAD_BYTE, IN_VLAN),
        jump(IF_EQUAL, 0, 0, last + 8),
        op(LOAD_HALF, PROTOCOL),
        jump(IF_EQUAL, libc::ETH_P_IP as u32, 0, last + 6),
        op(LOAD_BYTE, PACKET_TYPE),
        jump(IF_EQUAL, OTHERHOST, 0, 4),
        op(LOAD_WORD, LINK_LAYER),
        jump(IF_EQUAL, u32::from_be_bytes([a, b, c, d]), 0, last + 2),
        op(LOAD_HALF, LINK_LAYER + 4),
        jump(IF_EQUAL, u32::from(u16::from_be_bytes([e, f])), 0, last),
    ];
    filter.extend_from_slice(rest);
    filter
}
