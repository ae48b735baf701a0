//! Plans of links and subnets, for any host.

use super::*;
use crate::rtnl::{Event, LinkAddress};
use crate::subnets::{Owner, Pools, SubnetStore};
use crate::world::World;
use crate::world::tests as sample;
use proptest::prelude::*;
use registry::HostId;

fn own(name: &str) -> Link {
    sample::link(7, name, LINK_GROUP)
}

fn subnets() -> Subnets {
    Subnets {
        v4: Some("192.168.7.16/28".parse().unwrap()),
        v6: Some("fd12:3456:789a:1::/64".parse().unwrap()),
    }
}

#[test]
fn own_means_the_group_and_not_the_name() {
    assert_eq!(role_of(&own("ve-web")), Role::Veth);
    assert_eq!(role_of(&sample::link(7, "ve-web", 0)), Role::Foreign);
    assert_eq!(role_of(&own("x7")), Role::Foreign);
    assert_eq!(role_of(&own("vb-web")), Role::BridgePort);
    let bridge = |name, group| Link {
        kind: LinkType::Bridge,
        ..sample::link(7, name, group)
    };
    let lab = "lab".parse().unwrap();
    assert_eq!(role_of(&bridge("vz-lab", LINK_GROUP)), Role::Zone(lab));
    assert_eq!(role_of(&bridge("vz-lab", 0)), Role::Foreign);
    assert_eq!(role_of(&bridge("ve-lab", LINK_GROUP)), Role::Foreign);
    assert_eq!(role_of(&own("vz-lab")), Role::Foreign);
    assert_eq!(
        role_of(&Link {
            controller: Some(3),
            ..own("ve-web")
        }),
        Role::BridgePort
    );
}

#[test]
fn a_link_tells_its_machine_unless_its_name_is_cut() {
    let web: MachineName = "web".parse().unwrap();
    assert_eq!(machine_of(&own("ve-web")), Some(web));
    let long: MachineName = "postgres-central-1".parse().unwrap();
    let (short, full) = registry::IfName::of_machine(LinkKind::Veth, &long);
    let mut link = own(short.as_str());
    assert_eq!(machine_of(&link), None);
    link.altnames.extend(full);
    assert_eq!(machine_of(&link), Some(long));
}

/// What the kernel would make of the actions, and tell of them.
fn applied(world: &mut World, index: u32, actions: Vec<Action>) {
    for action in actions {
        let mut link = world.link(index).unwrap().clone();
        match action {
            Action::Guard => assert!(!link.up, "guarded after it went up"),
            Action::SetUp => {
                link.up = true;
                world.apply(Event::Link(link));
                let link_local = sample::address(index, &format!("fe80::{index:x}/64"));
                world.apply(Event::Address(link_local));
                for address in world.addresses(index).to_vec() {
                    add_route(world, index, address.address);
                }
            }
            Action::SetMtu(mtu) => {
                link.mtu = mtu;
                world.apply(Event::Link(link));
            }
            Action::AddAddress(address) => {
                world.apply(Event::Address(LinkAddress {
                    index,
                    address,
                    ours: true,
                    usable: true,
                }));
                if link.up {
                    add_route(world, index, address);
                }
            }
            Action::RemoveAddress(address) => remove(world, index, address),
            Action::Join(bridge) => {
                link.controller = Some(bridge);
                world.apply(Event::Link(link));
            }
            Action::AddRoute(address) => {
                assert!(link.up, "a link that is down has no routes");
                assert!(has(world, index, address), "{address} is not there");
                assert!(add_route(world, index, address), "{address} had its route");
            }
        }
    }
}

fn has(world: &World, index: u32, address: IpNetwork) -> bool {
    let mut addresses = world.addresses(index).iter();
    addresses.any(|known| known.address == address)
}

/// Whether the route of an address is a new one.
fn add_route(world: &mut World, index: u32, address: IpNetwork) -> bool {
    let route = Route::of_address(index, address);
    route.is_some_and(|route| !world.apply(Event::Route(route)).is_empty())
}

