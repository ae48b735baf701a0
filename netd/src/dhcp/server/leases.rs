//! Who has which address.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::time::Instant;

use registry::Mac;

use super::accounts::{Accounts, Owner};
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
}

/// An address that is not free.
#[derive(Clone, Debug)]
pub struct Held {
    /// What it is to its client.
    pub state: State,
    /// Whose it is, until when.
    pub lease: Lease,
    /// On whose account it is; nobody's, if it is kept for the client.
    pub owner: Option<Owner>,
    /// The interface by which its client asked for it; nothing if that is not known.
    pub port: Option<u32>,
    /// Until when it is the client's by what was written down; nothing if nothing is.
    pub kept: Option<Instant>,
}

impl Held {
    /// Whether this may be about what a client that asks by `port` has: it asked for it
    /// there, or that is not known.
    pub fn may_be_behind(&self, port: u32) -> bool {
        self.port.is_none_or(|own| own == port)
    }
}

/// All addresses that somebody has. No two clients hold one, and no client holds two.
#[derive(Debug, Default)]
pub struct Leases {
    by_address: BTreeMap<Ipv4Addr, Held>,
    by_client: HashMap<ClientKey, Ipv4Addr>,
    ends: Expiries,
    accounts: Accounts,
    /// How many are on somebody's account.
    counted: usize,
}

impl Leases {
    /// How many addresses are held that are kept for nobody.
    pub fn counted(&self) -> usize {
        self.counted
    }

    /// What senders have.
    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// Who has `address`.
    pub fn at(&self, address: Ipv4Addr) -> Option<&Held> {
        self.by_address.get(&address)
    }

    /// What `client` holds.
    pub fn of(&self, client: &ClientKey) -> Option<&Held> {
        self.by_client
            .get(client)
            .and_then(|address| self.at(*address))
    }

    /// The bound leases, by address.
    pub fn bound(&self) -> impl Iterator<Item = &Lease> {
        self.iter()
            .filter(|held| held.state == State::Bound)
            .map(|held| &held.lease)
    }

    /// All that is held, by address.
    pub fn iter(&self) -> impl Iterator<Item = &Held> {
        self.by_address.values()
    }

    /// When the next one ends.
    pub fn next_end(&self) -> Option<Instant> {
        self.ends.next()
    }

    /// Sets who has an address. What else the client had is free then, and returned.
    pub fn put(&mut self, held: Held) -> Option<Held> {
        let address = held.lease.address;
        self.remove(address);
        let other = self.by_client.get(&held.lease.client).copied();
        let other = other.and_then(|other| self.remove(other));
        self.by_client.insert(held.lease.client.clone(), address);
        self.ends.insert(held.lease.until, address);
        if let Some(owner) = &held.owner {
            self.counted += 1;
            self.accounts.add(owner, offered(&held), address);
        }
        self.by_address.insert(address, held);
        other
    }

    /// Frees `address`.
    pub fn remove(&mut self, address: Ipv4Addr) -> Option<Held> {
        let held = self.by_address.remove(&address)?;
        self.ends.remove(held.lease.until, address);
        self.by_client.remove(&held.lease.client);
        if let Some(owner) = &held.owner {
            self.counted -= 1;
            self.accounts.remove(owner, offered(&held), address);
        }
        Some(held)
    }

    /// It is not known any more where those are that asked by `port`.
    pub fn forget_port(&mut self, port: u32) {
        let all = self.by_address.values_mut();
        all.filter(|held| held.port == Some(port))
            .for_each(|held| held.port = None);
    }

    /// Frees an address whose end has come by `now`.
    pub fn expire(&mut self, now: Instant) -> Option<Held> {
        let address = self.ends.due(now)?;
        self.remove(address)
    }
}

/// When it ends, if it is only offered.
fn offered(held: &Held) -> Option<Instant> {
    (held.state == State::Offered).then_some(held.lease.until)
}
