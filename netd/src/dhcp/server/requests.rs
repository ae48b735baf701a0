//! REQUEST, in each state that a client may be in, DECLINE, RELEASE and INFORM.

use std::net::Ipv4Addr;
use std::time::Instant;

use super::exchange::Exchange;
use super::leases::{ClientKey, Held, Lease, State};
use super::machine::Server;
use super::offers::lease;
use super::reply::Answer;
use super::timers::DECLINE_REST;
use super::{Ending, Event};

/// How many addresses may rest on the word of clients behind one port, of any pool.
const RESTS_MIN: usize = 4;
/// And what part of those that the port may have.
const RESTS_SHARE: usize = 4;

/// In which state of its own a client sent a REQUEST (RFC 2131, section 4.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It takes an offer of this server.
    Selecting(Ipv4Addr),
    /// It takes the offer of another server.
    Elsewhere,
    /// It starts again and believes that it has this address.
    InitReboot(Ipv4Addr),
    /// It asks this server for more time.
    Renewing(Ipv4Addr),
    /// It asks any server for more time.
    Rebinding(Ipv4Addr),
    /// The fields contradict each other.
    Unclear,
}

/// What an address is to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It is offered or leased to the client, or reserved for it.
    Own,
    /// Nobody has it.
    Free,
    /// The client cannot have it.
    Denied,
}

impl Server {
    pub(super) fn request(&mut self, now: Instant, exchange: &Exchange) {
        let client = self.key(&exchange.request);
        let phase = self.phase(exchange);
        let address = match phase {
            Phase::Unclear => return,
            Phase::Elsewhere => return self.forget_offer(exchange, &client),
            Phase::Selecting(address)
            | Phase::InitReboot(address)
            | Phase::Renewing(address)
            | Phase::Rebinding(address) => address,
        };
        let is_given = match self.standing(&client, address) {
            Standing::Own => true,
            // Who has another already has forgotten that.
            Standing::Free if matches!(phase, Phase::InitReboot(_)) => {
                self.leases.of(&client).is_none()
            }
            // What it has elsewhere would end by this, whoever says to be the client.
            Standing::Free => {
                let own = self.leases.of(&client);
                own.is_none_or(|own| own.may_be_behind(exchange.port))
            }
            Standing::Denied => false,
        };
        let is_silent = matches!(phase, Phase::Rebinding(_)) && self.former_of(address).is_none();
        if !is_given {
            if !is_silent {
                self.refuse(exchange, address);
            }
        } else if self.claim(exchange, &client, address) {
            self.grant(now, exchange, client, address, false);
        }
    }

    /// RFC 2131, section 4.3.2, tells the states apart by what is filled in.
    fn phase(&self, exchange: &Exchange) -> Phase {
        let request = &exchange.request;
        let has_address = !request.ciaddr.is_unspecified();
        match (request.server_id, request.requested) {
            (Some(server), _) if server != self.config.address() => Phase::Elsewhere,
            (Some(_), Some(address)) if !has_address => Phase::Selecting(address),
            // Some clients repeat the server's address when they renew.
            (_, None) if has_address && exchange.unicast => Phase::Renewing(request.ciaddr),
            (_, None) if has_address => Phase::Rebinding(request.ciaddr),
            (None, Some(address)) if !has_address => Phase::InitReboot(address),
            _ => Phase::Unclear,
        }
    }

    fn standing(&self, client: &ClientKey, address: Ipv4Addr) -> Standing {
        if let Some(reserved) = self.config.reservation_of(client) {
            return if reserved == address {
                Standing::Own
            } else {
                Standing::Denied
            };
        }
        match self.leases.at(address) {
            Some(held) if held.lease.client == *client => Standing::Own,
            Some(_) => Standing::Denied,
            None if self.pool.contains(address) || self.stock.contains(address) => Standing::Free,
            None => Standing::Denied,
        }
    }

    /// Takes an address for a client out of all that is free, if it is not the client's
    /// already. Whether the client can have it.
    fn claim(&mut self, exchange: &Exchange, client: &ClientKey, address: Ipv4Addr) -> bool {
        let is_reserved = self.config.reservation_of(client).is_some();
        if is_reserved || self.leases.at(address).is_some() {
            return true;
        }
        // One in place of another makes no more of them.
        if self.leases.of(client).is_none() {
            match self.admit(exchange) {
                Ok(Some(unused)) => self.pool.put(unused),
                Ok(None) => {}
                Err(()) => return false,
            }
        }
        self.pool.take(address) || self.stock.take(address)
    }

