//! Options beyond those that everybody has, and room for them.

use dhcproto::v4::relay::{RelayAgentInformation, RelayInfo};

use super::*;
use crate::dhcp::server::{ConfigError, Route, SendOption};

/// A reply's options by the order of RFC 3396, section 5: first the field for options, then
/// the boot file's name, then the server's; values of one option joined.
fn raw(reply: &Reply) -> Vec<(u8, Vec<u8>)> {
    let bytes = &reply.transmit.payload;
    let mut options: Vec<(u8, Vec<u8>)> = Vec::new();
    let mut collect = |mut area: &[u8]| {
        while let [code, rest @ ..] = area {
            match code {
                0 => area = rest,
                255 => return true,
                _ => {
                    let (value, next) = rest[1..].split_at(rest[0].into());
                    match options.iter_mut().find(|(known, _)| known == code) {
                        Some((_, known)) => known.extend(value),
                        None => options.push((*code, value.to_vec())),
                    }
                    area = next;
                }
            }
        }
        false
    };
    assert!(collect(&bytes[240..]), "no end");
    let overload = reply.option(OptionCode::OptionOverload);
    if let Some(overload) = overload {
        let DhcpOption::OptionOverload(flags) = overload else {
            panic!("{overload:?}");
        };
        assert!(flags & 1 == 0 || collect(&bytes[108..236]));
        assert!(flags & 2 == 0 || collect(&bytes[44..108]));
    }
    options
}

fn value(reply: &Reply, code: u8) -> Option<Vec<u8>> {
    let found = raw(reply).into_iter().find(|(found, _)| *found == code)?;
    Some(found.1)
}

fn asking(codes: &[u8]) -> Message {
    let list = codes.iter().map(|code| OptionCode::from(*code)).collect();
    discover(HOST0).with(DhcpOption::ParameterRequestList(list))
}

fn rich() -> ServerConfig {
    let mut config = config();
    config.search = vec![
        "eng.apple.com".into(),
        "marketing.apple.com.".into(),
        "no..name".into(),
    ];
    config.ntp = vec![Ipv4Addr::new(10, 1, 1, 1), Ipv4Addr::new(10, 1, 1, 2)];
    config.routes = vec![
        Route {
            destination: "10.17.0.0/16".parse().unwrap(),
            gateway: address(3),
        },
        Route {
            destination: "10.27.129.0/24".parse().unwrap(),
            gateway: NOWHERE,
        },
        Route {
            destination: "10.229.0.128/25".parse().unwrap(),
            gateway: address(4),
        },
    ];
    config.time_zone = Some("Europe/Zurich".into());
    config.posix_time_zone = Some("CET-1CEST,M3.5.0,M10.5.0/3".into());
    config.captive_portal = Some("https://portal.example/".into());
    config.name_reserved(HOST0_ADDRESS, "web".into());
    config
}

#[test]
fn each_setting_is_in_the_form_that_its_rfc_gives_it() {
    let mut bench = Bench::with(rich());
    let reply = bench
        .ask(asking(&[12, 42, 100, 101, 114, 119, 121]))
        .unwrap();
    let is = |code, wanted: &[u8]| assert_eq!(value(&reply, code).unwrap(), wanted, "{code}");
    is(12, b"web");
    is(42, &[10, 1, 1, 1, 10, 1, 1, 2]);
    // RFC 4833, section 2.
    is(100, b"CET-1CEST,M3.5.0,M10.5.0/3");
    is(101, b"Europe/Zurich");
    // RFC 8910, section 2.1.
    is(114, b"https://portal.example/");
    // RFC 3397, section 2, with the names of its example.
    is(
        119,
        b"\x03eng\x05apple\x03com\x00\x09marketing\x05apple\x03com\x00",
    );
    // RFC 3442: "Subnet number / mask / descriptor" of its table, and each router; the
    // default route among them.
    is(
        121,
        &[
            16, 10, 17, 192, 168, 7, 3, 24, 10, 27, 129, 0, 0, 0, 0, 25, 10, 229, 0, 128, 192, 168,
            7, 4, 0, 192, 168, 7, 1,
        ],
    );
}

