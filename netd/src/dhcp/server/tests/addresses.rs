//! Who gets which address.

use std::collections::BTreeSet;

use super::*;

#[test]
fn whatever_asks_from_host0_gets_its_address() {
    let mut bench = Bench::new();
    let ids: [&[u8]; 4] = [
        b"\x01\x02\x00\x00\x00\x00\x01",
        b"\xff\x12\x34a duid",
        b"\x00text",
        &[9; 255],
    ];
    for id in ids {
        assert_eq!(bench.lease(|message| message.id(id), HOST0), HOST0_ADDRESS);
        bench
            .ask(init_reboot(HOST0, HOST0_ADDRESS).id(id))
            .unwrap()
            .is_ack_for(HOST0_ADDRESS);
        bench
            .ask(renew(HOST0, HOST0_ADDRESS).id(id))
            .unwrap()
            .is_ack_for(HOST0_ADDRESS);
    }
    assert_eq!(bench.leased(), [HOST0_ADDRESS]);
}

#[test]
fn host0s_address_is_never_anybody_elses() {
    let mut bench = Bench::new();
    for number in 0..12 {
        let mac = guest(number);
        // Not even if it sends what host0 would send as its identifier.
        let client = |message: Message| {
            message
                .id(&[1, 2, 0, 0, 0, 0, 1, number])
                .wanting(HOST0_ADDRESS)
        };
        let offer = bench.ask(client(discover(mac))).unwrap();
        assert_ne!(offer.message.yiaddr(), HOST0_ADDRESS);
        bench.ask(select(mac, HOST0_ADDRESS)).unwrap().is_nak();
    }
    assert_eq!(bench.plain_lease(HOST0), HOST0_ADDRESS);
}

#[test]
fn others_get_the_rest_of_the_subnet_until_it_is_full() {
    let mut bench = Bench::new();
    let given: BTreeSet<_> = (0..12)
        .map(|number| bench.plain_lease(guest(number)))
        .collect();
    assert_eq!(given, (3..15).map(address).collect());
    assert!(bench.ask(discover(guest(12))).is_none());
    assert_eq!(*bench.last_event(), Event::Exhausted { mac: guest(12) });
    assert_eq!(
        bench.plain_lease(HOST0),
        HOST0_ADDRESS,
        "a full subnet has room for host0"
    );
}

#[test]
fn a_client_gets_the_same_address_from_a_server_that_has_forgotten() {
    for number in 0..20 {
        let first = Bench::new().plain_lease(guest(number));
        assert_eq!(Bench::new().plain_lease(guest(number)), first);
    }
}

/// RFC 2131, section 4.2: "If the client supplies a 'client identifier', the
/// client MUST use the same 'client identifier' in all subsequent messages, and
/// the server MUST use that identifier to identify the client."
#[test]
fn clients_are_told_apart_by_identifier() {
    let mut bench = Bench::new();
    let one = bench.lease(|message| message.id(b"\x00one"), guest(1));
    let two = bench.lease(|message| message.id(b"\x00two"), guest(1));
    assert_ne!(one, two);
    assert_eq!(bench.lease(|message| message.id(b"\x00one"), guest(2)), one);
}

/// RFC 2131, section 4.3.1: "The address requested in the 'Requested IP Address'
/// option, if that address is valid and not already allocated".
#[test]
fn a_wish_is_granted_if_the_address_is_free() {
    let mut bench = Bench::new();
    let wish = |message: Message| message.wanting(address(13));
    assert_eq!(bench.lease(wish, guest(1)), address(13));
    assert_ne!(
        bench.lease(|message| message.id(b"\x00x"), guest(2)),
        address(13)
    );
    let offer = bench.ask(discover(guest(3)).wanting(address(13))).unwrap();
    assert_ne!(offer.message.yiaddr(), address(13));
    for taken in [
        SERVER,
        address(0),
        address(15),
        Ipv4Addr::new(8, 8, 8, 8),
        EVERYBODY,
    ] {
        let offer = bench.ask(discover(guest(4)).wanting(taken)).unwrap();
        assert!(
            (3..15)
                .map(address)
                .any(|client| client == offer.message.yiaddr())
        );
    }
}

#[test]
fn offers_nobody_takes_do_not_use_up_the_subnet() {
    let mut bench = Bench::new();
    for round in 0..200_u8 {
        let offer = bench.ask(discover(guest(1)).id(&[0, round])).unwrap();
        assert_eq!(offer.kind(), MessageType::Offer);
    }
    let own = bench.plain_lease(guest(2));
    assert_eq!(bench.leased(), [own]);
}

#[test]
fn resting_addresses_are_used_before_a_client_gets_none() {
    let mut bench = Bench::new();
    for round in 0..30 {
        let own = bench.lease(|message| message.id(&[0, round]), guest(1));
        let decline = message(MessageType::Decline, guest(1)).id(&[0, round]);
        bench.ask(decline.wanting(own).to_server(SERVER));
    }
    assert!(bench.leases().is_empty());
}

#[test]
fn the_bound_on_leases_is_kept_and_host0_stands_outside_it() {
    let mut config = ServerConfig::new("192.168.7.1/24".parse().unwrap()).unwrap();
    config.reserve(HOST0, HOST0_ADDRESS).unwrap();
    config.bounds.leases = 5;
    let mut bench = Bench::with(config);
    for number in 0..5 {
        bench.plain_lease(guest(number));
    }
    assert!(bench.ask(discover(guest(5))).is_none());
    assert!(bench.ask(init_reboot(guest(5), address(200))).is_none());
    assert_eq!(bench.leases().len(), 5);
    bench.plain_lease(HOST0);
    bench.ask(renew(guest(0), bench.leases()[3].address));
    assert_eq!(bench.leases().len(), 6);
}
