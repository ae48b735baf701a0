//! The system calls of a raw ICMPv6 socket (ipv6(7), raw(7), RFC 3542).
#![allow(unsafe_code)]

use std::io;
use std::mem::{size_of, size_of_val, zeroed};
use std::net::Ipv6Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

use libc::{c_int, in6_pktinfo, sockaddr_in6, socklen_t};
use registry::Mac;

/// Type of a router solicitation.
const SOLICITATION: u32 = 133;
/// linux/icmpv6.h; libc has neither.
const ICMPV6_FILTER: c_int = 1;

/// What came, and from where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    pub len: usize,
    pub source: Ipv6Addr,
    /// The link's index.
    pub ifindex: u32,
    /// None if the kernel did not say.
    pub hop_limit: Option<u8>,
    pub is_truncated: bool,
}

pub fn open() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: socket() has no pointers; what it returns is a new descriptor.
    unsafe {
        match libc::socket(libc::AF_INET6, kind, libc::IPPROTO_ICMPV6) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    }
}

/// Lets only router solicitations through.
pub fn filter(socket: &OwnedFd) -> io::Result<()> {
    // A bit that is set keeps a type out.
    let mut blocked = [u32::MAX; 8];
    if let Some(word) = blocked.get_mut((SOLICITATION / 32) as usize) {
        *word &= !(1 << (SOLICITATION % 32));
    }
    set(socket, libc::IPPROTO_ICMPV6, ICMPV6_FILTER, &blocked)
}

/// Sets a numeric option of level IPPROTO_IPV6.
pub fn set_ipv6(socket: &OwnedFd, option: c_int, value: c_int) -> io::Result<()> {
    set(socket, libc::IPPROTO_IPV6, option, &value)
}

pub fn set_receive_buffer(socket: &OwnedFd, bytes: c_int) -> io::Result<()> {
    set(socket, libc::SOL_SOCKET, libc::SO_RCVBUF, &bytes)
}

/// Joins or leaves a multicast group on a link.
pub fn membership(socket: &OwnedFd, option: c_int, group: Ipv6Addr, link: u32) -> io::Result<()> {
    let request = libc::ipv6_mreq {
        ipv6mr_multiaddr: in6(group),
        ipv6mr_interface: link,
    };
    set(socket, libc::IPPROTO_IPV6, option, &request)
}

pub fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<Arrival> {
    // Aligned as cmsghdr must be, and larger than the two that are asked for.
    let mut control = [0_u64; 16];
    // SAFETY: all zeroes are a valid sockaddr_in6 and a valid msghdr.
    let (mut address, mut message): (sockaddr_in6, libc::msghdr) = unsafe { zeroed() };
    let mut part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    message.msg_name = ptr::from_mut(&mut address).cast();
    message.msg_namelen = size_of::<sockaddr_in6>() as socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control) as _;
    // SAFETY: every pointer in `message` is to a live variable that nothing else uses,
    // with its own size.
    let len = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0) };
    let len = usize::try_from(len).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: `message` and the buffers that it points to are as recvmsg left them.
    let (ifindex, hop_limit) = unsafe { ancillary(&message) };
    Ok(Arrival {
        len,
        source: Ipv6Addr::from(address.sin6_addr.s6_addr),
        ifindex: ifindex.unwrap_or(address.sin6_scope_id),
        hop_limit,
        is_truncated: message.msg_flags & libc::MSG_TRUNC != 0,
    })
}

