//! Addresses that are looked for on the link before they are offered.

use super::*;
use crate::dhcp::server::{Bounds, DECLINE_REST, PROBE_HOLDS, PROBE_PATIENCE};

fn probing() -> Bench {
    let mut config = ServerConfig::new("10.0.0.1/24".parse().unwrap()).unwrap();
    config.bounds = Bounds::shared();
    config.probe = true;
    let mut bench = Bench::with(config);
    bench.pass(Duration::ZERO);
    bench
}

impl Bench {
    fn probed(&mut self, address: Ipv4Addr, free: bool) -> Option<Reply> {
        self.server
            .handle(self.now, Input::Probed { address, free });
        self.drain().pop().map(Reply::read)
    }

    /// Answers all probes; gives how many there were.
    fn all_are_free(&mut self) -> usize {
        let probes = std::mem::take(&mut self.probes);
        for address in &probes {
            self.probed(*address, true);
        }
        probes.len()
    }
}

#[test]
fn an_offer_comes_from_the_stock() {
    let mut bench = probing();
    let ahead = bench.probes.clone();
    assert_eq!(ahead.len(), 4);
    assert_eq!(bench.all_are_free(), 4);
    let offer = bench.ask(discover(guest(1))).unwrap();
    assert!(ahead.contains(&offer.message.yiaddr()));
    assert_eq!(bench.probes.len(), 1, "it is filled up again");
}

#[test]
fn the_stock_empty_an_offer_waits_for_its_probe() {
    let mut bench = probing();
    for number in 0..6 {
        assert!(bench.ask(discover(guest(number))).is_none());
    }
    // The last message of each counts, and once.
    let mut again = discover(guest(0));
    again.set_xid(1234);
    assert!(bench.ask(again).is_none());
    let probes = std::mem::take(&mut bench.probes);
    let offers: Vec<_> = probes
        .iter()
        .filter_map(|address| bench.probed(*address, true))
        .collect();
    assert_eq!(offers.len(), 6);
    assert_eq!(
        offers
            .iter()
            .filter(|offer| offer.message.xid() == 1234)
            .count(),
        1
    );
    for offer in offers {
        let mac = Mac(offer.message.chaddr().try_into().unwrap());
        let request = message(MessageType::Request, mac).wanting(offer.message.yiaddr());
        bench
            .ask(request)
            .unwrap()
            .is_ack_for(offer.message.yiaddr());
    }
}

#[test]
fn an_address_in_use_rests_and_the_client_gets_another() {
    let mut bench = probing();
    assert!(bench.ask(discover(guest(1))).is_none());
    // It waits for the first of them.
    let used = bench.probes.remove(0);
    assert!(bench.probed(used, false).is_none());
    assert!(bench.events.contains(&Event::InUse { address: used }));
    let offer = std::mem::take(&mut bench.probes)
        .into_iter()
        .find_map(|address| bench.probed(address, true))
        .unwrap();
    assert_ne!(offer.message.yiaddr(), used);
    bench.ask(init_reboot(guest(2), used)).unwrap().is_nak();
    bench.pass(DECLINE_REST);
    bench
        .ask(init_reboot(guest(2), used))
        .unwrap()
        .is_ack_for(used);
}

#[test]
fn the_stock_grows_and_shrinks_with_demand() {
    let mut bench = probing();
    let mut begun = bench.all_are_free();
    for number in 0..100_u8 {
        let ask = discover(guest(number)).to_vec().unwrap();
        let port = u32::from(number);
        assert!(bench.from(port, guest(number), EVERYBODY, ask).is_some());
        begun += bench.all_are_free();
    }
    assert_eq!(begun, 200, "as many again as were offered");
    bench.pass(PROBE_HOLDS);
    assert_eq!(bench.all_are_free(), 4);
}

#[test]
fn what_is_known_of_an_address_gets_old() {
    let mut bench = probing();
    let first = bench.probes.clone();
    bench.all_are_free();
    assert_eq!(bench.server.deadline(), Some(bench.now + PROBE_HOLDS));
    bench.pass(PROBE_HOLDS);
    assert_eq!(bench.probes.len(), 4, "looked for again");
    // A probe that nobody answers for is given up.
    bench.pass(PROBE_PATIENCE);
    assert_eq!(bench.probes.len(), 8);
    for address in first {
        assert!(bench.probed(address, true).is_none());
    }
    assert_eq!(bench.server.usage().free, 253);
}

#[test]
fn few_wait_and_few_of_one_port() {
    let mut config = ServerConfig::new("10.0.0.1/16".parse().unwrap()).unwrap();
    config.bounds = Bounds {
        waiting: 40,
        ..Bounds::shared()
    };
    config.probe = true;
    let mut bench = Bench::with(config);
    let flood = |bench: &mut Bench, port: u32| {
        for number in 0..100_u8 {
            let mac = Mac([2, 7, 0, 0, port as u8, number]);
            let ask = discover(mac).to_vec().unwrap();
            assert!(bench.from(port, mac, EVERYBODY, ask).is_none());
        }
    };
    flood(&mut bench, 1);
    assert_eq!(bench.server.counts().put_off, 90);
    assert!(bench.probes.len() <= 4 + 10 + 100, "{}", bench.probes.len());
    flood(&mut bench, 2);
    assert_eq!(bench.server.counts().put_off, 180);
}

