//! What a change of the configuration does to clients.

use super::*;
use crate::dhcp::server::Ending;

#[test]
fn settings_are_those_of_the_moment_of_the_reply() {
    let mut bench = Bench::new();
    bench.plain_lease(HOST0);
    let mut changed = config();
    changed.dns = vec![Ipv4Addr::new(10, 1, 1, 1)];
    changed.mtu = Some(1280);
    bench.configure(changed);
    assert_eq!(bench.leased(), [HOST0_ADDRESS], "the lease stays");
    let reply = bench.ask_directly(renew(HOST0, HOST0_ADDRESS)).unwrap();
    reply.is_ack_for(HOST0_ADDRESS);
    assert!(reply.has(&DhcpOption::DomainNameServer(vec![Ipv4Addr::new(
        10, 1, 1, 1
    )])));
    assert!(reply.has(&DhcpOption::InterfaceMtu(1280)));
}

fn moved() -> ServerConfig {
    let mut moved = ServerConfig::new("172.20.0.1/28".parse().unwrap()).unwrap();
    moved.reserve(HOST0, Ipv4Addr::new(172, 20, 0, 2)).unwrap();
    moved
}

#[test]
fn a_moved_subnet_ends_all_leases_and_refuses_who_renews() {
    let mut bench = Bench::new();
    bench.plain_lease(HOST0);
    let old = bench.plain_lease(guest(1));
    bench.configure(moved());
    assert!(bench.leases().is_empty());
    let withdrawn = |event: &&Event| matches!(event, Event::Ended(_, Ending::Withdrawn));
    assert_eq!(bench.events.iter().filter(withdrawn).count(), 2);

    // To the address that the server had, to all, and after a restart.
    let reply = bench.ask_directly(renew(HOST0, HOST0_ADDRESS)).unwrap();
    reply.is_nak();
    // As the server that the client knows: it would not listen to another.
    assert_eq!(*reply.transmit.source.ip(), SERVER);
    assert!(reply.has(&DhcpOption::ServerIdentifier(SERVER)));
    bench.ask(renew(guest(1), old)).unwrap().is_nak();
    bench.ask(init_reboot(guest(1), old)).unwrap().is_nak();
    // Another's address is another matter.
    assert!(
        bench
            .ask(renew(guest(1), Ipv4Addr::new(10, 0, 0, 9)))
            .is_none()
    );

    let offer = bench.ask(discover(HOST0)).unwrap();
    assert_eq!(offer.message.yiaddr(), Ipv4Addr::new(172, 20, 0, 2));
}

#[test]
fn a_subnet_that_moves_back_is_not_held_against_clients() {
    let mut bench = Bench::new();
    let own = bench.plain_lease(guest(1));
    bench.configure(moved());
    bench.configure(config());
    bench.ask(renew(guest(1), own)).unwrap().is_ack_for(own);
    assert!(
        bench.ask(renew(guest(2), own)).is_none(),
        "rebinding to another's is not answered"
    );
}

#[test]
fn a_new_reservation_takes_the_address_from_whoever_has_it() {
    let mut bench = Bench::new();
    let old = bench.plain_lease(guest(1));
    let wanted = bench.plain_lease(guest(2));
    let mut changed = config();
    changed.reserve(guest(1), wanted).unwrap();
    bench.configure(changed);
    // Neither has its old lease: one has lost the address, the other must change.
    assert!(bench.leases().is_empty());
    bench
        .ask_directly(renew(guest(2), wanted))
        .unwrap()
        .is_nak();
    bench.ask_directly(renew(guest(1), old)).unwrap().is_nak();
    assert_eq!(bench.plain_lease(guest(1)), wanted);
    bench.ask(select(guest(2), wanted)).unwrap().is_nak();
    // Dropped again, its owner has it like any other address.
    bench.configure(config());
    bench
        .ask_directly(renew(guest(1), wanted))
        .unwrap()
        .is_ack_for(wanted);
    bench.ask(init_reboot(guest(2), wanted)).unwrap().is_nak();
}

/// An address that rests because it was declined, and is kept for a machine meanwhile.
#[test]
fn what_is_kept_for_one_is_nobody_elses_when_its_rest_ends() {
    let mut bench = Bench::new();
    let own = bench.plain_lease(guest(1));
    let decline = message(MessageType::Decline, guest(1)).wanting(own);
    bench.ask(decline);
    assert_eq!(bench.server.usage().resting, 1);
    bench
        .server
        .reserve(bench.now, guest(2), Some(own))
        .unwrap();
    assert_eq!(bench.server.usage().resting, 0);
    let free = bench.server.usage().free;
    bench.pass(Duration::from_secs(3 * 86_400));
    assert_eq!(bench.server.usage().free, free);
    bench.ask(init_reboot(guest(3), own)).unwrap().is_nak();
    assert_eq!(bench.plain_lease(guest(2)), own);
}

#[test]
fn a_new_address_of_the_server_is_no_clients() {
    let mut bench = Bench::new();
    let own = bench.plain_lease(guest(1));
    let mut changed = ServerConfig::new(ipnetwork::Ipv4Network::new(own, 28).unwrap()).unwrap();
    changed.reserve(HOST0, HOST0_ADDRESS).unwrap();
    bench.configure(changed);
    assert!(bench.leases().is_empty());
    bench.ask_directly(renew(guest(1), own)).unwrap().is_nak();
}

#[test]
fn the_subnet_before_last_is_remembered_too() {
    let mut bench = Bench::new();
    let own = bench.plain_lease(guest(1));
    bench.configure(moved());
    bench.configure(ServerConfig::new("10.0.0.1/28".parse().unwrap()).unwrap());
    bench.ask(renew(guest(1), own)).unwrap().is_nak();
}

#[test]
fn a_server_that_moves_within_its_subnet_goes_on_as_before() {
    let mut bench = Bench::new();
    let own = bench.lease(|message| message.wanting(address(5)), guest(1));
    bench.configure(ServerConfig::new("192.168.7.14/28".parse().unwrap()).unwrap());
    assert_eq!(bench.leased(), [own]);
    // Sent to the address that the server had.
    bench
        .ask_directly(renew(guest(1), own))
        .unwrap()
        .is_ack_for(own);
    assert!(bench.ask(renew(guest(2), own)).is_none());
}