fn remove(world: &mut World, index: u32, address: IpNetwork) {
    let gone = sample::address(index, &address.to_string());
    world.apply(Event::AddressGone(gone));
    let others = world.addresses(index).to_vec();
    if let Some(route) = Route::of_address(index, address)
        && !others
            .iter()
            .any(|other| Route::of_address(index, other.address).as_ref() == Some(&route))
    {
        world.apply(Event::RouteGone(route));
    }
}

/// The routes of a link's addresses.
fn routes(world: &World, index: u32) -> Vec<Route> {
    let addresses = world.addresses(index).iter();
    let routes = addresses.filter_map(|known| Route::of_address(index, known.address));
    routes.filter(|route| world.has_route(route)).collect()
}

#[test]
fn a_port_is_in_its_bridge_unless_somebody_has_put_it_elsewhere() {
    for (controller, bridge, up, then) in [
        (None, Some(3), false, Some(3)),
        (None, Some(3), true, Some(3)),
        (Some(3), Some(3), false, Some(3)),
        (Some(4), Some(3), true, Some(4)),
        (None, None, false, None),
    ] {
        let mut world = World::default();
        world.apply(Event::Link(Link {
            controller,
            up,
            ..own("vb-web")
        }));
        let plan = |world: &World| port(world.link(7).unwrap(), bridge);
        let actions = plan(&world);
        for action in actions {
            match action {
                Action::SetUp => drop(world.apply(Event::Link(Link {
                    up: true,
                    ..world.link(7).unwrap().clone()
                }))),
                action => applied(&mut world, 7, vec![action]),
            }
        }
        let link = world.link(7).unwrap();
        assert_eq!((link.controller, link.up), (then, true));
        assert_eq!(plan(&world), []);
    }
}

fn some_address() -> impl Strategy<Value = LinkAddress> {
    (any::<u8>(), any::<bool>()).prop_map(|(last, ours)| LinkAddress {
        index: 7,
        address: format!("192.168.7.{}/28", last % 32).parse().unwrap(),
        ours,
        usable: true,
    })
}

/// A prefix of the pools' neighbourhood, so that clashes are frequent.
fn prefix() -> impl Strategy<Value = IpNetwork> {
    let v4 = (0..1024_u32, 8..=32_u8).prop_map(|(n, len)| {
        let ip = u32::from(std::net::Ipv4Addr::new(10, 0, 0, 0)) + n * 4;
        IpNetwork::new(std::net::Ipv4Addr::from(ip).into(), len)
    });
    let v6 = (any::<u16>(), 16..=128_u8).prop_map(|(n, len)| {
        let global = Pools::candidates_v6(&host_id(), &name(0)).next().unwrap();
        let ip = u128::from(global.ip()) & !(0xffff << 64) | u128::from(n) << 64;
        IpNetwork::new(std::net::Ipv6Addr::from(ip).into(), len)
    });
    prop_oneof![3 => v4, 1 => v6].prop_map(Result::unwrap)
}

fn host_id() -> HostId {
    HostId::from_bytes([7; 16])
}

fn name(n: u32) -> Owner {
    format!("m{n}").parse().unwrap()
}

/// Pools so small that machines are in each other's way.
fn pools() -> Pools {
    Pools {
        v4: vec![
            "10.0.0.0/22".parse().unwrap(),
            "10.0.8.0/23".parse().unwrap(),
        ],
        exclude: vec!["10.0.1.0/25".parse().unwrap()],
    }
}

/// A host, what it has of its own, and what machines had before.
#[derive(Clone, Debug)]
struct Scene {
    addresses: Vec<IpNetwork>,
    routes: Vec<IpNetwork>,
    kept: Vec<(u32, Subnets)>,
    machines: u32,
}

