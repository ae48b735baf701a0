//! What netd observes of the host: links, their addresses, and the prefixes that
//! are taken.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use registry::LINK_GROUP;

use crate::prefix_map::PrefixMap;
use crate::rtnl::{Event, Link, LinkAddress, Route, Snapshot};
use crate::sysctl::Held;

/// The host as the kernel has told it.
#[derive(Debug, Default)]
pub struct World {
    links: HashMap<u32, Link>,
    /// The ports of a bridge, or of what else has such links.
    ports: HashMap<u32, BTreeSet<u32>>,
    addresses: HashMap<u32, Vec<LinkAddress>>,
    /// Routes by their outgoing link (0: none).
    routes: HashMap<u32, HashSet<Route>>,
    /// The links that default routes lead to, and how many do.
    ways_out: BTreeMap<u32, usize>,
    /// Prefixes of addresses and routes, owned by their link (0: by none).
    taken: PrefixMap<u32>,
}

/// What a change may have an effect on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Touched {
    /// A link, by its interface index.
    Link(u32),
    /// The way out: a default route, and so what an uplink is.
    Uplinks,
    /// The prefixes that are taken.
    Prefixes,
    /// Whether this is an address of the host's.
    HostAddress(IpAddr),
}

impl World {
    /// Forgets all and takes over what is there.
    pub fn reset(&mut self, snapshot: Snapshot) {
        *self = Self::default();
        for link in snapshot.links {
            self.apply(Event::Link(link));
        }
        for address in snapshot.addresses {
            self.apply(Event::Address(address));
        }
        for route in snapshot.routes {
            self.apply(Event::Route(route));
        }
    }

    /// Takes over the routes anew, and says what that may have an effect on.
    pub fn reset_routes(&mut self, routes: Vec<Route>) -> Vec<Touched> {
        let before = self.all_routes();
        for route in &before {
            self.remove_route(route);
        }
        for route in routes {
            self.put_route(route);
        }
        let now = self.all_routes();
        let changed = before.symmetric_difference(&now);
        let touched: HashSet<Touched> = changed.flat_map(|route| self.touched_by(route)).collect();
        touched.into_iter().collect()
    }

    fn all_routes(&self) -> HashSet<Route> {
        self.routes.values().flatten().cloned().collect()
    }

    /// Takes over a change and says what it may have an effect on.
    pub fn apply(&mut self, event: Event) -> Vec<Touched> {
        match event {
            Event::Link(link) => self.put_link(link),
            Event::LinkGone(index) => self.remove_link(index),
            Event::Address(address) => self.put_address(address),
            Event::AddressGone(address) => self.remove_address(&address),
            Event::Route(route) => self.put_route(route),
            Event::RouteReplaced(route) => self.replace_route(route),
            Event::RouteGone(route) => self.remove_route(&route),
            Event::Ipv6Begun(_) | Event::Overrun => Vec::new(),
        }
    }

    /// A link.
    #[must_use]
    pub fn link(&self, index: u32) -> Option<&Link> {
        self.links.get(&index)
    }

    /// What a link told of its kernel parameters may not be so any more.
    pub fn distrust(&mut self, index: u32) {
        if let Some(link) = self.links.get_mut(&index) {
            link.held = Held::default();
        }
    }

    /// All links.
    pub fn links(&self) -> impl Iterator<Item = &Link> {
        self.links.values()
    }

    /// The ports of a bridge.
    pub fn ports(&self, bridge: u32) -> impl Iterator<Item = &Link> {
        let ports = self.ports.get(&bridge).into_iter().flatten();
        ports.filter_map(|index| self.link(*index))
    }

    /// The addresses of a link.
    #[must_use]
    pub fn addresses(&self, index: u32) -> &[LinkAddress] {
        self.addresses.get(&index).map_or(&[], Vec::as_slice)
    }

    /// Whether there is this route.
    #[must_use]
    pub fn has_route(&self, route: &Route) -> bool {
        let of_link = self.routes.get(&route.link.unwrap_or(0));
        of_link.is_some_and(|routes| routes.contains(route))
    }

