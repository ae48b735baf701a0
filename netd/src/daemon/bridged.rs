//! Containers on bridges: keeping them there ([`ports`]), following the addresses that they say they have, and
//! giving out those that are theirs.

mod ports;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use registry::{Address, LeaderId, MachineName};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::Instant;

pub(super) use ports::OwnPort;

use super::{Daemon, Input};
use crate::inside;
use crate::machines::Machine;
use crate::rtnl::{LinkAddress, is_link_local};

/// How long apart a machine's record is written at the least.
const WRITE_PACE: Duration = Duration::from_millis(50);

/// The tasks that follow a container's addresses. They end with this.
#[derive(Debug)]
pub(super) struct Following([AbortHandle; 2]);

impl Drop for Following {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

impl Daemon {
    /// Follows the addresses of the machine whose link is this port of a bridge.
    pub(super) fn follow_bridged(&mut self, port: u32) {
        let Some(peer) = self.world.link(port).and_then(|link| link.peer) else {
            return;
        };
        let Some((name, _)) = self.attached_by(port) else {
            return;
        };
        let Some(entry) = self.machines.get_mut(&name) else {
            return;
        };
        let is_bridged = entry.machine.attachment.on_bridge().is_some();
        let Some(netlink) = entry.netlink.take_if(|_| is_bridged) else {
            return;
        };
        let leader = entry.machine.leader.clone();
        let (sender, mut told) = mpsc::channel(1);
        let daemon = self.sender.clone();
        let watch = tokio::task::spawn_local(inside::watch(netlink, peer, sender));
        let tell = tokio::task::spawn_local(async move {
            while let Some(addresses) = told.recv().await {
                let input = Input::Addresses(name, leader.clone(), addresses);
                if daemon.send(input).await.is_err() {
                    return;
                }
            }
        });
        // One that registered before over another connection is followed once.
        entry.following = Some(Following([watch.abort_handle(), tell.abort_handle()]));
    }

    /// Takes over what a container on a bridge says that it has.
    pub(super) fn take_addresses(
        &mut self,
        name: MachineName,
        leader: &LeaderId,
        addresses: &[LinkAddress],
    ) {
        let Some(entry) = self.machines.get(&name) else {
            return;
        };
        if !entry.runs() || entry.machine.leader != *leader {
            return;
        }
        let scope = entry.machine.attachment.facing().unwrap_or(0);
        let claimed = addresses
            .iter()
            .filter_map(|address| answer_of(address, scope));
        self.to_publish.extend(self.claims.claim(name, claimed));
    }

    /// The addresses by which a machine is found in reverse. Of those that a container
    /// on a bridge says it has, only what is private or of a subnet of the bridge: else
    /// it could have any address of the internet be called by its name.
    pub(super) fn found_by_address(&self, machine: &Machine) -> BTreeSet<IpAddr> {
        let mut ips = machine.ips();
        if let Some((_, bridge)) = machine.attachment.on_bridge() {
            ips.retain(|ip| is_private(*ip) || self.is_near(*ip, bridge));
        }
        ips
    }

    /// Whether an address is of a subnet that the host has on a bridge.
    fn is_near(&self, ip: IpAddr, bridge: u32) -> bool {
        let mut subnets = self.world.addresses(bridge).iter();
        subnets.any(|of_host| of_host.address.contains(ip))
    }

    /// An address of the host's has come or gone: who claims it may have it no more,
    /// or again.
    pub(super) fn host_address_changed(&mut self, ip: IpAddr) {
        self.to_publish.extend(self.claims.claimants(ip));
    }

    /// Any address of the host's may have come or gone.
    pub(super) fn host_addresses_changed(&mut self) {
        self.to_publish.extend(self.machines.keys());
    }

