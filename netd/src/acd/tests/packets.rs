//! Bytes.

use proptest::prelude::*;

use super::super::ArpError;
use super::*;

/// A probe as RFC 826 lays it out.
const PROBE: [u8; 28] = [
    0, 1, 8, 0, 6, 4, 0, 1, // Ethernet, IPv4, their lengths, a request
    2, 0, 0, 0, 0, 1, 0, 0, 0, 0, // from OURS, no address
    0, 0, 0, 0, 0, 0, 192, 168, 7, 9, // for ADDRESS
];

#[test]
fn a_probe_byte_by_byte() {
    assert_eq!(ArpPacket::probe(OURS, ADDRESS).emit(), PROBE);
    let mut announcement = PROBE;
    announcement[14..18].copy_from_slice(&ADDRESS.octets());
    assert_eq!(ArpPacket::announcement(OURS, ADDRESS).emit(), announcement);
}

#[test]
fn padding_is_passed_over() {
    let mut frame = PROBE.to_vec();
    frame.resize(46, 0);
    assert_eq!(
        ArpPacket::parse(&frame),
        Ok(ArpPacket::probe(OURS, ADDRESS))
    );
}

#[test]
fn whatever_is_not_arp_for_ipv4_over_ethernet_is_refused() {
    for len in 0..PROBE.len() {
        assert_eq!(ArpPacket::parse(&PROBE[..len]), Err(ArpError::Short));
    }
    for at in 0..6 {
        let mut bytes = PROBE;
        bytes[at] ^= 1;
        assert_eq!(ArpPacket::parse(&bytes), Err(ArpError::Foreign));
    }
    for operation in [0, 3, 8, 0x0101, 0xffff_u16] {
        let mut bytes = PROBE;
        bytes[6..8].copy_from_slice(&operation.to_be_bytes());
        assert_eq!(
            ArpPacket::parse(&bytes),
            Err(ArpError::Operation(operation))
        );
    }
}

prop_compose! {
    fn packet()(
        request: bool,
        sender_mac: [u8; 6],
        sender: u32,
        target_mac: [u8; 6],
        target: u32,
    ) -> ArpPacket {
        ArpPacket {
            operation: if request { Operation::Request } else { Operation::Reply },
            sender_mac: Mac(sender_mac),
            sender: sender.into(),
            target_mac: Mac(target_mac),
            target: target.into(),
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(packet in packet()) {
        prop_assert_eq!(ArpPacket::parse(&packet.emit()), Ok(packet));
    }

    #[test]
    fn what_is_read_is_written(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(packet) = ArpPacket::parse(&bytes) {
            prop_assert_eq!(&packet.emit()[..], &bytes[..28]);
        }
    }

    #[test]
    fn beginnings_of_real_packets_are_survived(
        mut bytes in Just(PROBE.to_vec()),
        at in 0..28_usize,
        byte: u8,
        len in 0..=28_usize,
    ) {
        bytes[at] = byte;
        bytes.truncate(len);
        prop_assert_eq!(ArpPacket::parse(&bytes).is_ok() && len < 28, false);
    }
}
