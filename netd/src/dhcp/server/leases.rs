//! Who has which address.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::time::Instant;

use registry::Mac;

use super::timers::Expiries;

/// Whose a lease is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ClientKey {
    /// Whatever asks from a MAC address that has a reservation.
    Reserved(Mac),
    /// A client by its identifier (option 61), or by hardware type and address
    /// if it sends none (RFC 2131, section 4.2).
    Id(Vec<u8>),
}

/// An address and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The address.
    pub address: Ipv4Addr,
    /// The client.
    pub client: ClientKey,
    /// The client's Ethernet address.
    pub mac: Mac,
    /// What the client calls itself, for show.
    pub hostname: Option<String>,
    /// When it ends.
    pub until: Instant,
}

/// What an address is to its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Offered: kept for a while, for the client to ask for.
    Offered,
    /// The client has it.
    Bound,
    /// The client found it in use; it rests.
    Declined,
}

/// All addresses that are not free. No two clients hold one, and no client
/// holds two.
#[derive(Debug, Default)]
pub struct Leases {
    by_address: BTreeMap<Ipv4Addr, (State, Lease)>,
    by_client: HashMap<ClientKey, Ipv4Addr>,
    expiries: Expiries,
}

impl Leases {
    /// How many addresses are not free.
    pub fn len(&self) -> usize {
        self.by_address.len()
    }

    /// What is known of `address`.
    pub fn at(&self, address: Ipv4Addr) -> Option<(State, &Lease)> {
        self.by_address
            .get(&address)
            .map(|(state, lease)| (*state, lease))
    }

    /// What `client` holds.
    pub fn of(&self, client: &ClientKey) -> Option<(State, &Lease)> {
        self.by_client
            .get(client)
            .and_then(|address| self.at(*address))
    }

    /// The bound leases, by address.
    pub fn bound(&self) -> impl Iterator<Item = &Lease> {
        self.by_address
            .values()
            .filter(|(state, _)| *state == State::Bound)
            .map(|(_, lease)| lease)
    }

    /// All that is known, by address.
    pub fn iter(&self) -> impl Iterator<Item = (State, &Lease)> {
        self.by_address
            .values()
            .map(|(state, lease)| (*state, lease))
    }

    /// When the next one ends.
    pub fn next_end(&self) -> Option<Instant> {
        self.expiries.next()
    }

    /// Sets what is known of an address; what was known of it, and what else
    /// its client held, is forgotten and returned.
    pub fn put(&mut self, state: State, lease: Lease) -> Vec<(State, Lease)> {
        let mut gone = Vec::new();
        gone.extend(self.remove(lease.address));
        if state != State::Declined {
            if let Some(other) = self.by_client.get(&lease.client).copied() {
                gone.extend(self.remove(other));
            }
            self.by_client.insert(lease.client.clone(), lease.address);
        }
        self.expiries.insert(lease.until, lease.address);
        self.by_address.insert(lease.address, (state, lease));
        gone
    }

    /// Frees `address`.
    pub fn remove(&mut self, address: Ipv4Addr) -> Option<(State, Lease)> {
        let (state, lease) = self.by_address.remove(&address)?;
        self.expiries.remove(lease.until, address);
        if state != State::Declined {
            self.by_client.remove(&lease.client);
        }
        Some((state, lease))
    }

    /// Frees an address whose end has come by `now`.
    pub fn expire(&mut self, now: Instant) -> Option<(State, Lease)> {
        let address = self.expiries.due(now)?;
        self.remove(address)
    }

    /// Of the addresses that are not bound and that `usable` accepts, the one
    /// best given up for another client: an offer before a resting address, the
    /// one that would end first.
    pub fn least_needed(&self, usable: impl Fn(Ipv4Addr) -> bool) -> Option<Ipv4Addr> {
        let first = |wanted| {
            self.expiries.in_order().find(|address| {
                usable(*address) && self.at(*address).is_some_and(|(state, _)| state == wanted)
            })
        };
        first(State::Offered).or_else(|| first(State::Declined))
    }
}
