//! IPv4 link-local addresses (RFC 3927) on the host's side of containers' links.
//!
//! Nothing is done for a link before its container uses one: one socket, whose filter in the
//! kernel lets through what ARP says of 169.254.0.0/16 and nothing else, hears all links.
//! Then the host looks for an address of its own there, which it defends, and has a route to
//! the container's, of that address alone: so those of many containers are reached, each by
//! its own link. An address that is one container's is nobody else's on this host.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use ipnetwork::{IpNetwork, Ipv4Network};
use registry::mac::Side;
use registry::{Address, LINK_GROUP, Mac, MachineName};

use super::Daemon;
use crate::acd::{ArpPacket, Timings};
use crate::arp_socket::{ArpSocket, Heard};
use crate::ipv4ll::{self, Ipv4ll, Ipv4llConfig, Seed, is_selectable};
use crate::log::{self, Pace};
use crate::plan::{self, Role};
use crate::rtnl::{LeaseAddress, LeaseRoute, Link, Request};

/// How many link-local addresses behind a link are reached.
const PEERS_MAX: usize = 4;
/// How many addresses of the host's are thought of before any will do.
const TRIED_MAX: u32 = 16;
/// How many packets are looked at within [`WINDOW`], of one link and of all.
const PER_LINK: u32 = 32;
const OF_ALL: u32 = 512;
const WINDOW: Duration = Duration::from_secs(1);
/// A link that sends more is not heard for so long.
const DEAF_FOR: Duration = Duration::from_secs(10);
/// The most links that the filter leaves out.
const DEAF_MAX: usize = 16;
/// A link-local address alone: what is on which link is not told by its prefix.
const HOST_PREFIX: u8 = 32;

/// Lines about addresses that somebody else has are said at this pace.
static CONTESTED: Pace = Pace::new();

/// The link-local addresses of all links.
#[derive(Debug)]
pub(super) struct LinkLocals {
    socket: Option<ArpSocket>,
    links: HashMap<u32, OnLink>,
    /// The links whose claims wait for something.
    waiting: BTreeSet<u32>,
    /// Behind which link each address is.
    owners: HashMap<Ipv4Addr, u32>,
    counted: Counted,
    /// The links that are not heard, until when.
    deaf: HashMap<u32, Instant>,
}

/// How many packets were heard.
#[derive(Debug)]
struct Counted {
    since: Instant,
    of_all: u32,
    of_link: HashMap<u32, u32>,
}

/// The link-local addresses of a link.
#[derive(Debug)]
struct OnLink {
    claim: Ipv4ll,
    /// Those of others, the one that was heard of last at the end.
    peers: Vec<(Ipv4Addr, Mac)>,
}

impl LinkLocals {
    pub fn open() -> Self {
        let socket = ArpSocket::open_link_local().map_err(|error| {
            tracing::warn!(
                "no link-local addresses of containers: {}",
                log::chain(&error)
            );
        });
        Self::with(socket.ok())
    }

    fn with(socket: Option<ArpSocket>) -> Self {
        Self {
            socket,
            links: HashMap::new(),
            waiting: BTreeSet::new(),
            owners: HashMap::new(),
            counted: Counted {
                since: Instant::now(),
                of_all: 0,
                of_link: HashMap::new(),
            },
            deaf: HashMap::new(),
        }
    }

    /// Waits for the next packet. Nothing is lost if the future is dropped.
    pub async fn next(&self) -> io::Result<Heard> {
        if self.counted.of_all >= OF_ALL {
            tokio::time::sleep_until((self.counted.since + WINDOW).into()).await;
        }
        match &self.socket {
            Some(socket) => socket.recv().await,
            None => std::future::pending().await,
        }
    }

    /// When something is due.
    pub fn deadline(&self) -> Option<tokio::time::Instant> {
        let waiting = self.waiting.iter();
        let claims = waiting.filter_map(|index| self.links.get(index)?.claim.deadline());
        let first = claims.chain(self.deaf.values().copied()).min();
        first.map(tokio::time::Instant::from)
    }

    /// Counts a packet. Whether its link may be heard.
    fn may_hear(&mut self, index: u32, now: Instant) -> bool {
        let counted = &mut self.counted;
        if now.saturating_duration_since(counted.since) >= WINDOW {
            (counted.since, counted.of_all) = (now, 0);
            counted.of_link.clear();
        }
        counted.of_all = counted.of_all.saturating_add(1);
        let count = counted.of_link.entry(index).or_default();
        *count = count.saturating_add(1);
        let count = *count;
        if count == PER_LINK && self.deaf.len() < DEAF_MAX {
            self.deaf.insert(index, now + DEAF_FOR);
            self.set_filter();
        }
        count <= PER_LINK
    }

