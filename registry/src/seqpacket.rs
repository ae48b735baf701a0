//! Messages with descriptors over a SOCK_SEQPACKET unix socket.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use crate::protocol::{DESCRIPTORS_MAX, MESSAGE_MAX};

/// What one receive brought.
#[derive(Debug)]
pub enum Received {
    /// A message and its descriptors, close-on-exec all of them.
    Message(Vec<u8>, Vec<OwnedFd>),
    /// The other side has closed the connection.
    Closed,
    /// A message that was longer than allowed or carried too many descriptors; it
    /// is gone.
    Oversized,
}

/// Sends one message with its descriptors.
///
/// # Errors
/// As sendmsg(2); never raises SIGPIPE.
pub fn send(socket: impl AsFd, message: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "too many descriptors",
        ));
    }
    sendmsg(
        socket,
        &[IoSlice::new(message)],
        &mut ancillary,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

/// Receives one message, waiting as the socket does.
///
/// # Errors
/// As recvmsg(2).
pub fn receive(socket: impl AsFd) -> io::Result<Received> {
    // Not from the heap: a piece of this size has it tidied up each time.
    let mut bytes = [0; MESSAGE_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let answer = recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let descriptors: Vec<OwnedFd> = ancillary
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten()
        .collect();
    if answer
        .flags
        .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
    {
        return Ok(Received::Oversized);
    }
    if answer.bytes == 0 {
        return Ok(Received::Closed);
    }
    let message = bytes.get(..answer.bytes).unwrap_or(&bytes);
    Ok(Received::Message(message.to_vec(), descriptors))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap()
    }

    #[test]
    fn messages_keep_their_bounds_and_carry_descriptors() {
        let (a, b) = pair();
        send(&a, b"one", &[a.as_fd(), b.as_fd()]).unwrap();
        send(&a, b"two", &[]).unwrap();
        drop(a);
        assert!(
            matches!(receive(&b).unwrap(), Received::Message(m, f) if m == b"one" && f.len() == 2)
        );
        assert!(
            matches!(receive(&b).unwrap(), Received::Message(m, f) if m == b"two" && f.is_empty())
        );
        assert!(matches!(receive(&b).unwrap(), Received::Closed));
    }

    #[test]
    fn what_is_too_much_is_told_and_leaks_nothing() {
        let (a, b) = pair();
        let before = std::fs::read_dir("/proc/self/fd").unwrap().count();
        send(&a, &vec![b'x'; MESSAGE_MAX + 1], &[a.as_fd()]).unwrap();
        assert!(matches!(receive(&b).unwrap(), Received::Oversized));
        assert_eq!(std::fs::read_dir("/proc/self/fd").unwrap().count(), before);
    }
}
