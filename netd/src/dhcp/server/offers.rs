//! DISCOVER: which address a client is offered.

use std::net::Ipv4Addr;
use std::time::Instant;

use super::accounts::{Limits, Room};
use super::exchange::Exchange;
use super::leases::{ClientKey, Held, Lease, State};
use super::machine::Server;
use super::reply::Answer;
use super::stock::Waiter;
use super::timers::{DECLINE_REST, OFFER_HOLD};
use super::{Ending, Event};

/// An address that was taken out of all that is free.
enum Found {
    /// It can be offered.
    Address(Ipv4Addr),
    /// It is to be looked for on the link first.
    Unprobed(Ipv4Addr),
    /// It is being looked for already.
    Probing(Ipv4Addr),
    /// There may be one, but too many wait for theirs; the client asks again.
    Later,
}

impl Server {
    pub(super) fn discover(&mut self, now: Instant, exchange: &Exchange) {
        let client = self.key(&exchange.request);
        let own = self
            .config
            .reservation_of(&client)
            .or_else(|| self.leases.of(&client).map(|held| held.lease.address));
        if let Some(own) = own {
            return self.offer(now, exchange, client, own);
        }
        if self.stock.wait_on(&client, exchange) {
            return;
        }
        let Ok(recycled) = self.admit(exchange) else {
            return;
        };
        match self.find(now, exchange, &client, recycled) {
            Some(Found::Address(address)) => self.offer(now, exchange, client, address),
            Some(Found::Unprobed(address)) => {
                self.look_for(now, address);
                self.wait(address, exchange, client);
            }
            Some(Found::Probing(address)) => self.wait(address, exchange, client),
            Some(Found::Later) => self.counts.put_off += 1,
            None => self.tell(Event::Exhausted {
                mac: exchange.request.chaddr,
            }),
        }
    }

    /// Offers an address, or grants it where the client would have it so. It is the
    /// client's, or nobody's and taken out of all that is free.
    fn offer(&mut self, now: Instant, exchange: &Exchange, client: ClientKey, address: Ipv4Addr) {
        if exchange.request.rapid_commit && self.config.rapid_commit {
            return self.grant(now, exchange, client, address, true);
        }
        // A lease in force is offered as it stands; the client may go on using it.
        let held = self.leases.of(&client);
        if held.is_none_or(|held| held.state == State::Offered) {
            let owner = self.owner_for(&client, || exchange.owner());
            let held = Held {
                state: State::Offered,
                lease: lease(exchange, client, address, now + OFFER_HOLD),
                owner,
                port: Some(exchange.port),
                kept: None,
            };
            if let Some(moved) = self.leases.put(held) {
                self.give_up(moved, Some(Ending::Moved));
            }
        }
        let time = self.config.lease_time_for(exchange.request.lease_time);
        self.send(exchange, Answer::Offer(address, time));
    }

    /// Whether one more address may go on this account. If an offer had to be given up for
    /// it, its address, which is free of all now.
    ///
    /// # Errors
    /// If not; that is told.
    pub(super) fn admit(&mut self, exchange: &Exchange) -> Result<Option<Ipv4Addr>, ()> {
        let bounds = &self.config.bounds;
        let limits = Limits {
            port: self.config.per_port(),
            station: bounds.per_mac,
        };
        let offer = match self.leases.accounts().room(&exchange.owner(), limits) {
            Room::None => {
                self.counts.quota += 1;
                let (port, mac) = (exchange.port, exchange.source_mac);
                self.tell(Event::Quota { port, mac });
                return Err(());
            }
            Room::Offer(offer) => Some(offer),
            Room::Enough if self.leases.counted() + self.rests.len() < bounds.leases => None,
            Room::Enough => match self.leases.accounts().oldest_offer() {
                Some(offer) => Some(offer),
                None if self.rests.len() > 0 => self.rests.take_first().inspect(|rested| {
                    self.pool.put(*rested);
                }),
                None => {
                    let mac = exchange.request.chaddr;
                    self.tell(Event::Exhausted { mac });
                    return Err(());
                }
            },
        };
        Ok(offer.filter(|offer| self.leases.remove(*offer).is_some()))
    }

    /// The address for a client by RFC 2131, section 4.3.1, that has none: the one that it
    /// had, the one it asks for, or a new one. `recycled` was probed for the same sender.
    fn find(
        &mut self,
        now: Instant,
        exchange: &Exchange,
        client: &ClientKey,
        recycled: Option<Ipv4Addr>,
    ) -> Option<Found> {
        let former = self.pool.former_of(client).map(Found::Address);
        let found = former.or_else(|| self.wish(now, exchange, recycled));
        if let Some(Found::Address(address) | Found::Unprobed(address)) = found {
            self.pool.take(address);
            self.stock.take(address);
        }
        if found.is_some() {
            // Nobody's after all, unless it is what was found.
            let is_other = |address: &Ipv4Addr| !matches!(found, Some(Found::Address(found)) if found == *address);
            if let Some(unused) = recycled.filter(is_other) {
                self.pool.put(unused);
            }
            return found;
        }
        recycled
            .map(Found::Address)
            .or_else(|| self.find_new(now, exchange, client))
    }

