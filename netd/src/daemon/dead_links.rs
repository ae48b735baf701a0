//! Links of machines that ended, until the kernel frees them with the container's network
//! namespace, which may take it seconds.
//!
//! They have another name by then, and lead nowhere. To delete one would take 15 to 40 ms.
//! Neither are they set down, nor their IPv6 addresses removed: for either the kernel goes
//! through all IPv6 routes of the host, with the lock that whoever comes next waits for,
//! and does it once more when it frees the link.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use ipnetwork::IpNetwork;
use registry::{IfName, LINK_GROUP};

use super::{Daemon, Input, tell_later};
use crate::log;
use crate::plan::{self, Role};
use crate::rtnl::{Link, Request, Route, RtnlError};
use crate::subnets::Subnets;

/// A link that is there after this is held by somebody who holds its namespace.
const FREED_WITHIN: Duration = Duration::from_secs(10);
/// The table of the host's own addresses (RT_TABLE_LOCAL of linux/rtnetlink.h).
const LOCAL_TABLE: u32 = 255;

impl Daemon {
    /// Gets the link of a machine that ended out of the way.
    pub(super) fn retire_link(&mut self, index: u32) {
        let Some(link) = self.world.link(index).cloned() else {
            return;
        };
        if plan::role_of(&link) == Role::Foreign {
            return;
        }
        // What the kernel tells of it meanwhile still has its old name.
        self.retired.insert(index);
        // Only a supervisor on a host whose networkd is without udev made it.
        let _ = std::fs::remove_file(registry::networkd::keep_off_file(&link.name));
        self.rename_dead(&link);
        let own = self.links.get(&index).and_then(|own| own.subnets);
        self.disconnect(index, own);
    }

    /// A link that its supervisor has put out of the way leads nowhere from now on.
    pub(super) fn notice_dead(&mut self, index: u32, subnets: Option<Subnets>) {
        if self.is_dead(index) && self.retired.insert(index) {
            self.disconnect(index, subnets);
        }
    }

    /// A dead link was to be freed by now.
    pub(super) fn set_dead_down(&mut self, index: u32) {
        if self.is_dead(index) {
            report(self.requests.carry_out(index, &[Request::SetDown]));
        }
    }

    fn is_dead(&self, index: u32) -> bool {
        let name = IfName::of_dead_link(index);
        let link = self.world.link(index);
        link.is_some_and(|link| link.group == LINK_GROUP && link.name == name.as_str())
    }

    fn rename_dead(&mut self, link: &Link) {
        let dead = IfName::of_dead_link(link.index).as_str().to_owned();
        let mut requests = vec![Request::Rename(dead)];
        if link.controller.is_some() {
            requests.push(Request::Join(0));
        }
        if !link.altnames.is_empty() {
            requests.push(Request::RemoveAltnames(link.altnames.clone()));
        }
        let mut failed = self.requests.carry_out(link.index, &requests);
        // Before Linux 6.2 none is renamed that is up.
        let is_up =
            |(place, error): &(usize, RtnlError)| *place == 0 && error.errno() == Some(libc::EBUSY);
        if let Some(place) = failed.iter().position(is_up) {
            failed.remove(place);
            requests.truncate(1);
            requests.insert(0, Request::SetDown);
            report(self.requests.carry_out(link.index, &requests));
        }
        report(failed);
    }

    /// Takes away what leads to the link: IPv4 addresses, with which all IPv4 routes go, and
    /// IPv6 routes, whoever set them.
    fn disconnect(&mut self, index: u32, subnets: Option<Subnets>) {
        let known = self.world.addresses(index).iter();
        let mut addresses: BTreeSet<IpNetwork> = known.map(|address| address.address).collect();
        // Also those that were set a moment ago, of which no event was read yet.
        addresses.extend(subnets.iter().flat_map(Subnets::host));
        let of_addresses = addresses.iter().filter(|address| address.is_ipv6());
        let mut routes: HashSet<Route> = of_addresses
            .filter_map(|address| Route::of_address(index, *address))
            .collect();
        routes.extend(self.world.routes_of(index).cloned());
        let addresses = addresses.into_iter().filter(IpNetwork::is_ipv4);
        let routes = routes.into_iter().filter(leads_further);
        let requests: Vec<Request> = addresses
            .map(Request::RemoveAddress)
            .chain(routes.map(Request::RemoveRoute))
            .collect();
        report(self.requests.carry_out(index, &requests));
        tell_later(&self.sender, FREED_WITHIN, Input::DeadLinkStays(index));
    }
}

/// Whether an IPv6 route leads to others than the link's own neighbours and the host itself.
fn leads_further(route: &Route) -> bool {
    let IpNetwork::V6(destination) = route.destination else {
        return false;
    };
    let ip = destination.ip();
    let of_the_link = ip.is_unicast_link_local() || ip.is_multicast();
    !of_the_link && route.table != LOCAL_TABLE
}

fn report(failed: Vec<(usize, RtnlError)>) {
    for (_, error) in failed.iter().filter(|(_, error)| !error.is_gone()) {
        tracing::warn!("{}", log::chain(error));
    }
}