    fn hear_again(&mut self, now: Instant) {
        let before = self.deaf.len();
        self.deaf.retain(|_, until| *until > now);
        if self.deaf.len() < before {
            self.set_filter();
        }
    }

    fn set_filter(&self) {
        let deaf: Vec<u32> = self.deaf.keys().copied().collect();
        if let Some(socket) = &self.socket
            && let Err(error) = socket.leave_out(&deaf)
        {
            tracing::debug!("{}", log::chain(&error));
        }
    }

    /// Notes whether a link's claim waits for something.
    fn note_waiting(&mut self, index: u32) {
        let on = self.links.get(&index);
        if on.is_some_and(|on| on.claim.deadline().is_some()) {
            self.waiting.insert(index);
        } else {
            self.waiting.remove(&index);
        }
    }

    fn forget(&mut self, index: u32) {
        self.waiting.remove(&index);
        let on = self.links.remove(&index);
        for (peer, _) in on.into_iter().flat_map(|on| on.peers) {
            self.owners.remove(&peer);
        }
    }

    fn send(&self, index: u32, packet: &ArpPacket) {
        if let Some(Err(error)) = self
            .socket
            .as_ref()
            .map(|socket| socket.send(index, packet))
        {
            tracing::debug!(index, %error, "cannot send ARP");
        }
    }
}

impl Daemon {
    /// Somebody has said or asked something about link-local addresses.
    pub(super) fn take_link_local(&mut self, heard: io::Result<Heard>) {
        let Ok(Heard { ifindex, packet }) = heard else {
            return;
        };
        let now = Instant::now();
        // A link that does not use them costs no more than one that does.
        if !self.link_locals.may_hear(ifindex, now) {
            return;
        }
        let Some(link) = self.uses_link_local(ifindex) else {
            return;
        };
        self.begin_link_local(&link, now);
        if let Some(on) = self.link_locals.links.get_mut(&ifindex) {
            on.claim.handle(now, ipv4ll::Input::Arp(packet));
        }
        self.take_claim(&link);
        if Some(packet.sender_mac) != link.mac {
            self.take_peer(&link, &packet);
        }
    }

    /// Does what is due.
    pub(super) fn claim_what_is_due(&mut self) {
        let now = Instant::now();
        self.link_locals.hear_again(now);
        let all = &self.link_locals;
        let deadline = |index: &u32| all.links.get(index)?.claim.deadline();
        let is_due = |index: &u32| deadline(index).is_none_or(|at| at <= now);
        let due: Vec<u32> = all.waiting.iter().copied().filter(is_due).collect();
        for index in due {
            if let Some(on) = self.link_locals.links.get_mut(&index) {
                on.claim.handle(now, ipv4ll::Input::Time);
            }
            match self.world.link(index).cloned() {
                Some(link) => self.take_claim(&link),
                None => self.stop_link_local(index),
            }
        }
    }

    /// A link has all that it is to have: what a netd before this one had of link-local
    /// addresses there goes on.
    pub(super) fn keep_link_local(&mut self, index: u32) {
        let has_own = self.own_link_local(index).is_some();
        let known = self.link_locals.links.contains_key(&index);
        let Some(link) = self.uses_link_local(index).filter(|_| has_own || known) else {
            return;
        };
        self.begin_link_local(&link, Instant::now());
        let held = self
            .link_locals
            .links
            .get(&index)
            .and_then(|on| on.claim.address());
        let Some(held) = held else { return };
        let lost = !has_own || self.peers_of(index).any(|peer| !self.leads_to(index, peer));
        if lost {
            self.set_link_local(index, held);
        }
    }

    /// A link is gone, or not netd's any more.
    pub(super) fn stop_link_local(&mut self, index: u32) {
        self.link_locals.forget(index);
    }

    /// A container's own link on which link-local addresses are wanted.
    fn uses_link_local(&self, index: u32) -> Option<Link> {
        let own = self.links.get(&index).filter(|own| own.confirmed);
        let link = own.and_then(|_| self.world.link(index))?;
        let is_own = plan::role_of(link) == Role::Veth;
        (is_own && self.profile_of(link).client.link_local).then(|| link.clone())
    }