    /// Whether the host itself has this address.
    #[must_use]
    pub fn has_address(&self, ip: IpAddr) -> bool {
        let host = IpNetwork::from(ip);
        // Addresses are counted by their prefix: ask for those around it.
        self.taken
            .overlapping(host, |index| {
                self.addresses(*index)
                    .iter()
                    .any(|address| address.address.ip() == ip)
            })
            .is_some()
    }

    /// What of the host overlaps a prefix. The links of group `ours` don't count: who
    /// has which subnet among them is known better, and what a link keeps that is
    /// dying stands in nobody's way.
    #[must_use]
    pub fn clash(&self, prefix: IpNetwork, ours: u32) -> Option<(IpNetwork, Option<&Link>)> {
        let foreign = |index: &u32| self.link(*index).is_none_or(|link| link.group != ours);
        let (found, link) = self.taken.overlapping(prefix, foreign)?;
        Some((found, self.link(*link)))
    }

    /// The routes that lead to a link, of all tables.
    pub fn routes_of(&self, link: u32) -> impl Iterator<Item = &Route> {
        self.routes.get(&link).into_iter().flatten()
    }

    /// Whether a route that is no default route leads to an address by a link of another group
    /// than `ours`.
    #[must_use]
    pub fn leads_elsewhere(&self, ip: IpAddr, ours: u32) -> bool {
        let is_foreign = |index: &u32| self.link(*index).is_none_or(|link| link.group != ours);
        let foreign = self.routes.iter().filter(|(index, _)| is_foreign(index));
        let mut routes = foreign.flat_map(|(_, routes)| routes);
        routes.any(|route| !route.is_default() && route.destination.contains(ip))
    }

    /// The links by which routes lead out of the host, `ours` left aside.
    pub fn uplinks(&self, ours: u32) -> impl Iterator<Item = &Link> {
        let links = self.ways_out.keys().filter_map(|index| self.link(*index));
        links.filter(move |link| link.group != ours)
    }

    fn put_link(&mut self, link: Link) -> Vec<Touched> {
        let index = link.index;
        let before = self.links.insert(index, link.clone());
        let of = before.as_ref().and_then(|before| before.controller);
        self.note_port(index, of, link.controller);
        // A carrier that comes or goes is the peer's doing, and changes nothing of what is
        // to be of the link.
        let same = |before: &Link| {
            *before
                == Link {
                    carrier: before.carrier,
                    ..link.clone()
                }
        };
        if before.as_ref().is_some_and(same) {
            return Vec::new();
        }
        let mut touched = vec![Touched::Link(index)];
        if before.is_some_and(|before| before.up && !link.up) {
            // The kernel takes the IPv4 routes of a link that goes down without a
            // word for each.
            touched.extend(self.drop_routes_of(index));
        }
        if self.ways_out.contains_key(&index) {
            // Its name or its MTU may be another.
            touched.push(Touched::Uplinks);
        }
        touched
    }

    fn note_port(&mut self, index: u32, before: Option<u32>, now: Option<u32>) {
        if before == now {
            return;
        }
        if let Some(ports) = before.and_then(|bridge| self.ports.get_mut(&bridge)) {
            ports.remove(&index);
        }
        if let Some(bridge) = before
            && self.ports.get(&bridge).is_some_and(BTreeSet::is_empty)
        {
            self.ports.remove(&bridge);
        }
        if let Some(bridge) = now {
            self.ports.entry(bridge).or_default().insert(index);
        }
    }

    fn remove_link(&mut self, index: u32) -> Vec<Touched> {
        let before = self.links.remove(&index);
        self.note_port(index, before.and_then(|before| before.controller), None);
        let mut touched = vec![Touched::Link(index)];
        for address in self.addresses.remove(&index).unwrap_or_default() {
            self.taken.remove(address.address, &index);
            touched.push(Touched::HostAddress(address.address.ip()));
        }
        touched.extend(self.drop_routes_of(index));
        touched
    }

