//! The members of a zone, and which addresses they have.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use registry::mac::Side;
use registry::{Mac, MachineName};

use super::super::Daemon;
use super::kept::KeptAddresses;
use crate::nft::Station;
use crate::plan;
use crate::subnets::Subnets;

/// Who is in a zone.
#[derive(Debug, Default)]
pub struct Members {
    by_name: BTreeMap<MachineName, Station>,
    by_address: HashMap<Ipv4Addr, MachineName>,
}

impl Members {
    /// All of them.
    pub fn names(&self) -> impl Iterator<Item = &MachineName> {
        self.by_name.keys()
    }

    /// Those that have an IPv4 address, by their Ethernet address.
    pub fn addresses(&self) -> impl Iterator<Item = (&MachineName, Mac, Ipv4Addr)> {
        let all = self.by_name.iter();
        all.filter_map(|(name, station)| Some((name, station.mac, v4_of(station)?)))
    }

    /// The IPv4 address of a member.
    pub fn v4(&self, name: &MachineName) -> Option<Ipv4Addr> {
        self.by_name.get(name).and_then(v4_of)
    }

    /// Puts a member in its place, or takes it out. What it was before.
    pub fn set(&mut self, name: MachineName, station: Option<Station>) -> Option<Station> {
        let before = self.by_name.remove(&name);
        if let Some(address) = before.as_ref().and_then(v4_of) {
            self.by_address.remove(&address);
        }
        if let Some(station) = station {
            if let Some(address) = v4_of(&station) {
                self.by_address.insert(address, name);
            }
            self.by_name.insert(name, station);
        }
        before
    }

    /// Takes all out.
    pub fn take(&mut self) -> impl Iterator<Item = Station> + use<> {
        std::mem::take(self).by_name.into_values()
    }

    /// Whether an address is that of another than `name`.
    fn is_anothers(&self, ip: Ipv4Addr, name: &MachineName) -> bool {
        self.by_address.get(&ip).is_some_and(|other| other != name)
    }
}

/// The IPv4 address that a station was given.
pub fn v4_of(station: &Station) -> Option<Ipv4Addr> {
    first_v4(station.addresses.iter().copied())
}

fn first_v4(ips: impl IntoIterator<Item = IpAddr>) -> Option<Ipv4Addr> {
    ips.into_iter().find_map(|ip| match ip {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(_) => None,
    })
}

impl Daemon {
    /// The addresses of a member, with the length of their prefixes.
    pub(super) fn member_addresses(
        &self,
        name: &MachineName,
        bridge: u32,
        subnets: &Subnets,
    ) -> Vec<IpNetwork> {
        // Where a server elsewhere gives them out, netd has none to give.
        let is_relayed = self.profile_of_index(bridge).relay.is_some();
        let settled = subnets
            .v4
            .and_then(|v4| self.settled_v4(name, bridge, v4, is_relayed));
        let own = subnets.v4.filter(|_| !is_relayed);
        let v4 = settled.or_else(|| own.and_then(|v4| self.member_v4(name, bridge, v4)));
        if v4.is_none() && own.is_some() {
            tracing::error!(machine = %name, "its zone has no IPv4 address left for it");
        }
        let v6 = subnets.v6.and_then(|subnet| {
            let ip = plan::member_address_v6(subnet, self.member_mac(name))?;
            Ipv6Network::new(ip, subnet.prefix()).ok()
        });
        let v4 = v4.map(IpNetwork::V4).into_iter();
        v4.chain(v6.map(IpNetwork::V6)).collect()
    }

    /// The Ethernet address of a member's `host0`.
    pub(super) fn member_mac(&self, name: &MachineName) -> Mac {
        Mac::of_machine(&self.host_id, name, Side::Container, 0)
    }

    /// The address that a member has: it keeps it whatever files have come to say since.
    fn settled_v4(
        &self,
        name: &MachineName,
        bridge: u32,
        subnet: Ipv4Network,
        is_relayed: bool,
    ) -> Option<Ipv4Network> {
        let members = &self.zones.zones.get(&bridge)?.members;
        // Where addresses come from elsewhere, the record has those.
        let entry = self.machines.get(name).filter(|_| !is_relayed);
        let recorded =
            entry.and_then(|entry| first_v4(entry.machine.addresses.iter().map(|a| a.ip)));
        let nobody = Ipv4Addr::BROADCAST..=Ipv4Addr::BROADCAST;
        let own = members.v4(name).or(recorded).filter(|ip| {
            plan::is_member_address(subnet, &nobody, *ip) && !members.is_anothers(*ip, name)
        });
        Ipv4Network::new(own?, subnet.prefix()).ok()
    }

    /// An address for a member that has none: the one that a file keeps for it, the one that it
    /// had, or one by its name that nobody has.
    fn member_v4(
        &self,
        name: &MachineName,
        bridge: u32,
        subnet: Ipv4Network,
    ) -> Option<Ipv4Network> {
        let zone = self.zones.zones.get(&bridge)?;
        let (members, kept) = (&zone.members, &zone.kept);
        let dynamic = self.dynamic_range(bridge, subnet);
        let profile = self.profile_of_index(bridge);
        let dhcp = &profile.dhcp;
        let others = dhcp.static_leases_of_others(self.member_mac(name));
        let nobody = Ipv4Addr::BROADCAST..=Ipv4Addr::BROADCAST;
        let own = dhcp.static_lease(self.member_mac(name)).filter(|ip| {
            plan::is_member_address(subnet, &nobody, *ip) && !members.is_anothers(*ip, name)
        });
        let is_open = |ip: &Ipv4Addr| !members.is_anothers(*ip, name) && !others.contains(ip);
        let usable = |ip: &Ipv4Addr| plan::is_member_address(subnet, &dynamic, *ip) && is_open(ip);
        let former = || {
            kept.of(name)
                .filter(usable)
                .filter(|ip| !self.is_claimed(*ip, name))
        };
        let candidates = || {
            let all = plan::member_addresses(subnet, &dynamic, name);
            all.filter(is_open)
        };
        let is_free = |ip: &Ipv4Addr| !self.is_claimed(*ip, name);
        let is_nobodys = |ip: &Ipv4Addr| !kept.is_anothers(*ip, name) && is_free(ip);
        let ip = own
            .or_else(former)
            .or_else(|| candidates().find(is_nobodys))
            .or_else(|| candidates().find(is_free))
            // Who claims all of them does not keep others from starting.
            .or_else(|| candidates().next())?;
        Ipv4Network::new(ip, subnet.prefix()).ok()
    }

    /// Whether another machine says that it has an address.
    fn is_claimed(&self, ip: Ipv4Addr, name: &MachineName) -> bool {
        let mut claimants = self.claims.claimants(ip.into());
        claimants.any(|claimant| claimant != *name)
    }

    /// Has a member's address kept, so that it comes back with it.
    pub(super) fn keep_member(&mut self, name: &MachineName, bridge: u32) {
        let ephemeral = self.machines.get(name).map(|entry| entry.machine.ephemeral);
        let queue = self.worker.queue();
        let Some(zone) = self.zones.zones.get_mut(&bridge) else {
            return;
        };
        if let (Some(address), Some(false)) = (zone.members.v4(name), ephemeral) {
            zone.kept.keep(*name, address, &queue);
        }
    }

    /// The addresses that the members of a zone had, as they are on disk.
    pub(super) fn kept_of(&self, zone: registry::ZoneName) -> KeptAddresses {
        KeptAddresses::open(&self.places.members().join(zone.as_str()))
    }
}
