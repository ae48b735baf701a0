//! While the address is used (RFC 5227, section 2.4).

use super::*;

const DEFENCE: ArpPacket = ArpPacket::announcement(OURS, ADDRESS);

fn conflict() -> ArpPacket {
    from(ADDRESS, Operation::Request)
}

/// "(a) Upon receiving a conflicting ARP packet, a host MAY elect to immediately cease
/// using the address".
#[test]
fn gives_up_at_once() {
    let mut bench = Bench::holding(Defence::GiveUp);
    bench.hear(conflict());
    assert_eq!(bench.events(), [Event::Lost { by: OTHER }]);
    assert_eq!(bench.packets(), []);
    assert!(!bench.acd.is_holding());
}

/// "(b) [...] attempt to defend its address by recording the time that the conflicting
/// ARP packet was received, and then broadcasting one single ARP Announcement [...]. if
/// this is not the first conflicting ARP packet the host has seen, and the time recorded
/// for the previous conflicting ARP packet is recent, within DEFEND_INTERVAL seconds,
/// then the host MUST immediately cease using this address".
#[test]
fn defends_once_in_an_interval() {
    let mut bench = Bench::holding(Defence::Once);
    bench.hear(conflict());
    bench.pass(DEFEND_INTERVAL);
    bench.hear(conflict());
    assert_eq!(bench.events(), [Event::Defended { by: OTHER }; 2]);
    assert_eq!(bench.packets(), [DEFENCE; 2]);
    bench.pass(DEFEND_INTERVAL - Duration::from_millis(1));
    bench.hear(conflict());
    assert_eq!(bench.events()[2..], [Event::Lost { by: OTHER }]);
    assert_eq!(bench.packets().len(), 2);
}

/// "(c) [...] If this is not the first conflicting ARP packet the host has seen, and the
/// time recorded for the previous conflicting ARP packet is within DEFEND_INTERVAL
/// seconds, then the host MUST NOT send another defensive ARP Announcement."
#[test]
fn defends_for_ever() {
    let mut bench = Bench::holding(Defence::Always);
    for _ in 0..100 {
        bench.hear(conflict());
        bench.pass(seconds(1));
    }
    assert_eq!(bench.packets(), [DEFENCE; 10]);
    assert_eq!(bench.events(), [Event::Defended { by: OTHER }; 10]);
    assert!(bench.acd.is_holding());
}

#[test]
fn others_business_is_no_conflict() {
    let mut bench = Bench::holding(Defence::GiveUp);
    bench.hear(from(ELSEWHERE, Operation::Reply));
    // Who looks for it is answered by the kernel, which has the address.
    bench.hear(ArpPacket::probe(OTHER, ADDRESS));
    bench.hear(ArpPacket::announcement(OURS, ADDRESS));
    assert_eq!((bench.packets(), bench.events()), (vec![], vec![]));
    assert!(bench.acd.is_holding());
}

#[test]
fn a_conflict_between_announcements_is_one() {
    let mut bench = Bench::started(config(Purpose::Hold(Defence::Once)), 1);
    while !bench.acd.is_holding() {
        bench.pass(Duration::from_millis(100));
    }
    bench.hear(conflict());
    assert_eq!(bench.events(), [Event::Free, Event::Defended { by: OTHER }]);
    bench.pass(seconds(60));
    // Three probes, two announcements, the defence.
    assert_eq!(bench.packets().len(), 6);
}

#[test]
fn an_adopted_address_is_defended_though_never_announced() {
    let mut bench = Bench::new(config(Purpose::Hold(Defence::Once)), 1);
    bench.acd.adopt(bench.now);
    bench.drain();
    bench.pass(seconds(60));
    assert_eq!((bench.packets(), bench.events()), (vec![], vec![]));
    bench.hear(conflict());
    bench.hear(conflict());
    assert_eq!(bench.packets(), [DEFENCE]);
    assert_eq!(
        bench.events(),
        [Event::Defended { by: OTHER }, Event::Lost { by: OTHER }]
    );
}
