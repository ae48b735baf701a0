//! Who is in a zone, in the tables: set, healed, taken over by the next run.

use std::collections::BTreeSet;

use netd::nft::{Changes, State, Station, Table};
use registry::Mac;

use crate::world::Netns;

fn member(number: u8) -> Station {
    Station {
        bridge: 700,
        port: Some(700 + u32::from(number)),
        mac: Mac([2, 0, 0, 0, 7, number]),
        addresses: vec![
            [10, 70, 0, number].into(),
            [0xfd00, 0, 0, 0, 0, 0, 0, u16::from(number)].into(),
        ],
    }
}

fn come(come: Vec<Station>) -> Changes {
    Changes {
        come,
        gone: Vec::new(),
    }
}

/// The IPv4 addresses that a set names.
fn shown(netns: &Netns, family: &str, set: &str) -> BTreeSet<u8> {
    let text = netns.nft(&format!("list set {family} rspawn {set}"));
    let words = text.split(|c: char| !c.is_ascii_digit() && c != '.');
    words
        .filter_map(|word| word.strip_prefix("10.70.0.")?.parse().ok())
        .collect()
}

fn both(netns: &Netns) -> [BTreeSet<u8>; 3] {
    [
        shown(netns, "inet", "ipv4_members"),
        shown(netns, "bridge", "taken_ipv4"),
        shown(netns, "bridge", "own_ipv4"),
    ]
}

#[test]
fn members_come_and_go_in_both_tables_and_survive_healing() {
    let netns = Netns::new();
    let mut tables = netns.enter(|| {
        [
            Table::install(None).unwrap(),
            Table::install_for_bridges().unwrap(),
        ]
    });
    let all = come((2..=9).map(member).collect());
    for table in &mut tables {
        table.change_stations(&all).unwrap();
        assert_eq!(table.verify().unwrap(), State::Intact);
    }
    let numbers = |numbers: &[u8]| [(); 3].map(|()| BTreeSet::from_iter(numbers.iter().copied()));
    assert_eq!(both(&netns), numbers(&[2, 3, 4, 5, 6, 7, 8, 9]));
    let changes = Changes {
        come: vec![member(11)],
        gone: (3..=9).map(member).collect(),
    };
    for table in &mut tables {
        table.change_stations(&changes).unwrap();
        // What is so already is no change.
        table.change_stations(&come(vec![member(2)])).unwrap();
    }
    assert_eq!(both(&netns), numbers(&[2, 11]));
}

#[test]
fn what_somebody_takes_out_is_put_back() {
    use netd::nft::Protection;
    let netns = Netns::new();
    let mut table = netns.enter(|| Table::install_as(Protection::Watched, None).unwrap());
    table
        .change_stations(&come(vec![member(2), member(3)]))
        .unwrap();
    netns.nft("flush set inet rspawn ipv4_members");
    assert_eq!(table.verify().unwrap(), State::Altered);
    assert_eq!(table.heal().unwrap(), State::Altered);
    assert_eq!(
        shown(&netns, "inet", "ipv4_members"),
        BTreeSet::from([2, 3])
    );
    netns.nft("flush ruleset");
    table.change_stations(&come(vec![member(4)])).unwrap();
    assert_eq!(
        shown(&netns, "inet", "ipv4_members"),
        BTreeSet::from([2, 3, 4]),
        "healed by the way"
    );
}

#[test]
fn the_next_run_takes_over_who_is_there_and_forgets_who_is_not() {
    let netns = Netns::new();
    let install = || Table::install_for_bridges().unwrap();
    let mut first = netns.enter(install);
    first
        .change_stations(&come(vec![member(2), member(3)]))
        .unwrap();
    drop(first);
    // A program that another test starts at this moment has a copy of the owner's socket.
    let mut second = crate::world::wait_for("the owner's end", || {
        netns.enter(|| Table::install_for_bridges().ok())
    });
    let taken = || shown(&netns, "bridge", "taken_ipv4");
    assert_eq!(
        taken(),
        BTreeSet::from([2, 3]),
        "nobody is left out meanwhile"
    );
    second.change_stations(&come(vec![member(3)])).unwrap();
    second.remove_unconfirmed().unwrap();
    assert_eq!(taken(), BTreeSet::from([3]));
    assert_eq!(second.verify().unwrap(), State::Intact);
}

#[test]
fn thousands_come_at_once() {
    let netns = Netns::new();
    let mut table = netns.enter(|| Table::install_for_bridges().unwrap());
    let many = (0..4000_u32).map(|number| Station {
        bridge: 7,
        port: Some(1000 + number),
        mac: Mac([2, 0, 0, 9, (number >> 8) as u8, number as u8]),
        addresses: vec![std::net::Ipv4Addr::from(0x0a47_0000 + number).into()],
    });
    table.change_stations(&come(many.collect())).unwrap();
    assert_eq!(table.verify().unwrap(), State::Intact);
    let text = netns.nft("list set bridge rspawn taken_ipv4");
    assert_eq!(text.matches("10.71.").count(), 4000);
}

#[test]
fn nft_reads_what_was_meant_for_bridges() {
    let netns = Netns::new();
    let mut table = netns.enter(|| Table::install_for_bridges().unwrap());
    assert_eq!(table.verify().unwrap(), State::Intact);
    let text = netns.sh("nft -s list chain bridge rspawn prerouting");
    let rules = [
        "type filter hook prerouting priority -1000; policy accept;",
        "iif != @ports accept",
        "iif . ether saddr != @own_macs ether saddr @taken_macs counter drop",
        "iif . arp saddr ip != @own_ipv4 arp saddr ip @taken_ipv4 counter drop",
        "iif . ip saddr != @own_ipv4 ip saddr @taken_ipv4 counter drop",
        "iif . ip6 saddr != @own_ipv6 ip6 saddr @taken_ipv6 counter drop",
        "meta protocol ip udp dport 68 counter drop",
        "udp dport 546 counter drop",
        "icmpv6 type @icmpv6_of_routers counter drop",
    ];
    for rule in rules {
        assert!(text.contains(rule), "{rule}\n{text}");
    }
}
