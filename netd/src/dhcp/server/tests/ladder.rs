//! Each state that a client can be in, and what it is told (RFC 2131, 4.3).

use super::*;
use crate::dhcp::server::Ending;

#[test]
fn discover_is_offered_and_request_is_acknowledged() {
    let mut bench = Bench::new();
    assert_eq!(bench.plain_lease(HOST0), HOST0_ADDRESS);
    assert_eq!(bench.leased(), [HOST0_ADDRESS]);
    assert!(matches!(bench.last_event(), Event::Bound(lease) if lease.mac == HOST0));
}

/// RFC 2131, section 3.1, step 4: "Those servers not selected by the DHCPREQUEST
/// message use the message as notification that the client has declined that
/// server's offer."
#[test]
fn who_takes_another_servers_offer_is_not_answered_and_frees_ours() {
    let mut bench = Bench::new();
    let offered = bench.ask(discover(guest(1))).unwrap().message.yiaddr();
    let other = message(MessageType::Request, guest(1))
        .wanting(address(9))
        .to_server(address(14));
    assert!(bench.ask(other).is_none());
    assert_eq!(bench.server.deadline(), None, "the offer is forgotten");
    bench
        .ask(init_reboot(guest(2), offered))
        .unwrap()
        .is_ack_for(offered);
}

#[test]
fn selecting_may_change_to_a_free_address_but_not_to_anothers() {
    let mut bench = Bench::new();
    let first = bench.plain_lease(guest(1));
    let second = bench.plain_lease(guest(2));
    bench.ask(select(guest(1), second)).unwrap().is_nak();
    assert!(matches!(bench.last_event(), Event::Refused { mac, .. } if *mac == guest(1)));
    bench.ask(select(guest(1), HOST0_ADDRESS)).unwrap().is_nak();
    bench
        .ask(select(guest(1), Ipv4Addr::new(10, 0, 0, 5)))
        .unwrap()
        .is_nak();
    bench.ask(select(guest(1), SERVER)).unwrap().is_nak();
    let free = (3..15)
        .map(address)
        .find(|free| ![first, second].contains(free))
        .unwrap();
    bench.ask(select(guest(1), free)).unwrap().is_ack_for(free);
    assert!(bench.leased().contains(&free) && !bench.leased().contains(&first));
    assert!(bench.events.iter().any(
        |event| matches!(event, Event::Ended(lease, Ending::Moved) if lease.address == first)
    ));
}

/// RFC 2131, section 4.3.2, INIT-REBOOT: "Server SHOULD send a DHCPNAK message to
/// the client if the requested IP address is incorrect, or is on the wrong
/// network."
#[test]
fn init_reboot_with_a_wrong_address_is_refused() {
    let mut bench = Bench::new();
    bench
        .ask(init_reboot(guest(1), Ipv4Addr::new(10, 9, 8, 7)))
        .unwrap()
        .is_nak();
    bench
        .ask(init_reboot(guest(1), HOST0_ADDRESS))
        .unwrap()
        .is_nak();
    bench.ask(init_reboot(HOST0, address(5))).unwrap().is_nak();
    let own = bench.plain_lease(guest(1));
    let wrong = (3..15).map(address).find(|wrong| *wrong != own).unwrap();
    bench.ask(init_reboot(guest(1), wrong)).unwrap().is_nak();
    bench
        .ask(init_reboot(guest(1), own))
        .unwrap()
        .is_ack_for(own);
}

#[test]
fn init_reboot_is_confirmed_by_a_server_that_has_forgotten() {
    let mut bench = Bench::new();
    bench
        .ask(init_reboot(guest(1), address(9)))
        .unwrap()
        .is_ack_for(address(9));
    bench
        .ask(init_reboot(guest(2), address(9)))
        .unwrap()
        .is_nak();
    bench
        .ask(init_reboot(HOST0, HOST0_ADDRESS))
        .unwrap()
        .is_ack_for(HOST0_ADDRESS);
}

