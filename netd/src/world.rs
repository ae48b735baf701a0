//! What netd observes of the host: links, their addresses, and the prefixes that
//! are taken.

use std::collections::{BTreeMap, HashMap, HashSet};
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

    fn remove_link(&mut self, index: u32) -> Vec<Touched> {
        self.links.remove(&index);
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
pub(crate) mod tests {
    use super::*;
    use crate::rtnl::LinkType;

    pub(crate) fn link(index: u32, name: &str, group: u32) -> Link {
        Link {
            index,
            name: name.into(),
            altnames: Vec::new(),
            group,
            up: true,
            carrier: true,
            kind: LinkType::Veth,
            mtu: 1500,
            mac: None,
            controller: None,
            peer: Some(2),
            held: crate::sysctl::Held::default(),
        }
    }

    pub(crate) fn address(index: u32, address: &str) -> LinkAddress {
        LinkAddress {
            index,
            address: address.parse().unwrap(),
            ours: false,
            usable: true,
        }
    }

    pub(crate) fn route(link: u32, destination: &str) -> Route {
        Route {
            destination: destination.parse().unwrap(),
            link: Some(link),
            table: 254,
            priority: 0,
            tos: 0,
        }
    }

    #[test]
    fn a_route_of_a_link_of_ours_touches_the_link() {
        let mut world = World::default();
        world.apply(Event::Link(link(3, "eth0", 0)));
        world.apply(Event::Link(link(4, "ve-web", LINK_GROUP)));
        for (index, touched) in [(3, false), (4, true)] {
            let link_local = route(index, "fe80::/64");
            let mine = Touched::Link(index);
            for route in [route(index, "10.0.0.0/8"), link_local.clone()] {
                let come = world.apply(Event::Route(route.clone()));
                assert_eq!(come.contains(&mine), touched);
                assert!(world.has_route(&route));
                let gone = world.apply(Event::RouteGone(route.clone()));
                assert_eq!(gone.contains(&mine), touched);
                assert!(!world.has_route(&route));
            }
            // Every link has that, and keeps it from none.
            world.apply(Event::Route(link_local));
            assert!(world.clash("fe80::/64".parse().unwrap(), 7).is_none());
        }
    }

    #[test]
    fn addresses_and_routes_take_prefixes_until_they_are_gone() {
        let mut world = World::default();
        let prefix: IpNetwork = "10.1.2.0/28".parse().unwrap();
        world.apply(Event::Link(link(3, "eth0", 0)));
        world.apply(Event::Address(address(3, "10.1.2.3/24")));
        assert_eq!(world.clash(prefix, 7).unwrap().1.unwrap().name, "eth0");
        assert!(world.clash(prefix, 0).is_none(), "its own group is 0");
        assert!(world.has_address("10.1.2.3".parse().unwrap()));
        assert!(!world.has_address("10.1.2.4".parse().unwrap()));
        world.apply(Event::AddressGone(address(3, "10.1.2.3/24")));
        assert!(world.clash(prefix, 7).is_none());
        world.apply(Event::Route(route(3, "10.0.0.0/8")));
        assert!(world.clash(prefix, 7).is_some());
        world.apply(Event::LinkGone(3));
        assert!(world.clash(prefix, 7).is_none());
    }

    #[test]
    fn default_routes_and_their_halves_take_nothing_but_make_uplinks() {
        let mut world = World::default();
        world.apply(Event::Link(link(3, "tun0", 0)));
        assert_eq!(
            world.apply(Event::Route(route(3, "0.0.0.0/1"))),
            [Touched::Uplinks]
        );
        world.apply(Event::Route(route(3, "128.0.0.0/1")));
        world.apply(Event::Route(route(3, "0.0.0.0/0")));
        assert!(world.clash("10.1.2.0/28".parse().unwrap(), 7).is_none());
        assert_eq!(world.uplinks(7).count(), 1);
        assert_eq!(world.uplinks(0).count(), 0);
    }

    #[test]
    fn the_same_again_touches_nothing() {
        let mut world = World::default();
        for event in [
            Event::Link(link(3, "eth0", 0)),
            Event::Address(address(3, "10.1.2.3/24")),
            Event::Route(route(3, "10.0.0.0/8")),
        ] {
            assert!(!world.apply(event.clone()).is_empty());
            assert!(world.apply(event).is_empty());
        }
    }

    #[test]
    fn routes_that_are_read_anew_say_what_they_change() {
        let mut world = World::default();
        world.apply(Event::Link(link(3, "eth0", 0)));
        world.apply(Event::Route(route(3, "0.0.0.0/0")));
        world.apply(Event::Route(route(3, "10.0.0.0/8")));
        let same = vec![route(3, "10.0.0.0/8"), route(3, "0.0.0.0/0")];
        assert_eq!(world.reset_routes(same), []);
        assert_eq!(
            world.reset_routes(vec![route(3, "10.0.0.0/8")]),
            [Touched::Uplinks]
        );
        assert_eq!(world.uplinks(7).count(), 0);
        assert_eq!(world.reset_routes(Vec::new()), [Touched::Prefixes]);
        assert!(world.clash("10.1.2.0/28".parse().unwrap(), 7).is_none());
    }

    #[test]
    fn of_a_route_that_is_replaced_none_is_left() {
        let mut world = World::default();
        world.apply(Event::Link(link(3, "eth0", 0)));
        world.apply(Event::Link(link(4, "ve-web", LINK_GROUP)));
        let (ours, foreign) = (route(4, "10.1.2.0/28"), route(3, "10.1.2.0/28"));
        for other in [route(4, "10.1.2.0/24"), route(4, "10.1.2.0/30")] {
            world.apply(Event::Route(other));
        }
        world.apply(Event::Route(ours.clone()));
        let touched = world.apply(Event::RouteReplaced(foreign.clone()));
        assert!(touched.contains(&Touched::Link(4)) && touched.contains(&Touched::Prefixes));
        assert!(world.has_route(&foreign) && !world.has_route(&ours));
        assert!(world.has_route(&route(4, "10.1.2.0/24")));
        assert!(world.has_route(&route(4, "10.1.2.0/30")));
        assert!(world.apply(Event::RouteReplaced(foreign)).is_empty());
        // So with a way out.
        world.apply(Event::Route(route(4, "0.0.0.0/0")));
        world.apply(Event::RouteReplaced(route(3, "0.0.0.0/0")));
        assert_eq!(
            world.uplinks(7).map(|link| link.index).collect::<Vec<_>>(),
            [3]
        );
    }

    #[test]
    fn a_link_that_goes_says_which_addresses_go_with_it() {
        let mut world = World::default();
        world.apply(Event::Link(link(3, "eth0", 0)));
        let ip = Touched::HostAddress("10.1.2.3".parse().unwrap());
        assert!(
            world
                .apply(Event::Address(address(3, "10.1.2.3/24")))
                .contains(&ip)
        );
        assert!(world.apply(Event::LinkGone(3)).contains(&ip));
    }

    #[test]
    fn a_link_that_goes_down_takes_its_routes_along() {
        let mut world = World::default();
        world.apply(Event::Link(link(3, "eth0", 0)));
        world.apply(Event::Route(route(3, "10.0.0.0/8")));
        world.apply(Event::Link(Link {
            up: false,
            ..link(3, "eth0", 0)
        }));
        assert!(world.clash("10.1.2.0/28".parse().unwrap(), 7).is_none());
    }
}
