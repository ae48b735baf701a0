//! A DHCP relay (RFC 1542, 2131, 3046): passes requests of a link's clients to servers
//! elsewhere, and their answers back, so that an existing server gives out the addresses.
//!
//! [`Relay`] does no I/O and has no clock, as [`super::server::Server`]. It tells the server
//! which machine asks: by option 82, whose circuit id is the machine's name. What a client
//! itself says of that is not believed.

mod machine;
mod option;
mod socket;

#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddrV4};

pub use machine::Relay;
pub use socket::RelaySocket;

/// What a relay does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayConfig {
    /// The relay's address on the clients' link: by it the server knows the subnet, and there
    /// it answers.
    pub address: Ipv4Addr,
    /// The servers; each gets every request.
    pub targets: Vec<Ipv4Addr>,
    /// What is said of the relay itself (option 82, remote id), if anything.
    pub remote_id: Option<Vec<u8>>,
    /// How many exchanges are remembered at most, and so can be answered.
    pub pending: usize,
}

impl RelayConfig {
    /// A relay with this address for these servers.
    #[must_use]
    pub fn new(address: Ipv4Addr, targets: Vec<Ipv4Addr>) -> Self {
        Self {
            address,
            targets,
            remote_id: None,
            pending: 4096,
        }
    }
}

/// Where a request came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// The index of the interface.
    pub port: u32,
    /// What the server is told of it, the machine's name: 1 to [`CIRCUIT_MAX`] bytes.
    pub circuit: &'a [u8],
    /// Whether a relay behind it is believed what it says of itself and of its clients.
    pub trusted: bool,
}

/// The longest circuit id that is sent.
pub const CIRCUIT_MAX: usize = 128;

/// A datagram that leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forward {
    /// To a server, routed as usual.
    ToServer {
        /// The relay's address and port 67.
        source: SocketAddrV4,
        /// The server.
        destination: SocketAddrV4,
        /// The UDP payload.
        payload: Vec<u8>,
    },
    /// To a client.
    ToClient(super::server::Transmit),
}

/// Why a datagram was not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RelayError {
    /// It is no whole, well-formed DHCP message of the kind that comes from there.
    #[error("the datagram is no whole DHCP message")]
    Malformed,
    /// Too many relays have passed it on.
    #[error("the message passed {0} relays already")]
    Hops(u8),
    /// A client says itself by which relay its message came.
    #[error("the client claims to be behind a relay")]
    Untrusted,
    /// An answer that was asked for by nobody here, or too long ago.
    #[error("an answer to no request that is known")]
    Unexpected,
    /// An answer from an address that is no target's.
    #[error("an answer from {0}, which is none of the servers")]
    Stranger(Ipv4Addr),
    /// With what the relay adds it would be too long.
    #[error("the message is too long to be passed on")]
    TooLong,
}
