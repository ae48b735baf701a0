//! The leases in use, for whoever asks.

use std::net::Ipv4Addr;
use std::time::Instant;

use ipnetwork::Ipv4Network;

use crate::dhcp::client::Lease;

/// A lease that a link has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldLease {
    /// The link's name.
    pub link: String,
    /// The address, with the length of its network's prefix.
    pub address: Ipv4Network,
    /// The server that gave it.
    pub server: Ipv4Addr,
    /// When it ends; never, if there is nothing here.
    pub until: Option<Instant>,
}

impl HeldLease {
    pub(super) fn of(lease: &Lease, link: &str) -> Self {
        Self {
            link: link.to_owned(),
            address: lease.address,
            server: lease.server,
            until: lease.expires(),
        }
    }
}
