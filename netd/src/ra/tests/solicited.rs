//! What is said when asked (RFC 4861, sections 6.1.1 and 6.2.6).

use super::*;

fn host(number: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 1, number)
}

/// "Router Advertisements sent in response to a Router Solicitation MUST be delayed by a
/// random time between 0 and MAX_RA_DELAY_TIME seconds."
#[test]
fn who_asks_is_answered_alone_and_soon() {
    let mut delays = Vec::new();
    let mut bench = Bench::quiet();
    for number in 0..100 {
        let asked = bench.now - bench.begun;
        bench.ask(host(number));
        bench.pass(Duration::from_secs(1));
        let [(at, to, _)] = &bench.sent[..] else {
            panic!("{:?}", bench.sent);
        };
        assert_eq!(*to, host(number));
        delays.push(*at - asked);
        bench.sent.clear();
    }
    assert!(delays.iter().all(|delay| *delay <= MAX_RA_DELAY_TIME));
    assert!(
        delays
            .iter()
            .any(|delay| *delay > MAX_RA_DELAY_TIME * 3 / 4)
    );
    assert!(delays.iter().any(|delay| *delay < MAX_RA_DELAY_TIME / 4));
}

#[test]
fn the_only_router_answers_at_once() {
    let mut bench = Bench::started(
        RaSettings {
            solicited_delay: Duration::ZERO,
            ..settings()
        },
        1,
    );
    bench.pass(Duration::from_secs(1));
    bench.sent.clear();
    bench.ask(HOST_ADDRESS);
    assert_eq!(bench.times_to(HOST_ADDRESS), [bench.now - bench.begun]);
}

/// "If a single advertisement is sent in response to multiple solicitations, the delay is
/// relative to the first solicitation."
#[test]
fn who_asks_twice_is_answered_once() {
    let mut bench = Bench::quiet();
    let asked = bench.now - bench.begun;
    for _ in 0..50 {
        bench.ask(HOST_ADDRESS);
    }
    bench.pass(Duration::from_secs(10));
    let times = bench.times_to(HOST_ADDRESS);
    assert_eq!(times.len(), 1);
    assert!(times[0] - asked <= MAX_RA_DELAY_TIME);
}

#[test]
fn who_has_no_address_is_answered_with_all() {
    let mut bench = Bench::quiet();
    bench.ask(Ipv6Addr::UNSPECIFIED);
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.times_to(ALL_NODES).len(), 1);
    assert_eq!(bench.sent.len(), 1);
}

/// An answer to it would be routed to wherever it lives.
#[test]
fn who_has_an_address_of_elsewhere_is_answered_with_all() {
    for source in ["2001:db8::1", "fd00:1:2:3::9"] {
        let mut bench = Bench::quiet();
        bench.ask(address(source));
        bench.pass(Duration::from_secs(1));
        assert_eq!(bench.times_to(ALL_NODES).len(), 1);
        assert_eq!(bench.sent.len(), 1);
    }
}

/// "consecutive Router Advertisements sent to the all-nodes multicast address MUST be
/// rate limited to no more than one advertisement every MIN_DELAY_BETWEEN_RAS seconds."
#[test]
fn all_are_answered_no_more_than_each_three_seconds() {
    let mut bench = Bench::quiet();
    for _ in 0..6000 {
        bench.ask(Ipv6Addr::UNSPECIFIED);
        bench.pass(Duration::from_millis(10));
    }
    let times = bench.times_to(ALL_NODES);
    assert!((17..=21).contains(&times.len()), "{}", times.len());
    assert!(
        times
            .windows(2)
            .all(|pair| pair[1] - pair[0] >= MIN_DELAY_BETWEEN_RAS)
    );
}

/// "If the computed value corresponds to a time later than the time the next multicast
/// Router Advertisement is scheduled to be sent, ignore the random delay and send the
/// advertisement at the already-scheduled time."
#[test]
fn what_is_due_anyway_is_the_answer() {
    let mut bench = Bench::quiet();
    let next = bench.machine.deadline().unwrap();
    bench.now = next - Duration::from_micros(1);
    for number in 0..20 {
        bench.ask(host(number));
    }
    bench.pass(Duration::from_secs(5));
    assert_eq!(bench.sent.len(), 1);
    assert_eq!(bench.times_to(ALL_NODES), [next - bench.begun]);
}

#[test]
fn a_flood_is_answered_by_a_bounded_number() {
    let mut bench = Bench::quiet();
    for number in 0..60_000_u32 {
        let number = u16::try_from(number).unwrap();
        bench.ask(host(number));
        bench.pass(Duration::from_micros(100));
    }
    bench.pass(Duration::from_secs(3));
    let all = bench.times_to(ALL_NODES).len();
    let each = bench.sent.len() - all;
    assert!((1..=4).contains(&all), "{all}");
    let bound = usize::try_from(UNICAST_PER_SECOND).unwrap() * 8;
    assert!((100..bound).contains(&each), "{each}");
    // Nothing is left of it.
    bench.pass(Duration::from_secs(1));
    bench.sent.clear();
    bench.ask(HOST_ADDRESS);
    bench.pass(Duration::from_secs(1));
    assert!(!bench.times_to(HOST_ADDRESS).is_empty() || !bench.times_to(ALL_NODES).is_empty());
}

#[test]
fn what_is_not_answered_and_why() {
    let rows = [
        (HOST_ADDRESS, None, 254, Invalid::Forwarded(254)),
        (HOST_ADDRESS, Some(HOST), 0, Invalid::Forwarded(0)),
        (
            Ipv6Addr::UNSPECIFIED,
            Some(HOST),
            255,
            Invalid::LinkLayerOfNobody,
        ),
        (ALL_NODES, None, 255, Invalid::NotAHost),
        (Ipv6Addr::LOCALHOST, None, 255, Invalid::NotAHost),
    ];
    for (source, source_link_layer, hop_limit, reason) in rows {
        let mut bench = Bench::quiet();
        bench.handle(Input::Solicitation {
            source,
            source_link_layer,
            hop_limit,
        });
        bench.pass(Duration::from_secs(5));
        assert_eq!(bench.told, [Event::Ignored { source, reason }]);
        assert_eq!(bench.sent, []);
    }
}

#[test]
fn before_it_starts_and_after_it_stopped_nobody_is_answered() {
    let now = Instant::now();
    let mut machine = Advertiser::new(config_of(settings()), 1);
    let question = Input::Solicitation {
        source: HOST_ADDRESS,
        source_link_layer: None,
        hop_limit: 255,
    };
    machine.handle(now, question.clone());
    machine.stop(now);
    assert_eq!((machine.poll_output(), machine.deadline()), (None, None));
    machine.start(now);
    machine.stop(now);
    while machine.poll_output().is_some() {}
    machine.handle(now, question);
    assert_eq!((machine.poll_output(), machine.deadline()), (None, None));
}
