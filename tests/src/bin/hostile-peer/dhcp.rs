//! DHCP messages of every kind, right and wrong (RFC 2131, RFC 2132, RFC 3396).

use std::net::Ipv4Addr;

use crate::Scene;
use crate::frames;
use crate::random::Random;

pub const OFFER: u8 = 2;
const REQUEST: u8 = 3;
pub const ACK: u8 = 5;
pub const NAK: u8 = 6;

const COOKIE: [u8; 4] = [99, 130, 83, 99];

/// The fixed part and the cookie: 1 is a client's message, 2 a server's.
pub fn header(operation: u8, xid: [u8; 4], yiaddr: Ipv4Addr, chaddr: [u8; 6]) -> Vec<u8> {
    let mut message = vec![operation, 1, 6, 0];
    message.extend(xid);
    message.extend([0, 0, 0x80, 0]);
    message.extend([0; 4]);
    message.extend(yiaddr.octets());
    message.extend([0; 8]);
    message.extend(chaddr);
    message.extend([0; 10 + 64 + 128]);
    message.extend(COOKIE);
    message
}

fn option(message: &mut Vec<u8>, number: u8, value: &[u8]) {
    message.extend([number, value.len() as u8]);
    message.extend(value);
}

/// A client's message as it should be, by somebody who was never there before.
pub fn request(random: &mut Random, scene: &Scene) -> Vec<u8> {
    let kind = [1, REQUEST, 4, 7, 8][random.below(5)];
    let mac = random.mac();
    let mut message = header(1, random.bytes(), Ipv4Addr::UNSPECIFIED, mac);
    option(&mut message, 53, &[kind]);
    let length = 1 + random.below(60);
    option(&mut message, 61, &random.some(length));
    let base = u32::from(scene.host4) & !15;
    let wanted = Ipv4Addr::from(base + random.below(16) as u32);
    if kind != 1 || random.below(2) == 0 {
        option(&mut message, 50, &wanted.octets());
    }
    if kind != 1 && random.below(4) != 0 {
        option(&mut message, 54, &scene.host4.octets());
    }
    option(&mut message, 12, b"victim");
    option(&mut message, 81, b"\x04\0\0victim.example");
    if random.below(3) == 0 {
        option(&mut message, 80, &[]);
    }
    message.push(255);
    packet(scene, &message, (Ipv4Addr::UNSPECIFIED, 68))
}

/// The UDP packet around a client's message.
fn packet(scene: &Scene, message: &[u8], from: (Ipv4Addr, u16)) -> Vec<u8> {
    let to = if from.0.is_unspecified() {
        Ipv4Addr::BROADCAST
    } else {
        scene.host4
    };
    frames::udp4(from, (to, 67), message)
}

/// A message that is wrong in one of many ways.
pub fn broken(random: &mut Random, scene: &Scene) -> Vec<u8> {
    let xid = random.bytes();
    let mut message = header(1, xid, Ipv4Addr::UNSPECIFIED, random.mac());
    option(&mut message, 53, &[1]);
    let from = (Ipv4Addr::UNSPECIFIED, 68);
    match random.below(16) {
        // Cut off anywhere.
        0 => {
            let length = random.below(message.len());
            packet(scene, &message[..length], from)
        }
        // An option that is longer than what is left.
        1 => {
            message.extend([61, 255, 1]);
            packet(scene, &message, from)
        }
        // Options without an end, as long as a packet takes.
        2 => {
            while message.len() < 1400 {
                message.extend([61, 1, 1]);
            }
            packet(scene, &message, from)
        }
        // One option in many parts (RFC 3396), longer than any may be.
        3 => {
            for _ in 0..4 {
                option(&mut message, 61, &[7; 255]);
            }
            message.push(255);
            packet(scene, &message, from)
        }
        // "More options in sname and file", and these say the same again.
        4 => {
            for at in [44, 108] {
                message[at..at + 3].copy_from_slice(&[52, 1, 3]);
            }
            option(&mut message, 52, &[3]);
            message.push(255);
            packet(scene, &message, from)
        }
        // The same, and each of them goes past its end.
        5 => {
            message[44..108].fill(12);
            message[108..236].fill(61);
            option(&mut message, 52, &[3]);
            message.push(255);
            packet(scene, &message, from)
        }
        // Wrong lengths and types of address.
        6 => {
            message[1] = random.number() as u8;
            message[2] = random.number() as u8;
            packet(scene, &message, from)
        }
        // No cookie.
        7 => {
            message[236] = 0;
            packet(scene, &message, from)
        }
        // Pads alone, then nothing.
        8 => {
            message.extend([0; 900]);
            packet(scene, &message, from)
        }
        // Fixed-length options of other lengths.
        9 => {
            for number in [50, 51, 53, 54, 57] {
                let length = random.below(8);
                option(&mut message, number, &random.some(length));
            }
            packet(scene, &message, from)
        }
        // IP options, so that UDP is elsewhere.
        10 => {
            let mut packet = packet(scene, &message, from);
            let words = 1 + random.below(10);
            packet.splice(20..20, std::iter::repeat_n(1, words * 4));
            packet[0] = 0x45 + words as u8;
            let length = packet.len() as u16;
            packet[2..4].copy_from_slice(&length.to_be_bytes());
            frames::fix_ipv4(&mut packet);
            packet
        }
        // A fragment.
        11 => {
            let mut packet = packet(scene, &message, from);
            packet[6] = 0x20;
            packet[7] = random.number() as u8;
            frames::fix_ipv4(&mut packet);
            packet
        }
        // A wrong checksum of IP.
        12 => {
            let mut packet = packet(scene, &message, from);
            packet[10] ^= 0x55;
            packet
        }
        // A wrong checksum of UDP.
        13 => {
            let mut packet = packet(scene, &message, from);
            packet[26] ^= 0x55;
            packet
        }
        // Lengths in IP and UDP that are not those of the packet.
        14 => {
            let mut packet = packet(scene, &message, from);
            let at = [3, 25][random.below(2)];
            packet[at] ^= random.number() as u8;
            frames::fix_ipv4(&mut packet);
            packet
        }
        // Anything at all.
        _ => {
            let length = random.below(1200);
            packet(scene, &random.some(length), from)
        }
    }
}

/// What a server says, to whoever has this address.
pub fn reply(random: &mut Random, scene: &Scene, kind: u8, to: Ipv4Addr) -> Vec<u8> {
    let chaddr = random.mac();
    let mut message = header(2, random.bytes(), scene.other4, chaddr);
    option(&mut message, 53, &[kind]);
    option(&mut message, 54, &scene.own4.octets());
    option(&mut message, 51, &[0, 0, 1, 0]);
    option(&mut message, 1, &[255, 255, 255, 0]);
    option(&mut message, 3, &scene.own4.octets());
    option(&mut message, 6, &scene.own4.octets());
    message.push(255);
    frames::udp4((scene.own4, 67), (to, 68), &message)
}
