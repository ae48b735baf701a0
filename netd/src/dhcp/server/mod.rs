//! A DHCP server for one link (RFC 2131, 2132, 3046, 3396, 3397, 3442, 4039, 6842).
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

mod accounts;
mod code;
mod config;
mod durable;
mod exchange;
mod leases;
mod machine;
mod offers;
mod pool;
mod ranges;
mod reply;
mod request;
mod requests;
mod reservations;
mod rests;
mod settings;
mod stock;
mod task;
mod timers;
mod writer;

#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Instant;

use registry::Mac;

pub use config::{
    Bounds, ConfigError, DEFAULT_LEASE_TIME, MAX_LEASE_TIME, PER_PORT_MIN, Route, SendOption,
    ServerConfig,
};
#[cfg(test)]
pub(crate) use durable::to_kept;
pub use leases::{ClientKey, Lease};
pub use machine::Server;
pub use request::{PacketError, relay_of};
pub use reservations::Holder;
pub use task::{Handle, Surroundings, Told, serve, serve_with};
pub use timers::{DECLINE_REST, OFFER_HOLD, PROBE_HOLDS, PROBE_PATIENCE};

/// What happens to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A datagram came to port 67.
    Datagram(Datagram),
    /// An address was looked for on the link, as [`Output::Probe`] has asked.
    Probed {
        /// The address.
        address: Ipv4Addr,
        /// Whether nobody answered for it.
        free: bool,
    },
    /// Nothing but time has passed.
    Time,
}

/// A UDP datagram to port 67, with what the layers below know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// The index of the interface by which it came in: a bridge's port, or the link itself.
    pub port: u32,
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
    /// Send this datagram, but not before all that was to be kept before it is on disk: it
    /// acknowledges a lease. Instead of [`Output::Send`] where leases are kept.
    SendKept(Transmit),
    /// Keep this, so that it outlasts whatever ends the server; comes where leases are
    /// kept ([`ServerConfig::keep`]).
    Keep(Change),
    /// Look for this address on the link, and tell by [`Input::Probed`]; comes where
    /// addresses are probed ([`ServerConfig::probe`]).
    Probe {
        /// The address.
        address: Ipv4Addr,
    },
    /// Tell this to whoever keeps records and logs.
    Event(Event),
}

/// A change of what clients have that is to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A client may have an address until then; that may be later than what it was promised.
    /// It takes the place of what was kept of the address.
    Leased(Lease),
    /// An address is nobody's any more.
    Freed(Ipv4Addr),
}

/// A UDP datagram to send, down to the frame's destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// The index of the interface by which it leaves: that by which the request came.
    pub port: u32,
    /// Where the frame goes: no ARP, since the client may not have its address yet.
    pub destination_mac: Mac,
    /// The server's address and port.
    pub source: SocketAddrV4,
    /// The client's or relay's address and port, or broadcast.
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
    /// A sender has as many addresses as it may have, and got no further one.
    Quota {
        /// The interface by which it sends.
        port: u32,
        /// Where its frames come from.
        mac: Mac,
    },
    /// Somebody uses an address of the pool who has it from elsewhere. It rests.
    InUse {
        /// The address.
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

/// How many of the addresses that any client may get are what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Nobody's.
    pub free: usize,
    /// Offered to somebody, or somebody's.
    pub held: usize,
    /// Used by somebody who has them from elsewhere.
    pub resting: usize,
}

/// What a server has seen and said since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// DISCOVERs.
    pub discover: u64,
    /// REQUESTs.
    pub request: u64,
    /// DECLINEs.
    pub decline: u64,
    /// RELEASEs.
    pub release: u64,
    /// INFORMs.
    pub inform: u64,
    /// Datagrams that were no message for this server.
    pub ignored: u64,
    /// OFFERs.
    pub offer: u64,
    /// ACKs.
    pub ack: u64,
    /// NAKs.
    pub nak: u64,
    /// Messages of senders who had as many addresses as they may have.
    pub quota: u64,
    /// DISCOVERs without an answer because too many clients waited for probes.
    pub put_off: u64,
    /// Addresses that a probe has found in use.
    pub in_use: u64,
}

/// When a server must be called again though nothing came: never, or at a time.
pub type Deadline = Option<Instant>;
