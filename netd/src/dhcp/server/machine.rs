//! The server's state machine: what comes in, what changes, what ends by itself.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::Instant;

use ipnetwork::Ipv4Network;
use registry::Mac;

use super::accounts::{Owner, Sender};
use super::config::{ConfigError, ServerConfig};
use super::exchange::Exchange;
use super::leases::{ClientKey, Held, Lease, Leases, State};
use super::pool::Pool;
use super::reply::{Answer, reply};
use super::request::{Kind, PacketError, Request};
use super::rests::Rests;
use super::settings::Settings;
use super::stock::Stock;
use super::{Change, Counts, Datagram, Deadline, Ending, Event, Input, Output, Usage};

/// How many subnets are remembered that the link had before.
const FORMER_MAX: usize = 4;

/// A DHCP server for one link, without I/O and without a clock.
///
/// An address of the pool is at one place at a time: nobody's (`pool`), probed or being
/// probed (`stock`), found in use (`rests`), or somebody's (`leases`).
#[derive(Debug)]
pub struct Server {
    pub(super) config: ServerConfig,
    settings: Settings,
    /// Subnets that the link had before, with the server's address: who still
    /// has an address from there is told that it is void.
    former: VecDeque<Ipv4Network>,
    pub(super) leases: Leases,
    pub(super) pool: Pool,
    pub(super) stock: Stock,
    pub(super) rests: Rests,
    pub(super) counts: Counts,
    outputs: VecDeque<Output>,
}

