//! Taking back what was advertised.

use super::*;

const OLD: &str = "fd00:1:2:3::/64";
const NEW: &str = "fd00:1:2:4::/64";

fn with_prefixes(prefixes: &[&str]) -> RaSettings {
    RaSettings {
        prefixes: prefixes
            .iter()
            .map(|prefix| Prefix::autonomous(network(prefix)))
            .collect(),
        ..settings()
    }
}

#[test]
fn a_prefix_that_is_gone_is_deprecated_for_as_long_as_hosts_know_it() {
    let mut bench = Bench::quiet();
    bench.change(with_prefixes(&[NEW]));
    assert_eq!(bench.lifetimes(network(OLD)), Some((0, 0)));
    assert_eq!(bench.lifetimes(network(NEW)), Some((2_592_000, 604_800)));
    bench.pass(Duration::from_secs(7100));
    assert_eq!(bench.lifetimes(network(OLD)), Some((0, 0)));
    bench.pass(Duration::from_secs(800));
    assert_eq!(bench.lifetimes(network(OLD)), None);
    assert!(bench.lifetimes(network(NEW)).is_some());
}

#[test]
fn a_prefix_that_comes_back_is_as_new() {
    let mut bench = Bench::quiet();
    bench.change(with_prefixes(&[]));
    bench.pass(Duration::from_secs(5));
    bench.change(with_prefixes(&[OLD]));
    bench.pass(Duration::from_secs(5));
    assert_eq!(bench.lifetimes(network(OLD)), Some((2_592_000, 604_800)));
    let (_, _, message) = bench.sent.last().unwrap();
    let prefixes = message
        .options
        .iter()
        .filter(|o| matches!(o, NdOption::Prefix(_)));
    assert_eq!(prefixes.count(), 1);
}

#[test]
fn a_short_lifetime_is_remembered_no_longer_than_it_lasts() {
    let mut bench = Bench::quiet();
    let short = Prefix {
        valid: Lifetime(60),
        preferred: Lifetime(60),
        ..Prefix::autonomous(network(OLD))
    };
    bench.change(RaSettings {
        prefixes: vec![short],
        ..settings()
    });
    bench.pass(Duration::from_secs(20));
    bench.change(with_prefixes(&[]));
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.lifetimes(network(OLD)), Some((0, 0)));
    bench.pass(Duration::from_secs(700));
    assert_eq!(bench.lifetimes(network(OLD)), None);
}

/// RFC 8106, section 5.1: "A value of zero means that the RDNSS addresses MUST no longer
/// be used."
#[test]
fn name_servers_and_domains_that_are_gone_are_taken_back() {
    let mut bench = Bench::quiet();
    let new = address("fd00:1:2:3::53");
    bench.change(RaSettings {
        rdnss: Some(Rdnss {
            lifetime: Lifetime(1800),
            servers: vec![new],
        }),
        dnssl: None,
        ..settings()
    });
    let (_, _, message) = bench.sent.last().unwrap();
    let rdnss = |lifetime, server| {
        NdOption::Rdnss(Rdnss {
            lifetime: Lifetime(lifetime),
            servers: vec![server],
        })
    };
    assert!(message.options.contains(&rdnss(1800, new)));
    assert!(
        message
            .options
            .contains(&rdnss(0, address("fd00:1:2:3::1")))
    );
    assert!(message.options.contains(&NdOption::Dnssl(Dnssl {
        lifetime: Lifetime::ZERO,
        domains: vec!["example.org".parse().unwrap()],
    })));
    bench.pass(Duration::from_secs(3000));
    let (_, _, message) = bench.sent.last().unwrap();
    assert!(!message.options.iter().any(|option| matches!(
        option,
        NdOption::Rdnss(Rdnss {
            lifetime: Lifetime::ZERO,
            ..
        }) | NdOption::Dnssl(_)
    )));
}

/// "In such cases, the router SHOULD transmit one or more [...] final multicast Router
/// Advertisements on the interface with a Router Lifetime field of zero." (RFC 4861,
/// section 6.2.5.)
#[test]
fn the_last_word_takes_everything_back() {
    let mut bench = Bench::quiet();
    bench.machine.stop(bench.now);
    bench.drain();
    let [(_, to, message)] = &bench.sent[..] else {
        panic!("{:?}", bench.sent);
    };
    assert_eq!((*to, message.router_lifetime), (ALL_NODES, 0));
    assert_eq!(bench.lifetimes(network(OLD)), Some((0, 0)));
    assert_eq!(message.options.len(), 3);
    bench.machine.stop(bench.now);
    bench.pass(Duration::from_secs(3600));
    assert_eq!(bench.sent.len(), 1);
}

/// Whatever was there before, packets fit every link, and the newest is not what is
/// left out.
#[test]
fn many_changes_fit_into_packets() {
    let mut bench = Bench::quiet();
    let prefix = |number: usize| network(&format!("fd00:1:2:{number:x}::/64"));
    for round in 0..50_usize {
        let numbers = round * 8..round * 8 + 8;
        let names = numbers.clone().map(|number| {
            let long = "x".repeat(20);
            format!("{number}.{long}.example").parse().unwrap()
        });
        let servers = numbers.clone().map(|number| prefix(number).network());
        bench.change(RaSettings {
            prefixes: numbers
                .clone()
                .map(prefix)
                .map(Prefix::autonomous)
                .collect(),
            routes: (numbers.clone())
                .map(|number| Route {
                    network: network(&format!("fd01:1:2:{number:x}::/64")),
                    preference: Preference::Medium,
                    lifetime: Lifetime(3600),
                })
                .collect(),
            rdnss: Some(Rdnss {
                lifetime: Lifetime(3600),
                servers: servers.filter(|server| !server.is_unspecified()).collect(),
            }),
            dnssl: Some(Dnssl {
                lifetime: Lifetime(3600),
                domains: names.take(7).collect(),
            }),
            captive_portal: Some("h".repeat(254)),
            ..settings()
        });
        bench.pass(Duration::from_secs(3));
        if round > 0 {
            // What was just taken back, in a packet of its own.
            assert_eq!(bench.lifetimes(prefix(round * 8 - 1)), Some((0, 0)));
            let (first, second) = (
                &bench.sent[bench.sent.len() - 2],
                bench.sent.last().unwrap(),
            );
            assert_eq!(first.0, second.0);
            assert_eq!(second.2.router_lifetime, 1800);
        }
    }
}
