//! The packet socket on which ARP is heard and spoken (packet(7)), for conflict
//! detection: the kernel answers ARP by itself, but tells nobody what it heard.

mod filter;
mod sys;

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::acd::ArpPacket;
use crate::async_fd::watch;
use crate::dhcp_wire::sys as packet_socket;
use crate::socket_filter;

/// A socket for ARP packets of one link or of all of them.
///
/// Of a bridge and its ports, only the bridge is heard. What this host sends is not
/// heard, nor what another station is sent by one that knows its Ethernet address: answers
/// to a probe are heard if the probe came from the link's own address.
#[derive(Debug)]
pub struct ArpSocket {
    socket: AsyncFd<OwnedFd>,
}

/// A packet that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The index of the link that it came by.
    pub ifindex: u32,
    /// What it says.
    pub packet: ArpPacket,
}

/// Why a socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ArpSocketError {
    /// The process may not have packet sockets.
    #[error("cannot open a packet socket for ARP: CAP_NET_RAW is needed")]
    NotAllowed(#[source] io::Error),
    /// The kernel gave no packet socket.
    #[error("cannot open a packet socket for ARP")]
    Socket(#[source] io::Error),
    /// An option could not be set.
    #[error("cannot set {option} on a packet socket for ARP")]
    Option {
        /// The option by its name in packet(7) or socket(7).
        option: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The socket could not be bound.
    #[error("cannot listen for ARP{}", match .ifindex {
        0 => String::new(),
        index => format!(" on the link with index {index}"),
    })]
    Bind {
        /// The link's index; 0 for all.
        ifindex: u32,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The event loop did not take the socket.
    #[error("cannot watch a packet socket for ARP")]
    Watch(#[source] io::Error),
}

impl ArpSocket {
    /// Listens on the link with index `ifindex` in the calling thread's network
    /// namespace. The link may be down.
    ///
    /// # Errors
    /// If the process lacks CAP_NET_RAW or there is no such link.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O.
    pub fn open(ifindex: u32) -> Result<Self, ArpSocketError> {
        Self::open_with(ifindex, &filter::ARP)
    }

    /// Listens on all links of the namespace, those to come included, for what ARP says of
    /// link-local addresses (169.254.0.0/16): of anything else the process is not woken.
    ///
    /// # Errors
    /// If the process lacks CAP_NET_RAW.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O.
    pub fn open_link_local() -> Result<Self, ArpSocketError> {
        Self::open_with(0, &filter::link_local(&[]))
    }

    /// Has a socket for link-local addresses hear nothing of these links from now on, 64 at
    /// the most.
    ///
    /// # Errors
    /// If the kernel does not take the filter.
    pub fn leave_out(&self, links: &[u32]) -> Result<(), ArpSocketError> {
        let filter = filter::link_local(links);
        socket_filter::attach(self.socket.get_ref(), &filter).map_err(|source| {
            ArpSocketError::Option {
                option: "SO_ATTACH_FILTER",
                source,
            }
        })
    }

    /// Has the socket of a link hear all, as it does at first, or nothing from now on: then
    /// the process is not woken by what is not looked for.
    ///
    /// # Errors
    /// If the kernel does not take the filter.
    pub fn listen(&self, hears: bool) -> Result<(), ArpSocketError> {
        let filter: &[libc::sock_filter] = if hears {
            &filter::ARP
        } else {
            &filter::NOTHING
        };
        socket_filter::attach(self.socket.get_ref(), filter).map_err(|source| {
            ArpSocketError::Option {
                option: "SO_ATTACH_FILTER",
                source,
            }
        })
    }

    fn open_with(ifindex: u32, filter: &[libc::sock_filter]) -> Result<Self, ArpSocketError> {
        let socket = packet_socket::open().map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => ArpSocketError::NotAllowed(error),
            _ => ArpSocketError::Socket(error),
        })?;
        let option = |option| move |source| ArpSocketError::Option { option, source };
        packet_socket::limit_receive_buffer(&socket).map_err(option("SO_RCVBUF"))?;
        socket_filter::attach(&socket, filter).map_err(option("SO_ATTACH_FILTER"))?;
        packet_socket::ignore_outgoing(&socket).map_err(option("PACKET_IGNORE_OUTGOING"))?;
        // Last: before it is bound to a protocol the socket receives nothing, and so
        // nothing that the filter has not seen.
        sys::bind(&socket, ifindex).map_err(|source| ArpSocketError::Bind { ifindex, source })?;
        let socket = watch(socket, Interest::READABLE).map_err(ArpSocketError::Watch)?;
        Ok(Self { socket })
    }

    /// Listens on all links of the namespace, those to come included. It costs nothing
    /// but with each ARP packet; a flood of those on one link may drown what comes by
    /// others.
    ///
    /// # Errors
    /// If the process lacks CAP_NET_RAW.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O.
    pub fn open_all() -> Result<Self, ArpSocketError> {
        Self::open(0)
    }

    /// Waits for the next packet. Nothing is lost if the future is dropped.
    ///
    /// It goes on waiting while the link is down, and for ever when the link is gone.
    ///
    /// # Errors
    /// If the kernel refuses to receive, for which there is no known reason.
    pub async fn recv(&self) -> io::Result<Heard> {
        loop {
            let mut ready = self.socket.readable().await?;
            match ready.try_io(|socket| receive(socket.get_ref())) {
                Ok(Ok(Some(heard))) => return Ok(heard),
                // Said once after the link was down, ahead of what came since.
                Ok(Err(error)) if error.kind() == io::ErrorKind::NetworkDown => {}
                Ok(Err(error)) => return Err(error),
                Ok(Ok(None)) | Err(_) => {}
            }
        }
    }

    /// Sends a packet to everybody on a link, at once or not at all. That is what RFC
    /// 5227 asks for, and what RFC 3927, section 2.5, demands of replies as well.
    ///
    /// # Errors
    /// If the link is down or gone, or its queue is full.
    pub fn send(&self, ifindex: u32, packet: &ArpPacket) -> io::Result<()> {
        sys::broadcast(self.socket.get_ref(), ifindex, &packet.emit())
    }

    /// Gives up the socket for its descriptor. Closing that waits for the kernel's
    /// readers of it to be done, 10 to 20 ms: not a thing for an event loop to do.
    #[must_use]
    pub fn into_descriptor(self) -> OwnedFd {
        self.socket.into_inner()
    }
}

fn receive(socket: &OwnedFd) -> io::Result<Option<Heard>> {
    let mut buffer = [0_u8; ArpPacket::LEN];
    let (len, ifindex) = sys::receive(socket, &mut buffer)?;
    let packet = ArpPacket::parse(buffer.get(..len).unwrap_or_default());
    Ok(packet.ok().map(|packet| Heard { ifindex, packet }))
}
