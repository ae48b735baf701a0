//! The server's state machine.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::Instant;

use ipnetwork::Ipv4Network;
use registry::Mac;

use super::choice::candidates;
use super::config::ServerConfig;
use super::leases::{ClientKey, Lease, Leases, State};
use super::packet::{Kind, Request};
use super::reply::{Answer, reply};
use super::timers::{DECLINE_REST, OFFER_HOLD};
use super::{Datagram, Deadline, Ending, Event, Input, Output};

/// How many subnets are remembered that the link had before.
const FORMER_MAX: usize = 4;

/// A DHCP server for one link, without I/O and without a clock.
#[derive(Debug)]
pub struct Server {
    config: ServerConfig,
    /// Subnets that the link had before, with the server's address: who still
    /// has an address from there is told that it is void.
    former: VecDeque<Ipv4Network>,
    leases: Leases,
    outputs: VecDeque<Output>,
}

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
    /// A server that has given nothing yet.
    #[must_use]
    pub fn new(config: ServerConfig) -> Self {
        Self {
            config,
            former: VecDeque::new(),
            leases: Leases::default(),
            outputs: VecDeque::new(),
        }
    }

    /// What it hands out.
    #[must_use]
    pub fn config(&self) -> &ServerConfig {
        &self.config
    }

    /// The leases that clients have, by address.
    pub fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.leases.bound()
    }

    /// When [`Server::handle`] wants to be called with [`Input::Time`].
    #[must_use]
    pub fn deadline(&self) -> Deadline {
        self.leases.next_end()
    }

    /// The next thing to be done, until there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Changes what is handed out, from the next reply on. Leases stay, except
    /// those whose address the new configuration has no place for; clients that
    /// renew one of those are refused, and so start afresh at once.
    pub fn set_config(&mut self, now: Instant, config: ServerConfig) {
        self.expire(now);
        let before = std::mem::replace(&mut self.config, config).network();
        let network = self.config.network();
        if before != network {
            self.former
                .retain(|former| ![before, network].contains(former));
            self.former.push_front(before);
            self.former.truncate(FORMER_MAX);
        }
        let misplaced: Vec<Ipv4Addr> = self
            .leases
            .iter()
            .filter(|(_, lease)| !self.has_place_for(lease))
            .map(|(_, lease)| lease.address)
            .collect();
        for address in misplaced {
            let gone = self.leases.remove(address);
            self.tell_ended(gone, Ending::Withdrawn);
        }
    }

    /// Takes what happened at `now`. Never panics, whatever bytes a datagram has.
    pub fn handle(&mut self, now: Instant, input: Input) {
        self.expire(now);
        if let Input::Datagram(datagram) = input {
            self.datagram(now, &datagram);
        }
    }

    fn datagram(&mut self, now: Instant, datagram: &Datagram) {
        let Some(unicast) = self.is_unicast(datagram.destination) else {
            return;
        };
        match Request::parse(&datagram.payload) {
            Ok(request) => match request.kind {
                Kind::Discover => self.discover(now, &request),
                Kind::Request => self.request(now, &request, unicast),
                Kind::Decline => self.decline(now, &request),
                Kind::Release => self.release(&request),
                Kind::Inform => self.inform(&request),
            },
            Err(reason) => {
                let source_mac = datagram.source_mac;
                self.tell(Event::Ignored { source_mac, reason });
            }
        }
    }

    /// Whether a datagram to `destination` was meant for this server alone;
    /// nothing, if it was not meant for it at all.
    fn is_unicast(&self, destination: Ipv4Addr) -> Option<bool> {
        let network = self.config.network();
        // Clients from before a change renew at the address that the server had.
        let mut own = self
            .former
            .iter()
            .chain([&network])
            .map(|network| network.ip());
        if destination.is_broadcast() || destination == network.broadcast() {
            Some(false)
        } else if own.any(|address| address == destination) {
            Some(true)
        } else {
            None
        }
    }

    fn discover(&mut self, now: Instant, request: &Request) {
        let client = self.key(request);
        let Some(address) = self.choose(&client, request.requested) else {
            return self.tell(Event::Exhausted {
                mac: request.chaddr,
            });
        };
        if request.rapid_commit && self.config.rapid_commit {
            return self.grant(now, request, address, true);
        }
        // A lease in force is offered as it stands; the client may go on using it.
        if self
            .leases
            .of(&client)
            .is_none_or(|(state, _)| state == State::Offered)
        {
            let until = now + OFFER_HOLD;
            self.keep(State::Offered, lease(request, client, address, until));
        }
        let time = self.config.lease_time_for(request.lease_time);
        self.send(request, Answer::Offer(address, time));
    }

    fn request(&mut self, now: Instant, request: &Request, unicast: bool) {
        let client = self.key(request);
        match self.phase(request, unicast) {
            Phase::Unclear => {}
            Phase::Elsewhere => self.forget_offer(&client),
            Phase::Selecting(address) => match self.standing(&client, address) {
                Standing::Own | Standing::Free => self.grant(now, request, address, false),
                Standing::Denied => self.refuse(request, address),
            },
            Phase::InitReboot(address) => match self.standing(&client, address) {
                Standing::Own => self.grant(now, request, address, false),
                Standing::Free if self.leases.of(&client).is_none() => {
                    self.grant(now, request, address, false);
                }
                Standing::Free | Standing::Denied => self.refuse(request, address),
            },
            Phase::Renewing(address) => match self.standing(&client, address) {
                Standing::Own | Standing::Free => self.grant(now, request, address, false),
                Standing::Denied => self.refuse(request, address),
            },
            Phase::Rebinding(address) => match self.standing(&client, address) {
                Standing::Own | Standing::Free => self.grant(now, request, address, false),
                Standing::Denied if self.former_of(address).is_some() => {
                    self.refuse(request, address);
                }
                Standing::Denied => {}
            },
        }
    }

    /// RFC 2131, section 4.3.2, tells the states apart by what is filled in.
    fn phase(&self, request: &Request, unicast: bool) -> Phase {
        let has_address = !request.ciaddr.is_unspecified();
        match (request.server_id, request.requested) {
            (Some(server), _) if server != self.config.address() => Phase::Elsewhere,
            (Some(_), Some(address)) if !has_address => Phase::Selecting(address),
            // Some clients repeat the server's address when they renew.
            (_, None) if has_address && unicast => Phase::Renewing(request.ciaddr),
            (_, None) if has_address => Phase::Rebinding(request.ciaddr),
            (None, Some(address)) if !has_address => Phase::InitReboot(address),
            _ => Phase::Unclear,
        }
    }

    fn decline(&mut self, now: Instant, request: &Request) {
        let Some(address) = request.requested.filter(|_| self.is_for_us(request)) else {
            return;
        };
        let client = self.key(request);
        let holds = self
            .leases
            .of(&client)
            .is_some_and(|(_, lease)| lease.address == address);
        if !holds {
            return;
        }
        let gone = self.leases.remove(address);
        if matches!(client, ClientKey::Reserved(_)) {
            // The link is the identity: there is no other address for it, and
            // whoever uses this one on the link stands behind the same machine.
            self.tell(Event::ReservedAddressInUse {
                mac: request.chaddr,
                address,
            });
        } else {
            let rest = lease(request, client, address, now + DECLINE_REST);
            self.keep(State::Declined, rest);
        }
        self.tell_ended(gone, Ending::Declined);
    }

    fn release(&mut self, request: &Request) {
        if !self.is_for_us(request) {
            return;
        }
        let client = self.key(request);
        let held = self.leases.of(&client).map(|(_, lease)| lease.address);
        if held == Some(request.ciaddr) {
            let gone = self.leases.remove(request.ciaddr);
            self.tell_ended(gone, Ending::Released);
        }
    }

    /// RFC 2131, section 4.3.5: "The server SHOULD check the network address in a
    /// DHCPINFORM message for consistency, but MUST NOT check for an existing
    /// lease."
    fn inform(&mut self, request: &Request) {
        if self.config.is_client_address(request.ciaddr) {
            self.send(request, Answer::Settings);
        }
    }

    fn grant(&mut self, now: Instant, request: &Request, address: Ipv4Addr, rapid: bool) {
        let client = self.key(request);
        if !self.make_room(address) {
            return self.tell(Event::Exhausted {
                mac: request.chaddr,
            });
        }
        let time = self.config.lease_time_for(request.lease_time);
        let lease = lease(request, client, address, now + time);
        let known = matches!(self.leases.at(address), Some((State::Bound, _)));
        self.keep(State::Bound, lease.clone());
        self.send(
            request,
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

    fn refuse(&mut self, request: &Request, address: Ipv4Addr) {
        let server = self
            .former_of(address)
            .unwrap_or(self.config.network())
            .ip();
        self.send(request, Answer::Refusal(server));
        self.tell(Event::Refused {
            mac: request.chaddr,
            address,
        });
    }

    /// The address for a client by RFC 2131, section 4.3.1: its reserved one, its
    /// present one, the one it asks for, or a new one.
    fn choose(&self, client: &ClientKey, requested: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
        let id = match client {
            ClientKey::Reserved(mac) => return self.config.reservation(*mac),
            ClientKey::Id(id) => id,
        };
        if let Some((_, lease)) = self.leases.of(client) {
            return Some(lease.address);
        }
        let is_free = |address: &Ipv4Addr| self.standing(client, *address) == Standing::Free;
        let has_room = self.pool_use() < self.config.bounds.leases;
        let fresh = || {
            // More candidates than this cannot be taken.
            let taken = self.leases.len() + self.config.reserved().count() + 1;
            candidates(self.config.pool(), id)
                .take(taken + 1)
                .find(is_free)
        };
        requested
            .filter(|address| has_room && is_free(address))
            .or_else(|| has_room.then(fresh).flatten())
            .or_else(|| self.least_needed())
    }

    fn standing(&self, client: &ClientKey, address: Ipv4Addr) -> Standing {
        if let ClientKey::Reserved(mac) = client {
            let own = self.config.reservation(*mac) == Some(address);
            return if own { Standing::Own } else { Standing::Denied };
        }
        match self.leases.at(address) {
            _ if !self.config.is_pool_address(address) => Standing::Denied,
            None => Standing::Free,
            Some((State::Declined, _)) => Standing::Denied,
            Some((_, lease)) if lease.client == *client => Standing::Own,
            Some(_) => Standing::Denied,
        }
    }

    /// Sees to it that `address` can be kept within the bounds.
    fn make_room(&mut self, address: Ipv4Addr) -> bool {
        let counted = self.leases.at(address).is_some() || !self.config.is_pool_address(address);
        if counted || self.pool_use() < self.config.bounds.leases {
            return true;
        }
        self.least_needed()
            .and_then(|given_up| self.leases.remove(given_up))
            .is_some()
    }

    /// How many addresses of the pool are not free.
    fn pool_use(&self) -> usize {
        let reserved = self.config.reserved();
        let held = reserved
            .filter(|address| self.leases.at(*address).is_some())
            .count();
        self.leases.len().saturating_sub(held)
    }

    fn least_needed(&self) -> Option<Ipv4Addr> {
        self.leases
            .least_needed(|address| self.config.is_pool_address(address))
    }

    fn has_place_for(&self, lease: &Lease) -> bool {
        match &lease.client {
            ClientKey::Reserved(mac) => self.config.reservation(*mac) == Some(lease.address),
            ClientKey::Id(_) => {
                self.config.is_pool_address(lease.address)
                    && self.config.reservation(lease.mac).is_none()
            }
        }
    }

    /// The subnet that `address` was in when the link had it.
    fn former_of(&self, address: Ipv4Addr) -> Option<Ipv4Network> {
        let now_elsewhere = |network: &&Ipv4Network| {
            network.contains(address) && !self.config.network().contains(address)
        };
        self.former.iter().find(now_elsewhere).copied()
    }

    /// Whether a DECLINE or RELEASE names this server, or none as some clients do.
    fn is_for_us(&self, request: &Request) -> bool {
        request
            .server_id
            .is_none_or(|server| server == self.config.address())
    }

    fn forget_offer(&mut self, client: &ClientKey) {
        if let Some((State::Offered, lease)) = self.leases.of(client) {
            self.leases.remove(lease.address);
        }
    }

    fn key(&self, request: &Request) -> ClientKey {
        if self.config.reservation(request.chaddr).is_some() {
            return ClientKey::Reserved(request.chaddr);
        }
        ClientKey::Id(
            request
                .client_id
                .clone()
                .unwrap_or_else(|| id_of(request.chaddr)),
        )
    }

    fn keep(&mut self, state: State, lease: Lease) {
        let address = lease.address;
        for (state, gone) in self.leases.put(state, lease) {
            if gone.address != address {
                self.tell_ended(Some((state, gone)), Ending::Moved);
            }
        }
    }

    fn expire(&mut self, now: Instant) {
        while let Some(gone) = self.leases.expire(now) {
            self.tell_ended(Some(gone), Ending::Expired);
        }
    }

    fn tell_ended(&mut self, gone: Option<(State, Lease)>, ending: Ending) {
        if let Some((State::Bound, lease)) = gone {
            self.tell(Event::Ended(lease, ending));
        }
    }

    fn tell(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn send(&mut self, request: &Request, answer: Answer) {
        match reply(&self.config, request, answer) {
            Ok(transmit) => self.outputs.push_back(Output::Send(transmit)),
            Err(error) => tracing::error!(%error, "cannot write a DHCP reply"),
        }
    }
}

fn lease(request: &Request, client: ClientKey, address: Ipv4Addr, until: Instant) -> Lease {
    let (mac, hostname) = (request.chaddr, request.hostname.clone());
    Lease {
        address,
        client,
        mac,
        hostname,
        until,
    }
}

/// What stands for the identifier of a client that sends none: hardware type and
/// address (RFC 2131, section 4.2), which is also what most clients send.
fn id_of(mac: Mac) -> Vec<u8> {
    let mut id = vec![1];
    id.extend(mac.0);
    id
}
