//! One host.

use std::collections::BTreeSet;

use super::*;

struct Bench {
    machine: Ipv4ll,
    begun: Instant,
    now: Instant,
    sent: Vec<ArpPacket>,
    told: Vec<(Duration, Event)>,
}

impl Bench {
    fn new(config: Ipv4llConfig) -> Self {
        let now = Instant::now();
        Self {
            machine: Ipv4ll::new(config),
            begun: now,
            now,
            sent: Vec::new(),
            told: Vec::new(),
        }
    }

    fn claimed(config: Ipv4llConfig) -> (Self, Ipv4Addr) {
        let mut bench = Self::new(config);
        bench.start();
        bench.pass(Duration::from_secs(10));
        let address = bench.machine.address().unwrap();
        assert_eq!(bench.events(), [Event::Claimed(address)]);
        bench.told.clear();
        bench.sent.clear();
        (bench, address)
    }

    fn start(&mut self) {
        self.machine.start(self.now);
        self.drain();
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(deadline) = self.machine.deadline().filter(|at| *at <= until) {
            self.now = self.now.max(deadline);
            self.machine.handle(self.now, Input::Time);
            self.drain();
        }
        self.now = until;
    }

    fn hear(&mut self, packet: ArpPacket) {
        self.machine.handle(self.now, Input::Arp(packet));
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Send(packet) => self.sent.push(packet),
                Output::Event(event) => self.told.push((self.now - self.begun, event)),
            }
        }
    }

    fn events(&self) -> Vec<Event> {
        self.told.iter().map(|(_, event)| *event).collect()
    }
}

#[test]
fn an_address_is_claimed_within_250_ms() {
    for number in 0..=255 {
        let mut bench = Bench::new(config(number));
        bench.start();
        bench.pass(Duration::from_secs(10));
        let (at, event) = bench.told[0];
        assert!(at <= Duration::from_millis(250), "{at:?}");
        let Event::Claimed(address) = event else {
            panic!("{event:?}");
        };
        assert!(is_selectable(address));
        assert_eq!(bench.machine.address(), Some(address));
        assert_eq!(bench.sent[..3], [ArpPacket::probe(mac(number), address); 3]);
        assert_eq!(
            bench.sent[3..],
            [ArpPacket::announcement(mac(number), address); 2]
        );
    }
}

/// "it selects an address using a pseudo-random number generator with a uniform
/// distribution in the range from 169.254.1.0 to 169.254.254.255 inclusive. [...] The
/// pseudo-random number generation algorithm MUST be chosen so that different hosts do
/// not generate the same sequence of numbers." (RFC 3927, section 2.1.)
#[test]
fn candidates_are_spread_over_the_whole_range() {
    let candidate = |number: u32| {
        let [_, a, b, c] = number.to_be_bytes();
        let mac = Mac([2, 0, 0, a, b, c]);
        Seed::from_mac(mac).candidate(mac, number % 3)
    };
    let all: Vec<Ipv4Addr> = (0..50_000).map(candidate).collect();
    assert!(all.iter().all(|address| is_selectable(*address)));
    let thirds: BTreeSet<u8> = all.iter().map(|address| address.octets()[2]).collect();
    assert_eq!(thirds, (1..=254).collect());
    let fourths: BTreeSet<u8> = all.iter().map(|address| address.octets()[3]).collect();
    assert_eq!(fourths, (0..=255).collect());
    let different: BTreeSet<&Ipv4Addr> = all.iter().collect();
    // 50,000 of 65,024 drawn at random: 34,900 different ones are to be expected.
    assert!(
        (34_000..36_000).contains(&different.len()),
        "{}",
        different.len()
    );
    assert!(is_selectable(FIRST) && is_selectable(LAST));
    assert!(!is_selectable(Ipv4Addr::new(169, 254, 0, 255)));
    assert!(!is_selectable(Ipv4Addr::new(169, 254, 255, 0)));
}

#[test]
fn the_same_address_comes_first_after_each_start() {
    let (_, address) = Bench::claimed(config(7));
    let (mut again, second) = Bench::claimed(config(7));
    assert_eq!(address, second);
    // And when only the link was away.
    assert_eq!(again.machine.stop(), Some(address));
    assert_eq!(again.machine.address(), None);
    again.start();
    again.pass(Duration::from_secs(1));
    assert_eq!(again.events(), [Event::Claimed(address)]);
}

#[test]
fn copies_of_a_machine_try_the_same_address_only_at_first() {
    let seed = Seed::from_identity(&[7; 16], "host0");
    assert_eq!(seed.candidate(mac(1), 0), seed.candidate(mac(2), 0));
    for generation in 1..20 {
        assert_ne!(
            seed.candidate(mac(1), generation),
            seed.candidate(mac(2), generation)
        );
    }
    assert_ne!(seed, Seed::from_identity(&[7; 16], "host1"));
    assert_ne!(seed, Seed::from_identity(&[8; 16], "host0"));
}