/// Who has as many as it may have by the time its address is probed gets none, and the
/// address is another's.
#[test]
fn the_quota_is_that_of_the_moment_of_the_offer() {
    let mut bench = probing();
    let client = |number: u8| discover(guest(1)).id(&[0, number]);
    for number in 0..9 {
        assert!(bench.ask(client(number)).is_none());
    }
    let probes = bench.probes.clone();
    let others = (2..255).map(|last| Ipv4Addr::new(10, 0, 0, last));
    let others = others.filter(|address| !probes.contains(address));
    for (number, address) in (10..18).zip(others) {
        let request = init_reboot(guest(1), address).id(&[0, number]);
        bench.ask(request).unwrap().is_ack_for(address);
    }
    for address in std::mem::take(&mut bench.probes) {
        assert!(bench.probed(address, true).is_none());
    }
    assert_eq!(bench.server.counts().quota, 9);
    let usage = bench.server.usage();
    assert_eq!((usage.held, usage.free), (8, 245));
}

#[test]
fn who_comes_back_does_not_wait_and_who_wishes_does() {
    let mut bench = probing();
    bench.all_are_free();
    let own = bench.ask(discover(guest(1))).unwrap().message.yiaddr();
    bench
        .ask(init_reboot(guest(1), own))
        .unwrap()
        .is_ack_for(own);
    bench.ask_at_server(message(MessageType::Release, guest(1)).having(own));
    bench.probes.clear();
    assert_eq!(bench.ask(discover(guest(1))).unwrap().message.yiaddr(), own);

    let wish = Ipv4Addr::new(10, 0, 0, 77);
    assert!(bench.ask(discover(guest(2)).wanting(wish)).is_none());
    assert_eq!(bench.probed(wish, true).unwrap().message.yiaddr(), wish);
    // Its own by what it says: it would answer the probe itself.
    let other = Ipv4Addr::new(10, 0, 0, 78);
    bench
        .ask(init_reboot(guest(3), other))
        .unwrap()
        .is_ack_for(other);
}

/// Whoever answers for every address stops the service as little as it can.
#[test]
fn a_link_on_which_all_addresses_are_used_goes_on_without_probes() {
    let mut bench = probing();
    for _ in 0..300 {
        for address in std::mem::take(&mut bench.probes) {
            bench.probed(address, false);
        }
        bench.pass(Duration::from_secs(1));
    }
    assert_eq!(bench.server.usage().free, 0);
    assert!(bench.ask(discover(guest(1))).is_some());
}

#[test]
fn probes_that_find_somebody_are_paced() {
    let mut config = ServerConfig::new("10.0.0.1/16".parse().unwrap()).unwrap();
    config.bounds = Bounds::shared();
    config.probe = true;
    let mut bench = Bench::with(config);
    bench.pass(Duration::ZERO);
    for number in 0..20_000_u32 {
        let Some(address) = bench.probes.pop() else {
            break;
        };
        assert!(number < 600, "no end of probes");
        bench.probed(address, false);
    }
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.probes.len(), 4);
}

/// Somebody joins or leaves, and what was found free before is there all the same.
#[test]
fn the_stock_outlasts_changes_of_what_is_kept_for_others() {
    let mut bench = probing();
    assert_eq!(bench.all_are_free(), 4);
    let member = Mac([2, 0, 0, 0, 0, 9]);
    let own = Ipv4Addr::new(10, 0, 0, 9);
    bench.server.reserve(bench.now, member, Some(own)).unwrap();
    bench.drain();
    assert!(bench.probes.len() <= 1, "{:?}", bench.probes);
    bench.all_are_free();
    assert!(bench.ask(discover(guest(1))).is_some());
    bench.all_are_free();
    let mut config = bench.server.config().clone();
    config.dns.clear();
    bench.configure(config);
    assert!(bench.probes.is_empty(), "nothing is looked for again");
    assert!(bench.ask(discover(guest(2))).is_some());
    // It is kept for that one alone, and anybody's afterwards.
    let offer = bench.ask(discover(member)).unwrap();
    assert_eq!(offer.message.yiaddr(), own);
    let other = bench.ask(discover(guest(3)).wanting(own)).unwrap();
    assert_ne!(other.message.yiaddr(), own);
    bench.server.reserve(bench.now, member, None).unwrap();
    bench.drain();
    bench.all_are_free();
    assert!(bench.ask(discover(guest(4)).wanting(own)).is_none());
    assert_eq!(bench.probes, [own]);
}

#[test]
fn an_address_that_is_kept_is_at_one_place() {
    let mut bench = probing();
    let free = |bench: &Bench| bench.server.usage().free;
    let before = free(&bench);
    let member = Mac([2, 0, 0, 0, 0, 9]);
    for last in [9, 9, 10] {
        let own = Ipv4Addr::new(10, 0, 0, last);
        bench.server.reserve(bench.now, member, Some(own)).unwrap();
        assert_eq!(free(&bench), before - 1);
    }
    // One of the stock, too.
    let probed = bench.probes[0];
    bench
        .server
        .reserve(bench.now, member, Some(probed))
        .unwrap();
    assert_eq!(free(&bench), before - 1);
    let outside = Ipv4Addr::new(10, 9, 9, 9);
    assert!(
        bench
            .server
            .reserve(bench.now, member, Some(outside))
            .is_err()
    );
    bench.server.reserve(bench.now, member, None).unwrap();
    assert_eq!(free(&bench), before);
}
