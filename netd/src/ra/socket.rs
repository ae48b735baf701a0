//! The raw socket on which solicitations of all links come, and advertisements go out.
//!
//! Other than a packet socket it stands behind the host's input rules: a firewall that
//! drops ICMPv6 there drops solicitations, and all of IPv6 with them.

use std::io;
use std::net::Ipv6Addr;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::packet::{NdError, Solicitation};
use super::{ALL_ROUTERS, sys};
use crate::async_fd::watch;

/// The longest solicitation that is read, in bytes; usual ones have 16.
const MESSAGE_MAX: usize = 2048;
/// Room for some hundreds of solicitations: the kernel doubles it, and counts about 1 KiB
/// for each.
const RECEIVE_BUFFER: i32 = 256 * 1024;

/// A raw ICMPv6 socket for router discovery on all links of a network namespace.
#[derive(Debug)]
pub struct RaSocket {
    socket: AsyncFd<OwnedFd>,
}

/// A message that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The index of the link that it came by.
    pub ifindex: u32,
    /// Where from, by its own account.
    pub source: Ipv6Addr,
    /// Its hop limit; 0 if the kernel did not say.
    pub hop_limit: u8,
    /// What it says, or why it is no solicitation.
    pub message: Result<Solicitation, NdError>,
}

/// Why a socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum RaSocketError {
    /// The process may not have raw sockets.
    #[error("cannot open a raw ICMPv6 socket: CAP_NET_RAW is needed")]
    NotAllowed(#[source] io::Error),
    /// The kernel gave none, as where it has no IPv6.
    #[error("cannot open a raw ICMPv6 socket")]
    Socket(#[source] io::Error),
    /// An option could not be set.
    #[error("cannot set {option} on a raw ICMPv6 socket")]
    Option {
        /// The option's name.
        option: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The event loop did not take the socket.
    #[error("cannot watch a raw ICMPv6 socket")]
    Watch(#[source] io::Error),
}

impl RaSocket {
    /// A socket in the calling thread's network namespace, which hears nothing but router
    /// solicitations.
    ///
    /// # Errors
    /// If the process lacks CAP_NET_RAW or the kernel IPv6.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O.
    pub fn open() -> Result<Self, RaSocketError> {
        let socket = sys::open().map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => RaSocketError::NotAllowed(error),
            _ => RaSocketError::Socket(error),
        })?;
        let option = |option| move |source| RaSocketError::Option { option, source };
        sys::filter(&socket).map_err(option("ICMP6_FILTER"))?;
        sys::set_receive_buffer(&socket, RECEIVE_BUFFER).map_err(option("SO_RCVBUF"))?;
        let options = [
            ("IPV6_RECVPKTINFO", libc::IPV6_RECVPKTINFO, 1),
            ("IPV6_RECVHOPLIMIT", libc::IPV6_RECVHOPLIMIT, 1),
            ("IPV6_MULTICAST_HOPS", libc::IPV6_MULTICAST_HOPS, 255),
            ("IPV6_UNICAST_HOPS", libc::IPV6_UNICAST_HOPS, 255),
            ("IPV6_MULTICAST_LOOP", libc::IPV6_MULTICAST_LOOP, 0),
        ];
        for (name, number, value) in options {
            sys::set_ipv6(&socket, number, value).map_err(option(name))?;
        }
        let socket = watch(socket, Interest::READABLE).map_err(RaSocketError::Watch)?;
        Ok(Self { socket })
    }

    /// Hears hosts of a link from now on, which may be down. Again is no error.
    ///
    /// The kernel bounds how many groups a socket joins (net.core.optmem_max): some
    /// hundreds to two thousand. A link that forwards IPv6 has joined by itself, and is
    /// heard in any case, as long as this socket did not join and leave it.
    ///
    /// # Errors
    /// If there is no such link, it has no IPv6, or the socket has joined too many.
    pub fn join(&self, ifindex: u32) -> io::Result<()> {
        let joined = self.membership(libc::IPV6_ADD_MEMBERSHIP, ifindex);
        match joined {
            Err(error) if error.raw_os_error() == Some(libc::EADDRINUSE) => Ok(()),
            joined => joined,
        }
    }

    /// Hears them no more. Links that are gone are left by themselves.
    ///
    /// # Errors
    /// If the link was not joined.
    pub fn leave(&self, ifindex: u32) -> io::Result<()> {
        self.membership(libc::IPV6_DROP_MEMBERSHIP, ifindex)
    }

    fn membership(&self, option: i32, ifindex: u32) -> io::Result<()> {
        sys::membership(self.socket.get_ref(), option, ALL_ROUTERS, ifindex)
    }

    /// Waits for the next message. Nothing is lost if the future is dropped.
    ///
    /// # Errors
    /// If the kernel refuses to receive, for which there is no known reason.
    pub async fn recv(&self) -> io::Result<Heard> {
        loop {
            let mut ready = self.socket.readable().await?;
            if let Ok(heard) = ready.try_io(|socket| receive(socket.get_ref())) {
                return heard;
            }
        }
    }

    /// Sends a message on a link, at once or not at all, with hop limit 255. The kernel
    /// fills in its checksum, and its source where that is none: the link's link-local
    /// address.
    ///
    /// # Errors
    /// If the link is down, gone, or has no link-local address yet, which is so until
    /// duplicate address detection is over; or if its queue is full.
    pub fn send(
        &self,
        ifindex: u32,
        source: Option<Ipv6Addr>,
        destination: Ipv6Addr,
        packet: &[u8],
    ) -> io::Result<()> {
        sys::send(self.socket.get_ref(), ifindex, source, destination, packet)
    }
}

fn receive(socket: &OwnedFd) -> io::Result<Heard> {
    let mut buffer = [0_u8; MESSAGE_MAX];
    let arrival = sys::receive(socket, &mut buffer)?;
    let bytes = buffer.get(..arrival.len).unwrap_or_default();
    let message = if arrival.is_truncated {
        Err(NdError::OptionLength)
    } else {
        Solicitation::parse(bytes)
    };
    Ok(Heard {
        ifindex: arrival.ifindex,
        source: arrival.source,
        hop_limit: arrival.hop_limit.unwrap_or(0),
        message,
    })
}

impl Heard {
    /// What an [`Advertiser`](super::Advertiser) is to be told, if it is well-formed.
    #[must_use]
    pub fn input(&self) -> Option<super::Input> {
        let message = self.message.ok()?;
        Some(super::Input::Solicitation {
            source: self.source,
            source_link_layer: message.source_link_layer,
            hop_limit: self.hop_limit,
        })
    }
}
