//! Addresses that somebody uses who has them from elsewhere.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Instant;

use super::timers::Expiries;

/// Addresses that rest, since somebody was found to use them.
#[derive(Debug, Default)]
pub struct Rests {
    by_address: HashMap<Ipv4Addr, (Instant, u32)>,
    ends: Expiries,
    by_port: HashMap<u32, Expiries>,
}

impl Rests {
    /// How many rest.
    pub fn len(&self) -> usize {
        self.by_address.len()
    }

    /// Lets `address` rest until then, because of what came in by `port`. If that makes it
    /// more than `most` for the port, the one whose rest ends first is free, and returned.
    pub fn add(
        &mut self,
        address: Ipv4Addr,
        until: Instant,
        port: u32,
        most: usize,
    ) -> Option<Ipv4Addr> {
        self.remove(address);
        self.by_address.insert(address, (until, port));
        self.ends.insert(until, address);
        let own = self.by_port.entry(port).or_default();
        own.insert(until, address);
        let first = own.first().filter(|_| own.len() > most)?;
        self.remove(first).then_some(first)
    }

    /// Ends a rest. Whether there was one.
    pub fn remove(&mut self, address: Ipv4Addr) -> bool {
        let Some((until, port)) = self.by_address.remove(&address) else {
            return false;
        };
        self.ends.remove(until, address);
        if let Some(own) = self.by_port.get_mut(&port) {
            own.remove(until, address);
            if own.len() == 0 {
                self.by_port.remove(&port);
            }
        }
        true
    }

    /// When the next rest ends.
    pub fn next_end(&self) -> Option<Instant> {
        self.ends.next()
    }

    /// Ends a rest whose end has come by `now`.
    pub fn expire(&mut self, now: Instant) -> Option<Ipv4Addr> {
        let address = self.ends.due(now)?;
        self.remove(address).then_some(address)
    }

    /// Ends the rest that would end first.
    pub fn take_first(&mut self) -> Option<Ipv4Addr> {
        let first = self.ends.first()?;
        self.remove(first).then_some(first)
    }

    /// All addresses.
    pub fn iter(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.by_address.keys().copied()
    }
}
