//! What the supervisor and the process that becomes the payload say to each other
//! until the payload runs. Its end means that the payload's program was started.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use registry::seqpacket::{Received, receive, send};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

/// One end.
#[derive(Debug)]
pub struct Channel(OwnedFd);

/// What the supervisor is told.
#[derive(Debug)]
pub enum Report {
    /// Everything is set up: the notification socket, /proc/kmsg, and the console's
    /// master if there is a console.
    Ready(Vec<OwnedFd>),
    /// It cannot be done; the text says why.
    Failed(String),
}

/// What the process that becomes the payload is told: the network is set up, and
/// the text of its resolv.conf, which is empty where there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkReady {
    /// Text of /etc/resolv.conf.
    pub resolv_conf: String,
}

impl Channel {
    /// Both ends of a new channel, close-on-exec.
    ///
    /// # Errors
    /// As socketpair(2).
    pub fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok((Self(a), Self(b)))
    }

    /// Tells the supervisor.
    ///
    /// # Errors
    /// The supervisor is gone.
    pub fn ready(&self, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.say(b'R', b"", descriptors)
    }

    /// Tells the supervisor.
    ///
    /// # Errors
    /// The supervisor is gone.
    pub fn failed(&self, why: &str) -> io::Result<()> {
        self.say(b'E', why.as_bytes(), &[])
    }

    /// What is reported next; `None` at the end.
    ///
    /// # Errors
    /// As recvmsg(2), or it makes no sense.
    pub fn next_report(&self) -> io::Result<Option<Report>> {
        let Some((kind, text, descriptors)) = self.hear()? else {
            return Ok(None);
        };
        match kind {
            b'R' => Ok(Some(Report::Ready(descriptors))),
            b'E' => Ok(Some(Report::Failed(
                String::from_utf8_lossy(&text).into_owned(),
            ))),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Tells the process that becomes the payload.
    ///
    /// # Errors
    /// It is gone.
    pub fn network_ready(&self, ready: &NetworkReady) -> io::Result<()> {
        self.say(b'N', ready.resolv_conf.as_bytes(), &[])
    }

    /// Waits for the network. `None` if the supervisor is gone.
    ///
    /// # Errors
    /// As recvmsg(2), or it makes no sense.
    pub fn wait_for_network(&self) -> io::Result<Option<NetworkReady>> {
        match self.hear()? {
            None => Ok(None),
            Some((b'N', text, _)) => Ok(Some(NetworkReady {
                resolv_conf: String::from_utf8_lossy(&text).into_owned(),
            })),
            Some(_) => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Whether the other end is gone.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        let mut asked = [PollFd::new(&self.0, PollFlags::empty())];
        let at_once = Timespec::default();
        poll(&mut asked, Some(&at_once)).is_ok_and(|gone| gone > 0)
    }

    fn say(&self, kind: u8, text: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let message: Vec<u8> = std::iter::once(kind).chain(text.iter().copied()).collect();
        send(&self.0, &message, descriptors)
    }

    #[allow(clippy::type_complexity)]
    fn hear(&self) -> io::Result<Option<(u8, Vec<u8>, Vec<OwnedFd>)>> {
        // An end with something unheard in it is told before what was said last.
        let received = match receive(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => receive(&self.0),
            other => other,
        };
        match received? {
            Received::Message(mut bytes, descriptors) if !bytes.is_empty() => {
                let kind = bytes.remove(0);
                Ok(Some((kind, bytes, descriptors)))
            }
            Received::Closed => Ok(None),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

impl From<OwnedFd> for Channel {
    fn from(end: OwnedFd) -> Self {
        Self(end)
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
