//! Link-local addresses in virtual time.

mod claims;
mod link;
mod single;

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use registry::Mac;

use super::{Event, FIRST, Input, Ipv4ll, Ipv4llConfig, LAST, Output, Seed, is_selectable};
use crate::acd::{ArpPacket, MAX_CONFLICTS, Operation, Timings};

fn mac(number: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, number])
}

fn config(number: u8) -> Ipv4llConfig {
    Ipv4llConfig {
        mac: mac(number),
        seed: Seed::from_mac(mac(number)),
        start_address: None,
        timings: Timings::container(),
    }
}

/// What somebody who has `address` says.
fn says(by: Mac, address: Ipv4Addr) -> ArpPacket {
    ArpPacket {
        operation: Operation::Reply,
        ..ArpPacket::announcement(by, address)
    }
}
