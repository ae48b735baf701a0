//! Messages in, messages out; the other side is dhcproto.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use dhcproto::v4::{DhcpOption, Flags, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable, Decoder, Encodable};
use proptest::prelude::*;
use registry::Mac;

use super::{Forward, Place, Relay, RelayConfig, RelayError};
use crate::dhcp::server::Transmit;

const NONE: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const OWN: Ipv4Addr = Ipv4Addr::new(10, 50, 0, 1);
const SERVERS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 9, 0, 1), Ipv4Addr::new(10, 9, 0, 2)];
const MAC: Mac = Mac([2, 0, 0, 0, 0, 7]);
const GIVEN: Ipv4Addr = Ipv4Addr::new(10, 50, 0, 77);

const WEB: Place<'_> = Place {
    port: 5,
    circuit: b"web",
    trusted: false,
};

fn relay() -> Relay {
    Relay::new(RelayConfig::new(OWN, SERVERS.to_vec()))
}

fn request(xid: u32) -> Message {
    let mut message = Message::new_with_id(xid, NONE, NONE, NONE, NONE, &MAC.0);
    let discover = DhcpOption::MessageType(MessageType::Discover);
    message.opts_mut().insert(discover);
    message
}

/// The option 82 of a message, as bytes.
fn agent(payload: &[u8]) -> Option<&[u8]> {
    let mut rest = &payload[240..];
    while let [code, len, tail @ ..] = rest {
        match code {
            82 => return Some(&tail[..usize::from(*len)]),
            255 => return None,
            _ => rest = &tail[usize::from(*len)..],
        }
    }
    None
}

fn ask(relay: &mut Relay, message: &Message) -> Result<Vec<Vec<u8>>, RelayError> {
    ask_at(relay, Instant::now(), &WEB, message)
}

fn ask_at(
    relay: &mut Relay,
    now: Instant,
    place: &Place<'_>,
    message: &Message,
) -> Result<Vec<Vec<u8>>, RelayError> {
    let forwards = relay.from_client(now, place, &message.to_vec().unwrap())?;
    let payloads = forwards.into_iter().zip(SERVERS).map(|(forward, server)| {
        let Forward::ToServer {
            source,
            destination,
            payload,
        } = forward
        else {
            panic!("{forward:?}");
        };
        assert_eq!((*source.ip(), source.port()), (OWN, 67));
        assert_eq!((*destination.ip(), destination.port()), (server, 67));
        payload
    });
    Ok(payloads.collect())
}

/// What the server makes of a request: option 82 echoed at the end.
fn answer(forwarded: &[u8], kind: MessageType, echo: bool) -> Vec<u8> {
    let asked = Message::decode(&mut Decoder::new(forwarded)).unwrap();
    let mut message = Message::new_with_id(asked.xid(), NONE, GIVEN, NONE, asked.giaddr(), &MAC.0);
    message
        .set_opcode(Opcode::BootReply)
        .set_flags(asked.flags());
    message.opts_mut().insert(DhcpOption::MessageType(kind));
    let mut bytes = message.to_vec().unwrap();
    assert_eq!(bytes.pop(), Some(255));
    if let Some(agent) = agent(forwarded).filter(|_| echo) {
        bytes.extend([82, agent.len() as u8]);
        bytes.extend(agent);
    }
    bytes.push(255);
    bytes
}

fn deliver(relay: &mut Relay, bytes: &[u8]) -> Result<Transmit, RelayError> {
    match relay.from_server(Instant::now(), SERVERS[0], bytes)? {
        Forward::ToClient(transmit) => Ok(transmit),
        forward => panic!("{forward:?}"),
    }
}

/// RFC 1542, section 4.1.1: "the relay agent MUST fill this field with the IP address of the
/// interface on which the request was received", and "MUST increment the value".
#[test]
fn a_request_goes_to_all_servers_with_the_machines_name() {
    let mut relay = relay();
    let forwarded = ask(&mut relay, &request(1)).unwrap();
    assert_eq!(forwarded.len(), 2);
    for payload in forwarded {
        let message = Message::decode(&mut Decoder::new(&payload)).unwrap();
        assert_eq!((message.giaddr(), message.hops()), (OWN, 1));
        assert_eq!(message.opts().msg_type(), Some(MessageType::Discover));
        assert_eq!(agent(&payload), Some(&b"\x01\x03web"[..]));
    }
}

