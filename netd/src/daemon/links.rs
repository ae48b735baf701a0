//! Reconciling the links that have subnets: those of containers, and the bridges of zones.

use std::time::{Duration, Instant};

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use registry::LINK_GROUP;
use registry::protocol::{Host0, Route};

use super::Daemon;
use super::actions::Outcome;
use super::dhcp_service::Service;
use super::healing::Heals;
use super::registration::Entry;
use crate::log;
use crate::machines::Attachment;
use crate::nft::GoneLink;
use crate::plan::{self, Action, Role};
use crate::rtnl::{Link, RtnlError};
use crate::subnets::{Owner, Subnets};

/// An address that the kernel has not told of after this is added again.
const TOLD_WITHIN: Duration = Duration::from_secs(1);
/// A link's clashes with the host are said at most this often.
const CLASH_INTERVAL: Duration = Duration::from_secs(10);

/// What netd knows of a link of its own with subnets beyond what the kernel tells.
#[derive(Debug, Default)]
pub(super) struct OwnLink {
    /// Whose it is; unknown until its name or its supervisor says.
    pub owner: Option<Owner>,
    /// Its subnets.
    pub subnets: Option<Subnets>,
    /// Whether the host is protected from it.
    pub guarded: bool,
    /// Whether it was seen with all that it is to have, and nothing against it.
    pub confirmed: bool,
    /// Whether it has IPv6 again and is to get what it had of it.
    pub regains: bool,
    /// Whether files say something else of it since a moment ago: what it gets by that,
    /// nobody has taken from it.
    pub reloaded: bool,
    /// What cannot be had on this host.
    pub done_without: Vec<Action>,
    /// When it was last said that something of the host overlaps its subnets.
    clash_told: Option<Instant>,
    /// How often something was put back that somebody took.
    pub heals: Heals,
    /// When it was given the IPv6 address that the kernel has not confirmed yet.
    asked_v6: Option<Instant>,
    /// Its DHCP server.
    pub dhcp: Option<Service>,
}

impl OwnLink {
    /// Whether IPv6 could not be had.
    pub(super) fn lacks_ipv6(&self) -> bool {
        let mut without = self.done_without.iter();
        without.any(|action| matches!(action, Action::AddAddress(IpNetwork::V6(_))))
    }

    /// Takes back that there is to be no IPv6. Whether that was so.
    pub(super) fn has_ipv6(&mut self) -> bool {
        let before = self.done_without.len();
        self.done_without
            .retain(|action| !matches!(action, Action::AddAddress(IpNetwork::V6(_))));
        self.done_without.len() < before
    }

    /// Whether an IPv6 address that is to be added was added a moment ago: the kernel tells
    /// of it when it gets round to it, and goes through all addresses for it each time.
    fn awaits_v6(&self, actions: &[Action]) -> bool {
        let is_new = |asked: Instant| asked.elapsed() < TOLD_WITHIN;
        self.asked_v6.is_some_and(is_new) && actions.iter().any(is_v6_address)
    }

    /// Of subnets, those that this link can have.
    fn feasible(&self, subnets: &Subnets) -> Subnets {
        let refused = |is_v4: bool| {
            let mut host = subnets.host();
            host.any(|address| {
                address.is_ipv4() == is_v4
                    && self.done_without.contains(&Action::AddAddress(address))
            })
        };
        Subnets {
            v4: subnets.v4.filter(|_| !refused(true)),
            v6: subnets.v6.filter(|_| !refused(false)),
        }
    }
}

impl Daemon {
    pub(super) async fn reconcile_link(&mut self, index: u32) {
        let role = self.world.link(index).map(plan::role_of);
        if role.is_none() {
            self.retired.remove(&index);
        }
        self.note_port(index);
        let has_subnets = role.is_some_and(Role::has_subnets);
        if has_subnets && !self.retired.contains(&index) {
            let outcome = match self.reconcile_subnet_link(index).await {
                Ok(outcome) => outcome,
                Err(error) => {
                    tracing::error!("{}", log::chain(&error));
                    Outcome::Failed
                }
            };
            self.note_outcome(index, outcome);
            return;
        }
        let own = self.links.remove(&index);
        if let Some(Owner::Zone(zone)) = own.as_ref().and_then(|own| own.owner) {
            self.zone_is_gone(zone, index);
        }
        let subnets = own.as_ref().and_then(|own| own.subnets);
        if own.is_some() {
            self.stop_advertising(index);
            self.stop_link_local(index);
            self.unwatch_parameters(index);
            self.firewall.link_is_gone(GoneLink {
                index,
                subnet: subnets.and_then(|subnets| subnets.v4),
            });
            if role.is_none() {
                self.link_is_gone(index);
            }
        }
        if role != Some(Role::BridgePort) {
            if role != Some(Role::Foreign) {
                self.retries.forget(index);
            }
            self.healing.ports.remove(&index);
        }
        match role {
            Some(Role::BridgePort) => {
                self.follow_bridged(index);
                let mut outcome = self.reconcile_port(index);
                let bridge = self.world.link(index).and_then(|link| link.controller);
                if bridge.is_some_and(|bridge| !self.relay_on(bridge)) {
                    outcome = Outcome::Failed;
                }
                self.note_outcome(index, outcome);
            }
            Some(Role::Foreign) => {
                let outcome = Outcome::of(self.relay_on(index));
                self.note_outcome(index, outcome);
                self.notice_dead(index, subnets);
                self.gather_orphans(index);
            }
            Some(Role::Veth | Role::Zone(_)) => {}
            None => {
                self.relay_on(index);
            }
        }
    }