fn scene() -> impl Strategy<Value = Scene> {
    let kept = (0..40_u32, 0..64_u32, any::<u16>()).prop_map(|(machine, v4, v6)| {
        let ip = u32::from(std::net::Ipv4Addr::new(10, 0, 0, 0)) + v4 * 16;
        let v6 = format!("fd12:3456:789a:{v6:x}::/64");
        let subnets = Subnets {
            v4: ipnetwork::Ipv4Network::new(ip.into(), 28).ok(),
            v6: v6.parse().ok(),
        };
        (machine, subnets)
    });
    (
        proptest::collection::vec(prefix(), 0..6),
        proptest::collection::vec(prefix(), 0..6),
        proptest::collection::vec(kept, 0..10),
        1..40_u32,
    )
        .prop_map(|(addresses, routes, kept, machines)| Scene {
            addresses,
            routes,
            kept,
            machines,
        })
}

impl Scene {
    fn world(&self) -> World {
        let mut world = World::default();
        world.apply(Event::Link(sample::link(2, "eth0", 0)));
        for address in &self.addresses {
            world.apply(Event::Address(sample::address(2, &address.to_string())));
        }
        for route in &self.routes {
            let network = IpNetwork::new(route.network(), route.prefix()).unwrap();
            world.apply(Event::Route(sample::route(2, &network.to_string())));
        }
        for n in 0..self.machines {
            let fresh = Link {
                up: false,
                ..sample::link(100 + n, &format!("ve-m{n}"), LINK_GROUP)
            };
            world.apply(Event::Link(fresh));
        }
        world
    }

    /// Gives each machine its subnets and performs what is planned for its link. The
    /// number of changes.
    fn pass(&self, world: &mut World, store: &mut SubnetStore) -> usize {
        let mut changes = 0;
        for n in 0..self.machines {
            let (machine, index) = (name(n), 100 + n);
            let link = world.link(index).unwrap().clone();
            let present = present(world.addresses(index));
            let wish = Wish {
                owner: &machine,
                host: &host_id(),
                pools: &pools(),
                v4_prefix: 28,
                first: [present, store.kept(&machine)]
                    .into_iter()
                    .flatten()
                    .collect(),
            };
            let chosen = wish.choose(|prefix| is_free(world, store, &pools(), prefix, &machine));
            store.take(machine, chosen);
            let guarded = link.up;
            let actions = subnet_link(&link, world, guarded, &chosen, Some(1400));
            changes += actions.len();
            applied(world, index, actions);
        }
        changes
    }
}

fn present(addresses: &[LinkAddress]) -> Option<Subnets> {
    let mut subnets = Subnets { v4: None, v6: None };
    for address in addresses.iter().filter(|address| address.ours) {
        match address.address {
            IpNetwork::V4(v4) => {
                subnets.v4 = ipnetwork::Ipv4Network::new(v4.network(), v4.prefix()).ok();
            }
            IpNetwork::V6(v6) => {
                subnets.v6 = ipnetwork::Ipv6Network::new(v6.network(), v6.prefix()).ok();
            }
        }
    }
    Some(subnets)
}

fn overlap(a: IpNetwork, b: IpNetwork) -> bool {
    a.is_ipv4() == b.is_ipv4() && (a.contains(b.network()) || b.contains(a.network()))
}

