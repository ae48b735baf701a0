//! A DHCP client for one link (RFC 2131, 2132, 3396, 3397, 3442, 4039, 4361, 6842).
//!
//! [`Client`] does no I/O and has no clock: [`Client::handle`] takes the time and an
//! input, [`Client::poll_output`] gives what is to be sent and told, and
//! [`Client::deadline`] says when it wants to be called next. It sets nothing: whoever
//! runs it puts addresses, routes and names where they belong, and looks for other
//! holders of an address if [`ClientConfig::conflict_detection`] asks for that.
//!
//! A lease outlasts the client as a [`SavedLease`], which is a small text file.

mod acquire;
mod config;
mod identity;
mod keep;
mod lease;
mod lease_file;
mod machine;
mod names;
mod options;
mod packet;
mod request;
mod settings;
mod timers;

#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Instant;

use registry::Mac;

pub use config::{ClientConfig, DEFAULT_PARAMETERS};
pub use identity::{ClientId, Interface};
pub use lease::{Changes, Lease, SavedLease};
pub use lease_file::LeaseFileError;
pub use machine::Client;
pub use packet::PacketError;
pub use settings::{Route, Settings};
pub use timers::{DECLINE_WAIT, Limits, Times, Timings};

/// What happens to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A datagram came to port 68.
    Datagram(ServerDatagram),
    /// Nothing but time has passed.
    Time,
    /// The link can carry packets again. What is held is verified with the server (RFC
    /// 2131, section 3.7), and may be used meanwhile.
    LinkUp,
    /// The link carries no packets. What is held stays until it ends.
    LinkDown,
    /// Another host has this address. It is declined, and the client starts afresh after
    /// [`DECLINE_WAIT`].
    Conflict {
        /// The address.
        address: Ipv4Addr,
    },
    /// No other host has this address, of which [`Event::ToProbe`] told.
    Probed {
        /// The address.
        address: Ipv4Addr,
    },
    /// The address is needed no more. The client stops.
    Release,
    /// The lease is to be renewed now.
    Renew,
}

/// A UDP datagram to port 68, with what the layers below know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerDatagram {
    /// Where the frame came from.
    pub source_mac: Mac,
    /// The IPv4 source address: the server's, or a relay's.
    pub source: Ipv4Addr,
    /// The IPv4 destination. Before a client has its address that is any, and nothing is
    /// concluded from it.
    pub destination: Ipv4Addr,
    /// The UDP payload.
    pub payload: Vec<u8>,
}

/// What a client wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this datagram. What comes before an event is to be sent before that is acted
    /// on: a RELEASE has the address that is given back as its source.
    Send(Transmit),
    /// Act on this.
    Event(Event),
}

/// A UDP datagram to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where the frame goes, if that is known. If not, `destination` is to be resolved and
    /// routed as usual.
    pub destination_mac: Option<Mac>,
    /// The client's address, 0.0.0.0 while it has none, and port.
    pub source: SocketAddrV4,
    /// The server's address, or broadcast, and port.
    pub destination: SocketAddrV4,
    /// The UDP payload.
    pub payload: Vec<u8>,
}

/// What whoever runs the client acts on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// This is leased, but another host may have the address: [`Input::Probed`] or
    /// [`Input::Conflict`] is awaited before it is used. An address that is on the link's
    /// interface already needs no probing. If this comes again, an earlier one is void.
    ToProbe(Box<Lease>),
    /// This may be used now.
    Bound(Box<Lease>),
    /// The lease goes on.
    Renewed {
        /// As it is now.
        lease: Box<Lease>,
        /// What is not as before, beside its end.
        changes: Changes,
    },
    /// The address is not to be used any more.
    Lost {
        /// The address.
        address: Ipv4Addr,
        /// Why.
        why: Loss,
    },
    /// No server has given an address for so long that something else should be tried
    /// beside DHCP, an address of IPv4LL for instance. Comes once in each attempt, and when
    /// the client stops trying.
    NoAnswer {
        /// Whether the client has stopped: it was to try only so often.
        stopped: bool,
    },
    /// The answer to [`Client::inform`].
    Informed(Box<Settings>),
    /// A datagram was no message of a server. Those that are for other clients, or answer
    /// nothing that was asked, are not reported.
    Ignored {
        /// Where the frame came from.
        source_mac: Mac,
        /// Why.
        reason: PacketError,
    },
}

/// Why an address is not to be used any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The lease ended without a renewal.
    Expired,
    /// A server says that the client must not have it.
    Nak,
    /// It was given back.
    Released,
    /// Another host has it.
    Declined,
    /// The server gave another one instead, of which the next event tells.
    Replaced,
}

/// When a client must be called again though nothing came: never, or at a time.
pub type Deadline = Option<Instant>;
