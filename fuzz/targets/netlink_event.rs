//! What rtnetlink tells of links, addresses and routes, as raw netlink bytes, and what
//! netd then believes of the host.
#![no_main]

use std::collections::BTreeSet;

use ipnetwork::IpNetwork;
use libfuzzer_sys::fuzz_target;
use netd::rtnl::{Event, Snapshot, decode};
use netd::world::World;
use netd::{netlink, plan};

/// No link is of this group.
const NO_GROUP: u32 = 0x00ff_ff01;

fuzz_target!(|bytes: &[u8]| {
    let mut world = World::default();
    let mut seen = Seen::default();
    for (event, _) in netlink::messages(bytes).filter_map(decode) {
        seen.note(&event);
        world.apply(event.clone());
        let again = world.apply(event.clone());
        let is_new = matches!(event, Event::Link(_) | Event::Address(_) | Event::Route(_));
        assert!(
            !is_new || again.is_empty(),
            "{event:?} again touches {again:?}"
        );
        is_sound(&world, &seen);
    }
    world.reset(Snapshot::default());
    seen.links.clear();
    is_sound(&world, &seen);
    for prefix in &seen.prefixes {
        assert!(world.clash(*prefix, NO_GROUP).is_none());
    }
});

/// What was told at any time.
#[derive(Default)]
struct Seen {
    links: BTreeSet<u32>,
    prefixes: BTreeSet<IpNetwork>,
}

impl Seen {
    fn note(&mut self, event: &Event) {
        match event {
            Event::Link(link) => {
                self.links.insert(link.index);
            }
            Event::Address(address) | Event::AddressGone(address) => {
                self.links.insert(address.index);
                self.prefixes.insert(address.address);
            }
            Event::Route(route) | Event::RouteReplaced(route) | Event::RouteGone(route) => {
                self.prefixes.insert(route.destination);
            }
            Event::LinkGone(_) | Event::Ipv6Begun(_) | Event::Overrun => {}
        }
    }
}

/// What is asked of the world agrees with what is in it.
fn is_sound(world: &World, seen: &Seen) {
    let present: Vec<IpNetwork> = seen
        .links
        .iter()
        .flat_map(|index| world.addresses(*index))
        .map(|address| address.address)
        .collect();
    for prefix in &seen.prefixes {
        let has = present.iter().any(|address| address.ip() == prefix.ip());
        assert_eq!(world.has_address(prefix.ip()), has, "{prefix}");
    }
    for address in present {
        // An address of no link, or of one that is in no group of ours, is in the way.
        assert!(
            world.clash(address, NO_GROUP).is_some() || world.links().any(|l| l.group == NO_GROUP)
        );
    }
    for link in world.links() {
        assert!(seen.links.contains(&link.index));
        let _ = (plan::role_of(link), plan::machine_of(link));
    }
    assert!(world.uplinks(NO_GROUP).count() <= world.links().count());
}
