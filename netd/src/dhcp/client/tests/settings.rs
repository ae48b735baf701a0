//! What is read from a server's message, and what is not.

use super::*;
use crate::dhcp::client::{PacketError, Route, Settings};

/// The lease by an ACK with these options behind it.
fn lease(ack: Message, options: &[(u8, &[u8])]) -> Lease {
    let mut bench = Bench::started();
    bench.answer(offer());
    bench.bytes(with_options(ack, bench.last().message.xid(), options));
    assert_eq!(bench.events.len(), 1, "{:?}", bench.events);
    bench.lease().clone()
}

/// The bytes of a message, with raw options at its end.
fn with_options(mut message: Message, xid: u32, options: &[(u8, &[u8])]) -> Vec<u8> {
    message.set_xid(xid);
    let mut bytes = message.to_vec().unwrap();
    assert_eq!(bytes.pop(), Some(255));
    for (code, value) in options {
        bytes.extend([*code, u8::try_from(value.len()).unwrap()]);
        bytes.extend(*value);
    }
    bytes.push(255);
    bytes
}

fn settings(options: &[(u8, &[u8])]) -> Settings {
    lease(ack().without(OptionCode::Router), options).settings
}

/// Why an ACK is not taken.
fn refusal(payload: impl Fn(u32) -> Vec<u8>) -> PacketError {
    let mut bench = Bench::started();
    bench.answer(offer());
    bench.bytes(payload(bench.last().message.xid()));
    assert_eq!(bench.address(), None);
    match bench.events[..] {
        [Event::Ignored { reason, source_mac }] => {
            assert_eq!(source_mac, SERVER_MAC);
            reason
        }
        ref events => panic!("{events:?}"),
    }
}

fn refused(ack: Message) -> PacketError {
    refusal(|xid| with_options(ack.clone(), xid, &[]))
}

fn route(destination: &str, gateway: [u8; 4]) -> Route {
    let gateway = Some(Ipv4Addr::from(gateway)).filter(|gateway| *gateway != NOWHERE);
    let destination = destination.parse().unwrap();
    Route {
        destination,
        gateway,
    }
}

#[test]
fn everything_is_read() {
    let settings = settings(&[
        (3, &[192, 168, 7, 1, 192, 168, 7, 14]),
        (6, &[9, 9, 9, 9, 1, 1, 1, 1]),
        (12, b"web"),
        (15, b"example.org"),
        (26, &[5, 120]),
        (28, &[192, 168, 7, 15]),
        (42, &[192, 168, 7, 1]),
        (100, b"CET-1CEST"),
        (101, b"Europe/Berlin"),
        (114, b"https://portal.example/api"),
        (119, b"\x01a\x07example\0\x01b\xc0\x02"),
    ]);
    let expected = Settings {
        routes: vec![route("0.0.0.0/0", [192, 168, 7, 1])],
        routers: vec![SERVER, OTHER_SERVER],
        dns: vec![Ipv4Addr::new(9, 9, 9, 9), Ipv4Addr::new(1, 1, 1, 1)],
        domain: Some("example.org".to_owned()),
        search: vec!["a.example".to_owned(), "b.example".to_owned()],
        ntp: vec![SERVER],
        mtu: Some(1400),
        broadcast: Some(Ipv4Addr::new(192, 168, 7, 15)),
        hostname: Some("web".to_owned()),
        timezone: Some("Europe/Berlin".to_owned()),
        posix_timezone: Some("CET-1CEST".to_owned()),
        captive_portal: Some("https://portal.example/api".to_owned()),
    };
    assert_eq!(settings, expected);
}

/// RFC 3442: "If the DHCP server returns both a Classless Static Routes option and a Router
/// option, the DHCP client MUST ignore the Router option." Its table of encodings, and bits
/// behind the prefix, which are masked.
#[test]
fn classless_routes_take_the_place_of_routers() {
    let settings = settings(&[
        (3, &[192, 168, 7, 1]),
        (
            121,
            &[
                0, 10, 0, 0, 1, //
                8, 10, 10, 0, 0, 2, //
                24, 10, 0, 0, 10, 0, 0, 3, //
                25, 10, 229, 0, 255, 10, 0, 0, 4, //
                32, 169, 254, 169, 254, 0, 0, 0, 0, //
                0, 10, 0, 0, 9,
            ],
        ),
    ]);
    let expected = [
        route("0.0.0.0/0", [10, 0, 0, 1]),
        route("10.0.0.0/8", [10, 0, 0, 2]),
        route("10.0.0.0/24", [10, 0, 0, 3]),
        route("10.229.0.128/25", [10, 0, 0, 4]),
        route("169.254.169.254/32", [0, 0, 0, 0]),
    ];
    assert_eq!(settings.routes, expected);
    assert!(settings.routers.is_empty());
}

