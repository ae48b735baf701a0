//! The packet socket on which a DHCP server or client stands at one link.
//!
//! A packet socket sees what arrives ahead of the host's input rules, and what
//! it sends skips the output rules: no firewall of the host can keep a container
//! from its address (packet(7)). It sees only its own link, and a filter in the
//! kernel lets only what is for its port through.

use std::io;
use std::os::fd::OwnedFd;

use registry::Mac;
use tokio::io::unix::AsyncFd;

use super::{Received, filter, frame, sys};
use crate::dhcp::server::Transmit;
use crate::dhcp::{CLIENT_PORT, SERVER_PORT};
use crate::socket_filter;

/// The longest IPv4 packet that is read, in bytes. Requests are smaller than the
/// 1500 bytes of an Ethernet frame.
const PACKET_MAX: usize = 2048;

/// A packet socket on one link, for a DHCP server or client.
#[derive(Debug)]
pub struct PacketSocket {
    socket: AsyncFd<OwnedFd>,
    ifindex: u32,
    /// Whether the filter says what is for this host, as the kernel cannot.
    filter_decides: bool,
    /// The port of which it hears.
    udp_port: u16,
}

/// Why a socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The kernel gave no packet socket.
    #[error("cannot open a packet socket")]
    Socket(#[source] io::Error),
    /// The process may not have packet sockets.
    #[error("cannot open a packet socket: CAP_NET_RAW is needed")]
    NotAllowed(#[source] io::Error),
    /// An option could not be set.
    #[error("cannot set {option} on a packet socket")]
    Option {
        /// The option by its name in packet(7) or socket(7).
        option: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The socket could not be bound to the link.
    #[error("cannot listen for DHCP on the link with index {ifindex}")]
    Bind {
        /// The link's index.
        ifindex: u32,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The event loop did not take the socket.
    #[error("cannot watch a packet socket")]
    Watch(#[source] io::Error),
}

impl PacketSocket {
    /// Listens for DHCP requests on the link with index `ifindex` in the calling
    /// thread's network namespace. The link may be down.
    ///
    /// # Errors
    /// If the process lacks CAP_NET_RAW or there is no such link.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O.
    pub fn open(ifindex: u32) -> Result<Self, OpenError> {
        let socket = open(ifindex, &filter::to_port(SERVER_PORT), sys::Protocol::Ipv4)?;
        Ok(Self {
            socket,
            ifindex,
            filter_decides: false,
            udp_port: SERVER_PORT,
        })
    }

    /// As [`PacketSocket::open`], for what servers send to clients.
    ///
    /// # Errors
    /// As [`PacketSocket::open`].
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O.
    pub fn open_for_client(ifindex: u32) -> Result<Self, OpenError> {
        let socket = open(ifindex, &filter::to_port(CLIENT_PORT), sys::Protocol::Ipv4)?;
        Ok(Self {
            socket,
            ifindex,
            filter_decides: false,
            udp_port: CLIENT_PORT,
        })
    }

    /// Listens on the port with index `ifindex` of the bridge with this Ethernet address,
    /// for what the bridge would get by it.
    ///
    /// # Errors
    /// If the process lacks CAP_NET_RAW or there is no such link.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O.
    pub fn open_port(ifindex: u32, bridge: Mac) -> Result<Self, OpenError> {
        let filter = filter::requests_on_port(bridge);
        let socket = open(ifindex, &filter, sys::Protocol::All)?;
        if let Err(error) = sys::widen_receive_buffer(socket.get_ref()) {
            tracing::debug!(ifindex, "no more room for requests than usual: {error}");
        }
        Ok(Self {
            socket,
            ifindex,
            filter_decides: true,
            udp_port: SERVER_PORT,
        })
    }

    /// Gives up the socket for its descriptor. Closing that waits for the kernel's
    /// readers of it to be done, 10 to 20 ms: not a thing for an event loop to do.
    #[must_use]
    pub fn into_descriptor(self) -> OwnedFd {
        self.socket.into_inner()
    }

    /// The link's index.
    #[must_use]
    pub fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// Waits for the next packet that the filter lets through. Nothing is lost if
    /// the future is dropped.
    ///
    /// It goes on waiting while the link is down, and for ever when the link is gone.
    ///
    /// # Errors
    /// If the kernel refuses to receive, for which there is no known reason.
    pub async fn recv(&self) -> io::Result<Received> {
        loop {
            let mut ready = self.socket.readable().await?;
            let Ok(received) = ready.try_io(|socket| self.receive(socket.get_ref())) else {
                continue;
            };
            match received {
                // Said once after the link was down, ahead of what came since.
                Err(error) if error.kind() == io::ErrorKind::NetworkDown => {}
                received => return received,
            }
        }
    }

    /// The next packet, if one waits.
    pub fn try_recv(&self) -> Option<io::Result<Received>> {
        match self.receive(self.socket.get_ref()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            received => Some(received),
        }
    }

    /// Has nobody woken by what comes. Packets go on to gather in the socket.
    #[must_use]
    pub fn unwatch(self) -> Unwatched {
        Unwatched {
            socket: self.socket.into_inner(),
            ifindex: self.ifindex,
            filter_decides: self.filter_decides,
            udp_port: self.udp_port,
        }
    }

    /// Sends a datagram, at once or not at all.
    ///
    /// # Errors
    /// If the link is down or gone, its queue is full, or the datagram too long.
    pub fn send(&self, transmit: &Transmit) -> io::Result<()> {
        frame::send(self.socket.get_ref(), transmit)
    }

    /// How many packets the kernel has dropped since the last call because they
    /// came faster than they were read.
    #[must_use]
    pub fn take_drops(&self) -> u32 {
        // A statistic is not worth an error of its own.
        sys::take_drops(self.socket.get_ref()).unwrap_or(0)
    }

    /// The buffer lives as long as the call alone: thousands of links wait at no cost.
    fn receive(&self, socket: &OwnedFd) -> io::Result<Received> {
        let mut buffer = [0_u8; PACKET_MAX];
        let (length, mut arrival) = sys::receive(socket, &mut buffer)?;
        arrival.is_for_us |= self.filter_decides;
        let packet = buffer.get(..length).unwrap_or_default();
        Ok(frame::parse_to(self.udp_port, packet, &arrival).into())
    }
}

/// A [`PacketSocket`] that gathers packets, and wakes nobody.
#[derive(Debug)]
pub struct Unwatched {
    socket: OwnedFd,
    ifindex: u32,
    filter_decides: bool,
    udp_port: u16,
}

impl Unwatched {
    /// Has what comes, and what came meanwhile, received again.
    ///
    /// # Errors
    /// If the event loop does not take the socket.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O.
    pub fn watch(self) -> Result<PacketSocket, OpenError> {
        Ok(PacketSocket {
            socket: sys::watch(self.socket).map_err(OpenError::Watch)?,
            ifindex: self.ifindex,
            filter_decides: self.filter_decides,
            udp_port: self.udp_port,
        })
    }

    /// As [`PacketSocket::into_descriptor`].
    #[must_use]
    pub fn into_descriptor(self) -> OwnedFd {
        self.socket
    }
}

fn open(
    ifindex: u32,
    filter: &[libc::sock_filter],
    protocol: sys::Protocol,
) -> Result<AsyncFd<OwnedFd>, OpenError> {
    let socket = sys::open().map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => OpenError::NotAllowed(error),
        _ => OpenError::Socket(error),
    })?;
    let option = |option| move |source| OpenError::Option { option, source };
    sys::limit_receive_buffer(&socket).map_err(option("SO_RCVBUF"))?;
    socket_filter::attach(&socket, filter).map_err(option("SO_ATTACH_FILTER"))?;
    sys::want_auxdata(&socket).map_err(option("PACKET_AUXDATA"))?;
    // A socket bound to one protocol hears nothing of this host's own anyway; one for
    // all protocols, as on a bridge's port, would.
    sys::ignore_outgoing(&socket).map_err(option("PACKET_IGNORE_OUTGOING"))?;
    // Last: before it is bound to a protocol the socket receives nothing, and so
    // nothing that the filter has not seen.
    sys::bind(&socket, ifindex, protocol).map_err(|source| OpenError::Bind { ifindex, source })?;
    sys::watch(socket).map_err(OpenError::Watch)
}
