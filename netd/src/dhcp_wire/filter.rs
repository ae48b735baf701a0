//! The socket's filter, in the kernel's classic BPF.

use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_B, BPF_H, BPF_IND, BPF_JEQ, BPF_JMP, BPF_JSET, BPF_K, BPF_LD,
    BPF_LDX, BPF_MSH, BPF_RET, sock_filter,
};

const LOAD_BYTE: u32 = BPF_LD | BPF_B | BPF_ABS;
const LOAD_HALF: u32 = BPF_LD | BPF_H | BPF_ABS;
const LOAD_HALF_AFTER_X: u32 = BPF_LD | BPF_H | BPF_IND;
const X_IS_IP_HEADER_LEN: u32 = BPF_LDX | BPF_B | BPF_MSH;
const AND: u32 = BPF_ALU | BPF_AND | BPF_K;
const IF_EQUAL: u32 = BPF_JMP | BPF_JEQ | BPF_K;
const IF_ANY_BIT: u32 = BPF_JMP | BPF_JSET | BPF_K;
const RETURN: u32 = BPF_RET | BPF_K;

/// Where the kernel answers what kind of packet it is (linux/filter.h,
/// SKF_AD_OFF + SKF_AD_PKTTYPE).
const PACKET_TYPE: u32 = 0xffff_f000 + 4;
const OTHERHOST: u32 = libc::PACKET_OTHERHOST as u32;
const UDP: u32 = 17;
/// "More fragments", and the offset.
const FRAGMENT: u32 = 0x3fff;
const WHOLE: u32 = 0xffff;

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

const fn op(code: u32, k: u32) -> sock_filter {
    jump(code, k, 0, 0)
}

/// Skips so many operations if the condition holds, or if it does not.
const fn jump(code: u32, k: u32, if_true: u8, if_false: u8) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt: if_true,
        jf: if_false,
        k,
    }
}
