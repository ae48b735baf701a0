//! Router solicitations and advertisements with their IPv6 headers (RFC 8200, section 3).

use std::net::Ipv6Addr;

use registry::Mac;

use super::bytes::Fields;
use super::packet::{Solicitation, checksum, with_checksum};
use super::socket::Heard;

const VERSION: u8 = 6;
const ICMPV6: u8 = 58;
/// The hop limit of what is not forwarded (RFC 4861, section 6.1).
const HOP_LIMIT: u8 = 255;
/// The Ethernet addresses of groups begin so (RFC 2464, section 7).
const GROUP: [u8; 2] = [0x33, 0x33];

/// Reads an IPv6 packet that came by a link; nothing, if it is no ICMPv6 message, whole and
/// with a right checksum. Never panics, whatever its bytes are.
#[must_use]
pub fn parse(ifindex: u32, packet: &[u8]) -> Option<Heard> {
    let mut fields = Fields(packet);
    let [version, _, _, _] = fields.take()?;
    let len = fields.half()?;
    // No option of IPv6 has a place in what stays on a link.
    let (next, hop_limit) = (fields.byte()?, fields.byte()?);
    let (source, destination) = (fields.address()?, fields.address()?);
    if version >> 4 != VERSION || next != ICMPV6 {
        return None;
    }
    let message = fields.0.get(..usize::from(len))?;
    if checksum(source, destination, message) != 0 {
        return None;
    }
    Some(Heard {
        ifindex,
        source,
        hop_limit,
        message: Solicitation::parse(message),
    })
}

/// An IPv6 packet with a message, whose checksum is filled in.
#[must_use]
pub fn build(source: Ipv6Addr, destination: Ipv6Addr, message: Vec<u8>) -> Vec<u8> {
    let message = with_checksum(source, destination, message);
    let len = u16::try_from(message.len()).unwrap_or(u16::MAX);
    let mut packet = vec![VERSION << 4, 0, 0, 0];
    packet.extend(len.to_be_bytes());
    packet.extend([ICMPV6, HOP_LIMIT]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(message);
    packet
}

/// The Ethernet address by which a group is reached.
#[must_use]
pub fn group_station(group: Ipv6Addr) -> Mac {
    let [a, b] = GROUP;
    let [.., c, d, e, f] = group.octets();
    Mac([a, b, c, d, e, f])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ra::{ALL_NODES, ALL_ROUTERS};

    const HOST: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);

    fn solicitation() -> Vec<u8> {
        build(HOST, ALL_ROUTERS, Solicitation::default().emit())
    }

    #[test]
    fn what_is_built_is_read() {
        let heard = parse(7, &solicitation()).unwrap();
        assert_eq!((heard.ifindex, heard.source), (7, HOST));
        assert_eq!(heard.hop_limit, 255);
        assert_eq!(heard.message, Ok(Solicitation::default()));
        let Mac(station) = group_station(ALL_NODES);
        assert_eq!(station, [0x33, 0x33, 0, 0, 0, 1]);
    }

    #[test]
    fn what_is_not_whole_or_was_changed_on_its_way_is_not() {
        let packet = solicitation();
        for len in 0..packet.len() {
            assert_eq!(parse(7, &packet[..len]), None, "{len}");
        }
        for at in 4..packet.len() {
            // The hop limit is not in the checksum.
            if at != 7 {
                let mut other = packet.clone();
                other[at] ^= 1;
                assert_eq!(parse(7, &other), None, "{at}");
            }
        }
    }
}
