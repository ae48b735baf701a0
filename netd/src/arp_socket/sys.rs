//! The system calls that differ from those of other packet sockets.
#![allow(unsafe_code)]

use std::io;
use std::mem::{size_of, size_of_val, zeroed};
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;

use libc::{c_int, sockaddr_ll, socklen_t};

/// Receives ARP packets from now on: of one link, or of all with index 0.
pub fn bind(socket: &OwnedFd, ifindex: u32) -> io::Result<()> {
    let address = link_address(ifindex)?;
    let size = size_of_val(&address) as socklen_t;
    // SAFETY: the pointer is to a whole sockaddr_ll, and the size is its own.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), ptr::from_ref(&address).cast(), size) };
    if bound == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Reads a packet: its length, and the index of the link that it came by.
pub fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<(usize, u32)> {
    // SAFETY: all zeroes are a valid sockaddr_ll.
    let mut address: sockaddr_ll = unsafe { zeroed() };
    let mut size = size_of::<sockaddr_ll>() as socklen_t;
    // SAFETY: the pointers are to `buffer`, and to a sockaddr_ll and its size, which
    // nothing else uses; the sizes are theirs.
    let len = unsafe {
        libc::recvfrom(
            socket.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            0,
            ptr::from_mut(&mut address).cast(),
            &raw mut size,
        )
    };
    let len = usize::try_from(len).map_err(|_| io::Error::last_os_error())?;
    let ifindex = u32::try_from(address.sll_ifindex).map_err(io::Error::other)?;
    Ok((len, ifindex))
}

/// Sends a packet to everybody on a link.
pub fn broadcast(socket: &OwnedFd, ifindex: u32, packet: &[u8]) -> io::Result<()> {
    let mut address = link_address(ifindex)?;
    address.sll_halen = 6;
    address.sll_addr = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0];
    crate::packet_send::send_to(socket, &address, packet)
}

fn link_address(ifindex: u32) -> io::Result<sockaddr_ll> {
    // SAFETY: all zeroes are a valid sockaddr_ll.
    let mut address: sockaddr_ll = unsafe { zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ARP as u16).to_be();
    address.sll_ifindex = c_int::try_from(ifindex).map_err(io::Error::other)?;
    Ok(address)
}