/// RFC 3442: "If the DHCP server returns both a Classless Static Routes option and a Router
/// option, the DHCP client MUST ignore the Router option."
#[test]
fn who_asks_for_classless_routes_is_not_told_of_the_router() {
    let mut bench = Bench::with(rich());
    let both = bench.ask(asking(&[3, 121])).unwrap();
    assert!(value(&both, 121).is_some() && value(&both, 3).is_none());
    let router = bench.ask(asking(&[3])).unwrap();
    assert!(value(&router, 121).is_none() && value(&router, 3).is_some());
    // Who says nothing is told what everybody knows.
    let codes: Vec<u8> = raw(&bench.ask(discover(HOST0)).unwrap())
        .iter()
        .map(|option| option.0)
        .collect();
    assert_eq!(codes, [53, 54, 51, 58, 59, 1, 3, 6, 15, 26, 28, 42, 12]);
    // Without any routes of that kind there is but the router.
    let plain = Bench::new().ask(asking(&[3, 121])).unwrap();
    assert!(value(&plain, 121).is_none() && value(&plain, 3).is_some());
}

#[test]
fn only_the_reserved_are_named() {
    let mut bench = Bench::with(rich());
    assert_eq!(value(&bench.ask(discover(guest(1))).unwrap(), 12), None);
    let named = bench.ask(discover(HOST0)).unwrap();
    assert!(named.has(&DhcpOption::Hostname("web".into())));
}

#[test]
fn any_other_option_is_sent_to_all_and_goes_before_ours() {
    let mut config = config();
    config.options = vec![
        SendOption::new(43, vec![1, 2, 3]).unwrap(),
        SendOption::new(6, vec![8, 8, 8, 8]).unwrap(),
    ];
    let mut bench = Bench::with(config);
    for message in [discover(HOST0), asking(&[3])] {
        let reply = bench.ask(message).unwrap();
        assert_eq!(value(&reply, 43).unwrap(), [1, 2, 3]);
        assert_eq!(value(&reply, 6).unwrap(), [8, 8, 8, 8]);
    }
    for code in [0, 1, 50, 51, 52, 53, 54, 55, 57, 61, 80, 82, 255] {
        let error = SendOption::new(code, vec![1]);
        assert_eq!(error, Err(ConfigError::OwnOption { code }));
    }
    assert!(SendOption::new(43, vec![0; 1401]).is_err());
}

/// RFC 3396, section 5 and 8: "the option MUST be split", each part of 255 octets at most.
#[test]
fn a_long_option_is_split() {
    let long: Vec<u8> = (0..=255).cycle().take(700).collect();
    let mut config = config();
    config.options = vec![SendOption::new(43, long.clone()).unwrap()];
    let mut bench = Bench::with(config);
    let reply = bench
        .ask(discover(HOST0).with(DhcpOption::MaxMessageSize(1500)))
        .unwrap();
    assert_eq!(value(&reply, 43).unwrap(), long);
    assert_eq!(reply.option(OptionCode::OptionOverload), None);
}

/// RFC 2132, section 9.3, "Option Overload".
#[test]
fn what_has_no_room_goes_into_other_fields() {
    let mut config = config();
    let big = |code, len: usize| SendOption::new(code, vec![code; len]).unwrap();
    config.options = vec![big(43, 200), big(60, 120), big(66, 60), big(67, 200)];
    let mut bench = Bench::with(config);
    let reply = bench.ask(discover(HOST0)).unwrap();
    assert!(reply.transmit.payload.len() <= 548);
    let overload = DhcpOption::OptionOverload(3);
    assert!(reply.has(&overload));
    for (code, len) in [(43, 200), (60, 120), (66, 60)] {
        assert_eq!(value(&reply, code).unwrap(), vec![code; len]);
    }
    assert_eq!(value(&reply, 67), None, "there is no room for it anywhere");
    assert!(value(&reply, 51).is_some() && value(&reply, 3).is_some());
}