/// A bad option costs only what it says.
#[test]
fn what_is_malformed_is_left_out() {
    let cases: [(u8, &[u8]); 20] = [
        (3, &[1, 2, 3]),
        (3, &[0, 0, 0, 0]),
        (3, &[192, 168, 7, 2]),
        (6, &[127, 0, 0, 53, 224, 0, 0, 1, 255, 255, 255, 255]),
        (12, b"a b"),
        (15, b"evil\nnameserver 6.6.6.6"),
        (15, b""),
        (26, &[0, 67]),
        (26, &[1]),
        (28, &[1, 2]),
        (42, &[0]),
        (58, &[1]),
        (59, &[1, 2, 3, 4, 5]),
        (101, b"../../etc/passwd"),
        (114, b"urn:ietf:params:capport:unrestricted"),
        (119, b"\xc0\x00"),
        (121, &[33, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (121, &[24, 10, 0, 0]),
        (121, &[]),
        (43, &[1, 2, 3]),
    ];
    for (code, value) in cases {
        assert_eq!(
            settings(&[(code, value)]),
            Settings::default(),
            "option {code}"
        );
    }
}

#[test]
fn a_damaged_121_leaves_the_router() {
    let settings = settings(&[(3, &[192, 168, 7, 1]), (121, &[24, 10, 0, 0])]);
    assert_eq!(settings.routes, [route("0.0.0.0/0", [192, 168, 7, 1])]);
}

/// RFC 3396, section 7: parts are joined, also out of the fields for names (RFC 2131, 4.1).
#[test]
fn long_and_overloaded_options_are_joined() {
    let mut bench = Bench::started();
    bench.answer(offer());
    let xid = bench.last().message.xid();
    let mut message = ack().without(OptionCode::Router);
    message.set_fname(&[6, 4, 2, 2, 2, 2, 119, 4, b'b', 1, b'c', 0, 255, 255]);
    message.set_sname(&[6, 4, 3, 3, 3, 3, 255]);
    let options: [(u8, &[u8]); 3] = [(52, &[3]), (6, &[1, 1, 1, 1]), (119, &[2, b'a'])];
    bench.bytes(with_options(message, xid, &options));
    let settings = &bench.lease().settings;
    let dns = [[1, 1, 1, 1], [2, 2, 2, 2], [3, 3, 3, 3]].map(Ipv4Addr::from);
    assert_eq!(settings.dns, dns);
    assert_eq!(settings.search, ["ab.c"]);
}

#[test]
fn a_mask_may_be_missing_as_in_old_times() {
    let cases = [
        ([10, 1, 2, 3], "10.1.2.3/8"),
        ([172, 16, 2, 3], "172.16.2.3/16"),
        ([192, 168, 2, 3], "192.168.2.3/24"),
    ];
    for (address, expected) in cases {
        let ack = ack().giving(address.into()).without(OptionCode::SubnetMask);
        assert_eq!(lease(ack, &[]).address.to_string(), expected);
    }
    let alone = ack().with(DhcpOption::SubnetMask(Ipv4Addr::BROADCAST));
    assert_eq!(lease(alone, &[]).address.prefix(), 32);
}

#[test]
fn leases_that_nobody_can_use_are_not_taken() {
    for bad in [
        [0, 0, 0, 0],
        [127, 0, 0, 1],
        [224, 0, 0, 1],
        [255, 255, 255, 255],
        [192, 168, 7, 0],
        [192, 168, 7, 15],
    ] {
        let address = Ipv4Addr::from(bad);
        assert_eq!(
            refused(ack().giving(address)),
            PacketError::NotAHost(address)
        );
    }
    for mask in [[0, 0, 0, 0], [255, 0, 255, 0]].map(Ipv4Addr::from) {
        let ack = ack().with(DhcpOption::SubnetMask(mask));
        assert_eq!(refused(ack), PacketError::NoMask(mask));
    }
    assert_eq!(
        refused(ack().without(OptionCode::AddressLeaseTime)),
        PacketError::Missing(51)
    );
    assert_eq!(
        refused(ack().with(DhcpOption::AddressLeaseTime(0))),
        PacketError::NoTime
    );
    assert_eq!(
        refused(ack().without(OptionCode::ServerIdentifier)),
        PacketError::Missing(54)
    );
    assert_eq!(
        refused(ack().by_server(NOWHERE)),
        PacketError::NotAServer(NOWHERE)
    );
    assert_eq!(
        refused(message(MessageType::Discover, ADDRESS)),
        PacketError::NoKind
    );
    assert_eq!(
        refused(ack().without(OptionCode::MessageType)),
        PacketError::NoKind
    );
}

#[test]
fn what_is_no_answer_is_reported() {
    let patched = |at: usize, byte: u8| {
        refusal(|xid| {
            let mut bytes = with_options(ack(), xid, &[]);
            bytes[at] = byte;
            bytes
        })
    };
    assert_eq!(patched(0, 1), PacketError::NotAReply);
    assert_eq!(patched(0, 0), PacketError::NotAReply);
    assert_eq!(patched(1, 6), PacketError::NotEthernet);
    for hlen in [0, 5, 7, 16, 17, 255] {
        assert_eq!(patched(2, hlen), PacketError::NotEthernet);
    }
    assert_eq!(patched(236, 0), PacketError::NoCookie);
    assert_eq!(refusal(|_| Vec::new()), PacketError::Short);
    let cut = |keep: usize| {
        refusal(|xid| {
            let mut bytes = with_options(ack(), xid, &[]);
            bytes.truncate(keep);
            bytes
        })
    };
    assert_eq!(cut(3), PacketError::Short);
    assert_eq!(cut(239), PacketError::Short);
    assert_eq!(cut(240), PacketError::NoKind);
    assert_eq!(cut(241), PacketError::CutOff);
    let option = |code, value: &'static [u8]| {
        refusal(|xid| with_options(message(MessageType::Ack, ADDRESS), xid, &[(code, value)]))
    };
    assert_eq!(option(51, &[1, 2]), PacketError::WrongLength(51));
    assert_eq!(option(54, &[1]), PacketError::WrongLength(54));
    assert_eq!(option(53, &[5]), PacketError::WrongLength(53));
    assert_eq!(option(52, &[1, 1]), PacketError::WrongLength(52));
}
