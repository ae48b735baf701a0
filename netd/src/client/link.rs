//! A link with a client: what is known of it, and its engines.

use std::collections::HashSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use ipnetwork::{IpNetwork, Ipv4Network};
use registry::Mac;

use super::restore::Restoring;
use super::sockets::{Heard, Sockets};
use super::{Shared, Told, identity};
use crate::acd::{self, Acd, AcdConfig, Defence, Purpose};
use crate::dhcp::client::{self, Client, ClientConfig, Lease, SavedLease, Timings};
use crate::ipv4ll::{self, Ipv4ll, Ipv4llConfig, Seed};
use crate::profiles::{ClientProfile, Keep};
use crate::rtnl::{LeaseRoute, Link, LinkAddress, LinkType, Request, Requests, RtnlError};

/// The longest wait before a client's first message, on links that lead out of the machine.
const STARTUP: Duration = Duration::from_secs(1);
/// After how many questions without an answer something else is tried: some servers look
/// for three seconds whether anybody has the address.
const PATIENCE: u32 = 4;
/// How long after a failure sockets are tried to be had again.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What a client begins with.
#[derive(Debug)]
pub(super) struct Begin {
    pub link: Link,
    pub mac: Mac,
    pub profile: ClientProfile,
    /// The addresses that the link has.
    pub addresses: Vec<LinkAddress>,
    /// Whether it has a default route that was set ahead of any lease.
    pub has_preset_route: bool,
}

/// What a client leaves to the one that goes on.
#[derive(Debug, Default)]
pub(super) struct Left {
    routes: HashSet<LeaseRoute>,
    preset: Option<Ipv4Network>,
    usual_mtu: Option<u32>,
}

/// A link with a client.
#[derive(Debug)]
pub(super) struct ClientLink {
    pub(super) shared: Rc<Shared>,
    pub(super) profile: ClientProfile,
    pub(super) link: Link,
    pub(super) mac: Mac,
    pub(super) requests: Requests,
    pub(super) sockets: Option<Sockets>,
    pub(super) client: Option<Client>,
    pub(super) acd: Acd,
    pub(super) ipv4ll: Ipv4ll,
    /// The addresses of the link, by what the kernel tells.
    pub(super) addresses: Vec<LinkAddress>,
    /// What is set on the link.
    pub(super) applied: Option<Lease>,
    pub(super) routes: HashSet<LeaseRoute>,
    pub(super) has_preset_route: bool,
    /// The address that the link had from elsewhere before it was leased.
    pub(super) preset: Option<Ipv4Network>,
    /// The MTU that the link had before a lease brought another.
    pub(super) usual_mtu: Option<u32>,
    /// When sockets are tried to be had again.
    try_again: Option<Instant>,
    /// What others have removed that is still to be set again.
    pub(super) restoring: Restoring,
    /// Whether another client takes over.
    goes_on: bool,
}

impl ClientLink {
    /// A client that starts once its link can carry packets, and goes on from what
    /// another has left.
    pub fn new(begin: Begin, left: Option<Left>, shared: Rc<Shared>) -> Result<Self, RtnlError> {
        let Begin {
            link,
            mac,
            profile,
            addresses,
            has_preset_route,
        } = begin;
        let mut requests = Requests::new()?;
        if !link.up {
            for (_, error) in requests.carry_out(link.index, &[Request::SetUp]) {
                tracing::error!(link = %link.name, "{}", crate::log::chain(&error));
            }
        }
        let Left {
            routes,
            preset,
            usual_mtu,
        } = left.unwrap_or_default();
        let mut this = Self {
            acd: conflict_detection(mac, &profile),
            ipv4ll: link_local(mac, &profile, None),
            client: None,
            sockets: None,
            applied: None,
            routes,
            usual_mtu,
            preset,
            try_again: None,
            restoring: Restoring::default(),
            goes_on: false,
            shared,
            profile,
            link,
            mac,
            requests,
            addresses,
            has_preset_route,
        };
        if !this.profile.use_mtu {
            this.restore_mtu();
        }
        this.start_if_ready();
        Ok(this)
    }

