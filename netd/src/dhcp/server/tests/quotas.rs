//! Nobody uses up what is there for all.

use super::*;
use crate::dhcp::server::Bounds;

fn shared(network: &str) -> Bench {
    let mut config = ServerConfig::new(network.parse().unwrap()).unwrap();
    config.bounds = Bounds::shared();
    Bench::with(config)
}

impl Bench {
    /// A lease for a client that says to have `mac`, in frames of `source` by `port`.
    fn lease_by(&mut self, port: u32, source: Mac, mac: Mac) -> Option<Ipv4Addr> {
        let ask = discover(mac).to_vec().unwrap();
        let offered = self.from(port, source, EVERYBODY, ask)?.message.yiaddr();
        let mut request = message(MessageType::Request, mac).wanting(offered);
        request = request.to_server(self.server.config().address());
        let ack = self.from(port, source, EVERYBODY, request.to_vec().unwrap())?;
        ack.is_ack_for(offered);
        Some(offered)
    }
}

fn many(number: u32) -> Mac {
    let [a, b, c, d] = number.to_be_bytes();
    Mac([2, 1, a, b, c, d])
}

#[test]
fn a_station_has_so_many_whatever_its_clients_say_to_be() {
    let mut bench = shared("10.0.0.1/24");
    for number in 0..8 {
        assert!(bench.lease_by(5, guest(1), many(number)).is_some());
    }
    assert_eq!(bench.lease_by(5, guest(1), many(8)), None);
    let quota = Event::Quota {
        port: 5,
        mac: guest(1),
    };
    assert_eq!(*bench.last_event(), quota);
    // Another one, behind the same port and behind another.
    assert!(bench.lease_by(5, guest(2), guest(2)).is_some());
    assert!(bench.lease_by(6, guest(1), guest(1)).is_some());
    // What it has it can prolong, and give back for another.
    let own = bench.lease_by(5, guest(1), many(3)).unwrap();
    let release = message(MessageType::Release, many(3)).having(own);
    bench.from(5, guest(1), address(1), release.to_vec().unwrap());
    let server = bench.server.config().address();
    let release = message(MessageType::Release, many(3)).having(own);
    bench.from(5, guest(1), server, release.to_vec().unwrap());
    assert!(bench.lease_by(5, guest(1), many(8)).is_some());
    assert_eq!(bench.lease_by(5, guest(1), many(9)), None);
    assert_eq!(bench.server.counts().quota, 2);
}

#[test]
fn a_port_has_a_quarter_and_sixteen_at_least() {
    for (network, most) in [("10.0.0.1/24", 63), ("10.0.0.1/27", 16)] {
        let mut bench = shared(network);
        let got =
            (0..400).filter(|number| bench.lease_by(5, many(*number), many(*number)).is_some());
        assert_eq!(got.count(), most, "{network}");
        assert!(bench.lease_by(6, guest(1), guest(1)).is_some());
    }
}

/// Who asks and never takes what it is offered uses up nothing but its own.
#[test]
fn a_flood_of_questions_behind_one_port_leaves_the_rest_to_others() {
    let mut bench = shared("10.0.0.1/24");
    for number in 0..2000 {
        let ask = discover(many(number)).to_vec().unwrap();
        let offer = bench.from(5, many(number), EVERYBODY, ask).unwrap();
        assert_eq!(offer.kind(), MessageType::Offer);
    }
    assert_eq!(bench.server.usage().held, 63);
    for number in 0..63 {
        assert!(
            bench
                .lease_by(6, many(9000 + number), many(9000 + number))
                .is_some()
        );
    }
    assert_eq!(bench.server.usage().held, 126);
}

#[test]
fn reserved_addresses_are_on_nobodys_account() {
    let mut config = ServerConfig::new("10.0.0.1/24".parse().unwrap()).unwrap();
    config.bounds = Bounds {
        per_mac: 0,
        ..Bounds::shared()
    };
    config
        .reserve(guest(1), Ipv4Addr::new(10, 0, 0, 9))
        .unwrap();
    config
        .reserve_id(b"\x00two".to_vec(), Ipv4Addr::new(10, 0, 0, 10))
        .unwrap();
    let mut bench = Bench::with(config);
    assert!(bench.lease_by(5, guest(1), guest(1)).is_some());
    let two = discover(guest(2)).id(b"\x00two");
    assert_eq!(
        bench.ask(two).unwrap().message.yiaddr(),
        Ipv4Addr::new(10, 0, 0, 10)
    );
    assert_eq!(bench.lease_by(5, guest(2), guest(2)), None);
}