    fn put_address(&mut self, address: LinkAddress) -> Vec<Touched> {
        let index = address.index;
        let ip = address.address.ip();
        let of_link = self.addresses.entry(index).or_default();
        match of_link
            .iter_mut()
            .find(|known| known.address == address.address)
        {
            Some(known) if *known == address => return Vec::new(),
            Some(known) => *known = address,
            None => {
                self.taken.insert(address.address, index);
                of_link.push(address);
            }
        }
        vec![
            Touched::Link(index),
            Touched::Prefixes,
            Touched::HostAddress(ip),
        ]
    }

    fn remove_address(&mut self, address: &LinkAddress) -> Vec<Touched> {
        let Some(of_link) = self.addresses.get_mut(&address.index) else {
            return Vec::new();
        };
        let Some(at) = of_link
            .iter()
            .position(|known| known.address == address.address)
        else {
            return Vec::new();
        };
        let gone = of_link.swap_remove(at);
        if of_link.is_empty() {
            self.addresses.remove(&address.index);
        }
        self.taken.remove(gone.address, &gone.index);
        vec![
            Touched::Link(gone.index),
            Touched::HostAddress(gone.address.ip()),
        ]
    }

    fn put_route(&mut self, route: Route) -> Vec<Touched> {
        let link = route.link.unwrap_or(0);
        if !self.routes.entry(link).or_default().insert(route.clone()) {
            return Vec::new();
        }
        if route.is_default() {
            *self.ways_out.entry(link).or_default() += 1;
        } else if !route.is_link_local() {
            self.taken.insert(route.destination, link);
        }
        self.touched_by(&route)
    }

    /// The kernel does not tell of the route whose place another has taken. One by the same
    /// link is the same here.
    fn replace_route(&mut self, route: Route) -> Vec<Touched> {
        let by_link = |link| Route {
            link: Some(link),
            ..route.clone()
        };
        let of_default = self.ways_out.keys().filter(|_| route.is_default());
        let links = self
            .taken
            .owners(route.destination)
            .iter()
            .chain(of_default);
        let mut others = links
            .filter(|link| Some(**link) != route.link)
            .map(|link| by_link(*link));
        let before = others.find(|other| self.has_route(other));
        let mut touched = before.map_or_else(Vec::new, |before| self.remove_route(&before));
        touched.extend(self.put_route(route));
        touched
    }

    fn remove_route(&mut self, route: &Route) -> Vec<Touched> {
        let link = route.link.unwrap_or(0);
        let Some(of_link) = self.routes.get_mut(&link) else {
            return Vec::new();
        };
        if !of_link.remove(route) {
            return Vec::new();
        }
        if of_link.is_empty() {
            self.routes.remove(&link);
        }
        self.release_route(route);
        let mut touched = self.touched_by(route);
        // What is free again is looked for when somebody needs it.
        touched.retain(|touched| *touched != Touched::Prefixes);
        touched
    }

    fn release_route(&mut self, route: &Route) {
        let link = route.link.unwrap_or(0);
        if !route.is_default() {
            if !route.is_link_local() {
                self.taken.remove(route.destination, &link);
            }
            return;
        }
        if let Some(count) = self.ways_out.get_mut(&link) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.ways_out.remove(&link);
            }
        }
    }

    /// Forgets the routes of a link, and says whether a way out was among them.
    fn drop_routes_of(&mut self, index: u32) -> Option<Touched> {
        let gone = self.routes.remove(&index).unwrap_or_default();
        for route in &gone {
            self.release_route(route);
        }
        gone.iter()
            .any(Route::is_default)
            .then_some(Touched::Uplinks)
    }

    /// What it may have an effect on that a route came or went.
    fn touched_by(&self, route: &Route) -> Vec<Touched> {
        let mut touched = Vec::new();
        if route.is_default() {
            touched.push(Touched::Uplinks);
        } else if !route.is_link_local() {
            touched.push(Touched::Prefixes);
        }
        let link = route.link.and_then(|index| self.links.get(&index));
        // Those of other links are not netd's to look after.
        if let Some(link) = link.filter(|link| link.group == LINK_GROUP) {
            touched.push(Touched::Link(link.index));
        }
        touched
    }
}

#[cfg(test)]
pub(crate) mod tests;
