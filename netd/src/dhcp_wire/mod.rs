//! The wire of DHCP servers: requests come in ahead of the host's firewall, and answers
//! leave past it.
//!
//! Where the kernel has nfnetlink_log, our own firewall table hands over the requests of
//! all links, ahead of every other table's rules ([`LogSocket`]): one socket, whatever the
//! number of links. Elsewhere each link has a packet socket of its own
//! ([`PacketSocket`]). That is slower for thousands of links: with each event of any link
//! the kernel goes through all packet sockets, and it waits some milliseconds whenever one
//! is closed.

mod bridge;
mod filter;
pub mod frame;
mod log_message;
mod log_socket;
mod packet_socket;
mod relayed;
pub(crate) mod sys;

use std::io;
use std::os::fd::OwnedFd;

pub use bridge::{BridgePort, Listener, Requests};
pub use frame::{Arrival, Checksum, FrameError};
pub use log_message::{Logged, logged};
pub use log_socket::{Asked, Expected, GROUP, LogPort, LogSocket, LogSocketError, Reader};
pub use packet_socket::{OpenError, PacketSocket};
pub use relayed::RelayedPort;

use crate::dhcp::server::{Datagram, Transmit};

/// What came in.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// A datagram to port 67, whole and with right checksums.
    Datagram(Datagram),
    /// Something else that was let through.
    Damaged(FrameError),
}

impl From<Result<Datagram, FrameError>> for Received {
    fn from(parsed: Result<Datagram, FrameError>) -> Self {
        match parsed {
            Ok(datagram) => Self::Datagram(datagram),
            Err(error) => Self::Damaged(error),
        }
    }
}

/// The wire of the links of one network namespace.
#[derive(Debug)]
pub enum Wire {
    /// One socket for all links, and which of them want a server.
    Log(LogSocket, Asked),
    /// A packet socket for each.
    PacketSockets,
}

impl Wire {
    /// The best that this kernel has, in the calling thread's network namespace. Must be
    /// called within a tokio `LocalSet`.
    #[must_use]
    pub fn open() -> Self {
        match LogSocket::open() {
            Ok((socket, reader, asked)) => {
                tokio::task::spawn_local(reader.run());
                Self::Log(socket, asked)
            }
            Err(error) => {
                tracing::warn!(
                    "{}: a packet socket for each link instead",
                    crate::log::chain(&error)
                );
                Self::PacketSockets
            }
        }
    }

    /// The group of nfnetlink_log that the firewall table is to log requests to.
    #[must_use]
    pub fn log_group(&self) -> Option<u16> {
        matches!(self, Self::Log(..)).then_some(GROUP)
    }

    /// Has the first request of the link with this index told of by [`Wire::asked`], so
    /// that a link without one costs no server. Nothing where that cannot be: there a link
    /// wants its server from the start.
    #[must_use]
    pub fn expect(&self, ifindex: u32) -> Option<Expected> {
        match self {
            Self::Log(socket, _) => Some(socket.expect(ifindex)),
            Self::PacketSockets => None,
        }
    }

    /// Waits for the next link, by its index, whose server is wanted; it may be gone by now.
    /// Nothing is lost if the future is dropped.
    pub async fn asked(&mut self) -> u32 {
        match self {
            Self::Log(_, asked) => asked.next().await,
            Self::PacketSockets => std::future::pending().await,
        }
    }

    /// The router solicitations of all links, where the kernel hands them over as well; nothing
    /// the second time.
    pub fn take_solicited(&mut self) -> Option<tokio::sync::mpsc::Receiver<crate::ra::Solicited>> {
        match self {
            Self::Log(_, asked) => asked.take_solicited(),
            Self::PacketSockets => None,
        }
    }

    /// A DHCP server's place at the link with this index, with the requests that came
    /// since they are expected.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn port(&self, ifindex: u32) -> Result<Port, OpenError> {
        match self {
            Self::Log(socket, _) => Ok(Port::Log(socket.port(ifindex))),
            Self::PacketSockets => PacketSocket::open(ifindex).map(Port::PacketSocket),
        }
    }
}

/// A DHCP server's place at one link.
#[derive(Debug)]
pub enum Port {
    /// A share of the one socket.
    Log(LogPort),
    /// A socket of its own.
    PacketSocket(PacketSocket),
    /// A socket for each port of a bridge.
    Bridge(BridgePort),
    /// The same, and what relays elsewhere pass on.
    Relayed(RelayedPort),
}

impl Port {
    /// The link's index.
    #[must_use]
    pub fn ifindex(&self) -> u32 {
        match self {
            Self::Log(port) => port.ifindex(),
            Self::PacketSocket(socket) => socket.ifindex(),
            Self::Bridge(bridge) => bridge.ifindex(),
            Self::Relayed(port) => port.ifindex(),
        }
    }

    /// Waits for the next request. Nothing is lost if the future is dropped.
    ///
    /// # Errors
    /// If the kernel refuses to receive, for which there is no known reason.
    pub async fn recv(&self) -> io::Result<Received> {
        match self {
            Self::Log(port) => Ok(port.recv().await),
            Self::PacketSocket(socket) => socket.recv().await,
            Self::Bridge(bridge) => Ok(bridge.recv().await),
            Self::Relayed(port) => port.recv().await,
        }
    }

    /// The next request, if it is known to wait already, as it may at a bridge.
    #[must_use]
    pub fn try_recv(&self) -> Option<Received> {
        match self {
            Self::Log(_) | Self::PacketSocket(_) => None,
            Self::Bridge(bridge) => bridge.try_recv(),
            Self::Relayed(port) => port.try_recv(),
        }
    }

    /// Sends a datagram, at once or not at all.
    ///
    /// # Errors
    /// If the link is down or gone, its queue is full, or the datagram too long.
    pub fn send(&self, transmit: &Transmit) -> io::Result<()> {
        match self {
            Self::Log(port) => port.send(transmit),
            Self::PacketSocket(socket) => socket.send(transmit),
            Self::Bridge(bridge) => bridge.send(transmit),
            Self::Relayed(port) => port.send(transmit),
        }
    }

    /// How many requests were dropped since the last call because they came faster than
    /// they were read.
    #[must_use]
    pub fn take_drops(&self) -> u32 {
        match self {
            Self::Log(port) => port.take_drops(),
            Self::PacketSocket(socket) => socket.take_drops(),
            // They are the ports' own.
            Self::Bridge(_) | Self::Relayed(_) => 0,
        }
    }

    /// Gives it up; what is left of it takes 10 to 20 ms to close, which is not a thing
    /// for an event loop to do.
    #[must_use]
    pub fn close(self) -> Option<OwnedFd> {
        match self {
            Self::Log(_) | Self::Bridge(_) | Self::Relayed(_) => None,
            Self::PacketSocket(socket) => Some(socket.into_descriptor()),
        }
    }
}