    /// When [`ClientLink::wake`] is wanted.
    pub fn deadline(&self) -> Option<Instant> {
        let client = self.client.as_ref().and_then(Client::deadline);
        let deadlines = [
            client,
            self.acd.deadline(),
            self.ipv4ll.deadline(),
            self.try_again,
            self.restoring.deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Does what is due.
    pub fn wake(&mut self) {
        let now = Instant::now();
        if self.try_again.is_some_and(|at| at <= now) {
            self.try_again = None;
            self.start_if_ready();
        }
        if self.restoring.take_due(now) {
            self.restore();
        }
        self.give_client(client::Input::Time);
        self.acd.handle(now, acd::Input::Time);
        self.ipv4ll.handle(now, ipv4ll::Input::Time);
        self.flush();
    }

    /// Takes what came in.
    pub fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Dhcp(datagram) => self.give_client(client::Input::Datagram(datagram)),
            Heard::Arp(packet) => {
                let now = Instant::now();
                self.acd.handle(now, acd::Input::Arp(packet));
                self.ipv4ll.handle(now, ipv4ll::Input::Arp(packet));
            }
            Heard::Nothing => {}
        }
        self.flush();
    }

    /// Takes what is told. Whether it goes on.
    pub fn obey(&mut self, told: Told) -> bool {
        match told {
            Told::Link(link) => self.link_changed(*link),
            Told::Address(address) => {
                self.address_gone(&address);
                self.addresses.push(address);
            }
            Told::AddressGone(address) => {
                self.address_gone(&address);
                self.miss();
            }
            Told::Addresses(addresses) => {
                self.addresses = addresses;
                self.miss();
            }
            Told::Stop => {
                self.stop();
                return false;
            }
            Told::GoOn => {
                self.goes_on = true;
                return false;
            }
            Told::End => {
                self.end();
                return false;
            }
        }
        self.flush();
        true
    }

    fn address_gone(&mut self, gone: &LinkAddress) {
        self.addresses.retain(|known| known.address != gone.address);
    }

    fn link_changed(&mut self, link: Link) {
        let had_carrier = std::mem::replace(&mut self.link, link).carrier;
        if let Some(mac) = self.link.mac.filter(|mac| *mac != self.mac) {
            self.start_as(mac);
        }
        match (had_carrier, self.link.carrier) {
            (true, false) => self.carrier_lost(),
            (false, true) if self.sockets.is_some() => self.carrier_is_back(),
            _ => self.start_if_ready(),
        }
    }

    /// Another Ethernet address is another client.
    fn start_as(&mut self, mac: Mac) {
        self.mac = mac;
        self.acd = conflict_detection(mac, &self.profile);
        self.ipv4ll = link_local(mac, &self.profile, None);
        self.client = None;
        if let Some(sockets) = self.sockets.take() {
            sockets.close(&self.shared.queue);
        }
        self.start_if_ready();
    }

    fn carrier_lost(&mut self) {
        self.give_client(client::Input::LinkDown);
        self.acd.stop();
        // Its address stays, as a lease's does; it is looked at again when the link is back.
        self.ipv4ll.stop();
    }

    fn carrier_is_back(&mut self) {
        let held = self.applied.as_ref().map(|lease| lease.address.ip());
        if let Some(address) = held.filter(|_| self.profile.send_decline) {
            self.acd.set_address(address);
            self.acd.adopt(Instant::now());
        }
        self.give_client(client::Input::LinkUp);
        if held.is_none() && (!self.profile.dhcp || self.own_link_local().is_some()) {
            self.start_link_local();
        }
    }

    /// Starts what is to run and does not yet, if the link can carry packets.
    fn start_if_ready(&mut self) {
        if self.sockets.is_some() || !self.link.carrier {
            return;
        }
        match Sockets::open(self.link.index) {
            Ok(sockets) => self.sockets = Some(sockets),
            Err(error) => {
                tracing::error!(link = %self.link.name, "no DHCP client: {}", crate::log::chain(&error));
                self.try_again = Some(Instant::now() + TRY_AGAIN_AFTER);
                return;
            }
        }
        // What is sent to an address that the link has already is for netd as well.
        let has = self.usable().next().map(|network| network.ip());
        self.take_port(has);
        if self.profile.dhcp {
            let saved = self.shared.store.load(&self.link.name);
            let config = self.config(saved.as_ref());
            let mut client = Client::new(config, seed());
            client.start(Instant::now(), saved);
            self.client = Some(client);
        } else {
            self.start_link_local();
        }
        self.flush();
    }

