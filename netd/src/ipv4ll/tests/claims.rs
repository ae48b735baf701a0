//! Several hosts want one address.

use std::collections::BTreeSet;

use super::link::{Link, Quality};
use super::*;

const WANTED: Ipv4Addr = Ipv4Addr::new(169, 254, 7, 7);

fn rivals(count: u8, timings: Timings) -> impl Iterator<Item = Ipv4llConfig> {
    (1..=count).map(move |number| Ipv4llConfig {
        start_address: Some(WANTED),
        timings,
        ..config(number)
    })
}

fn all_different(addresses: &[Option<Ipv4Addr>]) -> bool {
    let different: BTreeSet<_> = addresses.iter().flatten().collect();
    different.len() == addresses.len()
}

#[test]
fn of_two_that_start_together_at_most_one_gets_it() {
    for timings in [Timings::container(), Timings::rfc()] {
        for seed in 0..300 {
            // Not even the waits of the two are the same from run to run.
            let mut configs: Vec<_> = rivals(2, timings).collect();
            for config in &mut configs {
                config.seed = Seed::from_identity(&seed_bytes(seed), "host0");
            }
            let mut link = Link::new(configs, seed);
            link.start(0);
            link.start(1);
            link.pass(Duration::from_secs(30));
            let addresses = link.addresses();
            assert!(all_different(&addresses), "seed {seed}: {addresses:?}");
            let winners = addresses.iter().filter(|a| **a == Some(WANTED)).count();
            assert_eq!(winners, 1, "seed {seed}: {addresses:?}");
            assert_eq!(link.lost, [], "seed {seed}");
        }
    }
}

fn seed_bytes(seed: u64) -> [u8; 8] {
    seed.to_le_bytes()
}

#[test]
fn who_has_it_keeps_it_when_another_comes() {
    let mut link = Link::new(rivals(2, Timings::container()), 1);
    link.start(0);
    link.pass(Duration::from_secs(10));
    link.start(1);
    link.pass(Duration::from_secs(10));
    let addresses = link.addresses();
    assert_eq!(addresses[0], Some(WANTED));
    assert!(all_different(&addresses));
    assert_eq!(link.lost, []);
}

/// Two networks become one: both have the address.
#[test]
fn of_two_that_have_it_one_keeps_it() {
    let mut link = Link::new(rivals(2, Timings::container()), 1);
    link.quality.lost = 100;
    link.start(0);
    link.start(1);
    link.pass(Duration::from_secs(10));
    assert_eq!(link.addresses(), [Some(WANTED); 2]);
    link.quality.lost = 0;
    // As soon as one of them says anything.
    link.speak(0, ArpPacket::announcement(mac(1), WANTED));
    link.pass(Duration::from_secs(10));
    let addresses = link.addresses();
    assert!(all_different(&addresses), "{addresses:?}");
    assert_eq!(link.lost.len(), 1);
}

/// A link that loses, delays, reorders and repeats. Which host keeps the address, or none
/// does, is open; what may not be is that two have it once the link is sound again.
#[test]
fn over_a_bad_link_all_end_with_different_addresses() {
    for seed in 0..200 {
        let hosts = 2 + u8::try_from(seed % 7).unwrap();
        let mut link = Link::new(rivals(hosts, Timings::container()), seed);
        link.quality = Quality {
            lost: seed % 90,
            repeated: 20,
            delay: Duration::from_millis(seed % 50),
        };
        for host in 0..usize::from(hosts) {
            link.start(host);
            link.pass(Duration::from_millis(seed % 13));
        }
        link.pass(Duration::from_secs(5));
        link.quality.lost = 0;
        link.quality.delay = Duration::from_millis(1);
        // Sooner or later each asks for something, and says so who has its address.
        for _ in 0..10 {
            for (host, address) in link.addresses().into_iter().enumerate() {
                if let Some(address) = address {
                    let number = u8::try_from(host + 1).unwrap();
                    link.speak(host, ArpPacket::announcement(mac(number), address));
                }
                link.pass(Duration::from_secs(1));
            }
        }
        link.pass(Duration::from_secs(200));
        let addresses = link.addresses();
        assert!(all_different(&addresses), "seed {seed}: {addresses:?}");
    }
}

#[test]
fn two_hundred_on_one_link_all_get_one_soon() {
    let hosts = 200;
    let mut link = Link::new((0..hosts).map(config), 1);
    for host in 0..usize::from(hosts) {
        link.start(host);
    }
    link.pass(Duration::from_millis(700));
    assert!(all_different(&link.addresses()));
    assert_eq!(link.lost, []);
}
