//! A small synchronous rtnetlink: each request waits for its acknowledgement.

pub mod message;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};

use message::{Request, Response, responses};

/// The longest answer to one request: a link with every attribute is some 2 KiB.
const ANSWER_MAX: usize = 32 * 1024;

/// A socket of rtnetlink, in the network namespace that it was opened in.
#[derive(Debug)]
pub struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

impl Netlink {
    /// Opens a socket in the caller's network namespace.
    ///
    /// # Errors
    /// As socket(2).
    pub fn open() -> io::Result<Self> {
        Ok(Self::from(open_route_socket()?))
    }

    /// Makes a request and waits for its acknowledgement.
    ///
    /// # Errors
    /// What the kernel answered, as errno.
    pub fn request(&mut self, request: Request) -> io::Result<()> {
        self.exchange(request).map(|_| ())
    }

    /// Makes a request that is answered by one message; gives its body, of which
    /// the header of the family is the first part.
    ///
    /// # Errors
    /// What the kernel answered, as errno.
    pub fn query(&mut self, request: Request) -> io::Result<Vec<u8>> {
        self.exchange(request)?
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no answer from rtnetlink"))
    }

    /// Makes a request that is answered by any number of messages. Whether there was one.
    ///
    /// # Errors
    /// What the kernel answered, as errno.
    pub fn has(&mut self, request: Request) -> io::Result<bool> {
        Ok(self.exchange(request)?.is_some())
    }

    /// Makes requests of which each needs those before it, all in one call: nothing that the
    /// first of them sets off in the kernel comes between. The error is that of the first
    /// that failed, with its place.
    ///
    /// # Errors
    /// What the kernel answered, as errno.
    pub fn request_all(&mut self, requests: Vec<Request>) -> Result<(), (usize, io::Error)> {
        let first = self.sequence.wrapping_add(1);
        let mut left = requests.len();
        let mut bytes = Vec::with_capacity(512);
        for request in requests {
            self.sequence = self.sequence.wrapping_add(1);
            bytes.extend(request.finish(self.sequence));
        }
        let broken = |error: rustix::io::Errno| (0, error.into());
        send(&self.socket, &bytes, SendFlags::empty()).map_err(broken)?;
        let mut buffer = vec![0; ANSWER_MAX];
        let mut failed: Option<(usize, io::Error)> = None;
        while left > 0 {
            let (read, _) =
                recv(&self.socket, buffer.as_mut_slice(), RecvFlags::empty()).map_err(broken)?;
            for (sequence, response) in responses(buffer.get(..read).unwrap_or(&[])) {
                match response {
                    Response::Acknowledged => {}
                    Response::Failed(errno) => {
                        let place = sequence.wrapping_sub(first) as usize;
                        failed.get_or_insert((place, io::Error::from_raw_os_error(errno)));
                    }
                    Response::Data(_) => continue,
                }
                left = left.saturating_sub(1);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    fn exchange(&mut self, request: Request) -> io::Result<Option<Vec<u8>>> {
        self.sequence = self.sequence.wrapping_add(1);
        let bytes = request.finish(self.sequence);
        send(&self.socket, &bytes, SendFlags::empty())?;
        let mut buffer = vec![0; ANSWER_MAX];
        let mut body = None;
        loop {
            let (read, _) = recv(&self.socket, buffer.as_mut_slice(), RecvFlags::empty())?;
            for (sequence, response) in responses(buffer.get(..read).unwrap_or(&[])) {
                if sequence != self.sequence {
                    continue;
                }
                match response {
                    Response::Acknowledged => return Ok(body),
                    Response::Failed(errno) => return Err(io::Error::from_raw_os_error(errno)),
                    Response::Data(data) => body = Some(data.to_vec()),
                }
            }
        }
    }
}

impl From<OwnedFd> for Netlink {
    fn from(socket: OwnedFd) -> Self {
        Self {
            socket,
            sequence: 0,
        }
    }
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Opens a NETLINK_ROUTE socket, close-on-exec, in the caller's network namespace.
///
/// # Errors
/// As socket(2).
pub fn open_route_socket() -> io::Result<OwnedFd> {
    Ok(socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        // NETLINK_ROUTE is protocol 0.
        None,
    )?)
}
