//! An address of 169.254.0.0/16 for a link on which nobody gives one (RFC 3927).
//!
//! [`Ipv4ll`] does no I/O and has no clock, as [`acd`](crate::acd) on which it stands.
//! Its choice depends on nothing but its configuration, so a host tries the same address
//! first after each start.

mod candidates;
mod machine;

#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;

use registry::Mac;

use crate::acd::{ArpPacket, Timings};

pub use candidates::{FIRST, LAST, Seed, is_selectable};
pub use machine::Ipv4ll;

/// How an address is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4llConfig {
    /// The link's own Ethernet address.
    pub mac: Mac,
    /// What the addresses to be tried are computed from.
    pub seed: Seed,
    /// The address to be tried first: the one that was held last, or one that an
    /// administrator wants. One that hosts may not choose is passed over.
    pub start_address: Option<Ipv4Addr>,
    /// How long is listened before an address counts as free.
    pub timings: Timings,
}

/// What happens to a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// An ARP packet came on the link.
    Arp(ArpPacket),
    /// Nothing but time has passed.
    Time,
}

/// What a machine wants done, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this packet to everybody on the link.
    Send(ArpPacket),
    /// Tell this to whoever configures the link.
    Event(Event),
}

/// What became of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It is ours, and should be set on the link now: it is announced next.
    Claimed(Ipv4Addr),
    /// It is not ours any more, and must be taken off the link at once. Another one is
    /// being looked for.
    Lost {
        /// The address.
        address: Ipv4Addr,
        /// Who uses it.
        by: Mac,
    },
    /// It was to be tried, but somebody has it. Another one is being looked for.
    Taken {
        /// The address.
        address: Ipv4Addr,
        /// Who uses it.
        by: Mac,
    },
    /// Somebody else used our address, and was told that it is taken.
    Defended {
        /// The address.
        address: Ipv4Addr,
        /// Who used it.
        by: Mac,
    },
}