#[test]
fn renewing_prolongs_the_lease_or_is_refused() {
    let mut bench = Bench::new();
    let own = bench.plain_lease(guest(1));
    let before = bench.leases()[0].until;
    bench.pass(Duration::from_secs(1800));
    bench
        .ask_directly(renew(guest(1), own))
        .unwrap()
        .is_ack_for(own);
    assert_eq!(bench.leases()[0].until, before + Duration::from_secs(1800));
    assert!(matches!(bench.last_event(), Event::Renewed(_)));

    bench.ask_directly(renew(guest(2), own)).unwrap().is_nak();
    bench
        .ask_directly(renew(guest(2), Ipv4Addr::new(10, 0, 0, 4)))
        .unwrap()
        .is_nak();
    bench
        .ask_directly(renew(HOST0, address(7)))
        .unwrap()
        .is_nak();
}

#[test]
fn rebinding_prolongs_the_lease_or_is_not_answered() {
    let mut bench = Bench::new();
    let own = bench.plain_lease(guest(1));
    bench.ask(renew(guest(1), own)).unwrap().is_ack_for(own);
    assert!(bench.ask(renew(guest(2), own)).is_none());
    assert!(
        bench
            .ask(renew(guest(2), Ipv4Addr::new(10, 0, 0, 4)))
            .is_none()
    );
    let subnet_broadcast = renew(guest(2), own).to_vec().unwrap();
    assert!(bench.bytes(address(15), subnet_broadcast).is_none());
}

#[test]
fn a_client_that_names_us_when_it_renews_is_understood() {
    let mut bench = Bench::new();
    let own = bench.plain_lease(guest(1));
    bench
        .ask_directly(renew(guest(1), own).to_server(SERVER))
        .unwrap()
        .is_ack_for(own);
    assert!(
        bench
            .ask_directly(renew(guest(1), own).to_server(address(9)))
            .is_none()
    );
}

#[test]
fn a_request_that_contradicts_itself_is_not_answered() {
    let mut bench = Bench::new();
    let nothing = message(MessageType::Request, HOST0);
    assert!(bench.ask(nothing.clone()).is_none());
    assert!(bench.ask(nothing.to_server(SERVER)).is_none());
    assert!(
        bench
            .ask(select(HOST0, HOST0_ADDRESS).having(HOST0_ADDRESS))
            .is_none()
    );
    assert!(bench.leases().is_empty());
}

/// RFC 2131, section 4.3.4: "Upon receipt of a DHCPRELEASE message, the server
/// marks the network address as not allocated."
#[test]
fn release_frees_only_the_senders_own_address() {
    let mut bench = Bench::new();
    let own = bench.plain_lease(guest(1));
    let release = |mac| {
        message(MessageType::Release, mac)
            .having(own)
            .to_server(SERVER)
    };
    assert!(bench.ask_directly(release(guest(2))).is_none());
    assert!(bench.ask_directly(release(HOST0)).is_none());
    assert_eq!(bench.leased(), [own]);
    assert!(
        bench
            .ask_directly(release(guest(1)).to_server(address(9)))
            .is_none()
    );
    assert_eq!(bench.leased(), [own]);
    assert!(bench.ask_directly(release(guest(1))).is_none());
    assert!(bench.leases().is_empty());
    assert!(matches!(
        bench.last_event(),
        Event::Ended(_, Ending::Released)
    ));
}

/// RFC 2131, section 4.3.3: "The server MUST mark the network address as not
/// available."
#[test]
fn a_declined_address_rests() {
    let mut bench = Bench::new();
    let declined = bench.plain_lease(guest(1));
    let decline = message(MessageType::Decline, guest(1))
        .wanting(declined)
        .to_server(SERVER);
    assert!(bench.ask(decline.clone()).is_none());
    assert!(matches!(
        bench.last_event(),
        Event::Ended(_, Ending::Declined)
    ));
    let next = bench.plain_lease(guest(1));
    assert_ne!(next, declined);
    bench.ask(init_reboot(guest(2), declined)).unwrap().is_nak();
    // Repeated, it says nothing of the new address.
    assert!(bench.ask(decline).is_none());
    assert_eq!(bench.leased(), [next]);
    bench.pass(super::super::DECLINE_REST);
    bench
        .ask(init_reboot(guest(2), declined))
        .unwrap()
        .is_ack_for(declined);
}

