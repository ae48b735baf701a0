//! IPv4 and UDP around a DHCP message.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use etherparse::checksum::Sum16BitWords;
use etherparse::{IpDscp, IpNumber, Ipv4Header, Ipv4HeaderSlice, UdpHeader, UdpHeaderSlice};

use registry::Mac;

use super::sys;
use crate::dhcp::SERVER_PORT;
use crate::dhcp::server::{Datagram, Transmit};

/// Class selector 6, for traffic that a network lives by (RFC 4594, section 3.1).
const NETWORK_CONTROL: IpDscp = match IpDscp::try_new(48) {
    Ok(value) => value,
    Err(_) => IpDscp::ZERO,
};
const TTL: u8 = 64;
const UDP_HEADER_LEN: usize = 8;

/// What is known of a packet beside its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// The index of the interface by which it came in: a bridge's port, or the link itself.
    pub port: u32,
    /// Whether it is longer than the bytes that are there.
    pub is_truncated: bool,
    /// Whether it came in for this host, a group, or everybody.
    pub is_for_us: bool,
    /// The sender's Ethernet address.
    pub source: Option<Mac>,
    /// What its UDP checksum is.
    pub checksum: Checksum,
}

/// How far the UDP checksum of a packet is made up.
///
/// A kernel leaves most of it to the sender's hardware, which does not come into play
/// between the two ends of a veth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// It is right, or the datagram is damaged.
    Final,
    /// The sender's hardware should have filled it in.
    Pending,
    /// Nobody said which of the two. What the hardware should have filled in begins as
    /// the sum of the pseudo header (RFC 768), so one can see.
    Either,
}

/// Why a packet is no DHCP request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// It is longer than any request.
    #[error("the packet is longer than a DHCP request can be")]
    TooLong,
    /// It was sent to another station, or by this one.
    #[error("the frame was not for this host")]
    NotForUs,
    /// The sender's address is no Ethernet address.
    #[error("the sender has no Ethernet address")]
    NoSender,
    /// The IPv4 header is malformed or its checksum wrong.
    #[error("the IPv4 header is damaged")]
    Ip,
    /// The UDP header is malformed or its checksum wrong.
    #[error("the UDP datagram is damaged")]
    Udp,
    /// It has another destination port.
    #[error("the datagram is for another port")]
    Port,
}

/// A payload that does not fit an IPv4 packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message is longer than an IPv4 packet can be")]
pub struct PayloadTooLong;

/// Takes the datagram out of an IPv4 packet. Never panics, whatever its bytes are.
///
/// # Errors
/// [`FrameError`] says what is wrong with it.
pub fn parse(packet: &[u8], arrival: &Arrival) -> Result<Datagram, FrameError> {
    parse_to(SERVER_PORT, packet, arrival)
}

/// As [`parse`], for another port.
///
/// # Errors
/// As [`parse`].
pub fn parse_to(port: u16, packet: &[u8], arrival: &Arrival) -> Result<Datagram, FrameError> {
    if arrival.is_truncated {
        return Err(FrameError::TooLong);
    }
    if !arrival.is_for_us {
        return Err(FrameError::NotForUs);
    }
    let source_mac = arrival.source.ok_or(FrameError::NoSender)?;
    let slice = Ipv4HeaderSlice::from_slice(packet).map_err(|_| FrameError::Ip)?;
    let header = slice.to_header();
    // Behind the packet's end there may be the frame's padding.
    let packet = packet
        .get(..usize::from(header.total_len))
        .ok_or(FrameError::Ip)?;
    let segment = packet.get(header.header_len()..).ok_or(FrameError::Ip)?;
    let is_whole = !header.more_fragments && header.fragment_offset.value() == 0;
    // Over the bytes as they came: the header's type does not keep all bits.
    let checksum = Sum16BitWords::new()
        .add_slice(slice.slice())
        .ones_complement();
    if checksum != 0 || header.protocol != IpNumber::UDP || !is_whole {
        return Err(FrameError::Ip);
    }
    let (to, payload) = payload(segment, &header, arrival)?;
    if to != port {
        return Err(FrameError::Port);
    }
    Ok(Datagram {
        port: arrival.port,
        source_mac,
        source: Ipv4Addr::from(header.source),
        destination: Ipv4Addr::from(header.destination),
        payload: payload.to_vec(),
    })
}

fn payload<'a>(
    segment: &'a [u8],
    ip: &Ipv4Header,
    arrival: &Arrival,
) -> Result<(u16, &'a [u8]), FrameError> {
    let udp = UdpHeaderSlice::from_slice(segment)
        .map_err(|_| FrameError::Udp)?
        .to_header();
    let payload = segment
        .get(UDP_HEADER_LEN..udp.length.into())
        .ok_or(FrameError::Udp)?;
    let is_begun = udp.checksum == sum_of_pseudo_header(ip, udp.length);
    let is_right = || udp.calc_checksum_ipv4(ip, payload) == Ok(udp.checksum);
    // Zero is "none" (RFC 768).
    let passes = udp.checksum == 0
        || match arrival.checksum {
            Checksum::Final => is_right(),
            Checksum::Pending => true,
            Checksum::Either => is_begun || is_right(),
        };
    passes
        .then_some((udp.destination_port, payload))
        .ok_or(FrameError::Udp)
}

/// What is in the place of a UDP checksum that is still to be filled in.
fn sum_of_pseudo_header(ip: &Ipv4Header, udp_length: u16) -> u16 {
    !Sum16BitWords::new()
        .add_4bytes(ip.source)
        .add_4bytes(ip.destination)
        .add_2bytes([0, IpNumber::UDP.0])
        .add_2bytes(udp_length.to_be_bytes())
        .ones_complement()
        .to_be()
}

