//! The system calls of a packet socket (packet(7)).
#![allow(unsafe_code)]

use std::io;
use std::mem::{size_of, size_of_val, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

use libc::{c_int, sockaddr_ll, socklen_t};
use registry::Mac;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::frame::{Arrival, Checksum};

/// Room for some tens of requests: the kernel doubles it, and counts about 1 KiB
/// for each.
const RECEIVE_BUFFER: c_int = 64 * 1024;
/// Room for what comes by a port of a zone at some thousand requests a second while netd is
/// not given a processor for a tenth of a second. It is in use only as far as it is filled.
const WIDE_RECEIVE_BUFFER: c_int = 512 * 1024;
const ETHER_ADDR_LEN: u8 = 6;

/// A packet socket of which the kernel strips and adds the Ethernet header, bound
/// to nothing.
pub fn open() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: socket() has no pointers; what it returns is a new descriptor.
    unsafe {
        match libc::socket(libc::AF_PACKET, kind, 0) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    }
}

pub fn limit_receive_buffer(socket: &OwnedFd) -> io::Result<()> {
    set(socket, libc::SOL_SOCKET, libc::SO_RCVBUF, &RECEIVE_BUFFER)
}

/// Makes room for more than is usual, beyond what the system lets everybody have.
pub fn widen_receive_buffer(socket: &OwnedFd) -> io::Result<()> {
    let option = libc::SO_RCVBUFFORCE;
    set(socket, libc::SOL_SOCKET, option, &WIDE_RECEIVE_BUFFER)
}

pub fn want_auxdata(socket: &OwnedFd) -> io::Result<()> {
    set::<c_int>(socket, libc::SOL_PACKET, libc::PACKET_AUXDATA, &1)
}

pub fn ignore_outgoing(socket: &OwnedFd) -> io::Result<()> {
    set::<c_int>(socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &1)
}

/// Which packets of a link a socket receives.
#[derive(Clone, Copy, Debug)]
pub enum Protocol {
    /// Those of IPv4 that the host itself receives by the link.
    Ipv4,
    /// All of them, also those of a bridge's port, before the bridge takes them.
    All,
}

/// Receives packets of the link from now on.
pub fn bind(socket: &OwnedFd, ifindex: u32, protocol: Protocol) -> io::Result<()> {
    let mut address = link_address(ifindex, None)?;
    if matches!(protocol, Protocol::All) {
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    }
    let size = size_of_val(&address) as socklen_t;
    // SAFETY: the pointer is to a whole sockaddr_ll, and the size is its own.
    check(unsafe { libc::bind(socket.as_raw_fd(), ptr::from_ref(&address).cast(), size) })
}

/// Has tokio watch the socket for something to receive.
pub fn watch(socket: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is owned, so nothing else closes it, and stays the same
    // for as long as the AsyncFd that owns it.
    let watched = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) };
    watched.map_err(io::Error::from)
}

pub fn send(socket: &OwnedFd, ifindex: u32, to: Mac, packet: &[u8]) -> io::Result<()> {
    let address = link_address(ifindex, Some(to))?;
    crate::packet_send::send_to(socket, &address, packet)
}

/// Reads a packet: its length, and what the kernel says of it.
pub fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<(usize, Arrival)> {
    // Aligned as cmsghdr must be, and larger than one header with its tpacket_auxdata.
    let mut control = [0_u64; 16];
    // SAFETY: all zeroes are a valid sockaddr_ll and a valid msghdr.
    let (mut address, mut message): (sockaddr_ll, libc::msghdr) = unsafe { zeroed() };
    let mut part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    message.msg_name = ptr::from_mut(&mut address).cast();
    message.msg_namelen = size_of::<sockaddr_ll>() as socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control) as _;
    // SAFETY: every pointer in `message` is to a live variable that nothing else
    // uses, with its own size.
    let len = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0) };
    let len = usize::try_from(len).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: `message` and the buffers that it points to are as recvmsg left them.
    let status = unsafe { auxdata_status(&message) };
    let incoming = [
        libc::PACKET_HOST,
        libc::PACKET_BROADCAST,
        libc::PACKET_MULTICAST,
    ];
    let [a, b, c, d, e, f, ..] = address.sll_addr;
    let checksum = match status & libc::TP_STATUS_CSUMNOTREADY {
        0 => Checksum::Final,
        _ => Checksum::Pending,
    };
    let arrival = Arrival {
        port: u32::try_from(address.sll_ifindex).unwrap_or(0),
        is_truncated: message.msg_flags & libc::MSG_TRUNC != 0,
        is_for_us: incoming.contains(&address.sll_pkttype),
        source: (address.sll_halen == ETHER_ADDR_LEN).then_some(Mac([a, b, c, d, e, f])),
        checksum,
    };
    Ok((len, arrival))
}

/// The status in the packet's PACKET_AUXDATA; none of its flags if there is none.
///
/// # Safety
/// `message` must be as recvmsg() left it, its control buffer alive.
unsafe fn auxdata_status(message: &libc::msghdr) -> u32 {
    // SAFETY: by the caller's promise the control buffer holds what the kernel wrote,
    // which is what these walk; the data is read where its length says that a whole
    // tpacket_auxdata is there, at whatever alignment.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while let Some(control) = header.as_ref() {
            let data_len = size_of::<libc::tpacket_auxdata>() as u32;
            if control.cmsg_level == libc::SOL_PACKET
                && control.cmsg_type == libc::PACKET_AUXDATA
                && control.cmsg_len >= libc::CMSG_LEN(data_len) as _
            {
                let data = libc::CMSG_DATA(control).cast::<libc::tpacket_auxdata>();
                return data.read_unaligned().tp_status;
            }
            header = libc::CMSG_NXTHDR(message, control);
        }
    }
    0
}

/// How many packets did not fit the receive buffer since the last call.
pub fn take_drops(socket: &OwnedFd) -> io::Result<u32> {
    let mut statistics = libc::tpacket_stats {
        tp_packets: 0,
        tp_drops: 0,
    };
    let mut size = size_of_val(&statistics) as socklen_t;
    // SAFETY: the pointers are to live variables, and the size is the first one's.
    check(unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut statistics).cast(),
            &raw mut size,
        )
    })?;
    Ok(statistics.tp_drops)
}

fn link_address(ifindex: u32, station: Option<Mac>) -> io::Result<sockaddr_ll> {
    // SAFETY: all zeroes are a valid sockaddr_ll.
    let mut address: sockaddr_ll = unsafe { zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_IP as u16).to_be();
    address.sll_ifindex = c_int::try_from(ifindex).map_err(io::Error::other)?;
    if let Some(station) = station {
        address.sll_halen = ETHER_ADDR_LEN;
        for (to, from) in address.sll_addr.iter_mut().zip(station.0) {
            *to = from;
        }
    }
    Ok(address)
}

fn set<T>(socket: &OwnedFd, level: c_int, option: c_int, value: &T) -> io::Result<()> {
    let size = size_of::<T>() as socklen_t;
    // SAFETY: the pointer is to a whole T, and the size is its own.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            ptr::from_ref(value).cast(),
            size,
        )
    })
}

fn check(result: c_int) -> io::Result<()> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
