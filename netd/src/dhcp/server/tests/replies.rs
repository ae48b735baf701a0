//! What stands in replies, and where they go.

use super::*;

#[test]
fn a_lease_says_all_that_a_client_needs() {
    let mut bench = Bench::new();
    bench.plain_lease(HOST0);
    let reply = bench.ask(select(HOST0, HOST0_ADDRESS)).unwrap();
    for option in [
        DhcpOption::ServerIdentifier(SERVER),
        DhcpOption::AddressLeaseTime(3600),
        // RFC 2131, section 4.4.5: "T1 defaults to (0.5 * duration_of_lease). T2
        // defaults to (0.875 * duration_of_lease)."
        DhcpOption::Renewal(1800),
        DhcpOption::Rebinding(3150),
        DhcpOption::SubnetMask(Ipv4Addr::new(255, 255, 255, 240)),
        DhcpOption::Router(vec![SERVER]),
        DhcpOption::DomainNameServer(vec![Ipv4Addr::new(9, 9, 9, 9), Ipv4Addr::new(1, 1, 1, 1)]),
        DhcpOption::DomainName("example.org".to_owned()),
        DhcpOption::InterfaceMtu(1420),
        DhcpOption::BroadcastAddr(address(15)),
    ] {
        assert!(reply.has(&option), "{option:?} in {reply:?}");
    }
    assert_eq!(reply.message.xid(), 7);
    assert_eq!(reply.message.siaddr(), NOWHERE);
    assert_eq!(reply.message.chaddr(), HOST0.0);
}

/// The codes of a reply's options in the order in which they stand.
fn codes(reply: &Reply) -> Vec<u8> {
    let mut rest = &reply.transmit.payload[240..];
    let mut codes = Vec::new();
    while let [code, len, tail @ ..] = rest {
        if matches!(code, 0 | 255) {
            break;
        }
        codes.push(*code);
        rest = &tail[usize::from(*len)..];
    }
    codes
}

/// RFC 2132, section 9.8: the server "MUST try to insert the requested options in
/// the order requested by the client."
#[test]
fn the_parameter_request_list_is_honoured_in_its_order() {
    let mut bench = Bench::new();
    let list = [
        OptionCode::InterfaceMtu,
        OptionCode::NtpServers,
        OptionCode::Router,
    ];
    let wishes = DhcpOption::ParameterRequestList(list.to_vec());
    let reply = bench.ask(discover(HOST0).with(wishes)).unwrap();
    assert_eq!(codes(&reply), [53, 54, 51, 58, 59, 1, 26, 3]);
    let nothing = DhcpOption::ParameterRequestList(vec![OptionCode::NtpServers]);
    let reply = bench.ask(discover(HOST0).with(nothing)).unwrap();
    assert_eq!(codes(&reply), [53, 54, 51, 58, 59, 1]);
}

#[test]
fn what_is_not_configured_is_not_sent() {
    let mut bare = ServerConfig::new("192.168.7.1/28".parse().unwrap()).unwrap();
    bare.router = None;
    bare.mtu = Some(67);
    bare.domain = Some(String::new());
    let reply = Bench::with(bare).ask(discover(guest(1))).unwrap();
    assert_eq!(codes(&reply), [53, 54, 51, 58, 59, 1, 28]);
}

#[test]
fn the_client_identifier_comes_back() {
    let mut bench = Bench::new();
    let id = DhcpOption::ClientIdentifier(b"\xffanything\x00at all".to_vec());
    // RFC 6842, section 3, is about every response: OFFER, ACK and NAK.
    assert!(
        bench
            .ask(discover(HOST0).with(id.clone()))
            .unwrap()
            .has(&id)
    );
    assert!(
        bench
            .ask(select(HOST0, HOST0_ADDRESS).with(id.clone()))
            .unwrap()
            .has(&id)
    );
    let nak = bench
        .ask(select(HOST0, address(9)).with(id.clone()))
        .unwrap();
    nak.is_nak();
    assert!(nak.has(&id));
    let without = bench.ask(discover(HOST0)).unwrap();
    assert_eq!(without.option(OptionCode::ClientIdentifier), None);
}

