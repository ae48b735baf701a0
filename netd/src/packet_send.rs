//! Sending by packet sockets (packet(7)).
#![allow(unsafe_code)]

use std::io;
use std::mem::size_of_val;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;

use libc::{sockaddr_ll, socklen_t};

/// Sends a packet to a station on a link.
///
/// # Errors
/// As sendto(2).
pub fn send_to(socket: &OwnedFd, address: &sockaddr_ll, packet: &[u8]) -> io::Result<()> {
    let size = size_of_val(address) as socklen_t;
    // SAFETY: the pointers are to `packet` and to a whole sockaddr_ll, and the sizes are
    // theirs.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            packet.as_ptr().cast(),
            packet.len(),
            libc::MSG_NOSIGNAL,
            ptr::from_ref(address).cast(),
            size,
        )
    };
    // Packet sockets send whole packets or none.
    if sent < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