    /// Gives a link what it lacks of what it is to have, and those behind it the word once
    /// it lacks nothing.
    async fn reconcile_subnet_link(&mut self, index: u32) -> Result<Outcome, RtnlError> {
        let Some(link) = self.world.link(index).cloned() else {
            return Ok(Outcome::Done);
        };
        let Some(owner) = self.owner_of_link(&link) else {
            return Ok(Outcome::Done);
        };
        let own = self.links.entry(index).or_default();
        own.owner = Some(owner);
        let chosen = own.subnets.filter(|_| own.confirmed);
        let subnets = match chosen {
            Some(subnets) => subnets,
            None => self.choose(&owner, index).await?,
        };
        let mtu = self.profile_of(&link).mtu.or_else(|| self.narrower(&link));
        let Some(own) = self.links.get_mut(&index) else {
            return Ok(Outcome::Done);
        };
        let subnets = own.feasible(&subnets);
        own.subnets = Some(subnets);
        let mut actions = plan::subnet_link(
            &link,
            &self.world,
            own.guarded || link.held.all(),
            &subnets,
            mtu,
        );
        actions.retain(|action| !own.done_without.contains(action));
        let was_confirmed = own.confirmed;
        let was_whole = was_confirmed || own.regains;
        let awaits_v6 = !was_whole && own.awaits_v6(&actions);
        actions.retain(|action| !(awaits_v6 && is_v6_address(action)));
        let was_reloaded = own.reloaded;
        own.reloaded &= !actions.is_empty();
        if was_whole && actions.is_empty() {
            own.heals.nothing_taken();
        } else if was_whole && !self.may_heal(&link) {
            return Ok(Outcome::Later);
        }
        let performed = self.perform_all(&link, &owner, &actions);
        if let Some(own) = self.links.get_mut(&index)
            && performed.guarded
            && actions.iter().any(is_v6_address)
            && !performed.failed.iter().any(is_v6_address)
        {
            own.asked_v6 = Some(Instant::now());
        }
        if was_whole && !was_reloaded {
            let done = actions.iter();
            let done = done.filter(|action| !performed.failed.contains(action));
            self.tell_healed(&link, &owner, done);
        }
        let Some(own) = self.links.get_mut(&index).filter(|_| performed.guarded) else {
            return Ok(Outcome::of(!performed.again));
        };
        own.guarded = true;
        let serves = match owner {
            Owner::Machine(_) => own.dhcp.is_some() || self.serve_dhcp(&link),
            Owner::Zone(zone) => self.serve_zone(zone, &link),
        };
        if awaits_v6 && performed.failed.is_empty() {
            return Ok(Outcome::Later);
        }
        // Not before the kernel's word of it: until then a route or address that
        // came first would go unnoticed.
        if let Some(own) = self.links.get_mut(&index)
            && actions.is_empty()
            && !own.confirmed
        {
            (own.confirmed, own.regains) = (true, false);
            tracing::info!(of = %owner, link = %link.name, "{}", describe(&subnets));
            self.let_forward(&link, &owner);
            // Behind all that netd itself writes.
            self.watch_parameters(&link);
            match owner {
                Owner::Machine(machine) => self.link_is_ready(&machine, index),
                Owner::Zone(_) => self.zone_is_ready(index),
            }
            self.advertise_on(index);
        }
        if actions.is_empty() {
            self.keep_link_local(index);
        }
        if !was_confirmed && !actions.is_empty() && actions.iter().all(|a| *a == Action::Guard) {
            // No event tells of it.
            self.dirty.insert(index);
        }
        if self.zones.is_empty(index) {
            self.remove_zone(index);
            return Ok(Outcome::Later);
        }
        Ok(Outcome::of(!performed.again && serves))
    }

