//! What a lease says, on the link.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::time::Instant;

use ipnetwork::{IpNetwork, Ipv4Network};

use super::held::HeldLease;
use super::link::ClientLink;
use super::resolv_conf::Names;
use crate::dhcp::client::{Lease, Route};
use crate::profiles::{ClientProfile, Keep};
use crate::rtnl::{self, LeaseAddress, LeaseRoute, LinkAddress, Request};
use crate::world::World;

/// The table that routes are looked up in where no rule says otherwise (RT_TABLE_MAIN).
const MAIN_TABLE: u32 = 254;
/// Below this a link has no IPv6 (RFC 8200, section 5).
const MTU_OF_IPV6: u32 = 1280;

/// Whether a link has a default route without a metric, as rspawn sets it ahead of any
/// lease.
pub(super) fn has_preset_route(world: &World, index: u32) -> bool {
    let Ok(destination) = Ipv4Network::new(Ipv4Addr::UNSPECIFIED, 0) else {
        return false;
    };
    world.has_route(&rtnl::Route {
        destination: IpNetwork::V4(destination),
        link: Some(index),
        table: MAIN_TABLE,
        priority: 0,
        tos: 0,
    })
}

/// The routes of a lease that are asked for, those first by which others go.
fn routes_of(lease: &Lease, profile: &ClientProfile) -> Vec<LeaseRoute> {
    let is_wanted = |route: &&Route| match route.destination.prefix() {
        0 => profile.use_gateway,
        _ => profile.use_routes,
    };
    let routes = lease.settings.routes.iter().filter(is_wanted);
    let mut routes: Vec<LeaseRoute> = routes
        .map(|route| LeaseRoute {
            destination: route.destination,
            gateway: route.gateway,
            onlink: route
                .gateway
                .is_some_and(|gateway| !lease.address.contains(gateway)),
            source: lease.address.ip(),
            metric: profile.route_metric,
        })
        .collect();
    routes.sort_by_key(|route| route.gateway.is_some());
    routes
}

impl ClientLink {
    /// Sets what a lease says. Of what is so already nothing is taken away in between.
    pub(super) fn apply(&mut self, lease: Lease) {
        let end = lease
            .expires()
            .filter(|_| self.profile.keep != Keep::Always);
        let seconds = end.map(|end| {
            let left = end.saturating_duration_since(Instant::now());
            // An end between two seconds is the later one's.
            u32::try_from(left.as_secs()).map_or(u32::MAX - 1, |left| left.saturating_add(1))
        });
        let address = LeaseAddress {
            address: lease.address,
            broadcast: lease.settings.broadcast,
            seconds,
            marked: true,
        };
        let is_preset = |known: &&LinkAddress| !known.ours && known.address == lease.address.into();
        if self.addresses.iter().any(|known| is_preset(&known)) {
            self.preset = Some(lease.address);
        }
        let routes = routes_of(&lease, &self.profile);
        let mut requests = vec![Request::Lease(address)];
        requests.extend(self.mtu_of(&lease).map(Request::SetMtu));
        requests.extend(routes.iter().copied().map(Request::AddLeaseRoute));
        let routes: HashSet<LeaseRoute> = routes.into_iter().collect();
        let obsolete = self.routes.difference(&routes).copied();
        requests.extend(obsolete.map(Request::RemoveLeaseRoute));
        let preset = routes.iter().find(|route| route.destination.prefix() == 0);
        if let Some(route) = preset.filter(|route| self.has_preset_route && route.metric > 0) {
            requests.push(Request::RemoveLeaseRoute(LeaseRoute {
                metric: 0,
                ..*route
            }));
            self.has_preset_route = false;
        }
        let others: Vec<Ipv4Network> = self
            .own()
            .filter(|network| *network != lease.address)
            .collect();
        let others = others.into_iter().map(IpNetwork::V4);
        requests.extend(others.map(Request::RemoveAddress));
        self.carry_out(&requests);
        self.take_port(Some(lease.address.ip()));
        let names = Names::of(&lease.settings, &self.profile);
        let mut resolver = self.shared.resolver.borrow_mut();
        resolver.set(self.link.index, names);
        drop(resolver);
        super::system::apply(&lease.settings, &self.profile);
        self.routes = routes;
        let held = HeldLease::of(&lease, &self.link.name);
        self.shared.held.borrow_mut().insert(self.link.index, held);
        self.applied = Some(lease);
    }

    /// The MTU that the link is to have and has not.
    fn mtu_of(&mut self, lease: &Lease) -> Option<u32> {
        let wanted = lease.settings.mtu.filter(|_| self.profile.use_mtu)?;
        let wanted = u32::from(wanted).max(MTU_OF_IPV6);
        if wanted == self.link.mtu {
            return None;
        }
        self.usual_mtu.get_or_insert(self.link.mtu);
        Some(wanted)
    }

    /// Takes away what a lease has said, with its address.
    pub(super) fn withdraw(&mut self, address: Ipv4Addr) {
        let applied = self.applied.take_if(|lease| lease.address.ip() == address);
        let own = self.own().find(|network| network.ip() == address);
        let network = applied.as_ref().map(|lease| lease.address).or(own);
        if let Some(network) = network {
            // The kernel takes the routes by which packets come from it.
            self.remove_address(network);
        } else if self.has(address) {
            tracing::warn!(link = %self.link.name, %address, "the address was set by somebody else, and stays");
        }
        if applied.is_none() {
            return;
        }
        self.take_port(None);
        self.shared.held.borrow_mut().remove(&self.link.index);
        self.routes.clear();
        self.restore_mtu();
        self.shared.resolver.borrow_mut().remove(self.link.index);
    }

    /// Gives the link the MTU that it had before a lease brought another.
    pub(super) fn restore_mtu(&mut self) {
        if let Some(mtu) = self.usual_mtu.take() {
            self.carry_out(&[Request::SetMtu(mtu)]);
        }
    }

    /// Whether what is leased was on the link before.
    pub(super) fn has_preset(&self) -> bool {
        let applied = self.applied.as_ref().map(|lease| lease.address);
        applied.is_some() && applied == self.preset
    }

    /// An address that was there for good before netd is so again, or it would end with a
    /// lease that nobody renews.
    pub(super) fn hand_back(&mut self) {
        if let Some(address) = self.preset.filter(|_| self.has_preset()) {
            self.set_address(LeaseAddress {
                address,
                broadcast: None,
                seconds: None,
                marked: false,
            });
        }
    }

    pub(super) fn set_address(&mut self, address: LeaseAddress) {
        self.carry_out(&[Request::Lease(address)]);
    }

    pub(super) fn remove_address(&mut self, address: Ipv4Network) {
        self.carry_out(&[Request::RemoveAddress(IpNetwork::V4(address))]);
    }

    pub(super) fn take_port(&mut self, address: Option<Ipv4Addr>) {
        let taken = self
            .sockets
            .as_mut()
            .map(|sockets| sockets.set_leased(address));
        if let Some(Err(error)) = taken {
            tracing::debug!(link = %self.link.name, %error, "the lease's address has no port 68 for netd");
        }
    }

    fn carry_out(&mut self, requests: &[Request]) {
        for (_, error) in self.requests.carry_out(self.link.index, requests) {
            // What was to be removed and is gone.
            if !error.is_gone() {
                tracing::warn!(link = %self.link.name, "{}", crate::log::chain(&error));
            }
        }
    }
}