    /// The address that a client asks for, if it is nobody's.
    fn wish(
        &mut self,
        now: Instant,
        exchange: &Exchange,
        recycled: Option<Ipv4Addr>,
    ) -> Option<Found> {
        let wish = exchange.request.requested?;
        if recycled == Some(wish) || self.stock.is_ready(wish) {
            Some(Found::Address(wish))
        } else if self.pool.contains(wish) {
            let found = self.free(now, exchange, wish);
            // Another may be ready.
            Some(found).filter(|found| !matches!(found, Found::Later))
        } else {
            None
        }
    }

    /// What is to be done with an address that is nobody's.
    fn free(&mut self, now: Instant, exchange: &Exchange, address: Ipv4Addr) -> Found {
        if !self.config.probe {
            Found::Address(address)
        } else if self.may_wait(now, exchange) {
            Found::Unprobed(address)
        } else {
            Found::Later
        }
    }

    fn may_wait(&mut self, now: Instant, exchange: &Exchange) -> bool {
        let most = self.config.bounds.waiting;
        self.stock.has_room(now, exchange.port, most)
    }

    fn find_new(&mut self, now: Instant, exchange: &Exchange, client: &ClientKey) -> Option<Found> {
        self.stock.want(now);
        let id = match client {
            ClientKey::Id(id) => id.as_slice(),
            ClientKey::Reserved(mac) => &mac.0,
        };
        if let Some(ready) = self.stock.pop() {
            return Some(Found::Address(ready));
        }
        if let Some(begun) = self.stock.unclaimed() {
            return Some(match self.may_wait(now, exchange) {
                true => Found::Probing(begun),
                false => Found::Later,
            });
        }
        if let Some(fresh) = self.pool.choose(id) {
            let found = self.free(now, exchange, fresh);
            if !matches!(found, Found::Later) {
                self.pool.take(fresh);
            }
            return Some(found);
        }
        // All are somebody's: what was offered to others for longest, what rests for longest.
        if let Some(offer) = self.leases.accounts().oldest_offer() {
            self.leases.remove(offer)?;
            return Some(Found::Address(offer));
        }
        self.rests.take_first().map(Found::Address)
    }

    fn wait(&mut self, address: Ipv4Addr, exchange: &Exchange, client: ClientKey) {
        let exchange = exchange.clone();
        self.stock.wait(address, Waiter { client, exchange });
    }

    /// Takes what a probe has found.
    pub(super) fn probed(&mut self, now: Instant, address: Ipv4Addr, free: bool) {
        let Some(waiter) = self.stock.answered(now, address, free) else {
            return;
        };
        if !free {
            self.counts.in_use += 1;
            self.tell(Event::InUse { address });
            // Whoever uses it is not known: a rest of its own, at the expense of no port.
            let most = self.config.bounds.leases;
            if let Some(ended) = self.rests.add(address, now + DECLINE_REST, 0, most) {
                self.pool.put(ended);
            }
        }
        let Some(Waiter { client, exchange }) = waiter else {
            return;
        };
        if !free {
            // Another attempt; what is probed next may be free.
            return self.discover(now, &exchange);
        }
        match self.admit(&exchange) {
            Ok(recycled) => {
                if let Some(unused) = recycled {
                    self.pool.put(unused);
                }
                self.offer(now, &exchange, client, address);
            }
            Err(()) => self.pool.put(address),
        }
    }

    /// Begins the probes that the stock lacks.
    pub(super) fn refill(&mut self, now: Instant) {
        if !self.config.probe {
            return;
        }
        for _ in 0..self.stock.missing(now, self.config.bounds.stock) {
            let number = self.stock.number().to_be_bytes();
            let Some(address) = self.pool.choose(&number) else {
                return;
            };
            self.pool.take(address);
            self.look_for(now, address);
        }
    }

    fn look_for(&mut self, now: Instant, address: Ipv4Addr) {
        self.stock.begin(now, address);
        self.probe(address);
    }
}

/// What the client has who sent this.
pub(super) fn lease(
    exchange: &Exchange,
    client: ClientKey,
    address: Ipv4Addr,
    until: Instant,
) -> Lease {
    let request = &exchange.request;
    Lease {
        address,
        client,
        mac: request.chaddr,
        hostname: request.hostname.clone(),
        until,
    }
}
