//! Netlink sockets (netlink(7)): datagrams and the messages in them.
//!
//! The kernel handles a request within `send()`: its answer lies in the socket's queue
//! when that returns, and a dump puts its next part there as the one before is read.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::{NetlinkMessage, NetlinkSerializable};
use rustix::net::RecvFlags;
use rustix::net::netlink::SocketAddrNetlink;

/// Room for one datagram: the kernel's dumps and notifications stay below 32 KiB.
pub const DATAGRAM_MAX: usize = 64 * 1024;
/// Length of a message's header (struct nlmsghdr).
pub const HEADER_LEN: usize = 16;

/// One datagram.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    bytes: &'a [u8],
    /// Netlink port of its sender; 0 is the kernel's.
    pub from: u32,
}

/// Reads one datagram without waiting; `None` if there is none.
///
/// # Errors
/// `ENOBUFS` if some were lost; `EFBIG` for one that `buffer` is too small for.
pub fn receive<'a>(
    socket: BorrowedFd<'_>,
    buffer: &'a mut [u8],
) -> io::Result<Option<Datagram<'a>>> {
    let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
    loop {
        match rustix::net::recvfrom(socket.as_fd(), &mut *buffer, flags) {
            Ok((_, length, from)) => {
                crate::operations::count(|done| &done.netlink_received, length);
                let from = from.and_then(|from| SocketAddrNetlink::try_from(from).ok());
                let bytes = buffer.get(..length).ok_or(io::ErrorKind::FileTooLarge)?;
                return Ok(Some(Datagram {
                    bytes,
                    from: from.map_or(u32::MAX, |from| from.pid()),
                }));
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

impl<'a> Datagram<'a> {
    /// The messages in it, each with its header, up to the first whose length is wrong.
    pub fn messages(self) -> Messages<'a> {
        messages(self.bytes)
    }
}

/// The messages of a datagram, see [`messages`].
#[derive(Clone, Copy, Debug)]
pub struct Messages<'a> {
    rest: &'a [u8],
}

/// The netlink messages of a datagram's bytes, each with its header, up to the first
/// whose length is wrong.
pub fn messages(bytes: &[u8]) -> Messages<'_> {
    Messages { rest: bytes }
}

impl Messages<'_> {
    /// Whether something is left that is no message, once there are no more of them.
    #[must_use]
    pub fn broken(&self) -> bool {
        !self.rest.is_empty()
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<Self::Item> {
        let length = u32::from_ne_bytes(*self.rest.first_chunk()?);
        let length = usize::try_from(length).ok()?;
        let message = self.rest.get(..length);
        let message = message.filter(|_| length >= HEADER_LEN)?;
        let next = self.rest.get(length.next_multiple_of(4)..);
        self.rest = next.unwrap_or_default();
        Some(message)
    }
}

/// Adds a message to those that are to be sent together, under this number.
pub fn append<T: NetlinkSerializable>(
    bytes: &mut Vec<u8>,
    sequence: u32,
    mut message: NetlinkMessage<T>,
) {
    message.header.sequence_number = sequence;
    message.finalize();
    let start = bytes.len();
    bytes.resize(start + message.buffer_len(), 0);
    if let Some(place) = bytes.get_mut(start..) {
        message.serialize(place);
    }
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: u32, rest: usize) -> Vec<u8> {
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.resize(rest, 7);
        bytes
    }

    #[test]
    fn messages_end_where_a_length_is_wrong() {
        let lengths = |bytes: &[u8]| messages(bytes).map(<[u8]>::len).collect::<Vec<_>>();
        let mut two = message(17, 20);
        two.extend(message(16, 16));
        assert_eq!(lengths(&two), [17, 16]);
        let mut read = messages(&two);
        assert_eq!((read.by_ref().count(), read.broken()), (2, false));
        for wrong in [0, 3, 15, 17, u32::MAX] {
            let mut bytes = message(16, 16);
            bytes.extend(message(wrong, 16));
            assert_eq!(lengths(&bytes), [16], "{wrong}");
            let mut read = messages(&bytes);
            assert_eq!((read.by_ref().count(), read.broken()), (1, true), "{wrong}");
        }
        assert_eq!(lengths(&[1, 2, 3]), Vec::<usize>::new());
    }
}