/// Another port's lease is not ended from here.
#[test]
fn release_and_decline_count_where_the_lease_is() {
    let mut bench = shared("10.0.0.1/24");
    let own = bench.lease_by(5, guest(1), guest(1)).unwrap();
    let server = bench.server.config().address();
    for kind in [MessageType::Release, MessageType::Decline] {
        let forged = message(kind, guest(1)).having(own).wanting(own);
        bench.from(6, guest(1), server, forged.to_vec().unwrap());
        assert_eq!(bench.leased(), [own], "{kind:?}");
    }
    let own_release = message(MessageType::Release, guest(1)).having(own);
    bench.from(5, guest(1), server, own_release.to_vec().unwrap());
    assert!(bench.leased().is_empty());
}

/// Nor is it moved to another port, or given up for another address, by who says to be its
/// client there.
#[test]
fn who_says_to_be_a_client_of_another_port_does_not_take_its_lease() {
    let mut bench = shared("10.0.0.1/24");
    let own = bench.lease_by(5, guest(1), guest(1)).unwrap();
    let server = bench.server.config().address();
    let send = |bench: &mut Bench, port, message: Message| {
        bench.from(port, guest(1), server, message.to_vec().unwrap())
    };
    for forged in [
        renew(guest(1), own),
        init_reboot(guest(1), own),
        init_reboot(guest(1), own).to_server(server),
    ] {
        send(&mut bench, 6, forged);
        let release = message(MessageType::Release, guest(1)).having(own);
        send(&mut bench, 6, release);
        assert_eq!(bench.leased(), [own]);
    }
    let other = Ipv4Addr::new(10, 0, 0, 200);
    let moving = init_reboot(guest(1), other).to_server(server);
    send(&mut bench, 6, moving).unwrap().is_nak();
    assert_eq!(bench.leased(), [own]);
    send(&mut bench, 5, renew(guest(1), own))
        .unwrap()
        .is_ack_for(own);
    let release = message(MessageType::Release, guest(1)).having(own);
    send(&mut bench, 5, release);
    assert!(bench.leased().is_empty());
}

/// A machine that is started anew has another port.
#[test]
fn a_lease_goes_with_its_client_when_the_port_is_gone() {
    let mut bench = shared("10.0.0.1/24");
    let own = bench.lease_by(5, guest(1), guest(1)).unwrap();
    let elsewhere = bench.lease_by(6, guest(2), guest(2)).unwrap();
    bench.server.forget_port(5);
    assert_eq!(bench.lease_by(7, guest(1), guest(1)), Some(own));
    let server = bench.server.config().address();
    for (client, own) in [(1, own), (2, elsewhere)] {
        let release = message(MessageType::Release, guest(client)).having(own);
        bench.from(7, guest(client), server, release.to_vec().unwrap());
    }
    assert_eq!(bench.leased(), [elsewhere]);
}

#[test]
fn declined_addresses_of_a_port_are_bounded() {
    let mut bench = shared("10.0.0.1/24");
    for number in 0..100 {
        let own = bench.lease_by(5, guest(1), many(number)).unwrap();
        let decline = message(MessageType::Decline, many(number)).wanting(own);
        bench.from(5, guest(1), EVERYBODY, decline.to_vec().unwrap());
    }
    let usage = bench.server.usage();
    assert_eq!((usage.resting, usage.held), (15, 0));
    assert_eq!(usage.free + usage.resting, 253);
}

/// What a station had comes back to it; what nobody had goes to others first.
#[test]
fn a_former_address_waits_for_its_client_as_long_as_there_are_others() {
    let mut bench = shared("10.0.0.1/28");
    let own = bench.lease_by(5, guest(1), guest(1)).unwrap();
    bench.pass(Duration::from_secs(3600));
    assert!(bench.leased().is_empty());
    let others: Vec<_> = (0..12)
        .map(|number| bench.lease_by(number, many(number), many(number)).unwrap())
        .collect();
    assert!(!others.contains(&own));
    assert_eq!(bench.lease_by(5, guest(1), guest(1)), Some(own));
    // With nothing else left it is somebody else's.
    bench.pass(Duration::from_secs(3600));
    let again: Vec<_> = (20..33)
        .map(|number| bench.lease_by(number, many(number), many(number)).unwrap())
        .collect();
    assert!(again.contains(&own));
}
