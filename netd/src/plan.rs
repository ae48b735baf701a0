//! What is to be, from what is: a pure function, and the difference to what is
//! observed as a list of changes. Where nothing differs the list is empty.

use ipnetwork::IpNetwork;
use registry::ifname::LinkKind;
use registry::{LINK_GROUP, MachineName};

use crate::rtnl::{Link, LinkAddress, LinkType};
use crate::subnets::Subnets;

/// What a link is to netd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// The host's end of a container's veth, with subnets of its own.
    Veth,
    /// The host's end of a container's veth as a bridge's port: addresses are
    /// somebody else's business.
    BridgePort,
    /// Not netd's.
    Foreign,
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
}

/// What a link is to netd: its own are those of its link group.
#[must_use]
pub fn role_of(link: &Link) -> Role {
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

/// What makes a veth's host end, with the given addresses and guarded or not, what
/// its subnets ask for, and its MTU if it is not to be left alone.
#[must_use]
pub fn veth(
    link: &Link,
    addresses: &[LinkAddress],
    guarded: bool,
    subnets: &Subnets,
    mtu: Option<u32>,
) -> Vec<Action> {
    let mut actions = Vec::new();
    if !guarded {
        actions.push(Action::Guard);
    }
    if let Some(mtu) = mtu.filter(|mtu| *mtu != link.mtu) {
        actions.push(Action::SetMtu(mtu));
    }
    let desired: Vec<IpNetwork> = subnets.host().collect();
    for present in addresses {
        if present.ours && !desired.contains(&present.address) {
            actions.push(Action::RemoveAddress(present.address));
        }
    }
    for address in desired {
        if !addresses.iter().any(|present| present.address == address) {
            actions.push(Action::AddAddress(address));
        }
    }
    if !link.up {
        actions.push(Action::SetUp);
    }
    actions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::tests as sample;
    use proptest::prelude::*;

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

    /// What the kernel would make of the actions.
    fn applied(link: &mut Link, addresses: &mut Vec<LinkAddress>, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Guard => assert!(!link.up, "guarded after it went up"),
                Action::SetMtu(mtu) => link.mtu = mtu,
                Action::SetUp => link.up = true,
                Action::AddAddress(address) => {
                    addresses.push(LinkAddress {
                        index: 7,
                        address,
                        ours: true,
                        usable: true,
                    });
                }
                Action::RemoveAddress(address) => addresses.retain(|a| a.address != address),
            }
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

    proptest! {
        #[test]
        fn after_the_changes_there_is_nothing_to_change(
            there in proptest::collection::vec(some_address(), 0..6),
            mtu in proptest::option::of(1280..9000_u32),
        ) {
            let (mut link, mut addresses) = (Link { up: false, ..own("ve-web") }, Vec::new());
            for address in there {
                if addresses.iter().all(|a: &LinkAddress| a.address != address.address) {
                    addresses.push(address);
                }
            }
            let foreign: Vec<_> = addresses.iter().filter(|a| !a.ours).cloned().collect();
            let actions = veth(&link, &addresses, false, &subnets(), mtu);
            applied(&mut link, &mut addresses, actions);
            prop_assert_eq!(veth(&link, &addresses, true, &subnets(), mtu), []);
            for host in subnets().host() {
                prop_assert!(addresses.iter().any(|a| a.address == host));
            }
            prop_assert!(foreign.iter().all(|f| addresses.contains(f)));
        }
    }
}
