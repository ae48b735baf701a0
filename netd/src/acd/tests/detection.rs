//! Before the address is used (RFC 5227, section 2.1).

use super::*;

const PROBE: ArpPacket = ArpPacket::probe(OURS, ADDRESS);
const ANNOUNCEMENT: ArpPacket = ArpPacket::announcement(OURS, ADDRESS);

/// "the host should then wait for a random time interval selected uniformly in the range
/// zero to PROBE_WAIT seconds, and should then send PROBE_NUM probe packets, each of
/// these probe packets spaced randomly and uniformly, PROBE_MIN to PROBE_MAX seconds
/// apart" (2.1.1); "a host implementing this specification MUST then announce that
/// it is commencing to use this address by broadcasting ANNOUNCE_NUM ARP Announcements,
/// spaced ANNOUNCE_INTERVAL seconds apart" (2.3).
#[test]
fn probes_and_announcements_come_at_their_times() {
    for seed in 0..200 {
        let mut bench = Bench::started(config(Purpose::Hold(Defence::Once)), seed);
        bench.pass(seconds(60));
        assert_eq!(
            bench.packets(),
            [PROBE, PROBE, PROBE, ANNOUNCEMENT, ANNOUNCEMENT]
        );
        let gaps = bench.gaps();
        assert!(gaps[0] <= seconds(1));
        assert!(
            gaps[1..3]
                .iter()
                .all(|gap| (seconds(1)..=seconds(2)).contains(gap))
        );
        assert_eq!(gaps[3..], [seconds(2), ANNOUNCE_INTERVAL]);
        // Told before it is announced, so that the address can answer.
        assert_eq!(bench.told, [(bench.sent[3].0, Event::Free)]);
        assert!(bench.acd.is_holding());
        assert_eq!(bench.acd.deadline(), None);
    }
}

#[test]
fn hosts_that_start_together_do_not_speak_together() {
    let first = |seed| Bench::started(config(Purpose::Probe), seed).acd.deadline();
    let mut firsts: Vec<_> = (0..50)
        .map(|seed| {
            let bench = Bench::started(config(Purpose::Probe), seed);
            bench.acd.deadline().unwrap() - bench.begun
        })
        .collect();
    firsts.sort_unstable();
    firsts.dedup();
    assert_eq!(firsts.len(), 50);
    assert!(first(1).is_some());
}

#[test]
fn an_address_for_somebody_else_is_only_looked_for() {
    let mut bench = Bench::started(config(Purpose::Probe), 3);
    bench.pass(seconds(60));
    assert_eq!(bench.packets(), [PROBE; 3]);
    assert_eq!(bench.events(), [Event::Free]);
    assert!(!bench.acd.is_holding() && !bench.acd.is_probing());
}

/// Each row: what is heard, and whether it means that the address is taken.
#[test]
fn what_is_a_conflict() {
    let probe = ArpPacket::probe(OTHER, ADDRESS);
    let rows = [
        // "any ARP packet (Request *or* Reply) [...] where the packet's 'sender IP
        // address' is the address being probed for" (2.1.1)
        (true, from(ADDRESS, Operation::Reply)),
        (true, from(ADDRESS, Operation::Request)),
        (true, ArpPacket::announcement(OTHER, ADDRESS)),
        // "any ARP Probe where the packet's 'target IP address' is the address being
        // probed for"
        (true, probe),
        // "and the packet's 'sender hardware address' is not the hardware address of any
        // of the host's interfaces"
        (false, PROBE),
        (false, ANNOUNCEMENT),
        // Somebody asks for it, and so has another address.
        (
            false,
            ArpPacket {
                sender: ELSEWHERE,
                ..probe
            },
        ),
        // No probe, but an answer to one.
        (
            false,
            ArpPacket {
                operation: Operation::Reply,
                ..probe
            },
        ),
        (false, ArpPacket::probe(OTHER, ELSEWHERE)),
        (false, from(ELSEWHERE, Operation::Reply)),
        (false, from(Ipv4Addr::UNSPECIFIED, Operation::Request)),
    ];
    for (is_conflict, packet) in rows {
        // From the beginning until ANNOUNCE_WAIT after the last probe.
        for before in [0, 500, 1500, 2500, 3900] {
            let mut bench = Bench::started(config(Purpose::Hold(Defence::Once)), 5);
            bench.pass(Duration::from_millis(before));
            bench.hear(packet);
            bench.pass(seconds(60));
            let expected = if is_conflict {
                Event::Conflict { by: OTHER }
            } else {
                Event::Free
            };
            assert_eq!(bench.events(), [expected], "{packet:?} after {before} ms");
            assert_eq!(bench.acd.is_holding(), !is_conflict);
        }
    }
}

