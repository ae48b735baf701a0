//! What is said without being asked (RFC 4861, sections 6.2.3 and 6.2.4).

use super::*;

#[test]
fn an_advertisement_says_all_that_is_configured() {
    let all = RaSettings {
        managed: true,
        other: true,
        preference: Preference::High,
        hop_limit: 33,
        routes: vec![Route {
            network: network("fd00:9::/48"),
            preference: Preference::Low,
            lifetime: Lifetime::INFINITE,
        }],
        captive_portal: Some("https://example.org/api".to_owned()),
        ..settings()
    };
    let bench = Bench::started(all.clone(), 1);
    let [(_, to, message)] = &bench.sent[..] else {
        panic!("{:?}", bench.sent);
    };
    assert_eq!(*to, ALL_NODES);
    assert_eq!((message.managed, message.other), (true, true));
    assert_eq!(message.preference, Preference::High);
    assert_eq!((message.hop_limit, message.router_lifetime), (33, 1800));
    assert_eq!(
        message.options,
        [
            NdOption::Prefix(all.prefixes[0]),
            NdOption::Route(all.routes[0]),
            NdOption::SourceLinkLayer(ROUTER),
            NdOption::Mtu(1420),
            NdOption::Rdnss(all.rdnss.unwrap()),
            NdOption::Dnssl(all.dnssl.unwrap()),
            NdOption::CaptivePortal("https://example.org/api".to_owned()),
        ]
    );
}

/// RFC 4191, section 2.2: "If the Router Lifetime is zero, the preference value MUST be
/// set to (00) by the sender".
#[test]
fn a_link_without_default_router_gets_its_prefix_alone() {
    let bench = Bench::started(
        RaSettings {
            router_lifetime: 0,
            preference: Preference::High,
            ..settings()
        },
        1,
    );
    let (_, _, message) = &bench.sent[0];
    assert_eq!(message.router_lifetime, 0);
    assert_eq!(message.preference, Preference::Medium);
    assert!(bench.lifetimes(network("fd00:1:2:3::/64")).is_some());
}

/// "For the first few advertisements (up to MAX_INITIAL_RTR_ADVERTISEMENTS) sent from an
/// interface when it becomes an advertising interface, if the randomly chosen interval is
/// greater than MAX_INITIAL_RTR_ADVERT_INTERVAL, the timer SHOULD be set to
/// MAX_INITIAL_RTR_ADVERT_INTERVAL instead." "the timer is reset to a uniformly
/// distributed random value between the interface's configured MinRtrAdvInterval and
/// MaxRtrAdvInterval".
#[test]
fn the_first_come_soon_and_the_others_at_random() {
    let mut gaps = Vec::new();
    for seed in 0..20 {
        let mut bench = Bench::started(settings(), seed);
        bench.pass(Duration::from_secs(24 * 3600));
        let times = bench.times_to(ALL_NODES);
        assert_eq!(bench.sent.len(), times.len());
        assert_eq!(times[0], Duration::ZERO);
        assert_eq!(times[1], MAX_INITIAL_RTR_ADVERT_INTERVAL);
        assert_eq!(times[2], MAX_INITIAL_RTR_ADVERT_INTERVAL * 2);
        gaps.extend(times[2..].windows(2).map(|pair| pair[1] - pair[0]));
    }
    let RaSettings {
        min_interval,
        max_interval,
        ..
    } = settings();
    assert!(
        gaps.iter()
            .all(|gap| (min_interval..=max_interval).contains(gap))
    );
    let mean = gaps.iter().sum::<Duration>() / u32::try_from(gaps.len()).unwrap();
    let middle = (min_interval + max_interval) / 2;
    assert!(mean.abs_diff(middle) < Duration::from_secs(10), "{mean:?}");
}

#[test]
fn after_a_pause_of_the_whole_host_there_is_one_and_no_more() {
    let mut bench = Bench::quiet();
    bench.now += Duration::from_secs(24 * 3600);
    bench.handle(Input::Time);
    assert_eq!(bench.sent.len(), 1);
}

#[test]
fn a_change_is_told_at_once_and_three_times_soon() {
    let mut bench = Bench::quiet();
    let changed = RaSettings {
        mtu: Some(1280),
        ..settings()
    };
    let at = bench.now - bench.begun;
    bench.change(changed.clone());
    bench.pass(Duration::from_secs(60));
    let times = bench.times_to(ALL_NODES);
    let soon = MAX_INITIAL_RTR_ADVERT_INTERVAL;
    assert_eq!(times, [at, at + soon, at + soon * 2]);
    assert!(bench.sent[0].2.options.contains(&NdOption::Mtu(1280)));
    // The same again is no change.
    bench.change(changed);
    bench.pass(Duration::from_secs(60));
    assert_eq!(bench.sent.len(), 3);
}

#[test]
fn many_changes_are_told_no_more_than_each_three_seconds() {
    let mut bench = Bench::quiet();
    let begun = bench.now;
    for mtu in 0..600 {
        bench.change(RaSettings {
            mtu: Some(1280 + mtu),
            ..settings()
        });
        bench.pass(Duration::from_millis(100));
    }
    let times = bench.times_to(ALL_NODES);
    assert!((20..=21).contains(&times.len()), "{}", times.len());
    assert!(
        times
            .windows(2)
            .all(|pair| pair[1] - pair[0] >= MIN_DELAY_BETWEEN_RAS)
    );
    // And the last one is told.
    bench.pass(Duration::from_secs(4));
    let (at, _, message) = bench.sent.last().unwrap();
    assert!(*at <= begun - bench.begun + Duration::from_secs(64));
    assert!(message.options.contains(&NdOption::Mtu(1280 + 599)));
}

#[test]
fn a_link_that_comes_back_hears_at_once() {
    let mut bench = Bench::quiet();
    bench.machine.start(bench.now);
    bench.drain();
    assert_eq!(bench.sent.len(), 1);
    bench.pass(Duration::from_secs(40));
    assert_eq!(bench.sent.len(), 3);
}
