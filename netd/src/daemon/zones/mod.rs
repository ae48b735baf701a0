//! Zones: their bridges' ports, the addresses of their members, and their end.

mod dhcp;
mod kept;
mod members;
mod probing;

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use ipnetwork::IpNetwork;
use registry::protocol::Host0;
use registry::{MachineName, ZoneName};

use super::Daemon;
use super::registration::Entry;
use crate::dhcp::server::Handle;
use crate::dhcp_wire::Listener;
use crate::log::{self, Pace};
use crate::machines::Attachment;
use crate::nft::Station;
use crate::rtnl::{Link, Request, Requests, RtnlError, has_ports};
use crate::subnets::Owner;

use dhcp::Dhcp;
use kept::KeptAddresses;
use members::Members;

/// Bridges that cannot be removed are told of at this pace.
static NOT_REMOVED: Pace = Pace::new();

/// The zones that there are.
#[derive(Debug, Default)]
pub(super) struct Zones {
    /// By the interface index of their bridge.
    zones: HashMap<u32, Zone>,
    /// The ports of these bridges, and whose each is, by interface index.
    ports: HashMap<u32, u32>,
    /// The machines that wait for their addresses, by the index of their zone's bridge.
    joining: HashMap<u32, BTreeSet<MachineName>>,
}

/// A zone.
#[derive(Debug)]
struct Zone {
    /// Its ports, and what listens there for DHCP.
    ports: HashMap<u32, Option<Listener>>,
    members: Members,
    /// The host on its bridge.
    host: Option<Station>,
    /// What members had before.
    kept: KeptAddresses,
    dhcp: Option<Dhcp>,
}

impl Zones {
    /// Whether a bridge is that of a zone, and has no ports.
    pub fn is_empty(&self, bridge: u32) -> bool {
        let zone = self.zones.get(&bridge);
        zone.is_some_and(|zone| zone.ports.is_empty())
    }

    /// The DHCP server of a zone, by the index of its bridge.
    pub fn dhcp(&self, bridge: u32) -> Option<&Handle> {
        let dhcp = self.zones.get(&bridge)?.dhcp.as_ref()?;
        Some(dhcp.handle())
    }
}

impl Daemon {
    /// Notes of which zone's bridge a link is a port.
    pub(super) fn note_port(&mut self, index: u32) {
        let bridge = self.world.link(index).and_then(|link| link.controller);
        let bridge = bridge.filter(|bridge| self.zones.zones.contains_key(bridge));
        let before = self.zones.ports.get(&index).copied();
        if bridge == before {
            return;
        }
        if let Some(before) = before {
            self.zones.ports.remove(&index);
            if let Some(zone) = self.zones.zones.get_mut(&before) {
                zone.ports.remove(&index);
            }
            if let Some(handle) = self.zones.dhcp(before) {
                handle.forget_port(index);
            }
            self.dirty.insert(before);
        }
        if let Some(bridge) = bridge {
            self.zones.ports.insert(index, bridge);
            if let Some(zone) = self.zones.zones.get_mut(&bridge) {
                zone.ports.insert(index, None);
            }
            self.dirty.insert(bridge);
        }
    }

    /// Sees to it that a zone is known, and its members are served. Whether all is well.
    pub(super) fn serve_zone(&mut self, name: ZoneName, link: &Link) -> bool {
        if !self.zones.zones.contains_key(&link.index) {
            self.find_zone(name, link.index);
        }
        let Some(zone) = self.zones.zones.get(&link.index) else {
            return true;
        };
        let profile = self.profile_of(link);
        if profile.relay.is_some() {
            return self.relay_on(link.index);
        }
        if zone.dhcp.is_none() && profile.dhcp_server {
            match self.start_zone_dhcp(name, link) {
                Ok(dhcp) => {
                    if let Some(zone) = self.zones.zones.get_mut(&link.index) {
                        zone.dhcp = dhcp;
                    }
                }
                Err(error) => {
                    tracing::error!(zone = %name, "no DHCP: {}", log::chain(&error));
                    return false;
                }
            }
        }
        self.listen_at_ports(link)
    }

