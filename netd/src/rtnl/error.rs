//! What can go wrong with rtnetlink.

use std::io;

use ipnetwork::IpNetwork;

/// A request to the kernel, or the connection to it, failed.
#[derive(Debug, thiserror::Error)]
pub enum RtnlError {
    /// No netlink socket.
    #[error("cannot open a netlink socket: is netd allowed to (CAP_NET_ADMIN)?")]
    Open(#[source] io::Error),
    /// Events cannot be read.
    #[error("cannot read the kernel's events")]
    Events(#[source] io::Error),
    /// A listing of what is there failed.
    #[error("cannot list the host's {what}")]
    Dump {
        /// Links, addresses or routes.
        what: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A change of a link failed.
    #[error("cannot {what} link {index}")]
    Link {
        /// What was to be done.
        what: &'static str,
        /// Interface index.
        index: u32,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A change of an address failed.
    #[error("cannot {what} address {address} on link {index}")]
    Address {
        /// What was to be done.
        what: &'static str,
        /// The address.
        address: IpNetwork,
        /// Interface index.
        index: u32,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

impl RtnlError {
    /// The kernel's answer to a change (errno(3)).
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Link { source, .. } | Self::Address { source, .. } => source.raw_os_error(),
            Self::Open(_) | Self::Events(_) | Self::Dump { .. } => None,
        }
    }

    /// Whether the link or address is not there any more, which is what the links
    /// of ending containers do at any time.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(
            self.errno(),
            Some(libc::ENODEV | libc::EADDRNOTAVAIL | libc::ENXIO | libc::ESRCH)
        )
    }
}