/// RFC 3396, section 7: its parts may lie in different fields.
#[test]
fn a_split_option_may_go_over_several_fields() {
    let long: Vec<u8> = (0..=255).cycle().take(300).collect();
    let mut config = config();
    config.options = vec![SendOption::new(43, long.clone()).unwrap()];
    let reply = Bench::with(config).ask(discover(HOST0)).unwrap();
    assert_eq!(value(&reply, 43).unwrap(), long);
    assert!(reply.has(&DhcpOption::OptionOverload(1)));
}

fn relayed(message: Message, giaddr: Ipv4Addr) -> Message {
    let mut message = message;
    message.set_giaddr(giaddr).set_hops(1);
    let mut agent = RelayAgentInformation::default();
    agent.insert(RelayInfo::AgentCircuitId(b"web".to_vec()));
    message.with(DhcpOption::RelayAgentInformation(agent))
}

/// RFC 2131, section 4.1: "the server sends any return messages to the 'DHCP server' port on
/// the BOOTP relay agent whose address appears in 'giaddr'", and RFC 3046, section 2.2.
#[test]
fn relayed_messages_are_answered_to_the_relay() {
    let mut bench = Bench::new();
    let relay = address(9);
    let router = Mac([2, 9, 9, 9, 9, 9]);
    let mut ask = |message: Message| {
        let bytes = relayed(message, relay).to_vec().unwrap();
        bench.from(4, router, SERVER, bytes).unwrap()
    };
    let offer = ask(discover(guest(1)).broadcast());
    assert_eq!(offer.target(), (router, relay));
    assert_eq!(offer.transmit.destination.port(), 67);
    assert_eq!(offer.message.giaddr(), relay);
    let options = raw(&offer);
    assert_eq!(*options.last().unwrap(), (82, b"\x01\x03web".to_vec()));
    let own = offer.message.yiaddr();
    ask(select(guest(1), own)).is_ack_for(own);
    let nak = ask(init_reboot(guest(1), Ipv4Addr::new(10, 9, 9, 9)));
    nak.is_nak();
    // RFC 2131, section 4.3.2: "the server MUST set the broadcast bit in the DHCPNAK".
    assert!(nak.message.flags().broadcast());
    assert_eq!(nak.target(), (router, relay));
    assert_eq!(*raw(&nak).last().unwrap(), (82, b"\x01\x03web".to_vec()));
    // What was broadcast over there is no renewal.
    let other = message(MessageType::Request, guest(2)).having(own);
    let bytes = relayed(other, relay).to_vec().unwrap();
    assert!(bench.from(4, router, SERVER, bytes).is_none());
}

/// RFC 3046, section 2: its length is one octet. What would leave no room for the answer is
/// not echoed.
#[test]
fn what_a_relay_says_is_as_long_as_an_option() {
    let with_agent = |parts: &[usize]| {
        let mut bytes = discover(guest(1)).to_vec().unwrap();
        bytes[24..28].copy_from_slice(&address(9).octets());
        bytes.pop();
        for length in parts {
            bytes.extend([82, u8::try_from(*length).unwrap()]);
            bytes.extend(vec![7; *length]);
        }
        bytes.push(255);
        Bench::new().from(4, guest(9), SERVER, bytes)
    };
    let offer = with_agent(&[255]).unwrap();
    assert!(offer.transmit.payload.len() <= 548);
    for code in [53, 54, 51, 58, 59, 1] {
        assert!(value(&offer, code).is_some(), "{code}");
    }
    assert!(with_agent(&[255, 1]).is_none());
}

#[test]
fn relays_of_other_subnets_and_relays_of_relays_without_end_are_ignored() {
    let mut bench = Bench::new();
    for giaddr in [Ipv4Addr::new(10, 0, 0, 1), SERVER, address(15)] {
        let bytes = relayed(discover(guest(1)), giaddr).to_vec().unwrap();
        assert!(bench.from(4, guest(9), SERVER, bytes).is_none(), "{giaddr}");
    }
    let mut far = relayed(discover(guest(1)), address(9));
    far.set_hops(17);
    assert!(
        bench
            .from(4, guest(9), SERVER, far.to_vec().unwrap())
            .is_none()
    );
    far.set_hops(16);
    assert!(
        bench
            .from(4, guest(9), SERVER, far.to_vec().unwrap())
            .is_some()
    );
}