#[test]
fn the_remote_id_is_told_where_there_is_one() {
    let mut config = RelayConfig::new(OWN, SERVERS.to_vec());
    config.remote_id = Some(b"host".to_vec());
    let forwarded = ask(&mut Relay::new(config), &request(1)).unwrap();
    assert_eq!(agent(&forwarded[0]), Some(&b"\x01\x03web\x02\x04host"[..]));
}

#[test]
fn an_answer_goes_to_the_port_that_asked_without_option_82() {
    let mut relay = relay();
    let forwarded = ask(&mut relay, &request(1)).unwrap();
    for echo in [true, false] {
        let offer = answer(&forwarded[0], MessageType::Offer, echo);
        let transmit = deliver(&mut relay, &offer).unwrap();
        assert_eq!(transmit.port, 5);
        assert_eq!(
            (transmit.destination_mac, *transmit.destination.ip()),
            (MAC, GIVEN)
        );
        assert_eq!(
            (transmit.source.port(), transmit.destination.port()),
            (67, 68)
        );
        assert_eq!(agent(&transmit.payload), None);
        let message = Message::decode(&mut Decoder::new(&transmit.payload)).unwrap();
        assert_eq!(message.yiaddr(), GIVEN);
        assert_eq!(message.opts().get(OptionCode::RelayAgentInformation), None);
    }
    let nak = answer(&forwarded[0], MessageType::Nak, true);
    assert!(
        deliver(&mut relay, &nak)
            .unwrap()
            .destination
            .ip()
            .is_broadcast()
    );
    let mut message = request(2);
    message.set_flags(Flags::default().set_broadcast());
    let forwarded = ask(&mut relay, &message).unwrap();
    let offer = answer(&forwarded[0], MessageType::Offer, true);
    assert!(
        deliver(&mut relay, &offer)
            .unwrap()
            .destination
            .ip()
            .is_broadcast()
    );
}

/// RFC 3046, section 2.1.1.
#[test]
fn what_a_client_says_of_relays_is_not_believed() {
    let mut relay = relay();
    let mut behind = request(1);
    behind.set_giaddr(Ipv4Addr::new(10, 50, 0, 9));
    assert_eq!(ask(&mut relay, &behind), Err(RelayError::Untrusted));
    let mut bytes = request(1).to_vec().unwrap();
    bytes.pop();
    bytes.extend([82, 5, 1, 3, b'd', b'b', b'1', 255]);
    let now = Instant::now();
    let forged = relay.from_client(now, &WEB, &bytes);
    assert_eq!(forged, Err(RelayError::Untrusted));
    // A relay that is trusted keeps its place and what it says; nobody is ourselves.
    let trusted = Place {
        trusted: true,
        ..WEB
    };
    let forwarded = ask_at(&mut relay, now, &trusted, &behind).unwrap();
    let message = Message::decode(&mut Decoder::new(&forwarded[0])).unwrap();
    assert_eq!(message.giaddr(), Ipv4Addr::new(10, 50, 0, 9));
    behind.set_giaddr(OWN);
    let own = ask_at(&mut relay, now, &trusted, &behind);
    assert_eq!(own, Err(RelayError::Untrusted));
    let mut far = request(1);
    far.set_hops(16);
    assert_eq!(ask(&mut relay, &far), Err(RelayError::Hops(16)));
}