#[test]
fn a_wanted_address_is_tried_first_if_hosts_may_choose_it() {
    let wanted = |address| Ipv4llConfig {
        start_address: Some(address),
        ..config(7)
    };
    let good = Ipv4Addr::new(169, 254, 12, 13);
    assert_eq!(Bench::claimed(wanted(good)).1, good);
    let own = Bench::claimed(config(7)).1;
    for bad in [
        Ipv4Addr::new(169, 254, 0, 1),
        Ipv4Addr::new(169, 254, 255, 1),
        Ipv4Addr::new(192, 168, 1, 1),
    ] {
        assert_eq!(Bench::claimed(wanted(bad)).1, own);
    }
}

#[test]
fn an_address_that_is_taken_is_followed_by_another() {
    let mut bench = Bench::new(config(7));
    bench.start();
    let first = Seed::from_mac(mac(7)).candidate(mac(7), 0);
    bench.hear(says(mac(9), first));
    assert_eq!(
        bench.events(),
        [Event::Taken {
            address: first,
            by: mac(9)
        }]
    );
    bench.pass(Duration::from_secs(1));
    let second = bench.machine.address().unwrap();
    assert_ne!(first, second);
    assert_eq!(bench.events()[1..], [Event::Claimed(second)]);
}

/// RFC 3927, section 2.5 (b).
#[test]
fn an_address_is_defended_once_and_then_given_up() {
    let (mut bench, address) = Bench::claimed(config(7));
    let by = mac(9);
    bench.hear(says(by, address));
    assert_eq!(bench.events(), [Event::Defended { address, by }]);
    assert_eq!(bench.sent, [ArpPacket::announcement(mac(7), address)]);
    bench.pass(Duration::from_secs(9));
    bench.hear(says(by, address));
    assert_eq!(bench.events()[1..], [Event::Lost { address, by }]);
    assert_eq!(bench.machine.address(), None);
    bench.pass(Duration::from_secs(1));
    assert!(bench.machine.address().is_some_and(|next| next != address));
}

#[test]
fn who_says_that_it_has_every_address_is_asked_once_a_minute() {
    let mut bench = Bench::new(config(7));
    bench.start();
    let mut asked = Vec::new();
    while bench.now - bench.begun < Duration::from_secs(3600) {
        let next = bench.machine.deadline().unwrap() - bench.now;
        bench.pass(next);
        for probe in std::mem::take(&mut bench.sent) {
            asked.push(bench.now - bench.begun);
            bench.hear(says(mac(9), probe.target));
        }
    }
    let allowed = usize::try_from(MAX_CONFLICTS).unwrap() + 60;
    assert!((60..=allowed).contains(&asked.len()), "{}", asked.len());
    let last = asked.windows(2).skip(12);
    for pair in last {
        assert!(
            pair[1] - pair[0] >= Duration::from_millis(59_900),
            "{pair:?}"
        );
    }
    assert!(
        bench
            .events()
            .iter()
            .all(|event| matches!(event, Event::Taken { .. }))
    );
}

#[test]
fn who_takes_each_address_after_it_was_claimed_does_not_keep_us_busy() {
    let mut bench = Bench::new(config(7));
    bench.start();
    while bench.now - bench.begun < Duration::from_secs(3600) {
        bench.pass(Duration::from_millis(50));
        if let Some(address) = bench.machine.address() {
            bench.hear(says(mac(9), address));
        }
    }
    let claims = bench
        .events()
        .iter()
        .filter(|event| matches!(event, Event::Claimed(_)))
        .count();
    assert!((60..=75).contains(&claims), "{claims}");
}

#[test]
fn an_address_from_before_is_taken_over_without_a_gap() {
    let address = Ipv4Addr::new(169, 254, 12, 13);
    let mut bench = Bench::new(config(7));
    bench.machine.adopt(bench.now, address);
    bench.drain();
    bench.pass(Duration::from_secs(60));
    assert_eq!(bench.machine.address(), Some(address));
    assert_eq!((bench.sent.len(), bench.told.len()), (0, 0));
    bench.hear(says(mac(9), address));
    assert_eq!(bench.sent, [ArpPacket::announcement(mac(7), address)]);
    // One that is none of those is replaced.
    bench.machine.adopt(bench.now, Ipv4Addr::new(10, 0, 0, 1));
    bench.pass(Duration::from_secs(1));
    assert!(bench.machine.address().is_some_and(is_selectable));
}

#[test]
fn after_dhcp_has_given_an_address_nothing_is_said() {
    let (mut bench, address) = Bench::claimed(config(7));
    assert_eq!(bench.machine.stop(), Some(address));
    assert_eq!(bench.machine.stop(), None);
    bench.hear(says(mac(9), address));
    bench.pass(Duration::from_secs(600));
    assert_eq!((bench.sent.len(), bench.told.len()), (0, 0));
    assert_eq!(bench.machine.deadline(), None);
}
