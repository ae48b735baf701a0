//! DHCPv4: how containers hear again over the wire what netd has already set
//! inside them, and how machines behind them get addresses.
//!
//! [`server`] is the server: a state machine without I/O and the task that runs
//! it at a link ([`crate::dhcp_wire`]). [`client`] is the client: a state machine without
//! I/O, and so is [`relay`], which passes requests on to a server elsewhere.

pub mod client;
pub mod relay;
pub mod server;

use registry::Mac;

/// The port that servers listen on (RFC 2131, section 4.1).
pub const SERVER_PORT: u16 = 67;

/// The port that clients listen on (RFC 2131, section 4.1).
pub const CLIENT_PORT: u16 = 68;

/// The Ethernet address of every station on a link.
pub const BROADCAST_MAC: Mac = Mac([0xff; 6]);