    fn listen_at_ports(&mut self, link: &Link) -> bool {
        let Some(zone) = self.zones.zones.get_mut(&link.index) else {
            return true;
        };
        let (Some(dhcp), Some(mac)) = (&zone.dhcp, link.mac) else {
            return true;
        };
        let mut well = true;
        for (port, listener) in zone.ports.iter_mut().filter(|(_, at)| at.is_none()) {
            match dhcp.listen(*port, mac, self.worker.queue()) {
                Ok(listens) => *listener = Some(listens),
                // It may be gone, of which an event tells.
                Err(error) => {
                    tracing::debug!("{}", log::chain(&error));
                    well = false;
                }
            }
        }
        well
    }

    /// Takes up a zone, with the ports and members that it has already.
    fn find_zone(&mut self, name: ZoneName, bridge: u32) {
        let ports = self.world.ports(bridge);
        let ports: Vec<u32> = ports.map(|link| link.index).collect();
        self.zones
            .ports
            .extend(ports.iter().map(|port| (*port, bridge)));
        let zone = Zone {
            ports: ports.into_iter().map(|port| (port, None)).collect(),
            members: Members::default(),
            host: None,
            kept: self.kept_of(name),
            dhcp: None,
        };
        self.zones.zones.insert(bridge, zone);
        // Whose bridge was deleted, and is back.
        self.gather_orphans(bridge);
    }

    /// A machine is in the zone with this bridge, and gets its addresses as soon as that is
    /// ready.
    pub(super) fn join_zone(&mut self, name: MachineName, bridge: u32) {
        self.zones.joining.entry(bridge).or_default().insert(name);
        if self.links.get(&bridge).is_some_and(|own| own.confirmed) {
            self.take_in_joining(bridge);
        } else {
            self.dirty.insert(bridge);
        }
    }

    /// A zone's bridge has all that it is to have: its members can start.
    pub(super) fn zone_is_ready(&mut self, bridge: u32) {
        let zone = self.zones.zones.get(&bridge);
        let members: Vec<MachineName> =
            zone.map_or_else(Vec::new, |zone| zone.members.names().copied().collect());
        self.zones
            .joining
            .entry(bridge)
            .or_default()
            .extend(members);
        self.place_host(bridge);
        self.refresh_zone_dhcp(bridge);
        self.take_in_joining(bridge);
        if let Some(owner) = self.links.get(&bridge).and_then(|own| own.owner) {
            self.keep_subnets(&owner);
        }
    }

    fn take_in_joining(&mut self, bridge: u32) {
        let joining = self.zones.joining.remove(&bridge).unwrap_or_default();
        let mut placed = Vec::with_capacity(joining.len());
        for name in joining {
            if self.is_member(&name, bridge)
                && let Some(host0) = self.place_member(&name, bridge)
            {
                placed.push((name, host0));
            }
        }
        // Before anybody sends by it.
        self.firewall.tell();
        for (name, host0) in placed {
            self.assign(&name, host0);
        }
    }

    /// Whether a machine runs in the zone with this bridge.
    fn is_member(&self, name: &MachineName, bridge: u32) -> bool {
        let entry = self.machines.get(name).filter(|entry| entry.runs());
        let attachment = entry.map(|entry| entry.machine.attachment);
        matches!(attachment, Some(Attachment::Zone { bridge: own, .. }) if own == bridge)
    }

    /// Whether a member of a zone has its addresses, so that the zone keeps its subnets.
    pub(super) fn has_settled_members(&self, bridge: u32) -> bool {
        let members = self.zones.zones.get(&bridge).into_iter();
        let members = members.flat_map(|zone| zone.members.names());
        let joining = self.zones.joining.get(&bridge).into_iter().flatten();
        let mut entries = members
            .chain(joining)
            .filter_map(|name| self.machines.get(name));
        entries.any(Entry::is_settled)
    }