#[test]
fn a_refusal_says_nothing_of_addresses() {
    let nak = Bench::new().ask(init_reboot(HOST0, address(9))).unwrap();
    assert_eq!(codes(&nak), [53, 54, 56]);
    assert_eq!(
        (nak.message.ciaddr(), nak.message.yiaddr()),
        (NOWHERE, NOWHERE)
    );
}

/// RFC 2131, section 4.1.
#[test]
fn replies_go_where_the_client_can_hear_them() {
    let mut bench = Bench::new();
    let everybody = (Mac([0xff; 6]), EVERYBODY);
    // Neither address nor flag: to the hardware address and 'yiaddr'.
    let offer = bench.ask(discover(HOST0)).unwrap();
    assert_eq!(offer.target(), (HOST0, HOST0_ADDRESS));
    // "the broadcast bit is set"
    let offer = bench.ask(discover(HOST0).broadcast()).unwrap();
    assert_eq!(offer.target(), everybody);
    assert!(offer.message.flags().broadcast());
    let ack = bench.ask(select(HOST0, HOST0_ADDRESS).broadcast()).unwrap();
    assert_eq!(ack.target(), everybody);
    // "the 'ciaddr' field is nonzero": it goes before the flag.
    let ack = bench
        .ask_directly(renew(HOST0, HOST0_ADDRESS).broadcast())
        .unwrap();
    assert_eq!(ack.target(), (HOST0, HOST0_ADDRESS));
    assert_eq!(ack.message.ciaddr(), HOST0_ADDRESS);
    // "the server broadcasts any DHCPNAK messages to 0xffffffff"
    let nak = bench.ask_directly(renew(HOST0, address(9))).unwrap();
    assert_eq!(nak.target(), everybody);
}

#[test]
fn the_lease_time_a_client_asks_for_is_granted_within_limits() {
    let mut bench = Bench::new();
    for (wish, time) in [(600, 600), (0, 30), (u32::MAX, 43_200)] {
        let ask = discover(HOST0).with(DhcpOption::AddressLeaseTime(wish));
        let offer = bench.ask(ask).unwrap();
        assert!(offer.has(&DhcpOption::AddressLeaseTime(time)), "{wish}");
        assert!(offer.has(&DhcpOption::Renewal(time / 2)));
    }
}

#[test]
fn replies_are_as_short_and_as_long_as_clients_take_them() {
    let mut many = config();
    many.dns = (0..200).map(|last| Ipv4Addr::new(10, 0, 0, last)).collect();
    let mut bench = Bench::with(many);
    // RFC 2132, section 9.10: "The minimum legal value is 576 octets."
    for (limit, longest) in [
        (None, 548),
        (Some(100), 548),
        (Some(1400), 1372),
        (Some(9000), 1392),
    ] {
        let mut ask = discover(HOST0).id(&[7; 255]);
        if let Some(limit) = limit {
            ask = ask.with(DhcpOption::MaxMessageSize(limit));
        }
        let offer = bench.ask(ask).unwrap();
        assert!(offer.transmit.payload.len() <= longest, "{limit:?}");
        // What is indispensable, and what is small, has room all the same.
        assert!(offer.has(&DhcpOption::AddressLeaseTime(3600)));
        assert!(offer.has(&DhcpOption::SubnetMask(Ipv4Addr::new(255, 255, 255, 240))));
        let has_dns = offer.option(OptionCode::DomainNameServer).is_some();
        assert_eq!(has_dns, longest > 548);
    }
    // RFC 1542, section 2.1: "a BOOTP message [...] at least 300 octets".
    let nak = bench.ask(init_reboot(HOST0, address(9))).unwrap();
    assert_eq!(nak.transmit.payload.len(), 300);
}