#[test]
fn what_was_heard_at_the_last_moment_counts() {
    let mut bench = Bench::started(config(Purpose::Probe), 5);
    while bench.sent.len() < 3 {
        let next = bench.acd.deadline().unwrap();
        bench.pass(next - bench.now);
    }
    // The call is late: the wait is over, and the answer came before that.
    bench.now = bench.acd.deadline().unwrap() + seconds(1);
    bench.hear(from(ADDRESS, Operation::Reply));
    assert_eq!(bench.events(), [Event::Conflict { by: OTHER }]);
}

#[test]
fn nothing_more_is_sent_after_a_conflict() {
    let mut bench = Bench::started(config(Purpose::Hold(Defence::Once)), 5);
    bench.pass(seconds(1));
    let before = bench.packets();
    bench.hear(ArpPacket::probe(OTHER, ADDRESS));
    bench.hear(ArpPacket::probe(OTHER, ADDRESS));
    bench.pass(seconds(600));
    assert_eq!(bench.packets(), before);
    assert_eq!(bench.events(), [Event::Conflict { by: OTHER }]);
    assert_eq!(bench.acd.deadline(), None);
}

#[test]
fn fast_timings_take_as_long_as_they_say() {
    for total in [1, 20, 200, 3000] {
        let total = Duration::from_millis(total);
        for seed in 0..100 {
            let timings = Timings::fast(total);
            let config = AcdConfig {
                timings,
                ..config(Purpose::Hold(Defence::Once))
            };
            let mut bench = Bench::started(config, seed);
            bench.pass(seconds(60));
            let (at, event) = bench.told[0];
            assert_eq!(event, Event::Free);
            assert!((total / 7 * 4..=total).contains(&at), "{at:?} of {total:?}");
            assert_eq!(bench.gaps().last(), Some(&ANNOUNCE_INTERVAL));
        }
    }
    assert_eq!(Timings::fast(seconds(7)), Timings::rfc());
    assert_eq!(Timings::rfc().total(), seconds(7));
    assert!(Timings::container().total() <= Duration::from_millis(200));
}

#[test]
fn without_detection_the_address_is_free_at_once() {
    let config = AcdConfig {
        timings: Timings::fast(Duration::ZERO),
        ..config(Purpose::Hold(Defence::Once))
    };
    let mut bench = Bench::started(config, 1);
    assert_eq!(bench.told, [(Duration::ZERO, Event::Free)]);
    bench.pass(seconds(60));
    assert_eq!(bench.packets(), [ANNOUNCEMENT; 2]);
}

/// "the host MUST limit the rate at which it probes for new addresses on this interface
/// to no more than one attempted new address per RATE_LIMIT_INTERVAL" (2.1.1).
#[test]
fn after_many_conflicts_addresses_are_tried_slowly() {
    for timings in [
        Timings::rfc(),
        Timings::container(),
        Timings::fast(Duration::ZERO),
    ] {
        let config = AcdConfig {
            timings,
            ..config(Purpose::Hold(Defence::GiveUp))
        };
        let mut bench = Bench::started(config, 9);
        let mut tries = 0;
        while bench.now - bench.begun < seconds(3600) {
            if !bench.sent.is_empty() {
                bench.sent.clear();
                tries += 1;
                bench.hear(from(ADDRESS, Operation::Reply));
                bench.acd.start_with(bench.now, ADDRESS);
                bench.drain();
            }
            let next = bench.acd.deadline().unwrap();
            bench.pass(next - bench.now);
        }
        let allowed = MAX_CONFLICTS + 60;
        assert!((60..=allowed).contains(&tries), "{tries} with {timings:?}");
    }
}