    /// Gives a client an address that it has already, or that was taken out of all that is
    /// free.
    pub(super) fn grant(
        &mut self,
        now: Instant,
        exchange: &Exchange,
        client: ClientKey,
        address: Ipv4Addr,
        rapid: bool,
    ) {
        let time = self.config.lease_time_for(exchange.request.lease_time);
        let before = self.leases.at(address);
        let before = before.filter(|held| held.state == State::Bound);
        let known = before.is_some();
        // Who repeats by another port what a client says has nothing of it: the client's it
        // stays.
        let elsewhere = before.filter(|held| !held.may_be_behind(exchange.port));
        let (port, owner) = match elsewhere {
            Some(held) => (held.port, held.owner.clone()),
            None => {
                let owner = self.owner_for(&client, || exchange.owner());
                (Some(exchange.port), owner)
            }
        };
        let lease = lease(exchange, client, address, now + time);
        let was_kept = before.is_some_and(|held| held.kept.is_some());
        let written = before.and_then(|held| still_written(held, &lease));
        // Written down for longer than promised, it need not be written at each renewal.
        let kept = written.unwrap_or(lease.until + time / 2);
        let held = Held {
            state: State::Bound,
            lease: lease.clone(),
            owner,
            port,
            kept: self.config.keep.then_some(kept),
        };
        if let Some(moved) = self.leases.put(held) {
            self.give_up(moved, Some(Ending::Moved));
        }
        match (self.config.keep, written) {
            (true, Some(_)) => {}
            (true, None) => self.keep(Lease {
                until: kept,
                ..lease.clone()
            }),
            // It would not be true for long.
            (false, _) if was_kept => self.forget_kept(address),
            (false, _) => {}
        }
        self.send(
            exchange,
            Answer::Lease {
                address,
                time,
                rapid,
            },
        );
        self.tell(if known {
            Event::Renewed(lease)
        } else {
            Event::Bound(lease)
        });
    }

    fn refuse(&mut self, exchange: &Exchange, address: Ipv4Addr) {
        let network = self.config.network();
        let server = self.former_of(address).unwrap_or(network).ip();
        let why = if network.contains(address) {
            "this address is not yours"
        } else {
            "this address is of another network"
        };
        self.send(exchange, Answer::Refusal { server, why });
        self.tell(Event::Refused {
            mac: exchange.request.chaddr,
            address,
        });
    }

    pub(super) fn decline(&mut self, now: Instant, exchange: &Exchange) {
        let request = &exchange.request;
        let Some(address) = request.requested else {
            return;
        };
        let client = self.key(request);
        if !self.holds(exchange, &client, address) {
            return;
        }
        let mac = request.chaddr;
        let Some(gone) = self.leases.remove(address) else {
            return;
        };
        self.give_up(gone, Some(Ending::Declined));
        // Where the link is the identity there is no other address for it, and whoever uses
        // this one on the link stands behind the same machine.
        if self.config.reservation_of(&client).is_some() {
            return self.tell(Event::ReservedAddressInUse { mac, address });
        }
        self.pool.take(address);
        let most = (self.config.per_port() / RESTS_SHARE).max(RESTS_MIN);
        let until = now + DECLINE_REST;
        if let Some(ended) = self.rests.add(address, until, exchange.port, most) {
            self.pool.put(ended);
        }
    }

    pub(super) fn release(&mut self, exchange: &Exchange) {
        let address = exchange.request.ciaddr;
        let client = self.key(&exchange.request);
        if !self.holds(exchange, &client, address) {
            return;
        }
        if let Some(gone) = self.leases.remove(address) {
            self.give_up(gone, Some(Ending::Released));
        }
    }

    /// Whether a DECLINE or RELEASE names this server, or none as some clients do, and is
    /// about what the client has, from where it has it. Where that is not known yet, after a
    /// restart, it ends by itself.
    fn holds(&self, exchange: &Exchange, client: &ClientKey, address: Ipv4Addr) -> bool {
        let server = exchange.request.server_id;
        let is_for_us = server.is_none_or(|server| server == self.config.address());
        let Some(held) = self.leases.of(client).filter(|_| is_for_us) else {
            return false;
        };
        held.lease.address == address && held.port == Some(exchange.port)
    }

    /// RFC 2131, section 4.3.5: "The server SHOULD check the network address in a
    /// DHCPINFORM message for consistency, but MUST NOT check for an existing
    /// lease."
    pub(super) fn inform(&mut self, exchange: &Exchange) {
        if self.config.is_client_address(exchange.request.ciaddr) {
            self.send(exchange, Answer::Settings);
        }
    }

    fn forget_offer(&mut self, exchange: &Exchange, client: &ClientKey) {
        let Some(held) = self.leases.of(client) else {
            return;
        };
        if held.state == State::Offered
            && held.port == Some(exchange.port)
            && let Some(gone) = self.leases.remove(held.lease.address)
        {
            self.give_up(gone, None);
        }
    }
}

/// Until when a lease is written down, if that is good for `lease` too.
fn still_written(held: &Held, lease: &Lease) -> Option<Instant> {
    let same = held.lease.mac == lease.mac && held.lease.hostname == lease.hostname;
    held.kept.filter(|kept| same && *kept >= lease.until)
}
