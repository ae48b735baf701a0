//! Who has how many addresses: nobody behind one port can use up what is there for all.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Instant;

use registry::Mac;

use super::timers::Expiries;

/// On whose account an address is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The interface by which its client's messages come in; 0 if that is not known.
    pub port: u32,
    /// Who sends them there.
    pub sender: Sender,
}

/// Who sends a client's messages.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Sender {
    /// A station on the link, by its frames' source address: what the client says of itself
    /// costs it nothing.
    Station(Mac),
    /// What a relay says of where they come from, or the relay itself.
    Relayed(Vec<u8>),
}

/// How much one account may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// All that is behind a port, or behind one place of a relay.
    pub port: usize,
    /// A station.
    pub station: usize,
}

/// What all have.
#[derive(Debug, Default)]
pub struct Accounts {
    accounts: HashMap<Key, Account>,
    /// All offers, by their ends.
    offers: Expiries,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Port(u32),
    Sender(Owner),
}

#[derive(Debug, Default)]
struct Account {
    held: usize,
    offers: Expiries,
}

/// What stands in the way of one more address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Nothing.
    Enough,
    /// This offer to the same sender, which nobody has taken yet.
    Offer(Ipv4Addr),
    /// The sender has as many as it may have.
    None,
}

impl Accounts {
    /// Puts an address on an account: an offer until then, or a lease.
    pub fn add(&mut self, owner: &Owner, offered: Option<Instant>, address: Ipv4Addr) {
        for key in keys(owner) {
            let account = self.accounts.entry(key).or_default();
            account.held += 1;
            if let Some(until) = offered {
                account.offers.insert(until, address);
            }
        }
        if let Some(until) = offered {
            self.offers.insert(until, address);
        }
    }

    /// Takes it off again.
    pub fn remove(&mut self, owner: &Owner, offered: Option<Instant>, address: Ipv4Addr) {
        for key in keys(owner) {
            let Some(account) = self.accounts.get_mut(&key) else {
                continue;
            };
            account.held = account.held.saturating_sub(1);
            if let Some(until) = offered {
                account.offers.remove(until, address);
            }
            if account.held == 0 {
                self.accounts.remove(&key);
            }
        }
        if let Some(until) = offered {
            self.offers.remove(until, address);
        }
    }

    /// Whether `owner` may have one more.
    pub fn room(&self, owner: &Owner, limits: Limits) -> Room {
        let sender = match owner.sender {
            Sender::Station(_) => limits.station,
            Sender::Relayed(_) => limits.port,
        };
        for (key, limit) in keys(owner).into_iter().zip([limits.port, sender]) {
            let account = self.accounts.get(&key);
            if account.map_or(0, |account| account.held) >= limit {
                let offer = account.and_then(|account| account.offers.first());
                return offer.map_or(Room::None, Room::Offer);
            }
        }
        Room::Enough
    }

    /// The offer that ends first.
    pub fn oldest_offer(&self) -> Option<Ipv4Addr> {
        self.offers.first()
    }
}

fn keys(owner: &Owner) -> [Key; 2] {
    [Key::Port(owner.port), Key::Sender(owner.clone())]
}