    /// Whose a link is: the zone's that its name says; the machine's that registered with
    /// it, or else of the one that its names say it was made for.
    fn owner_of_link(&self, link: &Link) -> Option<Owner> {
        if let Role::Zone(zone) = plan::role_of(link) {
            return Some(zone.into());
        }
        let known = self.links.get(&link.index).and_then(|own| own.owner);
        let attached = || {
            let (name, entry) = self.attached_by(link.index)?;
            (entry.machine.attachment == Attachment::Veth(link.index)).then_some(name.into())
        };
        known
            .or_else(attached)
            .or_else(|| plan::machine_of(link).map(Owner::from))
    }

    /// Chooses the subnets of a link: those that the link has, those that its owner keeps,
    /// or new ones.
    pub(super) async fn choose(&mut self, owner: &Owner, index: u32) -> Result<Subnets, RtnlError> {
        let profile = self.profile_of_index(index);
        let present = self.present(index);
        let before = self.store.kept(owner);
        let kept = before.map(|kept| profile.fitting(kept, owner.usual_prefix()));
        let (fixed, prefix) = profile.v4_wanted(owner.usual_prefix());
        let asked = Subnets {
            v4: fixed,
            v6: profile.v6,
        };
        let first: Vec<Subnets> = [present, kept, Some(asked)].into_iter().flatten().collect();
        let by_the_host = |prefix| self.world.clash(prefix, LINK_GROUP).is_none();
        let crossed = self
            .wish(owner, prefix, first.clone())
            .is_crossed(by_the_host);
        if crossed && !std::mem::replace(&mut self.routes_are_fresh, true) {
            // The kernel does not tell of every route that goes: before a machine
            // has to move, what is in its way is looked at anew.
            let routes = self.monitor.routes().await?;
            let touched = self.world.reset_routes(routes);
            self.take_touched(touched, None);
        }
        // A container that runs has its addresses, which nothing here can change: also
        // beside what came later and overlaps them.
        let settled: Vec<IpNetwork> = match self.is_settled(owner, index) {
            true => present.iter().flat_map(Subnets::prefixes).collect(),
            false => Vec::new(),
        };
        let wish = self.wish(owner, prefix, first);
        let subnets =
            wish.choose(|subnet| settled.contains(&subnet) || self.is_free(subnet, owner));
        if subnets.v4.is_none() {
            tracing::error!(
                of = %owner,
                "no pool has a subnet to spare: each candidate overlaps an address or a route of \
                 the host; it gets no IPv4 address"
            );
        }
        let is_new = before != Some(subnets);
        if let Some(missed) = profile.missed(&subnets).filter(|_| is_new) {
            self.tell_not_as_configured(owner, &profile, missed, &subnets);
        } else if let Some(before) = before.filter(|_| is_new) {
            let why = match kept == Some(before) {
                true => "is in use by the host now",
                false => "is not what is configured now",
            };
            tracing::warn!(of = %owner, "{} {why}; it gets {}", describe(&before), describe(&subnets));
        }
        self.store.take(*owner, subnets);
        Ok(subnets)
    }

    /// Gives those whose links have addresses already what they have, before
    /// anything is chosen for others.
    pub(super) fn reserve_present(&mut self) {
        let indices: Vec<u32> = self
            .world
            .links()
            .filter(|link| plan::role_of(link).has_subnets())
            .map(|link| link.index)
            .collect();
        for index in indices {
            let link = self.world.link(index);
            let owner = link.and_then(|link| self.owner_of_link(link));
            if let (Some(owner), Some(subnets)) = (owner, self.present(index)) {
                self.store.take(owner, subnets);
            }
        }
    }

    /// The subnets of the addresses that a netd before this one set on a link.
    fn present(&self, index: u32) -> Option<Subnets> {
        let ours = self
            .world
            .addresses(index)
            .iter()
            .filter(|address| address.ours);
        let mut subnets = Subnets { v4: None, v6: None };
        for address in ours {
            match address.address {
                IpNetwork::V4(v4) if v4.ip().is_link_local() => {}
                IpNetwork::V4(v4) => {
                    subnets.v4 = Ipv4Network::new(v4.network(), v4.prefix()).ok();
                }
                IpNetwork::V6(v6) => {
                    subnets.v6 = Ipv6Network::new(v6.network(), v6.prefix()).ok();
                }
            }
        }
        (subnets.v4.is_some() || subnets.v6.is_some()).then_some(subnets)
    }

    /// Whether a machine's end of its link was set; of a zone, whether it has members.
    fn is_settled(&self, owner: &Owner, index: u32) -> bool {
        match owner {
            Owner::Machine(machine) => self.machines.get(machine).is_some_and(Entry::is_settled),
            Owner::Zone(_) => self.has_settled_members(index),
        }
    }

    fn wish<'a>(&'a self, owner: &'a Owner, v4_prefix: u8, first: Vec<Subnets>) -> plan::Wish<'a> {
        plan::Wish {
            owner,
            host: &self.host_id,
            pools: self.profiles.pools(),
            v4_prefix,
            first,
        }
    }