#[test]
fn an_address_held_for_long_ends_the_limit() {
    let config = AcdConfig {
        timings: Timings::container(),
        ..config(Purpose::Hold(Defence::GiveUp))
    };
    let mut bench = Bench::started(config, 9);
    for _ in 0..MAX_CONFLICTS {
        while bench.sent.is_empty() {
            bench.pass(Duration::from_millis(1));
        }
        bench.hear(from(ADDRESS, Operation::Reply));
        bench.start();
        bench.sent.clear();
    }
    bench.pass(seconds(50));
    assert_eq!(bench.packets(), [], "one a minute");
    // Then nobody has it, and it is held for long.
    bench.pass(seconds(11));
    bench.pass(RATE_LIMIT_INTERVAL);
    assert_eq!(bench.events().last(), Some(&Event::Free));
    bench.hear(from(ADDRESS, Operation::Reply));
    assert_eq!(bench.events().last(), Some(&Event::Lost { by: OTHER }));
    // Some conflicts more are nothing special again.
    for _ in 1..MAX_CONFLICTS {
        bench.sent.clear();
        bench.start();
        bench.pass(Duration::from_millis(50));
        assert!(!bench.sent.is_empty(), "limited");
        bench.hear(from(ADDRESS, Operation::Reply));
    }
}

/// Who says again and again that it has an address that is not even asked for yet does
/// not put off the next try.
#[test]
fn what_comes_while_waiting_for_the_next_try_does_not_put_it_off() {
    let config = AcdConfig {
        timings: Timings::container(),
        ..config(Purpose::Hold(Defence::GiveUp))
    };
    let mut bench = Bench::started(config, 9);
    while bench.now - bench.begun < seconds(65) {
        bench.pass(Duration::from_millis(1));
        let passed = (bench.now - bench.begun).as_millis();
        if bench.sent.pop().is_some() || passed.is_multiple_of(100) {
            bench.hear(from(ADDRESS, Operation::Reply));
            bench.start();
        }
    }
    let tried = bench.events().len();
    bench.told.clear();
    bench.pass(seconds(60));
    assert!(
        tried > 0 && bench.events() == [Event::Free],
        "{:?}",
        bench.told
    );
}

#[test]
fn stopping_says_nothing() {
    let mut bench = Bench::started(config(Purpose::Hold(Defence::Once)), 5);
    bench.acd.stop();
    bench.pass(seconds(60));
    bench.hear(from(ADDRESS, Operation::Reply));
    assert_eq!((bench.packets(), bench.events()), (vec![], vec![]));
    // And it starts from the beginning.
    bench.start();
    bench.pass(seconds(60));
    assert_eq!(bench.packets().len(), 5);
}

#[test]
fn many_at_once_are_cheap() {
    assert!(size_of::<Acd>() <= 256, "{} bytes", size_of::<Acd>());
    let begun = Instant::now();
    let mut machines: Vec<Acd> = (0..10_000_u32)
        .map(|number| {
            let config = AcdConfig {
                address: Ipv4Addr::from(0x0a00_0000 + number),
                ..config(Purpose::Probe)
            };
            let mut acd = Acd::new(config, number.into());
            acd.start(begun);
            acd
        })
        .collect();
    let mut free = 0;
    for step in 1..=70 {
        let now = begun + Duration::from_millis(100) * step;
        for acd in &mut machines {
            acd.handle(now, Input::Time);
            while let Some(output) = acd.poll_output() {
                free += usize::from(output == Output::Event(Event::Free));
            }
        }
    }
    // Called at each tenth of a second only, some are not done yet.
    assert!(free > 9_000, "{free}");
}
