//! The subjects that are measured.

pub mod client;
pub mod dhcp;
pub mod idle;
pub mod links;
pub mod lookup;
pub mod memory;
pub mod ping;
pub mod registrations;
pub mod share;
pub mod spawn;
pub mod start;

use clap::ValueEnum;

use crate::Extent;

/// A subject, selectable by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Subject {
    /// Links at once, until they are configured and serve DHCP.
    Links,
    /// netd's start with thousands of links and records.
    Start,
    /// What netd and rspawn themselves take for one container more, at 1 and at 4,000.
    Share,
    /// Memory of netd and rspawn.
    Memory,
    /// Wake-ups while nothing happens, with 1,000 containers.
    Idle,
    /// A look-up of a name.
    Lookup,
    /// 1,000 registrations at once.
    Registrations,
    /// A program in a container, to its end.
    Spawn,
    /// A container, to the first answered ping.
    Ping,
    /// netd as a client, from a link to its address.
    Client,
    /// The DHCP server of a zone, beside Kea and dnsmasq.
    Dhcp,
}

impl Subject {
    /// Measures it, and writes the results to standard output.
    pub fn measure(self, extent: Extent) {
        match self {
            Self::Links => links::measure(extent),
            Self::Start => start::measure(extent),
            Self::Share => share::measure(extent),
            Self::Idle => idle::measure(extent),
            Self::Registrations => registrations::measure(extent),
            Self::Memory => memory::measure(extent),
            Self::Lookup => lookup::measure(extent),
            Self::Spawn => spawn::measure(extent),
            Self::Ping => ping::measure(extent),
            Self::Client => client::measure(extent),
            Self::Dhcp => dhcp::measure(extent),
        }
    }
}