#[test]
fn answers_that_nobody_asked_for_go_nowhere() {
    let mut relay = relay();
    let forwarded = ask(&mut relay, &request(1)).unwrap();
    let offer = answer(&forwarded[0], MessageType::Offer, true);
    let stranger = Ipv4Addr::new(10, 50, 0, 66);
    let now = Instant::now();
    assert_eq!(
        relay.from_server(now, stranger, &offer),
        Err(RelayError::Stranger(stranger))
    );
    for (at, what) in [
        (4, "another xid"),
        (28, "another client"),
        (24, "another relay"),
        (0, "a request"),
    ] {
        let mut other = offer.clone();
        other[at] ^= 2;
        assert!(deliver(&mut relay, &other).is_err(), "{what}");
    }
    let name = offer.windows(3).position(|bytes| bytes == b"web").unwrap();
    let mut other = offer.clone();
    other[name] = b'W';
    assert_eq!(deliver(&mut relay, &other), Err(RelayError::Unexpected));
    assert!(deliver(&mut relay, &offer).is_ok());
    let late = relay.from_server(now + Duration::from_secs(61), SERVERS[0], &offer);
    assert_eq!(late, Err(RelayError::Unexpected));
    assert_eq!(relay.pending(), 0);
}

/// All on a bridge hear a broadcast, and can repeat it.
#[test]
fn who_repeats_anothers_request_does_not_get_its_answer() {
    let db = Place {
        port: 6,
        circuit: b"db",
        trusted: false,
    };
    let now = Instant::now();
    let mut relay = relay();
    let own = ask(&mut relay, &request(1)).unwrap();
    let repeated = ask_at(&mut relay, now, &db, &request(1)).unwrap();
    for (asked, port) in [(&own, 5), (&repeated, 6)] {
        let offer = answer(&asked[0], MessageType::Offer, true);
        assert_eq!(deliver(&mut relay, &offer).unwrap().port, port);
    }
    // A server that does not echo what tells them apart, and a request that is sent again.
    ask(&mut relay, &request(1)).unwrap();
    let offer = answer(&own[0], MessageType::Offer, false);
    assert_eq!(deliver(&mut relay, &offer).unwrap().port, 5);
    assert_eq!(relay.pending(), 2);
}

#[test]
fn a_port_that_asks_without_end_costs_others_nothing() {
    let mut config = RelayConfig::new(OWN, SERVERS.to_vec());
    config.pending = 40;
    let mut relay = Relay::new(config);
    let db = Place {
        port: 6,
        circuit: b"db",
        trusted: false,
    };
    let now = Instant::now();
    let first = ask_at(&mut relay, now, &db, &request(1)).unwrap();
    for xid in 2..1000 {
        ask(&mut relay, &request(xid)).unwrap();
    }
    assert_eq!(relay.pending(), 11);
    let offer = answer(&first[0], MessageType::Offer, true);
    assert_eq!(deliver(&mut relay, &offer).unwrap().port, 6);
    for port in 10..100 {
        ask_at(
            &mut relay,
            now,
            &Place { port, ..WEB },
            &request(port + 5000),
        )
        .unwrap();
    }
    assert_eq!(relay.pending(), 40);
}

#[test]
fn what_would_not_fit_is_not_passed_on() {
    let mut relay = relay();
    let mut bytes = request(1).to_vec().unwrap();
    bytes.pop();
    for _ in 0..5 {
        bytes.extend([43, 250]);
        bytes.extend([0; 250]);
    }
    bytes.push(255);
    let now = Instant::now();
    assert_eq!(
        relay.from_client(now, &WEB, &bytes),
        Err(RelayError::TooLong)
    );
    let nameless = Place {
        circuit: b"",
        ..WEB
    };
    assert!(
        relay
            .from_client(now, &nameless, &request(1).to_vec().unwrap())
            .is_err()
    );
}

proptest! {
    #[test]
    fn any_bytes_are_survived(mut bytes: Vec<u8>, op in 1..3_u8, trusted: bool) {
        let mut relay = relay();
        let place = Place { trusted, ..WEB };
        let _ = relay.from_client(Instant::now(), &place, &bytes);
        let _ = relay.from_server(Instant::now(), SERVERS[0], &bytes);
        let mut whole = request(1).to_vec().unwrap();
        whole[0] = op;
        whole.pop();
        whole.append(&mut bytes);
        let _ = relay.from_client(Instant::now(), &place, &whole);
        let _ = relay.from_server(Instant::now(), SERVERS[0], &whole);
    }
}