proptest! {
    #[test]
    fn after_the_changes_there_is_nothing_to_change(
        there in proptest::collection::vec(some_address(), 0..6),
        taken in any::<[bool; 8]>(),
    ) {
        let mut world = World::default();
        world.apply(Event::Link(Link { up: false, ..own("ve-web") }));
        for address in there {
            if !has(&world, 7, address.address) {
                world.apply(Event::Address(address));
            }
        }
        let foreign: Vec<_> = world.addresses(7).iter().filter(|a| !a.ours).cloned().collect();
        let plan = |world: &World, guarded| {
            subnet_link(world.link(7).unwrap(), world, guarded, &subnets(), None)
        };
        let actions = plan(&world, false);
        applied(&mut world, 7, actions);
        prop_assert_eq!(plan(&world, true), []);
        prop_assert!(subnets().host().all(|host| has(&world, 7, host)));
        prop_assert!(foreign.iter().all(|f| has(&world, 7, f.address)));
        prop_assert_eq!(routes(&world, 7).len(), world.addresses(7).len());
        // Somebody takes some of all that.
        for (address, taken) in world.addresses(7).to_vec().into_iter().zip(taken) {
            match (taken, address.ours) {
                (true, true) => remove(&mut world, 7, address.address),
                (true, false) => {
                    if let Some(route) = Route::of_address(7, address.address) {
                        world.apply(Event::RouteGone(route));
                    }
                }
                (false, _) => {}
            }
        }
        let actions = plan(&world, true);
        applied(&mut world, 7, actions);
        prop_assert_eq!(plan(&world, true), []);
        let link_local = "fe80::7/64".parse().unwrap();
        for address in subnets().host().chain([link_local]) {
            let route = Route::of_address(7, address).unwrap();
            prop_assert!(has(&world, 7, address) && world.has_route(&route), "{address}");
        }
    }

    #[test]
    fn any_host_comes_to_fit_the_contracts_and_stays_so(scene in scene()) {
        let directory = tempfile::tempdir().unwrap();
        let mut store = SubnetStore::open(directory.path(), std::time::SystemTime::now()).unwrap();
        for (n, subnets) in &scene.kept {
            store.take(name(*n), *subnets);
        }
        let kept: Vec<(Owner, Subnets)> =
            (0..40).filter_map(|n| Some((name(n), store.kept(&name(n))?))).collect();
        let mut world = scene.world();
        prop_assert!(scene.pass(&mut world, &mut store) > 0);

        let given: Vec<(Owner, Subnets)> =
            (0..scene.machines).map(|n| (name(n), store.kept(&name(n)).unwrap())).collect();
        for (machine, subnets) in &given {
            for prefix in subnets.prefixes() {
                // Not what the host has, but for a way out; not what is excluded.
                let routes = scene.routes.iter().filter(|route| route.prefix() > 1);
                for foreign in scene.addresses.iter().chain(routes) {
                    prop_assert!(!overlap(prefix, *foreign), "{machine}: {prefix}, {foreign}");
                }
                prop_assert!(!pools().excludes(prefix), "{machine}: {prefix}");
                // Not what another machine has or keeps.
                for (other, others) in given.iter().chain(&kept).filter(|(other, _)| other != machine) {
                    let has_another = given.iter().any(|(g, s)| g == other && s != others);
                    for theirs in others.prefixes().filter(|_| !has_another) {
                        prop_assert!(!overlap(prefix, theirs), "{machine}: {prefix}, {other}");
                    }
                }
            }
            // The host has the first address of each, host0 the second.
            let index = 100 + machine.file_name()[1..].parse::<u32>().unwrap();
            let has = |address: IpNetwork| {
                world.addresses(index).iter().any(|a| a.address == address && a.ours)
            };
            prop_assert!(subnets.host().all(has));
            prop_assert!(world.link(index).unwrap().up);
        }
        // What was kept and is nobody's else stays.
        for (machine, before) in kept.iter().filter(|(m, _)| given.iter().any(|(g, _)| g == m)) {
            let now = store.kept(machine).unwrap();
            for (before, now) in [
                (before.v4.map(IpNetwork::V4), now.v4.map(IpNetwork::V4)),
                (before.v6.map(IpNetwork::V6), now.v6.map(IpNetwork::V6)),
            ] {
                let Some(before) = before.filter(|before| Some(*before) != now) else { continue };
                let foreign = scene.addresses.iter().chain(&scene.routes);
                let others = kept.iter().filter(|(other, _)| other != machine);
                let taken = foreign.copied().chain(others.flat_map(|(_, s)| s.prefixes().collect::<Vec<_>>()));
                let excluded = pools().excludes(before);
                prop_assert!(excluded || taken.into_iter().any(|t| overlap(t, before)), "{before}");
            }
        }
        prop_assert_eq!(scene.pass(&mut world, &mut store), 0, "a second pass");
    }
}