    fn is_free(&self, subnet: IpNetwork, owner: &Owner) -> bool {
        let pools = self.profiles.pools();
        plan::is_free(&self.world, &self.store, pools, subnet, owner)
    }

    /// Looks whether a prefix that is new on the host overlaps somebody's subnets.
    pub(super) fn notice_clash(&mut self, prefix: IpNetwork, link: u32) {
        let Some(owner) = self.store.overlapping(prefix) else {
            return;
        };
        // What comes with its own link, as most does, is looked at with that.
        if self
            .links
            .get(&link)
            .is_some_and(|own| own.owner == Some(owner))
        {
            return;
        }
        crate::operations::count(|done| &done.scanned, self.links.len());
        let mut links = self.links.iter();
        let Some((&index, own)) = links.find(|(_, own)| own.owner == Some(owner)) else {
            return;
        };
        let Some(subnets) = own.subnets else { return };
        if !own.confirmed {
            self.dirty.insert(index);
            return;
        }
        let told = own
            .clash_told
            .is_some_and(|told| told.elapsed() < CLASH_INTERVAL);
        // What is its own comes and goes as well, with its link.
        if told || self.clash_with(&subnets).is_none() {
            return;
        }
        let by = self
            .world
            .link(link)
            .map_or("a route without a link", |link| &link.name);
        tracing::warn!(
            of = %owner,
            "{prefix} ({by}) now overlaps its subnet: parts of it may not be reached; \
             it gets another subnet when it is started the next time"
        );
        if let Some(own) = self.links.get_mut(&index) {
            own.clash_told = Some(Instant::now());
        }
    }

    /// What of the host overlaps subnets now.
    pub(super) fn clash_with(&self, subnets: &Subnets) -> Option<IpNetwork> {
        let mut prefixes = subnets.prefixes();
        let found = prefixes.find_map(|prefix| self.world.clash(prefix, LINK_GROUP));
        found.map(|(prefix, _)| prefix)
    }

    /// What a machine's end of a link is to have, its addresses among it.
    pub(super) fn host0(&self, link: &Link, subnets: &Subnets, addresses: Vec<IpNetwork>) -> Host0 {
        let profile = self.profile_of(link);
        let pairs = subnets.host().filter_map(|host| {
            let mut own = addresses.iter();
            let own = own.find(|own| own.is_ipv4() == host.is_ipv4())?;
            Some((host, *own))
        });
        let is_router = |host: &IpNetwork| match host {
            IpNetwork::V4(_) => profile.dhcp.emit_router,
            IpNetwork::V6(_) => !profile.router.send || profile.router.lifetime > 0,
        };
        let pairs = pairs.filter(|(host, _)| is_router(host));
        let routes = pairs.filter_map(|(host, container)| {
            let everywhere = if host.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
            Some(Route {
                destination: everywhere.parse().ok()?,
                gateway: host.ip(),
                preferred_source: container.ip(),
            })
        });
        let routes = routes.collect();
        Host0 {
            addresses,
            routes,
            dns: profile.dhcp.servers(&self.dns.servers),
            domain: profile.dhcp.domain(self.dns.domain.as_deref()),
            mtu: Some(self.mtu_for(link)),
        }
    }

    /// The MTU for the host's end of a new link, where host0 gets a smaller one than it
    /// has: of what is between the two, a veth drops without a word what the host sends.
    fn narrower(&self, link: &Link) -> Option<u32> {
        let is_new = self.links.get(&link.index).is_none_or(|own| !own.confirmed);
        Some(self.mtu_for(link)).filter(|mtu| is_new && *mtu < link.mtu)
    }

    /// The MTU for a container: that of the way out, where it is narrower than the
    /// link.
    pub(super) fn mtu_for(&self, link: &Link) -> u32 {
        let uplinks = self.world.uplinks(LINK_GROUP);
        let narrowest = uplinks
            .map(|uplink| uplink.mtu)
            .filter(|mtu| *mtu >= 1280)
            .min();
        // The kernel tells of the MTU that a file asks for only after it was set.
        let own = self.profile_of(link).mtu.unwrap_or(link.mtu);
        narrowest.map_or(own, |mtu| mtu.min(own))
    }
}

fn is_v6_address(action: &Action) -> bool {
    matches!(action, Action::AddAddress(IpNetwork::V6(_)))
}

pub(super) fn describe(subnets: &Subnets) -> String {
    let texts: Vec<String> = subnets
        .prefixes()
        .map(|prefix| prefix.to_string())
        .collect();
    if texts.is_empty() {
        "no subnet".into()
    } else {
        texts.join(" and ")
    }
}
