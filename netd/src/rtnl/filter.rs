//! Which of the kernel's events are not even queued.

use libc::sock_filter;

use crate::netlink::HEADER_LEN;
use crate::socket_filter::{IF_EQUAL, LOAD_BYTE, LOAD_HALF, RETURN, WHOLE, jump, op};

/// Offset of a message's type in its header (struct nlmsghdr), which is in the
/// machine's order of bytes.
const TYPE: u32 = 4;
/// RTM_NEWLINK of linux/rtnetlink.h.
const NEW_LINK: u32 = as_loaded(16);
/// RTM_DELLINK.
const DEL_LINK: u32 = as_loaded(17);
/// AF_BRIDGE, as the family of struct ifinfomsg.
const BRIDGE: u32 = libc::AF_BRIDGE as u32;

/// What a bridge says of its ports is left out, which is three events for each time that
/// the other end of one goes up or down: the link itself says what matters of it.
pub(super) const NOT_OF_PORTS: [sock_filter; 7] = [
    op(LOAD_HALF, TYPE),
    jump(IF_EQUAL, NEW_LINK, 1, 0),
    jump(IF_EQUAL, DEL_LINK, 0, 2),
    op(LOAD_BYTE, HEADER_LEN as u32),
    jump(IF_EQUAL, BRIDGE, 1, 0),
    op(RETURN, WHOLE),
    op(RETURN, 0),
];

const fn as_loaded(kind: u16) -> u32 {
    u16::from_be_bytes(kind.to_ne_bytes()) as u32
}