    fn begin_link_local(&mut self, link: &Link, now: Instant) {
        let Some(mac) = link
            .mac
            .filter(|_| !self.link_locals.links.contains_key(&link.index))
        else {
            return;
        };
        let seed = Seed::from_mac(mac);
        let is_free =
            |ip: &Ipv4Addr| !self.link_locals.owners.contains_key(ip) && !self.is_taken(*ip);
        let mut claim = Ipv4ll::new(Ipv4llConfig {
            mac,
            seed,
            // The host itself would not find a container that has it on another link.
            start_address: (0..TRIED_MAX).map(|n| seed.candidate(mac, n)).find(is_free),
            timings: Timings::fast(self.profile_of(link).client.probe_time),
        });
        let mut peers = Vec::new();
        match self.own_link_local(link.index) {
            Some(address) => {
                claim.adopt(now, address);
                let routes = self.world.routes_of(link.index);
                let known = routes.filter_map(|route| link_local_host(route.destination));
                peers.extend(known.take(PEERS_MAX).map(|ip| (ip, Mac([0; 6]))));
            }
            None => claim.start(now),
        }
        let all = &mut self.link_locals;
        all.owners
            .extend(peers.iter().map(|(ip, _)| (*ip, link.index)));
        all.links.insert(link.index, OnLink { claim, peers });
        all.note_waiting(link.index);
    }

    /// The link-local address that netd has set on a link.
    fn own_link_local(&self, index: u32) -> Option<Ipv4Addr> {
        let addresses = self.world.addresses(index).iter();
        let mut own = addresses.filter(|address| address.ours);
        own.find_map(|address| link_local_host(address.address))
    }

    /// Does what a claim says.
    fn take_claim(&mut self, link: &Link) {
        let index = link.index;
        while let Some(output) = self
            .link_locals
            .links
            .get_mut(&index)
            .and_then(|on| on.claim.poll_output())
        {
            match output {
                ipv4ll::Output::Send(packet) => self.link_locals.send(index, &packet),
                ipv4ll::Output::Event(ipv4ll::Event::Claimed(address)) => {
                    self.set_link_local(index, address);
                }
                ipv4ll::Output::Event(ipv4ll::Event::Lost { address, by }) => {
                    CONTESTED.say(|more| {
                        tracing::warn!(
                            link = %link.name, %address, %by,
                            "the container has taken the host's link-local address: the host \
                             gets another{more}"
                        );
                    });
                    self.remove_link_local(index, address);
                }
                ipv4ll::Output::Event(event) => tracing::debug!(link = %link.name, ?event),
            }
        }
        self.link_locals.note_waiting(index);
    }

    /// Sets the host's address of a link, and the routes to those behind it.
    fn set_link_local(&mut self, index: u32, address: Ipv4Addr) {
        let Ok(network) = Ipv4Network::new(address, HOST_PREFIX) else {
            return;
        };
        let own = Request::Lease(LeaseAddress {
            address: network,
            broadcast: None,
            seconds: None,
            marked: true,
        });
        let routes = self.peers_of(index).filter_map(|peer| route(peer, address));
        let requests: Vec<Request> = [own]
            .into_iter()
            .chain(routes.map(Request::AddLeaseRoute))
            .collect();
        self.carry_out_link_local(index, &requests);
    }

    fn remove_link_local(&mut self, index: u32, address: Ipv4Addr) {
        // The kernel takes the routes that come from it.
        if let Ok(network) = Ipv4Network::new(address, HOST_PREFIX) {
            self.carry_out_link_local(index, &[Request::RemoveAddress(network.into())]);
        }
    }

    fn carry_out_link_local(&mut self, index: u32, requests: &[Request]) {
        for (_, error) in self.requests.carry_out(index, requests) {
            if !error.is_gone() {
                tracing::debug!("{}", log::chain(&error));
            }
        }
    }

    fn peers_of(&self, index: u32) -> impl Iterator<Item = Ipv4Addr> {
        let peers = self.link_locals.links.get(&index).into_iter();
        peers.flat_map(|on| on.peers.iter().map(|(ip, _)| *ip))
    }

    fn leads_to(&self, index: u32, peer: Ipv4Addr) -> bool {
        let mut routes = self.world.routes_of(index);
        routes.any(|route| link_local_host(route.destination) == Some(peer))
    }

    /// Takes in what somebody behind a link says that he has, or looks for.
    fn take_peer(&mut self, link: &Link, packet: &ArpPacket) {
        let is_probe = packet.sender.is_unspecified();
        let ip = if is_probe {
            packet.target
        } else {
            packet.sender
        };
        if !is_selectable(ip) {
            return;
        }
        let owner = self.link_locals.owners.get(&ip).copied();
        if owner != Some(link.index) && (owner.is_some() || self.is_taken(ip)) {
            // It is told so as whoever has it would, were they on one link.
            if let Some(mac) = link.mac {
                let taken = ArpPacket::announcement(mac, ip);
                self.link_locals.send(link.index, &taken);
            }
            return;
        }
        if !is_probe {
            self.learn_peer(link, ip, packet.sender_mac);
        }
    }

    /// Whether an address cannot be a container's: it is the host's, or the host has a way to
    /// it elsewhere.
    fn is_taken(&self, ip: Ipv4Addr) -> bool {
        self.world.has_address(IpAddr::V4(ip))
            || is_of_clouds(ip)
            || self.world.leads_elsewhere(IpAddr::V4(ip), LINK_GROUP)
    }

