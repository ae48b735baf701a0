//! Leases that outlast the server.

use super::*;
use crate::dhcp::server::{Bounds, ClientKey};

fn keeping() -> ServerConfig {
    let mut config = config();
    config.keep = true;
    config.bounds = Bounds::shared();
    config
}

/// What comes out, in short and in order.
fn order(bench: &mut Bench, message: Message) -> Vec<&'static str> {
    let payload = message.to_vec().unwrap();
    let source_mac = Mac(payload[28..34].try_into().unwrap());
    let datagram = Datagram {
        port: 1,
        source_mac,
        source: NOWHERE,
        destination: SERVER,
        payload,
    };
    bench.server.handle(bench.now, Input::Datagram(datagram));
    let outputs = std::iter::from_fn(|| bench.server.poll_output());
    let outputs = outputs.filter_map(|output| match output {
        Output::Send(_) => Some("send"),
        Output::SendKept(_) => Some("send when kept"),
        Output::Keep(Change::Leased(_)) => Some("leased"),
        Output::Keep(Change::Freed(_)) => Some("freed"),
        Output::Probe { .. } | Output::Event(_) => None,
    });
    outputs.collect()
}

/// The leases that the changes amount to.
fn replayed(changes: &[Change]) -> Vec<Lease> {
    let mut known = std::collections::BTreeMap::new();
    for change in changes {
        match change {
            Change::Leased(lease) => drop(known.insert(lease.address, lease.clone())),
            Change::Freed(address) => drop(known.remove(address)),
        }
    }
    known.into_values().collect()
}

#[test]
fn a_lease_is_kept_before_it_is_acknowledged() {
    let mut bench = Bench::with(keeping());
    assert_eq!(
        order(&mut bench, discover(HOST0)),
        ["send"],
        "an offer is no promise"
    );
    let select = || select(HOST0, HOST0_ADDRESS);
    assert_eq!(order(&mut bench, select()), ["leased", "send when kept"]);
    // Repeated before the disk has it, it waits for the same.
    assert_eq!(order(&mut bench, select()), ["send when kept"]);
    let rapid = discover(guest(1)).with(DhcpOption::RapidCommit);
    assert_eq!(order(&mut bench, rapid), ["leased", "send when kept"]);
    let own = bench.leases()[1].address;
    assert_eq!(
        order(&mut bench, init_reboot(guest(2), own)),
        ["send"],
        "a NAK"
    );
    let release = message(MessageType::Release, guest(1)).having(own);
    assert_eq!(order(&mut bench, release), ["freed"]);
    let decline = message(MessageType::Decline, HOST0).wanting(HOST0_ADDRESS);
    assert_eq!(order(&mut bench, decline), ["freed"]);
}

#[test]
fn what_is_kept_never_ends_before_what_was_promised() {
    let mut bench = Bench::with(keeping());
    let own = bench.plain_lease(guest(1));
    let mut writes = 0;
    for _ in 0..40 {
        let before = bench.kept.len();
        bench
            .ask_directly(renew(guest(1), own))
            .unwrap()
            .is_ack_for(own);
        writes += bench.kept.len() - before;
        let promised = bench.leases()[0].until;
        assert!(replayed(&bench.kept)[0].until >= promised);
        bench.pass(Duration::from_secs(600));
    }
    assert!(
        (5..15).contains(&writes),
        "{writes} of 40 renewals were written"
    );
    bench.pass(Duration::from_secs(7200));
    assert!(replayed(&bench.kept).is_empty(), "an end is kept too");
}

#[test]
fn what_was_not_kept_for_a_while_is_written_before_it_is_acknowledged() {
    let mut bench = Bench::with(keeping());
    let own = bench.plain_lease(guest(1));
    let other = bench.plain_lease(guest(2));
    let mut changed = keeping();
    changed.keep = false;
    bench.configure(changed);
    let kept = replayed(&bench.kept);
    assert_eq!(kept.len(), 2);
    let renewal = || renew(guest(1), own).to_server(SERVER);
    assert_eq!(order(&mut bench, renewal()), ["freed", "send"]);
    assert_eq!(order(&mut bench, renewal()), ["send"]);
    let release = message(MessageType::Release, guest(2)).having(other);
    assert_eq!(order(&mut bench, release), ["freed"]);
    let third = discover(guest(3)).with(DhcpOption::RapidCommit);
    assert_eq!(order(&mut bench, third), ["send"]);
    bench.configure(keeping());
    assert_eq!(order(&mut bench, renewal()), ["leased", "send when kept"]);
    assert_eq!(order(&mut bench, renewal()), ["send when kept"]);
}

#[test]
fn a_server_goes_on_where_it_was_killed() {
    let mut bench = Bench::with(keeping());
    let own: Vec<_> = (1..5)
        .map(|number| bench.plain_lease(guest(number)))
        .collect();
    bench.plain_lease(HOST0);
    let kept = replayed(&bench.kept);
    let mut second = Bench::with(keeping());
    second.now = bench.now;
    second.server.restore(second.now, kept);
    assert_eq!(second.leased(), bench.leased());
    assert!(second.events.is_empty() && second.kept.is_empty());
    for (number, own) in (1..5).zip(own) {
        second.ask(init_reboot(guest(9), own)).unwrap().is_nak();
        second
            .ask_directly(renew(guest(number), own))
            .unwrap()
            .is_ack_for(own);
    }
    assert_eq!(second.plain_lease(HOST0), HOST0_ADDRESS);
    let usage = second.server.usage();
    assert_eq!(usage.free + usage.held, 12);
}

/// After a restart nobody ends another's lease, and who has none does not get it.
#[test]
fn a_lease_of_before_is_the_clients_that_asks_for_it_first() {
    let mut bench = Bench::with(keeping());
    let own = bench.plain_lease(guest(1));
    let mut second = Bench::with(keeping());
    second.server.restore(second.now, replayed(&bench.kept));
    let release = || {
        let release = message(MessageType::Release, guest(1)).having(own);
        release.to_vec().unwrap()
    };
    second.from(9, guest(1), SERVER, release());
    assert_eq!(second.leased(), [own]);
    let renewal = renew(guest(1), own).to_vec().unwrap();
    let ack = second.from(1, guest(1), SERVER, renewal);
    ack.unwrap().is_ack_for(own);
    second.from(9, guest(1), SERVER, release());
    assert_eq!(second.leased(), [own]);
    second.from(1, guest(1), SERVER, release());
    assert!(second.leased().is_empty());
}

#[test]
fn what_has_no_place_any_more_is_not_taken_over() {
    let mut bench = Bench::with(keeping());
    let lease = |address, mac, client: &[u8], seconds| Lease {
        address,
        client: ClientKey::Id(client.to_vec()),
        mac,
        hostname: None,
        until: bench.now + Duration::from_secs(seconds),
    };
    let leases = [
        lease(address(5), guest(1), b"one", 100),
        lease(address(6), guest(2), b"two", 0),
        lease(Ipv4Addr::new(10, 0, 0, 1), guest(3), b"three", 100),
        lease(HOST0_ADDRESS, guest(4), b"four", 100),
        // A file that says two things of one client and of one address.
        lease(address(7), guest(1), b"one", 200),
        lease(address(7), guest(6), b"six", 200),
    ];
    bench.server.restore(bench.now, leases);
    bench.drain();
    assert_eq!(bench.leased(), [address(7)]);
    assert_eq!(bench.leases()[0].client, ClientKey::Id(b"six".to_vec()));
    let usage = bench.server.usage();
    assert_eq!(usage.free + usage.held, 12);
}
