//! The socket's filter, in the kernel's classic BPF.

use libc::{BPF_ABS, BPF_B, BPF_H, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter};

use crate::acd::ArpPacket;

const LOAD_BYTE: u32 = BPF_LD | BPF_B | BPF_ABS;
const LOAD_HALF: u32 = BPF_LD | BPF_H | BPF_ABS;
const LOAD_WORD: u32 = BPF_LD | BPF_W | BPF_ABS;
const IF_EQUAL: u32 = BPF_JMP | BPF_JEQ | BPF_K;
const RETURN: u32 = BPF_RET | BPF_K;

/// Where the kernel answers what kind of packet it is (linux/filter.h,
/// SKF_AD_OFF + SKF_AD_PKTTYPE).
const PACKET_TYPE: u32 = 0xffff_f000 + 4;
const OTHERHOST: u32 = libc::PACKET_OTHERHOST as u32;
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

const fn op(code: u32, k: u32) -> sock_filter {
    jump(code, k, 0, 0)
}

const fn jump(code: u32, k: u32, if_true: u8, if_false: u8) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt: if_true,
        jf: if_false,
        k,
    }
}
