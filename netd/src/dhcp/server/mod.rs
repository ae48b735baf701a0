//! A DHCP server for one link (RFC 2131, 2132, 3396, 4039, 6842).
//!
//! [`Server`] does no I/O and has no clock: [`Server::handle`] takes the time and
//! an input, [`Server::poll_output`] gives what is to be sent and told, and
//! [`Server::deadline`] says when it wants to be called next. [`serve`] runs one
//! at a link.
//!
//! It is the only server of its link, and so answers for the whole of it: an
//! address that it knows to be wrong is refused at once, and one that is free is
//! confirmed even where nothing is remembered of the client, so that a restart
//! of netd takes nobody's address.

mod choice;
mod config;
mod leases;
mod machine;
mod packet;
mod reply;
mod task;
mod timers;

#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Instant;

use registry::Mac;

pub use config::{Bounds, ConfigError, DEFAULT_LEASE_TIME, MAX_LEASE_TIME, ServerConfig};
pub use leases::{ClientKey, Lease};
pub use machine::Server;
pub use packet::PacketError;
pub use task::{Handle, Told, serve};
pub use timers::{DECLINE_REST, OFFER_HOLD};

/// What happens to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A datagram came to port 67.
    Datagram(Datagram),
    /// Nothing but time has passed.
    Time,
}

/// A UDP datagram to port 67, with what the layers below know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Where the frame came from.
    pub source_mac: Mac,
    /// The IPv4 source address; 0.0.0.0 while a client has none.
    pub source: Ipv4Addr,
    /// The IPv4 destination: the server's address, or a broadcast address.
    pub destination: Ipv4Addr,
    /// The UDP payload.
    pub payload: Vec<u8>,
}

/// What a server wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this datagram.
    Send(Transmit),
    /// Tell this to whoever keeps records and logs.
    Event(Event),
}

/// A UDP datagram to send, down to the frame's destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where the frame goes: no ARP, since the client may not have its address yet.
    pub destination_mac: Mac,
    /// The server's address and port.
    pub source: SocketAddrV4,
    /// The client's address and port, or broadcast.
    pub destination: SocketAddrV4,
    /// The UDP payload.
    pub payload: Vec<u8>,
}

/// What others may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A client has an address that it did not have before.
    Bound(Lease),
    /// A client has confirmed its address or prolonged its lease.
    Renewed(Lease),
    /// A client has its address no more.
    Ended(Lease, Ending),
    /// A client asked for an address that it cannot have, and was told so.
    Refused {
        /// The client's Ethernet address.
        mac: Mac,
        /// The address that it asked for.
        address: Ipv4Addr,
    },
    /// A client found its reserved address in use by somebody else on the link.
    /// It keeps the reservation.
    ReservedAddressInUse {
        /// The client's Ethernet address.
        mac: Mac,
        /// The reserved address.
        address: Ipv4Addr,
    },
    /// There is no address left for a client.
    Exhausted {
        /// The client's Ethernet address.
        mac: Mac,
    },
    /// A datagram was no message for this server.
    Ignored {
        /// Where the frame came from.
        source_mac: Mac,
        /// Why.
        reason: PacketError,
    },
}

/// Why a client has an address no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The client gave it back.
    Released,
    /// The lease ended without a renewal.
    Expired,
    /// The client found it in use by another host.
    Declined,
    /// The client changed to another address.
    Moved,
    /// The server's configuration has no place for it any more.
    Withdrawn,
}

/// When a server must be called again though nothing came: never, or at a time.
pub type Deadline = Option<Instant>;
