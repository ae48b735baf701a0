//! What is to be, from what is: a pure function, and the difference to what is
//! observed as a list of changes. Where nothing differs the list is empty.

mod members;
mod subnets;

use ipnetwork::IpNetwork;
use registry::ifname::LinkKind;
use registry::{LINK_GROUP, MachineName, ZoneName};

use crate::rtnl::{Link, LinkType, Route, is_link_local};
use crate::subnets::Subnets;
use crate::world::World;

pub use members::{is_member_address, member_address_v6, member_addresses};
pub use subnets::{Wish, is_free};

/// What a link is to netd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The host's end of a container's veth, with subnets of its own.
    Veth,
    /// The host's end of a container's veth as a bridge's port: addresses are
    /// somebody else's business.
    BridgePort,
    /// The bridge of a zone, with subnets of its own.
    Zone(ZoneName),
    /// Not netd's.
    Foreign,
}

impl Role {
    /// Whether the link is to have subnets of its own.
    #[must_use]
    pub fn has_subnets(self) -> bool {
        matches!(self, Self::Veth | Self::Zone(_))
    }
}

/// A change that makes a link what it is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Set what protects the host from its peer, before the link goes up.
    Guard,
    /// Add an address.
    AddAddress(IpNetwork),
    /// Remove an address that netd set earlier.
    RemoveAddress(IpNetwork),
    /// Set the link's MTU, in bytes.
    SetMtu(u32),
    /// Set the link up.
    SetUp,
    /// Make the link a port of the bridge with this interface index.
    Join(u32),
    /// Add the route of an address that the link has.
    AddRoute(IpNetwork),
}

/// What a link is to netd: its own are those of its link group.
#[must_use]
pub fn role_of(link: &Link) -> Role {
    if link.group == LINK_GROUP && link.kind == LinkType::Bridge {
        return ZoneName::of_bridge(&link.name).map_or(Role::Foreign, Role::Zone);
    }
    if link.group != LINK_GROUP || link.kind != LinkType::Veth {
        return Role::Foreign;
    }
    if link.controller.is_some() || link.name.starts_with("vb-") {
        return Role::BridgePort;
    }
    if link.name.starts_with("ve-") {
        Role::Veth
    } else {
        Role::Foreign
    }
}

/// The machine that a link was made for, by its names alone. A name that may be a
/// shortened one says nothing.
#[must_use]
pub fn machine_of(link: &Link) -> Option<MachineName> {
    let names = link.altnames.iter().chain([&link.name]);
    names
        .filter_map(|name| name.strip_prefix("ve-")?.parse().ok())
        .find(|machine| {
            let (short, full) = registry::IfName::of_machine(LinkKind::Veth, machine);
            short.as_str() == link.name
                && (full.is_some() || link.name.len() < registry::ifname::IFNAME_MAX)
        })
}

/// What makes a link with subnets, a veth's host end or a zone's bridge, with what is observed of it and guarded or not, what
/// its subnets ask for, and its MTU if it is not to be left alone.
#[must_use]
pub fn subnet_link(
    link: &Link,
    world: &World,
    guarded: bool,
    subnets: &Subnets,
    mtu: Option<u32>,
) -> Vec<Action> {
    let addresses = world.addresses(link.index);
    let mut actions = Vec::new();
    if !guarded {
        actions.push(Action::Guard);
    }
    if let Some(mtu) = mtu.filter(|mtu| *mtu != link.mtu) {
        actions.push(Action::SetMtu(mtu));
    }
    let desired: Vec<IpNetwork> = subnets.host().collect();
    for present in addresses {
        // A link-local one comes and goes with the other end's.
        let is_claimed = present.address.is_ipv4() && is_link_local(present.address.ip());
        if present.ours && !is_claimed && !desired.contains(&present.address) {
            actions.push(Action::RemoveAddress(present.address));
        }
    }
    for address in desired {
        if !addresses.iter().any(|present| present.address == address) {
            actions.push(Action::AddAddress(address));
        }
    }
    if link.up {
        actions.extend(missing_routes(link.index, world, subnets));
    } else {
        actions.push(Action::SetUp);
    }
    actions
}

/// What makes a link the port of a bridge that its machine was started on; `bridge` is that
/// one's interface index, none while it is gone. One that is in another is left there.
#[must_use]
pub fn port(link: &Link, bridge: Option<u32>) -> Vec<Action> {
    let join = bridge.filter(|_| link.controller.is_none());
    let up = (!link.up).then_some(Action::SetUp);
    join.map(Action::Join).into_iter().chain(up).collect()
}

/// The routes of the addresses that a link has and is to keep: netd's own, and those of IPv6
/// that each link has. The kernel makes a route with each, and takes all routes of a link
/// that goes down.
fn missing_routes<'a>(
    index: u32,
    world: &'a World,
    subnets: &'a Subnets,
) -> impl Iterator<Item = Action> + 'a {
    let addresses = world.addresses(index).iter().map(|known| known.address);
    let kept = addresses.filter(|address| {
        let ip = address.ip();
        (ip.is_ipv6() && is_link_local(ip)) || subnets.host().any(|host| host == *address)
    });
    let mut routes = std::collections::HashSet::new();
    let missing = kept.filter(move |address| {
        let route = Route::of_address(index, *address);
        route.is_some_and(|route| !world.has_route(&route) && routes.insert(route))
    });
    missing.map(Action::AddRoute)
}

#[cfg(test)]
mod tests;