/// Sends a datagram by a packet socket and the interface that it names, at once or not at all.
///
/// # Errors
/// If the link is down or gone, its queue is full, or the datagram too long.
pub fn send(socket: &OwnedFd, transmit: &Transmit) -> io::Result<()> {
    let packet = build(transmit).map_err(io::Error::other)?;
    sys::send(socket, transmit.port, transmit.destination_mac, &packet)
}

/// An IPv4 packet with the datagram, its checksums filled in: nothing behind a
/// packet socket does it.
///
/// # Errors
/// If the payload is longer than a packet can be.
pub fn build(transmit: &Transmit) -> Result<Vec<u8>, PayloadTooLong> {
    let (source, destination) = (
        transmit.source.ip().octets(),
        transmit.destination.ip().octets(),
    );
    let segment_len = UDP_HEADER_LEN.saturating_add(transmit.payload.len());
    let length = u16::try_from(segment_len).map_err(|_| PayloadTooLong)?;
    let ip = Ipv4Header::new(length, TTL, IpNumber::UDP, source, destination);
    let mut ip = ip.map_err(|_| PayloadTooLong)?;
    ip.dscp = NETWORK_CONTROL;
    ip.header_checksum = ip.calc_header_checksum();
    let (from, to) = (transmit.source.port(), transmit.destination.port());
    let udp = UdpHeader::with_ipv4_checksum(from, to, &ip, &transmit.payload)
        .map_err(|_| PayloadTooLong)?;

    let mut packet = Vec::with_capacity(Ipv4Header::MIN_LEN + segment_len);
    packet.extend_from_slice(&ip.to_bytes());
    packet.extend_from_slice(&udp.to_bytes());
    packet.extend_from_slice(&transmit.payload);
    Ok(packet)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddrV4;

    use super::*;
    use registry::Mac;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 9]);

    fn arrival() -> Arrival {
        Arrival {
            port: 3,
            is_truncated: false,
            is_for_us: true,
            source: Some(MAC),
            checksum: Checksum::Final,
        }
    }

    fn packet() -> Vec<u8> {
        let address = |last, port| SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, last), port);
        build(&Transmit {
            port: 3,
            destination_mac: MAC,
            source: address(2, 68),
            destination: address(1, 67),
            payload: b"an odd number of bytes.".to_vec(),
        })
        .unwrap()
    }

    #[test]
    fn what_is_built_is_read_again() {
        let mut packet = packet();
        packet.extend([0; 18]); // a frame's padding
        let datagram = parse(&packet, &arrival()).unwrap();
        assert_eq!(datagram.payload, b"an odd number of bytes.");
        assert_eq!((datagram.port, datagram.source_mac), (3, MAC));
        assert_eq!(datagram.source, Ipv4Addr::new(10, 0, 0, 2));
        assert_eq!(datagram.destination, Ipv4Addr::new(10, 0, 0, 1));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let packet = packet();
        for bit in 0..packet.len() * 8 {
            let mut flipped = packet.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(parse(&flipped, &arrival()).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_pending_or_absent_udp_checksum_is_not_checked() {
        let mut packet = packet();
        packet[26..28].copy_from_slice(&[0x12, 0x34]);
        assert_eq!(parse(&packet, &arrival()), Err(FrameError::Udp));
        assert!(
            parse(
                &packet,
                &Arrival {
                    checksum: Checksum::Pending,
                    ..arrival()
                }
            )
            .is_ok()
        );
        packet[26..28].copy_from_slice(&[0, 0]);
        assert!(parse(&packet, &arrival()).is_ok());
    }

    #[test]
    fn where_nobody_says_it_the_checksum_is_right_or_begun() {
        let either = Arrival {
            checksum: Checksum::Either,
            ..arrival()
        };
        let mut packet = packet();
        assert!(parse(&packet, &either).is_ok());
        // 10.0.0.2 and 10.0.0.1 in words, the protocol, the length, each as it is added.
        let begun = 0x0a00 + 2 + 0x0a00 + 1 + 17 + (packet.len() as u16 - 20);
        packet[26..28].copy_from_slice(&begun.to_be_bytes());
        assert!(parse(&packet, &either).is_ok());
        assert_eq!(parse(&packet, &arrival()), Err(FrameError::Udp));
        packet[27] ^= 1;
        assert_eq!(parse(&packet, &either), Err(FrameError::Udp));
    }

    #[test]
    fn frames_of_others_and_cut_off_ones_are_not_read() {
        let packet = packet();
        let not_ours = Arrival {
            is_for_us: false,
            ..arrival()
        };
        assert_eq!(parse(&packet, &not_ours), Err(FrameError::NotForUs));
        let truncated = Arrival {
            is_truncated: true,
            ..arrival()
        };
        assert_eq!(parse(&packet, &truncated), Err(FrameError::TooLong));
        let nobody = Arrival {
            source: None,
            ..arrival()
        };
        assert_eq!(parse(&packet, &nobody), Err(FrameError::NoSender));
        for len in 0..packet.len() {
            assert!(parse(&packet[..len], &arrival()).is_err());
        }
    }

    #[test]
    fn a_payload_longer_than_a_packet_is_refused() {
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 67);
        let mut transmit = Transmit {
            port: 3,
            destination_mac: MAC,
            source: address,
            destination: address,
            payload: vec![0; 65_507],
        };
        assert_eq!(build(&transmit).unwrap().len(), 65_535);
        transmit.payload.push(0);
        assert!(build(&transmit).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            for checksum in [Checksum::Final, Checksum::Pending, Checksum::Either] {
                let _ = parse(&bytes, &Arrival { checksum, ..arrival() });
            }
        }
    }
}
