//! What the world is after what the kernel tells.

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

#[test]
fn a_bridge_has_the_ports_that_say_so() {
    let port = |index, controller| Link {
        controller,
        ..link(index, "vb-a", LINK_GROUP)
    };
    let mut world = World::default();
    let ports = |world: &World, bridge| {
        let mut found: Vec<u32> = world.ports(bridge).map(|link| link.index).collect();
        found.sort_unstable();
        found
    };
    world.apply(Event::Link(port(3, Some(9))));
    world.apply(Event::Link(port(4, Some(9))));
    assert_eq!(ports(&world, 9), [3, 4]);
    world.apply(Event::Link(port(3, Some(8))));
    assert_eq!((ports(&world, 9), ports(&world, 8)), (vec![4], vec![3]));
    world.apply(Event::Link(port(3, None)));
    world.apply(Event::LinkGone(4));
    assert!(ports(&world, 9).is_empty() && ports(&world, 8).is_empty());
    assert!(world.ports.is_empty());
}