impl Server {
    /// A server that has given nothing yet.
    #[must_use]
    pub fn new(config: ServerConfig) -> Self {
        Self {
            settings: Settings::new(&config),
            pool: Pool::new(&config, std::iter::empty()),
            config,
            former: VecDeque::new(),
            leases: Leases::default(),
            stock: Stock::default(),
            rests: Rests::default(),
            counts: Counts::default(),
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

    /// What it has seen and said since it was made.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// How the addresses that any client may get are used.
    #[must_use]
    pub fn usage(&self) -> Usage {
        Usage {
            free: self.pool.len() + self.stock.len(),
            held: self.leases.counted(),
            resting: self.rests.len(),
        }
    }

    /// When [`Server::handle`] wants to be called with [`Input::Time`].
    #[must_use]
    pub fn deadline(&self) -> Deadline {
        let ends = [
            self.leases.next_end(),
            self.rests.next_end(),
            self.stock.next_end(),
        ];
        ends.into_iter().flatten().min()
    }

    /// The next thing to be done, until there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Takes over leases that were kept ([`Output::Keep`]), as they were kept: a client may
    /// have one until then. Leases that the configuration has no place for are forgotten.
    pub fn restore(&mut self, now: Instant, leases: impl IntoIterator<Item = Lease>) {
        for mut lease in leases {
            if self.config.reservation(lease.mac).is_some() {
                lease.client = ClientKey::Reserved(lease.mac);
            }
            if lease.until <= now || !self.has_place_for(&lease) {
                self.forget_kept(lease.address);
                continue;
            }
            self.free_for_all(lease.address);
            self.pool.take(lease.address);
            let held = Held {
                state: State::Bound,
                owner: self.owner_for(&lease.client, || Owner {
                    port: 0,
                    sender: Sender::Station(lease.mac),
                }),
                port: None,
                kept: Some(lease.until),
                lease,
            };
            if let Some(moved) = self.leases.put(held) {
                self.give_up(moved, None);
            }
        }
    }

    /// Changes what is handed out, from the next reply on. Leases stay, except
    /// those whose address the new configuration has no place for; clients that
    /// renew one of those are refused, and so start afresh at once.
    pub fn set_config(&mut self, now: Instant, config: ServerConfig) {
        self.expire(now);
        let before = std::mem::replace(&mut self.config, config).network();
        self.settings = Settings::new(&self.config);
        let network = self.config.network();
        if before != network {
            self.former
                .retain(|former| ![before, network].contains(former));
            self.former.push_front(before);
            self.former.truncate(FORMER_MAX);
        }
        self.withdraw_misplaced();
        self.make_pool();
        self.refill(now);
    }

    /// Keeps `address` for `mac` from now on, or none any more. What this takes from others is
    /// treated as by [`Server::set_config`], and nothing else is touched.
    ///
    /// # Errors
    /// As [`ServerConfig::reserve`]. What was kept for `mac` before is not any more.
    pub fn reserve(
        &mut self,
        now: Instant,
        mac: Mac,
        address: Option<Ipv4Addr>,
    ) -> Result<(), ConfigError> {
        self.expire(now);
        if self.config.reservation(mac) == address {
            return Ok(());
        }
        let before = self.config.give_back(mac);
        let reserved = address.map_or(Ok(()), |address| self.config.reserve(mac, address));
        self.withdraw_misplaced();
        if let Some(before) = before.filter(|before| self.is_nobodys(*before)) {
            self.pool.put(before);
        }
        if let Some(address) = address.filter(|_| reserved.is_ok()) {
            self.rests.remove(address);
            self.pool.take(address);
            self.stock.take(address);
        }
        self.refill(now);
        reserved
    }

    /// A port is gone. Clients that were behind it may be behind another now, with the leases
    /// that they have.
    pub fn forget_port(&mut self, port: u32) {
        self.leases.forget_port(port);
    }

    /// Whether any client may get an address that is at no place.
    fn is_nobodys(&self, address: Ipv4Addr) -> bool {
        self.config.is_pool_address(address)
            && self.leases.at(address).is_none()
            && !self.pool.contains(address)
            && !self.stock.contains(address)
            && !self.rests.iter().any(|resting| resting == address)
    }

    fn withdraw_misplaced(&mut self) {
        let misplaced = self.leases.iter().map(|held| &held.lease);
        let misplaced: Vec<Ipv4Addr> = misplaced
            .filter(|lease| !self.has_place_for(lease))
            .map(|lease| lease.address)
            .collect();
        for address in misplaced {
            if let Some(gone) = self.leases.remove(address) {
                self.give_up(gone, Some(Ending::Withdrawn));
            }
        }
    }

    /// Sorts all addresses anew.
    fn make_pool(&mut self) {
        let outside: Vec<Ipv4Addr> = self
            .rests
            .iter()
            .filter(|address| !self.config.is_pool_address(*address))
            .collect();
        for address in outside {
            self.rests.remove(address);
        }
        // What was found free stays so, as long as it may be given out.
        let stock: Vec<Ipv4Addr> = self.stock.addresses().collect();
        for address in stock {
            if !self.config.is_pool_address(address) {
                self.stock.take(address);
            }
        }
        let held = self.leases.iter().map(|held| held.lease.address);
        let elsewhere = held.chain(self.rests.iter()).chain(self.stock.addresses());
        let pool = Pool::new(&self.config, elsewhere);
        let before = std::mem::replace(&mut self.pool, pool);
        for (address, client) in before.into_former() {
            if self.pool.take(address) {
                self.pool.put_former(address, client);
            }
        }
    }

    /// Takes what happened at `now`. Never panics, whatever bytes a datagram has.
    pub fn handle(&mut self, now: Instant, input: Input) {
        self.expire(now);
        match input {
            Input::Datagram(datagram) => self.datagram(now, &datagram),
            Input::Probed { address, free } => self.probed(now, address, free),
            Input::Time => {}
        }
        self.refill(now);
    }

    fn datagram(&mut self, now: Instant, datagram: &Datagram) {
        let Some(unicast) = self.is_unicast(datagram.destination) else {
            return;
        };
        match self.read(datagram) {
            Ok(request) => self.exchange(now, &Exchange::new(datagram, request, unicast)),
            Err(reason) => {
                self.counts.ignored += 1;
                let source_mac = datagram.source_mac;
                self.tell(Event::Ignored { source_mac, reason });
            }
        }
    }

    fn read(&self, datagram: &Datagram) -> Result<Request, PacketError> {
        let request = Request::parse(&datagram.payload)?;
        let relay = request.giaddr;
        if request.is_relayed() && !self.config.is_client_address(relay) {
            // Of another subnet, or one that calls itself what the server is.
            return Err(PacketError::Relayed(relay));
        }
        Ok(request)
    }

    fn exchange(&mut self, now: Instant, exchange: &Exchange) {
        match exchange.request.kind {
            Kind::Discover => {
                self.counts.discover += 1;
                self.discover(now, exchange);
            }
            Kind::Request => {
                self.counts.request += 1;
                self.request(now, exchange);
            }
            Kind::Decline => {
                self.counts.decline += 1;
                self.decline(now, exchange);
            }
            Kind::Release => {
                self.counts.release += 1;
                self.release(exchange);
            }
            Kind::Inform => {
                self.counts.inform += 1;
                self.inform(exchange);
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

    /// The subnet that `address` was in when the link had it.
    pub(super) fn former_of(&self, address: Ipv4Addr) -> Option<Ipv4Network> {
        let now_elsewhere = |network: &&Ipv4Network| {
            network.contains(address) && !self.config.network().contains(address)
        };
        self.former.iter().find(now_elsewhere).copied()
    }

    fn has_place_for(&self, lease: &Lease) -> bool {
        match (&lease.client, self.config.reservation_of(&lease.client)) {
            (_, Some(reserved)) => reserved == lease.address,
            (ClientKey::Reserved(_), None) => false,
            (ClientKey::Id(_), None) => {
                self.config.is_pool_address(lease.address)
                    && self.config.reservation(lease.mac).is_none()
            }
        }
    }

    /// On whose account `client`'s address is; nobody's, if it is kept for it.
    pub(super) fn owner_for(
        &self,
        client: &ClientKey,
        owner: impl FnOnce() -> Owner,
    ) -> Option<Owner> {
        let is_reserved = self.config.reservation_of(client).is_some();
        (!is_reserved).then(owner)
    }

    /// Whoever the client is that sends this.
    pub(super) fn key(&self, request: &Request) -> ClientKey {
        if self.config.reservation(request.chaddr).is_some() {
            return ClientKey::Reserved(request.chaddr);
        }
        let id = request.client_id.clone();
        ClientKey::Id(id.unwrap_or_else(|| request.id_by_mac()))
    }

    /// Sees to what an address is that was taken out of the leases, and tells of it if
    /// somebody had it and it has ended.
    pub(super) fn give_up(&mut self, gone: Held, ending: Option<Ending>) {
        let Held {
            state, lease, kept, ..
        } = gone;
        if kept.is_some() {
            self.forget_kept(lease.address);
        }
        if self.config.is_pool_address(lease.address) {
            match state {
                State::Offered => self.pool.put(lease.address),
                State::Bound => self.pool.put_former(lease.address, lease.client.clone()),
            }
        }
        if let (State::Bound, Some(ending)) = (state, ending) {
            self.tell(Event::Ended(lease, ending));
        }
    }

    /// Ends what else there may be of an address.
    fn free_for_all(&mut self, address: Ipv4Addr) {
        self.rests.remove(address);
        self.stock.take(address);
        if let Some(before) = self.leases.remove(address) {
            self.give_up(before, None);
        }
    }

    fn expire(&mut self, now: Instant) {
        while let Some(gone) = self.leases.expire(now) {
            self.give_up(gone, Some(Ending::Expired));
        }
        while let Some(rested) = self.rests.expire(now) {
            self.pool.put(rested);
        }
        while let Some(unknown) = self.stock.expire(now) {
            self.pool.put(unknown);
        }
    }

    /// Has what is written down of an address forgotten.
    pub(super) fn forget_kept(&mut self, address: Ipv4Addr) {
        self.outputs.push_back(Output::Keep(Change::Freed(address)));
    }

    /// Has a lease written down, if that is wanted.
    pub(super) fn keep(&mut self, lease: Lease) {
        self.outputs.push_back(Output::Keep(Change::Leased(lease)));
    }

    pub(super) fn probe(&mut self, address: Ipv4Addr) {
        self.outputs.push_back(Output::Probe { address });
    }

    pub(super) fn tell(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    pub(super) fn send(&mut self, exchange: &Exchange, answer: Answer) {
        let transmit = reply(&self.config, &self.settings, exchange, answer);
        let (count, is_lease) = match answer {
            Answer::Offer(..) => (&mut self.counts.offer, false),
            Answer::Lease { .. } => (&mut self.counts.ack, true),
            Answer::Settings => (&mut self.counts.ack, false),
            Answer::Refusal { .. } => (&mut self.counts.nak, false),
        };
        *count += 1;
        self.outputs.push_back(if is_lease && self.config.keep {
            Output::SendKept(transmit)
        } else {
            Output::Send(transmit)
        });
    }
}
