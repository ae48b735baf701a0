//! Ethernet frames, with right checksums: what is to be wrong is made so afterwards.

use std::net::{Ipv4Addr, Ipv6Addr};

pub const IPV4: u16 = 0x0800;
pub const ARP: u16 = 0x0806;
pub const IPV6: u16 = 0x86dd;

pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ICMPV6: u8 = 58;

pub const EVERYBODY: [u8; 6] = [0xff; 6];

/// ICMPv6 (RFC 4861, RFC 2710, RFC 3810).
pub const ROUTER_SOLICITATION: u8 = 133;
pub const ROUTER_ADVERTISEMENT: u8 = 134;
pub const NEIGHBOUR_SOLICITATION: u8 = 135;
pub const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
pub const REDIRECT: u8 = 137;

pub fn ethernet(to: [u8; 6], from: [u8; 6], kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = [to, from].concat();
    frame.extend(kind.to_be_bytes());
    frame.extend(payload);
    frame
}

/// An ARP packet (RFC 826): 1 asks, 2 answers.
pub fn arp(operation: u16, sender: ([u8; 6], Ipv4Addr), target: ([u8; 6], Ipv4Addr)) -> Vec<u8> {
    let mut packet = vec![0, 1, 8, 0, 6, 4];
    packet.extend(operation.to_be_bytes());
    for (mac, ip) in [sender, target] {
        packet.extend(mac);
        packet.extend(ip.octets());
    }
    packet
}

pub fn ipv4(protocol: u8, from: Ipv4Addr, to: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + payload.len()).unwrap();
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([0, 7, 0, 0, 64, protocol, 0, 0]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    set_checksum(&mut packet, 10, 0);
    packet.extend(payload);
    packet
}

/// Computes the header's checksum anew after a change.
pub fn fix_ipv4(packet: &mut [u8]) {
    let length = usize::from(packet[0] & 15) * 4;
    if let Some(header) = packet.get_mut(..length).filter(|header| header.len() >= 20) {
        set_checksum(header, 10, 0);
    }
}

pub fn ipv6(next: u8, from: Ipv6Addr, to: Ipv6Addr, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap();
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([next, 255]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    packet.extend(payload);
    packet
}

pub fn udp4(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), payload: &[u8]) -> Vec<u8> {
    let segment = udp(
        from.1,
        to.1,
        payload,
        sum(&from.0.octets()) + sum(&to.0.octets()),
    );
    ipv4(UDP, from.0, to.0, &segment)
}

pub fn udp6(from: (Ipv6Addr, u16), to: (Ipv6Addr, u16), payload: &[u8]) -> Vec<u8> {
    let segment = udp(
        from.1,
        to.1,
        payload,
        sum(&from.0.octets()) + sum(&to.0.octets()),
    );
    ipv6(UDP, from.0, to.0, &segment)
}

fn udp(from: u16, to: u16, payload: &[u8], addresses: u32) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).unwrap();
    let mut segment = Vec::with_capacity(usize::from(length));
    for number in [from, to, length, 0] {
        segment.extend(number.to_be_bytes());
    }
    segment.extend(payload);
    set_checksum(
        &mut segment,
        6,
        addresses + u32::from(UDP) + u32::from(length),
    );
    segment
}

pub fn icmp(kind: u8, code: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0];
    message.extend(body);
    set_checksum(&mut message, 2, 0);
    message
}

/// An IPv6 packet with an ICMPv6 message: the body is what follows the checksum.
pub fn icmpv6(kind: u8, from: Ipv6Addr, to: Ipv6Addr, body: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0];
    message.extend(body);
    let addresses = sum(&from.octets()) + sum(&to.octets());
    let pseudo = addresses + message.len() as u32 + u32::from(ICMPV6);
    set_checksum(&mut message, 2, pseudo);
    ipv6(ICMPV6, from, to, &message)
}

/// A TCP segment that opens a connection.
pub fn syn4(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16)) -> Vec<u8> {
    let mut segment = Vec::new();
    segment.extend(from.1.to_be_bytes());
    segment.extend(to.1.to_be_bytes());
    segment.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0]);
    let pseudo = sum(&from.0.octets()) + sum(&to.0.octets()) + u32::from(TCP) + 20;
    set_checksum(&mut segment, 16, pseudo);
    ipv4(TCP, from.0, to.0, &segment)
}

/// The option with a link-layer address: 1 is the source's, 2 the target's.
pub fn link_layer(kind: u8, mac: [u8; 6]) -> Vec<u8> {
    [&[kind, 1][..], &mac].concat()
}

/// Where solicitations for an address go (RFC 4291, section 2.7.1).
pub fn solicited_node(ip: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b] = ip.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | (a & 0xff), b)
}

pub fn multicast_mac(ip: Ipv6Addr) -> [u8; 6] {
    let [.., a, b, c, d] = ip.octets();
    [0x33, 0x33, a, b, c, d]
}

fn sum(bytes: &[u8]) -> u32 {
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([
            pair[0],
            pair.get(1).copied().unwrap_or(0),
        ]));
    }
    sum
}

fn set_checksum(bytes: &mut [u8], at: usize, more: u32) {
    bytes[at] = 0;
    bytes[at + 1] = 0;
    let mut sum = sum(bytes) + more;
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    bytes[at..at + 2].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}
