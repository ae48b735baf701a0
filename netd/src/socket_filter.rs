//! Filters that the kernel runs on what comes to a socket, in classic BPF (socket(7),
//! `SO_ATTACH_FILTER`; linux/filter.h).
#![allow(unsafe_code)]

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;

use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_B, BPF_H, BPF_IND, BPF_JEQ, BPF_JMP, BPF_JSET, BPF_K, BPF_LD,
    BPF_LDX, BPF_MSH, BPF_RET, BPF_W, sock_filter, socklen_t,
};

/// Loads the byte at an offset.
pub const LOAD_BYTE: u32 = BPF_LD | BPF_B | BPF_ABS;
/// Loads the two bytes at an offset, the first the more significant.
pub const LOAD_HALF: u32 = BPF_LD | BPF_H | BPF_ABS;
/// Loads the four bytes at an offset, the first the most significant.
pub const LOAD_WORD: u32 = BPF_LD | BPF_W | BPF_ABS;
/// [`LOAD_HALF`], at an offset from X.
pub const LOAD_HALF_AFTER_X: u32 = BPF_LD | BPF_H | BPF_IND;
/// Sets X to the length of the IPv4 header at an offset.
pub const X_IS_IP_HEADER_LEN: u32 = BPF_LDX | BPF_B | BPF_MSH;
/// Keeps these bits of what was loaded.
pub const AND: u32 = BPF_ALU | BPF_AND | BPF_K;
/// Whether what was loaded is this.
pub const IF_EQUAL: u32 = BPF_JMP | BPF_JEQ | BPF_K;
/// Whether what was loaded has one of these bits.
pub const IF_ANY_BIT: u32 = BPF_JMP | BPF_JSET | BPF_K;
/// Lets so many bytes through, and ends.
pub const RETURN: u32 = BPF_RET | BPF_K;
/// More bytes than there are.
pub const WHOLE: u32 = u32::MAX;
/// The offset at which the kernel answers what kind of packet it is
/// (`SKF_AD_OFF + SKF_AD_PKTTYPE`).
pub const PACKET_TYPE: u32 = 0xffff_f000 + 4;
/// The offset at which the kernel answers which protocol the packet is of
/// (`SKF_AD_OFF + SKF_AD_PROTOCOL`).
pub const PROTOCOL: u32 = 0xffff_f000;
/// The offset at which the kernel answers whether the packet was tagged for a VLAN
/// (`SKF_AD_OFF + SKF_AD_VLAN_TAG_PRESENT`).
pub const IN_VLAN: u32 = 0xffff_f000 + 48;
/// The offset at which the kernel answers by which link the packet came
/// (`SKF_AD_OFF + SKF_AD_IFINDEX`).
pub const INTERFACE: u32 = 0xffff_f000 + 8;
/// The offset of the link layer's header (`SKF_LL_OFF`), which cooked sockets lack.
pub const LINK_LAYER: u32 = 0xffe0_0000;
/// The kind of packet that is for another station.
pub const OTHERHOST: u32 = libc::PACKET_OTHERHOST as u32;

/// An operation on `k`.
#[must_use]
pub const fn op(code: u32, k: u32) -> sock_filter {
    jump(code, k, 0, 0)
}

/// Skips so many operations if the condition holds, or if it does not.
#[must_use]
pub const fn jump(code: u32, k: u32, if_true: u8, if_false: u8) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt: if_true,
        jf: if_false,
        k,
    }
}

/// Lets through from now on what the filter lets through.
///
/// # Errors
/// What setsockopt(2) says.
pub fn attach(socket: &OwnedFd, filter: &[sock_filter]) -> io::Result<()> {
    let len = u16::try_from(filter.len()).map_err(io::Error::other)?;
    // The kernel only reads what it points to, and copies it.
    let program = libc::sock_fprog {
        len,
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: the pointer is to a whole sock_fprog, whose own points to as many
    // operations as it says, and the size is its own.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            ptr::from_ref(&program).cast(),
            size_of::<libc::sock_fprog>() as socklen_t,
        )
    };
    if set == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
