//! Finding out whether somebody on a link has an IPv4 address already, and keeping it
//! afterwards (RFC 5227).
//!
//! [`Acd`] does no I/O and has no clock: [`Acd::handle`] takes the time and what was
//! heard, [`Acd::poll_output`] gives what is to be sent and told, and [`Acd::deadline`]
//! says when it wants to be called next. One looks after one address on one link; it is
//! small and owns no memory beside itself while it has nothing to say, so that a server
//! can look at many addresses at once ahead of need ([`Purpose::Probe`]).

mod arp;
mod machine;
mod timings;

#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;

use registry::Mac;

pub use arp::{ArpError, ArpPacket, Operation};
pub use machine::Acd;
pub use timings::{
    ANNOUNCE_INTERVAL, ANNOUNCE_NUM, DEFEND_INTERVAL, MAX_CONFLICTS, PROBE_NUM,
    RATE_LIMIT_INTERVAL, Timings,
};

/// What is looked after, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcdConfig {
    /// The link's own Ethernet address, from which probes come.
    pub mac: Mac,
    /// The address in question.
    pub address: Ipv4Addr,
    /// How long is listened before the address counts as free.
    pub timings: Timings,
    /// What becomes of it then.
    pub purpose: Purpose,
}

/// What becomes of an address that is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Another host is to have it: the machine is done once it knows.
    Probe,
    /// It is used here: announced, and defended.
    Hold(Defence),
}

/// What is done when another host uses the address as well (RFC 5227, section 2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defence {
    /// It is given up at once: "(a)".
    GiveUp,
    /// It is announced again, and given up if another host uses it within
    /// [`DEFEND_INTERVAL`] of that: "(b)".
    Once,
    /// It is never given up, and announced again at most once in [`DEFEND_INTERVAL`]:
    /// "(c)".
    Always,
}

/// What happens to a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// An ARP packet came on the link. Packets of other links of this host must be
    /// left out where two of them are in one network.
    Arp(ArpPacket),
    /// Nothing but time has passed.
    Time,
}

/// What a machine wants done, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this packet to everybody on the link.
    Send(ArpPacket),
    /// Tell this to whoever uses the address.
    Event(Event),
}

/// What became of the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nobody uses it. Where it is to be held, it should be set on the link now: it is
    /// announced next.
    Free,
    /// Somebody uses it, or looks for it at the same time; it is not to be used. The
    /// machine rests until it is started again.
    Conflict {
        /// Who.
        by: Mac,
    },
    /// Somebody else used it while it was held, and was told that it is taken.
    Defended {
        /// Who.
        by: Mac,
    },
    /// Somebody else uses it: it must be taken off the link at once. The machine rests
    /// until it is started again.
    Lost {
        /// Who.
        by: Mac,
    },
}