    fn learn_peer(&mut self, link: &Link, ip: Ipv4Addr, mac: Mac) {
        let Some(on) = self.link_locals.links.get_mut(&link.index) else {
            return;
        };
        let held = on.claim.address();
        let known = on.peers.iter().any(|(peer, _)| *peer == ip);
        if known {
            on.peers
                .iter_mut()
                .filter(|(peer, _)| *peer == ip)
                .for_each(|peer| peer.1 = mac);
        } else {
            // Who has another now has the former no more.
            let former = on.peers.iter().position(|(_, of)| *of == mac);
            let oldest = (on.peers.len() >= PEERS_MAX).then_some(0);
            let gone = former.or(oldest).map(|at| on.peers.remove(at));
            on.peers.push((ip, mac));
            self.link_locals.owners.insert(ip, link.index);
            if let Some((gone, _)) = gone {
                self.link_locals.owners.remove(&gone);
            }
            let gone = gone.and_then(|(gone, _)| route(gone, held?));
            let new = held.and_then(|held| route(ip, held));
            let requests: Vec<Request> = gone
                .map(Request::RemoveLeaseRoute)
                .into_iter()
                .chain(new.map(Request::AddLeaseRoute))
                .collect();
            self.carry_out_link_local(link.index, &requests);
            tracing::debug!(link = %link.name, %ip, %mac, "link-local address");
        }
        if let Some((name, _)) = self.attached_by(link.index) {
            self.name_link_local(&name, link.index);
        }
    }

    /// A machine that has no other IPv4 address is found by its link-local one.
    pub(super) fn name_link_local(&mut self, name: &MachineName, index: u32) {
        let mac = Mac::of_machine(&self.host_id, name, Side::Container, 0);
        let on = self.link_locals.links.get(&index);
        let found = on.and_then(|on| on.peers.iter().find(|(_, of)| *of == mac));
        let Some(ip) = found.map(|(ip, _)| IpAddr::V4(*ip)) else {
            return;
        };
        let Some(entry) = self.machines.get_mut(name) else {
            return;
        };
        let addresses = &mut entry.machine.addresses;
        let is_own = |address: &Address| address.ip.is_ipv4();
        let is_link_local = |ip: IpAddr| matches!(ip, IpAddr::V4(ip) if ip.is_link_local());
        let mut present = addresses.iter().filter(|address| is_own(address));
        if present.any(|address| address.ip == ip || !is_link_local(address.ip)) {
            return;
        }
        let before = entry.machine.ips();
        entry.machine.addresses.retain(|address| !is_own(address));
        entry.machine.addresses.push(Address { ip, scope: 0 });
        if entry.is_published() {
            self.publish_after(name, &before);
        }
    }
}

/// The route to an address behind a link on which the host has `source`.
fn route(to: Ipv4Addr, source: Ipv4Addr) -> Option<LeaseRoute> {
    Some(LeaseRoute {
        destination: Ipv4Network::new(to, HOST_PREFIX).ok()?,
        gateway: None,
        onlink: false,
        source,
        metric: 0,
    })
}

/// The link-local address that is all of this.
fn link_local_host(network: IpNetwork) -> Option<Ipv4Addr> {
    match network {
        IpNetwork::V4(v4) if v4.prefix() == HOST_PREFIX => {
            Some(v4.ip()).filter(Ipv4Addr::is_link_local)
        }
        _ => None,
    }
}

/// Where clouds answer their machines, often by way of the default route: no container is to
/// answer the host there.
fn is_of_clouds(ip: Ipv4Addr) -> bool {
    matches!(ip.octets(), [169, 254, 169 | 170, _])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_link_that_floods_is_not_heard_for_a_while() {
        let mut all = LinkLocals::with(None);
        let now = Instant::now();
        let heard = (0..1000).filter(|_| all.may_hear(7, now)).count();
        assert_eq!(heard, PER_LINK as usize);
        assert!(all.may_hear(8, now));
        assert_eq!(all.deaf.keys().collect::<Vec<_>>(), [&7]);
        all.hear_again(now + DEAF_FOR / 2);
        assert_eq!(all.deaf.len(), 1);
        all.hear_again(now + DEAF_FOR);
        assert!(all.deaf.is_empty());
        assert!(all.may_hear(7, now + DEAF_FOR));
    }

    #[test]
    fn what_clouds_have_is_no_containers() {
        for (text, of_clouds) in [
            ("169.254.169.254", true),
            ("169.254.170.2", true),
            ("169.254.168.254", false),
        ] {
            assert_eq!(is_of_clouds(text.parse().unwrap()), of_clouds, "{text}");
        }
    }
}