    fn config(&self, saved: Option<&SavedLease>) -> ClientConfig {
        let profile = &self.profile;
        let mut config = ClientConfig::new(self.mac);
        let machine_id = self.shared.machine_id.as_ref();
        config.client_id = identity::client_id(profile, machine_id, &self.link, self.mac);
        config.hostname = identity::hostname(profile);
        config.vendor_class.clone_from(&profile.vendor_class);
        config.rapid_commit = profile.rapid_commit;
        config.broadcast_flag = profile.request_broadcast;
        config.max_attempts = profile.max_attempts;
        config.no_answer_after = PATIENCE;
        config.send_release = profile.send_release;
        config.conflict_detection = profile.send_decline;
        config.timings = if self.link.kind == LinkType::Veth {
            Timings::FAST
        } else {
            Timings {
                startup: STARTUP,
                ..Timings::RFC
            }
        };
        // The address that rspawn has set, or a client before this one.
        let has = || self.usable().next().map(|network| network.ip());
        config.request_address = profile.request_address.or_else(has);
        // That the kernel has it still says that its time is not over.
        config.keep_unconfirmed = saved.is_some_and(|saved| self.has(saved.address.ip()));
        config
    }

    /// The IPv4 addresses of the link that hold beyond it.
    pub(super) fn usable(&self) -> impl Iterator<Item = Ipv4Network> + '_ {
        let addresses = self.addresses.iter().filter(|address| address.usable);
        addresses.filter_map(|address| v4(address.address))
    }

    /// Whether the link has this address.
    pub(super) fn has(&self, ip: Ipv4Addr) -> bool {
        self.addresses
            .iter()
            .any(|known| known.address.ip() == std::net::IpAddr::V4(ip))
    }

    /// The IPv4 addresses of the link that netd has set.
    pub(super) fn own(&self) -> impl Iterator<Item = Ipv4Network> + '_ {
        let own = self.addresses.iter().filter(|address| address.ours);
        own.filter_map(|address| v4(address.address))
    }

    pub(super) fn own_link_local(&self) -> Option<Ipv4Addr> {
        self.own()
            .map(|network| network.ip())
            .find(Ipv4Addr::is_link_local)
    }

    pub(super) fn give_client(&mut self, input: client::Input) {
        if let Some(client) = &mut self.client {
            client.handle(Instant::now(), input);
        }
    }

    /// netd stops. What is to stay until it is back stays.
    fn stop(&mut self) {
        if self.profile.keep != Keep::Nothing {
            self.hand_back();
        } else {
            self.give_back();
        }
    }

    /// There is to be no client here any more. The address that was there before it stays.
    fn end(&mut self) {
        if self.has_preset() {
            self.hand_back();
        } else {
            self.give_back();
        }
        self.restore_mtu();
        self.shared.store.forget(&self.link.name);
        self.link_is_gone();
    }

    fn give_back(&mut self) {
        self.give_client(client::Input::Release);
        self.flush();
        self.stop_link_local();
    }

    /// The end: the link is gone, netd stops, or another client is to go on.
    pub fn close(mut self) -> Option<Left> {
        if let Some(sockets) = self.sockets.take() {
            sockets.close(&self.shared.queue);
        }
        self.goes_on.then_some(Left {
            routes: self.routes,
            preset: self.preset,
            usual_mtu: self.usual_mtu,
        })
    }

    /// The link is gone, and what it brought with it.
    pub fn link_is_gone(&self) {
        self.shared.resolver.borrow_mut().remove(self.link.index);
        self.shared.held.borrow_mut().remove(&self.link.index);
    }
}

fn v4(network: IpNetwork) -> Option<Ipv4Network> {
    match network {
        IpNetwork::V4(network) => Some(network),
        IpNetwork::V6(_) => None,
    }
}

fn conflict_detection(mac: Mac, profile: &ClientProfile) -> Acd {
    let config = AcdConfig {
        mac,
        address: Ipv4Addr::UNSPECIFIED,
        timings: acd::Timings::fast(profile.probe_time),
        purpose: Purpose::Hold(Defence::Once),
    };
    Acd::new(config, seed())
}

pub(super) fn link_local(
    mac: Mac,
    profile: &ClientProfile,
    start_address: Option<Ipv4Addr>,
) -> Ipv4ll {
    Ipv4ll::new(Ipv4llConfig {
        mac,
        seed: Seed::from_mac(mac),
        start_address,
        timings: acd::Timings::fast(profile.probe_time),
    })
}

/// A number that no other client has: the library's hashes are keyed at random.
fn seed() -> u64 {
    RandomState::new().build_hasher().finish()
}