#[test]
fn host0_keeps_its_address_though_it_declines_it() {
    let mut bench = Bench::new();
    bench.plain_lease(HOST0);
    let decline = message(MessageType::Decline, HOST0)
        .wanting(HOST0_ADDRESS)
        .to_server(SERVER);
    assert!(bench.ask(decline).is_none());
    let reported = Event::ReservedAddressInUse {
        mac: HOST0,
        address: HOST0_ADDRESS,
    };
    assert!(bench.events.contains(&reported));
    assert_eq!(bench.plain_lease(HOST0), HOST0_ADDRESS);
}

/// RFC 2131, section 4.3.5: "The servers SHOULD unicast the DHCPACK reply to the
/// address given in the 'ciaddr' field of the DHCPINFORM message."
#[test]
fn inform_is_told_the_settings_and_leases_nothing() {
    let mut bench = Bench::new();
    let inform = message(MessageType::Inform, guest(1))
        .having(address(11))
        .broadcast();
    let reply = bench.ask(inform).unwrap();
    reply.is_ack_for(NOWHERE);
    assert_eq!(reply.target(), (guest(1), address(11)));
    assert!(reply.has(&DhcpOption::Router(vec![SERVER])));
    // "The server [...] MUST NOT send a lease expiration time to the client".
    for code in [
        OptionCode::AddressLeaseTime,
        OptionCode::Renewal,
        OptionCode::Rebinding,
    ] {
        assert_eq!(reply.option(code), None);
    }
    assert!(bench.leases().is_empty());
    let foreign = message(MessageType::Inform, guest(1)).having(Ipv4Addr::new(10, 0, 0, 9));
    assert!(bench.ask(foreign).is_none());
    assert!(bench.ask(message(MessageType::Inform, guest(1))).is_none());
}

/// RFC 4039, section 3.1: the server "responds to the DHCPDISCOVER message with a
/// DHCPACK message that includes the Rapid Commit option."
#[test]
fn rapid_commit_leases_in_two_messages() {
    let mut bench = Bench::new();
    let reply = bench
        .ask(discover(HOST0).with(DhcpOption::RapidCommit))
        .unwrap();
    reply.is_ack_for(HOST0_ADDRESS);
    assert!(reply.has(&DhcpOption::RapidCommit));
    assert_eq!(bench.leased(), [HOST0_ADDRESS]);

    let mut slow = config();
    slow.rapid_commit = false;
    let mut bench = Bench::with(slow);
    let reply = bench
        .ask(discover(HOST0).with(DhcpOption::RapidCommit))
        .unwrap();
    assert_eq!(reply.kind(), MessageType::Offer);
    assert_eq!(reply.option(OptionCode::RapidCommit), None);
}

#[test]
fn leases_and_offers_end() {
    let mut bench = Bench::new();
    bench.ask(discover(guest(1))).unwrap();
    assert_eq!(
        bench.server.deadline(),
        Some(bench.now + super::super::OFFER_HOLD)
    );
    bench.pass(super::super::OFFER_HOLD);
    assert_eq!(bench.server.deadline(), None);
    assert!(bench.events.is_empty(), "nobody had it");

    bench.plain_lease(guest(1));
    assert_eq!(
        bench.server.deadline(),
        Some(bench.now + Duration::from_secs(3600))
    );
    bench.pass(Duration::from_secs(3599));
    assert_eq!(bench.leases().len(), 1);
    bench.pass(Duration::from_secs(1));
    assert!(bench.leases().is_empty());
    assert!(matches!(
        bench.last_event(),
        Event::Ended(_, Ending::Expired)
    ));
}

#[test]
fn a_client_that_discovers_again_keeps_its_lease() {
    let mut bench = Bench::new();
    let own = bench.plain_lease(guest(1));
    let again = bench.ask(discover(guest(1))).unwrap();
    assert_eq!(again.message.yiaddr(), own);
    bench.pass(Duration::from_secs(120));
    assert_eq!(bench.leased(), [own]);
}