    /// Chooses a member's addresses. What its registration is answered with.
    fn place_member(&mut self, name: &MachineName, bridge: u32) -> Option<Host0> {
        let subnets = self.links.get(&bridge).and_then(|own| own.subnets)?;
        let addresses = self.member_addresses(name, bridge, &subnets);
        let host0 = self.host0(self.world.link(bridge)?, &subnets, addresses.clone());
        let entry = self.machines.get(name)?;
        let station = Station {
            bridge,
            port: entry.machine.attachment.link(),
            mac: self.member_mac(name),
            addresses: addresses.iter().map(IpNetwork::ip).collect(),
        };
        let v4 = members::v4_of(&station);
        let zone = self.zones.zones.get_mut(&bridge)?;
        let former = zone.members.set(*name, Some(station.clone()));
        let former_v4 = former.as_ref().and_then(members::v4_of);
        if former_v4.is_some() && former_v4 != v4 {
            tracing::warn!(machine = %name, "it has another address in its zone now");
        }
        if let Some(dhcp) = &zone.dhcp {
            dhcp.handle().reserve(station.mac, v4);
        }
        self.firewall.replace_station(former, Some(station));
        self.keep_member(name, bridge);
        Some(host0)
    }

    /// A machine has ended, and nothing in a zone is its any more.
    pub(super) fn leave_zone(&mut self, name: &MachineName, bridge: u32) {
        if let Some(joining) = self.zones.joining.get_mut(&bridge) {
            joining.remove(name);
        }
        // It was used until now.
        self.keep_member(name, bridge);
        let mac = self.member_mac(name);
        let by_file = self.profile_of_index(bridge).dhcp.static_lease(mac);
        let Some(zone) = self.zones.zones.get_mut(&bridge) else {
            return;
        };
        if let Some(station) = zone.members.set(*name, None) {
            if let Some(dhcp) = &zone.dhcp {
                dhcp.handle().reserve(mac, by_file);
            }
            self.firewall.replace_station(Some(station), None);
            self.firewall.tell();
        }
    }

    /// What of a zone is the host's, and no member's.
    fn place_host(&mut self, bridge: u32) {
        let subnets = self.links.get(&bridge).and_then(|own| own.subnets);
        let mac = self.world.link(bridge).and_then(|link| link.mac);
        let Some(zone) = self.zones.zones.get_mut(&bridge) else {
            return;
        };
        let host = subnets.zip(mac).map(|(subnets, mac)| Station {
            bridge,
            port: None,
            mac,
            addresses: subnets.host().map(|address| address.ip()).collect(),
        });
        let before = std::mem::replace(&mut zone.host, host.clone());
        self.firewall.replace_station(before, host);
    }

    /// The bridge of a zone is gone, or not netd's any more.
    pub(super) fn zone_is_gone(&mut self, name: ZoneName, bridge: u32) {
        if let Some(mut zone) = self.zones.zones.remove(&bridge) {
            tracing::info!(zone = %name, "ended");
            for station in zone.members.take().chain(zone.host) {
                self.firewall.replace_station(Some(station), None);
            }
            self.firewall.tell();
        }
        self.zones.ports.retain(|_, of| *of != bridge);
        self.zones.joining.remove(&bridge);
        // The 90 days for which they are kept begin now.
        self.keep_subnets(&Owner::Zone(name));
    }

    /// Has the bridge of a zone removed, if it has no ports and nobody is joining it.
    pub(super) fn remove_zone(&self, bridge: u32) {
        let runtime = self.places.runtime.clone();
        self.worker.queue().add(move || {
            if let Err(error) = remove_if_empty(&runtime, bridge) {
                NOT_REMOVED.say(|more| {
                    tracing::error!(
                        "the bridge of a zone without members stays: {}{more}",
                        log::chain(&error)
                    );
                });
            }
        });
    }
}

/// Why a bridge cannot be removed.
#[derive(Debug, thiserror::Error)]
enum RemoveError {
    /// The lock.
    #[error("cannot lock the file by which zones are joined and removed")]
    Lock(#[source] std::io::Error),
    /// The kernel.
    #[error(transparent)]
    Kernel(#[from] RtnlError),
}

fn remove_if_empty(runtime: &Path, bridge: u32) -> Result<(), RemoveError> {
    let lock = registry::zone::try_remove(runtime).map_err(RemoveError::Lock)?;
    let Some(_nobody_joins) = lock else {
        return Ok(());
    };
    if has_ports(bridge)? {
        return Ok(());
    }
    let failed = Requests::new()?.carry_out(bridge, &[Request::Delete]);
    match failed.into_iter().next() {
        Some((_, error)) if !error.is_gone() => Err(error.into()),
        _ => Ok(()),
    }
}