/// The link and the hop limit in what came with a message.
///
/// # Safety
/// `message` must be as recvmsg() left it, its control buffer alive.
unsafe fn ancillary(message: &libc::msghdr) -> (Option<u32>, Option<u8>) {
    let (mut ifindex, mut hop_limit) = (None, None);
    // SAFETY: by the caller's promise the control buffer holds what the kernel wrote,
    // which is what these walk; data is read where its length says that all of it is
    // there, at whatever alignment.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while let Some(control) = header.as_ref() {
            let has = |size: usize| control.cmsg_len >= libc::CMSG_LEN(size as u32) as _;
            let data = libc::CMSG_DATA(control);
            match (control.cmsg_level, control.cmsg_type) {
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) if has(size_of::<in6_pktinfo>()) => {
                    let info = data.cast::<in6_pktinfo>().read_unaligned();
                    ifindex = Some(info.ipi6_ifindex);
                }
                (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) if has(size_of::<c_int>()) => {
                    hop_limit = u8::try_from(data.cast::<c_int>().read_unaligned()).ok();
                }
                _ => {}
            }
            header = libc::CMSG_NXTHDR(message, control);
        }
    }
    (ifindex, hop_limit)
}

/// Sends a message on a link; without `source` the kernel chooses one.
pub fn send(
    socket: &OwnedFd,
    ifindex: u32,
    source: Option<Ipv6Addr>,
    destination: Ipv6Addr,
    packet: &[u8],
) -> io::Result<()> {
    let info = in6_pktinfo {
        ipi6_addr: in6(source.unwrap_or(Ipv6Addr::UNSPECIFIED)),
        ipi6_ifindex: ifindex,
    };
    // Aligned as cmsghdr must be, and larger than one header with its in6_pktinfo.
    let mut control = [0_u64; 8];
    // SAFETY: all zeroes are a valid sockaddr_in6 and a valid msghdr.
    let (mut address, mut message): (sockaddr_in6, libc::msghdr) = unsafe { zeroed() };
    address.sin6_family = libc::AF_INET6 as u16;
    address.sin6_addr = in6(destination);
    address.sin6_scope_id = ifindex;
    let mut part = libc::iovec {
        iov_base: packet.as_ptr().cast_mut().cast(),
        iov_len: packet.len(),
    };
    message.msg_name = ptr::from_mut(&mut address).cast();
    message.msg_namelen = size_of::<sockaddr_in6>() as socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    let size = size_of::<in6_pktinfo>() as u32;
    // SAFETY: CMSG_SPACE and CMSG_LEN only compute; the control buffer is large enough
    // for one header and an in6_pktinfo, and CMSG_FIRSTHDR finds its beginning, since
    // msg_controllen is set before.
    unsafe {
        message.msg_controllen = libc::CMSG_SPACE(size) as _;
        if let Some(header) = libc::CMSG_FIRSTHDR(&message).as_mut() {
            header.cmsg_level = libc::IPPROTO_IPV6;
            header.cmsg_type = libc::IPV6_PKTINFO;
            header.cmsg_len = libc::CMSG_LEN(size) as _;
            libc::CMSG_DATA(header)
                .cast::<in6_pktinfo>()
                .write_unaligned(info);
        }
    }
    // SAFETY: every pointer in `message` is to a live variable with its own size; the
    // kernel only reads them.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) };
    // Raw sockets send whole messages or none.
    if sent < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Sends an IPv6 packet to a station of a link, by a packet socket.
pub fn send_frame(socket: &OwnedFd, ifindex: u32, to: Mac, packet: &[u8]) -> io::Result<()> {
    // SAFETY: all zeroes are a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_IPV6 as u16).to_be();
    address.sll_ifindex = c_int::try_from(ifindex).map_err(io::Error::other)?;
    let [a, b, c, d, e, f] = to.0;
    address.sll_halen = 6;
    address.sll_addr = [a, b, c, d, e, f, 0, 0];
    crate::packet_send::send_to(socket, &address, packet)
}

fn in6(address: Ipv6Addr) -> libc::in6_addr {
    libc::in6_addr {
        s6_addr: address.octets(),
    }
}

fn set<T>(socket: &OwnedFd, level: c_int, option: c_int, value: &T) -> io::Result<()> {
    let size = size_of::<T>() as socklen_t;
    // SAFETY: the pointer is to a whole T, and the size is its own.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            ptr::from_ref(value).cast(),
            size,
        )
    };
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