    /// Gives out the addresses of the machines whose own have changed, each machine's
    /// no more often than it may write its record.
    pub(super) fn publish_bridged(&mut self) {
        let now = Instant::now();
        let due: Vec<MachineName> = self
            .to_publish
            .iter()
            .filter(|name| self.may_write_at(name).is_none_or(|at| at <= now))
            .copied()
            .collect();
        for name in due {
            self.to_publish.remove(&name);
            self.publish_what_is_held(&name, now);
        }
    }

    /// When [`Daemon::publish_bridged`] has something to do.
    pub(super) fn publish_bridged_at(&self) -> Option<Instant> {
        let times = self.to_publish.iter();
        times
            .map(|name| self.may_write_at(name).unwrap_or_else(Instant::now))
            .min()
    }

    fn may_write_at(&self, name: &MachineName) -> Option<Instant> {
        let written = self.machines.get(name)?.written?;
        Some(written + WRITE_PACE)
    }

    /// Of what a machine on a bridge holds, the routable addresses; where it has none,
    /// those of its link.
    fn publish_what_is_held(&mut self, name: &MachineName, now: Instant) {
        let Some(entry) = self.machines.get(name).filter(|entry| entry.runs()) else {
            return;
        };
        let attachment = entry.machine.attachment;
        let Some((_, bridge)) = attachment.on_bridge().filter(|_| entry.is_published()) else {
            return;
        };
        // The bridge may be another than when they were claimed.
        let held = self.claims.held(name).map(|held| Address {
            scope: if held.scope == 0 { 0 } else { bridge },
            ..held
        });
        let mut addresses: Vec<Address> = held
            .filter(|address| !self.world.has_address(address.ip))
            .collect();
        if addresses.iter().any(|address| !is_link_local(address.ip)) {
            addresses.retain(|address| !is_link_local(address.ip));
        }
        if attachment.is_assigned() {
            // The host has no way to any other by the zone's bridge.
            addresses
                .retain(|address| is_link_local(address.ip) || self.is_near(address.ip, bridge));
        }
        let assigned = self.claims.assigned(name);
        addresses
            .sort_by_key(|address| (!assigned.contains(&address.ip), address.ip, address.scope));
        if addresses == entry.machine.addresses {
            return;
        }
        let before = entry.machine.ips();
        if let Some(entry) = self.machines.get_mut(name) {
            entry.machine.addresses = addresses;
            entry.written = Some(now);
        }
        self.publish_after(name, &before);
    }
}

fn answer_of(address: &LinkAddress, scope: u32) -> Option<Address> {
    let ip = address.address.ip();
    if is_link_local(ip) {
        // RFC 4007, section 11: only a link-local IPv6 address takes a scope.
        return Some(Address {
            ip,
            scope: if ip.is_ipv6() { scope } else { 0 },
        });
    }
    (address.usable && is_of_a_host(ip)).then_some(Address { ip, scope: 0 })
}

/// Whether some host can have this address (RFC 6890).
fn is_of_a_host(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [first, ..] = ip.octets();
            !ip.is_loopback() && (1..224).contains(&first)
        }
        IpAddr::V6(ip) => {
            let special = ip.is_loopback() || ip.is_unspecified() || ip.is_multicast();
            !special && ip.to_ipv4_mapped().is_none()
        }
    }
}

/// Whether an address is of those that everybody uses behind his own door (RFC 1918,
/// RFC 4193).
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_can_say_that_he_is_everybody() {
        let all = |texts: &[&str], expected| {
            for text in texts {
                assert_eq!(is_of_a_host(text.parse().unwrap()), expected, "{text}");
            }
        };
        all(
            &["192.0.2.1", "10.0.0.1", "2001:db8::1", "fd00::1", "8.8.8.8"],
            true,
        );
        all(
            &[
                "0.0.0.1",
                "127.0.0.5",
                "224.0.0.5",
                "255.255.255.255",
                "240.0.0.1",
            ],
            false,
        );
        all(&["::", "::1", "ff02::1", "::ffff:1.2.3.4"], false);
    }
}
