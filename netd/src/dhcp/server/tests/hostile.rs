//! Messages that no client should send.

use super::*;
use crate::dhcp::server::PacketError;

fn raw(message: Message) -> Vec<u8> {
    message.to_vec().unwrap()
}

#[track_caller]
fn ignored(bytes: Vec<u8>, reason: PacketError) {
    let mut bench = Bench::new();
    assert!(bench.from(1, guest(99), EVERYBODY, bytes).is_none());
    assert_eq!(
        *bench.last_event(),
        Event::Ignored {
            source_mac: guest(99),
            reason
        }
    );
}

#[test]
fn what_is_no_request_is_ignored() {
    let good = raw(discover(HOST0));
    let changed = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    ignored(Vec::new(), PacketError::Short);
    ignored(good[..239].to_vec(), PacketError::Short);
    ignored(changed(0, 2), PacketError::NotARequest);
    ignored(changed(1, 6), PacketError::NotEthernet);
    for hlen in [0, 5, 7, 16, 17, 255] {
        ignored(changed(2, hlen), PacketError::NotEthernet);
    }
    ignored(
        changed(24, 10),
        PacketError::Relayed(Ipv4Addr::new(10, 0, 0, 0)),
    );
    ignored(changed(239, 0), PacketError::NoCookie);
    let group = changed(28, 3);
    ignored(group, PacketError::NotAStation(Mac([3, 0, 0, 0, 0, 1])));
    ignored(
        raw(discover(Mac([0; 6]))),
        PacketError::NotAStation(Mac([0; 6])),
    );
    ignored(raw(message(MessageType::Offer, HOST0)), PacketError::NoKind);
    ignored(good[..240].to_vec(), PacketError::NoKind);
    ignored(changed(241, 200), PacketError::CutOff);
}

#[test]
fn options_of_a_wrong_length_are_noticed() {
    for (code, len) in [(50, 3), (51, 5), (53, 2), (54, 0), (57, 1), (52, 2)] {
        let mut bytes = raw(discover(HOST0));
        bytes.truncate(240);
        if code != 53 {
            bytes.extend([53, 1, 1]);
        }
        bytes.extend([code, len]);
        bytes.extend(std::iter::repeat_n(1, len.into()));
        bytes.push(255);
        ignored(bytes, PacketError::WrongLength(code));
    }
}

/// A host name in some 8-bit code stands ahead of what matters.
#[test]
fn a_strange_host_name_hides_nothing() {
    let mut bytes = raw(discover(HOST0));
    bytes.truncate(240);
    bytes.extend([
        12, 2, 0xe9, 0xff, 53, 1, 3, 54, 4, 192, 168, 7, 1, 50, 4, 192, 168, 7, 2, 255,
    ]);
    let mut bench = Bench::new();
    bench
        .bytes(EVERYBODY, bytes)
        .unwrap()
        .is_ack_for(HOST0_ADDRESS);
    assert_eq!(bench.leases()[0].hostname, None);
    bench.ask(select(HOST0, HOST0_ADDRESS).with(DhcpOption::Hostname("web-1.example".into())));
    assert_eq!(bench.leases()[0].hostname.as_deref(), Some("web-1.example"));
    for name in ["a b", "\u{1b}[31m", "x\ny", ""] {
        bench.ask(select(HOST0, HOST0_ADDRESS).with(DhcpOption::Hostname(name.into())));
        assert_eq!(bench.leases()[0].hostname, None, "{name:?}");
    }
}

/// RFC 3396, section 7, and RFC 2132, section 9.3.
#[test]
fn options_in_parts_and_in_other_fields_are_read() {
    let mut bytes = raw(discover(HOST0));
    bytes.truncate(240);
    bytes.extend([52, 1, 3, 50, 2, 192, 168, 53, 1, 3, 50, 2, 7, 2, 255]);
    bytes[108..115].copy_from_slice(&[54, 2, 192, 168, 0, 255, 9]); // file
    bytes[44..49].copy_from_slice(&[54, 2, 7, 1, 255]); // sname
    Bench::new()
        .bytes(EVERYBODY, bytes)
        .unwrap()
        .is_ack_for(HOST0_ADDRESS);
}

#[test]
fn datagrams_for_others_are_not_read() {
    let mut bench = Bench::new();
    let bytes = raw(discover(HOST0));
    for destination in [address(2), address(9), Ipv4Addr::new(224, 0, 0, 1), NOWHERE] {
        assert!(bench.bytes(destination, bytes.clone()).is_none());
    }
    assert!(bench.events.is_empty());
    for destination in [SERVER, address(15), EVERYBODY] {
        assert!(bench.bytes(destination, bytes.clone()).is_some());
    }
}

#[test]
fn a_zero_length_client_identifier_is_none() {
    let mut bench = Bench::new();
    let empty = bench.lease(|message| message.id(b""), guest(1));
    assert_eq!(bench.plain_lease(guest(1)), empty);
}
