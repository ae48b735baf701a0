//! How solicitations of all links come in, and advertisements leave.
//!
//! Where the kernel has nfnetlink_log, the firewall table hands solicitations over, as many
//! of each link as its limit allows and ahead of everybody's rules, and one packet socket
//! that is bound to nothing sends the answers: no link is joined to a group, or costs a
//! socket. Elsewhere a raw socket joins the routers' group on each link.

use std::io;
use std::net::Ipv6Addr;
use std::os::fd::OwnedFd;

use registry::Mac;
use tokio::sync::mpsc;

use super::socket::{Heard, RaSocket, RaSocketError};
use super::{frame, sys};
use crate::dhcp_wire::sys as packet_socket;

/// A solicitation, and the Ethernet address that it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Solicited {
    /// What it says.
    pub heard: Heard,
    /// Where the frame came from, where the kernel has told it.
    pub station: Option<Mac>,
}

/// The way of router discovery on the links of one network namespace.
#[derive(Debug)]
pub enum RaWire {
    /// The firewall table hands over what comes.
    Log {
        /// What it has handed over.
        solicited: mpsc::Receiver<Solicited>,
        /// What sends; it receives nothing.
        sender: OwnedFd,
    },
    /// A raw socket that joins each link.
    Socket(RaSocket),
    /// There is no IPv6.
    None,
}

/// An advertisement that leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// The index of the link.
    pub ifindex: u32,
    /// The link's link-local address.
    pub source: Ipv6Addr,
    /// All hosts of the link, or one.
    pub destination: Ipv6Addr,
    /// The one's Ethernet address; none to have it looked up, or where all are meant.
    pub station: Option<Mac>,
    /// The message.
    pub packet: Vec<u8>,
}

impl RaWire {
    /// The best that this kernel has, with what the firewall table hands over if it does.
    /// Must be called within a tokio runtime.
    #[must_use]
    pub fn open(solicited: Option<mpsc::Receiver<Solicited>>) -> Self {
        let opened = match solicited {
            Some(solicited) => packet_socket::open()
                .map(|sender| Self::Log { solicited, sender })
                .map_err(RaSocketError::Socket),
            None => RaSocket::open().map(Self::Socket),
        };
        opened.unwrap_or_else(|error| {
            tracing::warn!("no router advertisements: {}", crate::log::chain(&error));
            Self::None
        })
    }

    /// Hears hosts of a link from now on.
    ///
    /// # Errors
    /// [`RaSocket::join`].
    pub fn join(&self, ifindex: u32) -> io::Result<()> {
        match self {
            Self::Socket(socket) => socket.join(ifindex),
            Self::Log { .. } | Self::None => Ok(()),
        }
    }

    /// Waits for the next solicitation. Nothing is lost if the future is dropped.
    ///
    /// # Errors
    /// [`RaSocket::recv`].
    pub async fn next(&mut self) -> io::Result<Solicited> {
        match self {
            Self::Log { solicited, .. } => match solicited.recv().await {
                Some(solicited) => Ok(solicited),
                // Nobody hands over anything any more.
                None => std::future::pending().await,
            },
            Self::Socket(socket) => Ok(Solicited {
                heard: socket.recv().await?,
                station: None,
            }),
            Self::None => std::future::pending().await,
        }
    }

    /// Sends an advertisement, at once or not at all.
    ///
    /// # Errors
    /// If the link is down or gone, or its queue is full.
    pub fn send(&self, leaving: Leaving) -> io::Result<()> {
        let Leaving {
            ifindex,
            source,
            destination,
            station,
            packet,
        } = leaving;
        match self {
            Self::Log { sender, .. } => {
                let group = || {
                    destination
                        .is_multicast()
                        .then(|| frame::group_station(destination))
                };
                let Some(station) = station.or_else(group) else {
                    return Err(io::ErrorKind::AddrNotAvailable.into());
                };
                let packet = frame::build(source, destination, packet);
                sys::send_frame(sender, ifindex, station, &packet)
            }
            Self::Socket(socket) => socket.send(ifindex, Some(source), destination, &packet),
            Self::None => Ok(()),
        }
    }
}
