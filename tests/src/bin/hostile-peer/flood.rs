//! Frames at full speed.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::Scene;
use crate::dhcp;
use crate::frames::{self, EVERYBODY, ethernet};
use crate::random::Random;
use crate::sys::FrameSocket;

/// Its kinds.
pub const KINDS: [&str; 8] = [
    "dhcp",
    "dhcp-broken",
    "dhcp-server",
    "arp",
    "nd",
    "spoof",
    "garbage",
    "all",
];

/// How many frames are made beforehand: making one takes longer than sending it.
const STORE: usize = 8192;

/// Sends until the time is over. The number of frames, and of those that were refused.
pub fn run(kind: &str, scene: &Scene) -> String {
    let socket = FrameSocket::open(&scene.link);
    let mut random = Random::new();
    let mut store: Vec<Vec<u8>> = (0..STORE)
        .map(|_| frame(kind, &mut random, scene))
        .collect();
    let (mut sent, mut refused) = (0_u64, 0_u64);
    while scene.goes_on() {
        for frame in &store {
            match socket.send(frame) {
                Ok(()) => sent += 1,
                Err(_) => refused += 1,
            }
        }
        // Always some that were never seen.
        for _ in 0..STORE / 16 {
            let at = random.below(STORE);
            store[at] = frame(kind, &mut random, scene);
        }
    }
    format!("{sent} sent, {refused} refused")
}

fn frame(kind: &str, random: &mut Random, scene: &Scene) -> Vec<u8> {
    match kind {
        "dhcp" => {
            let from = random.mac();
            ethernet(EVERYBODY, from, frames::IPV4, &dhcp::request(random, scene))
        }
        "dhcp-broken" => {
            let from = random.mac();
            ethernet(EVERYBODY, from, frames::IPV4, &dhcp::broken(random, scene))
        }
        "dhcp-server" => {
            let kind = [dhcp::OFFER, dhcp::ACK, dhcp::NAK][random.below(3)];
            let to = [Ipv4Addr::BROADCAST, scene.host4, scene.other4][random.below(3)];
            let reply = dhcp::reply(random, scene, kind, to);
            let mac = if to.is_broadcast() {
                EVERYBODY
            } else {
                scene.to_mac
            };
            ethernet(mac, scene.own_mac, frames::IPV4, &reply)
        }
        "arp" => arp(random, scene),
        "nd" => discovery(random, scene),
        "spoof" => spoofed(random, scene),
        "garbage" => garbage(random, scene),
        _ => {
            let kind = KINDS[random.below(KINDS.len() - 1)];
            frame(kind, random, scene)
        }
    }
}

fn some4(random: &mut Random, scene: &Scene) -> Ipv4Addr {
    match random.below(6) {
        // In the link's own subnet.
        0 | 1 => Ipv4Addr::from((u32::from(scene.host4) & !15) + random.below(16) as u32),
        2 => scene.host4,
        3 => scene.other4,
        4 => Ipv4Addr::UNSPECIFIED,
        _ => Ipv4Addr::from(random.bytes::<4>()),
    }
}

fn some6(random: &mut Random, scene: &Scene) -> Ipv6Addr {
    let with = |first: [u8; 8], last: [u8; 8]| {
        let mut octets = [0; 16];
        octets[..8].copy_from_slice(&first);
        octets[8..].copy_from_slice(&last);
        Ipv6Addr::from(octets)
    };
    let last = random.bytes();
    match random.below(6) {
        0..=2 => with([0xfe, 0x80, 0, 0, 0, 0, 0, 0], last),
        3 => {
            let mut net = [0; 8];
            net.copy_from_slice(&scene.own6.octets()[..8]);
            with(net, last)
        }
        4 => scene.other6,
        _ => with(random.bytes(), last),
    }
}

fn arp(random: &mut Random, scene: &Scene) -> Vec<u8> {
    let mac = random.mac();
    let sender = (mac, some4(random, scene));
    let target = match random.below(3) {
        // "Here I am", to everybody.
        0 => (EVERYBODY, sender.1),
        1 => ([0; 6], scene.host4),
        _ => (scene.to_mac, some4(random, scene)),
    };
    let operation = 1 + random.below(2) as u16;
    let packet = frames::arp(operation, sender, target);
    let to = [EVERYBODY, scene.to_mac][random.below(2)];
    ethernet(to, mac, frames::ARP, &packet)
}

fn discovery(random: &mut Random, scene: &Scene) -> Vec<u8> {
    let mac = random.mac();
    let from = some6(random, scene);
    let to_all = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let (kind, to, body) = match random.below(7) {
        0..=2 => {
            let target = scene.host6;
            let body = [&[0; 4][..], &target.octets(), &frames::link_layer(1, mac)].concat();
            (
                frames::NEIGHBOUR_SOLICITATION,
                frames::solicited_node(target),
                body,
            )
        }
        3 => {
            let target = some6(random, scene);
            let body = [
                &[0xa0, 0, 0, 0][..],
                &target.octets(),
                &frames::link_layer(2, mac),
            ]
            .concat();
            (frames::NEIGHBOUR_ADVERTISEMENT, to_all, body)
        }
        4 => {
            let routers = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
            let body = [&[0; 4][..], &frames::link_layer(1, mac)].concat();
            (frames::ROUTER_SOLICITATION, routers, body)
        }
        5 => (frames::ROUTER_ADVERTISEMENT, to_all, advertisement(random)),
        // A report of groups that nobody has joined (RFC 2710).
        _ => {
            let group = Ipv6Addr::from(
                [&[0xff, 2][..], &random.bytes::<14>()]
                    .concat()
                    .try_into()
                    .map(|octets: [u8; 16]| octets)
                    .unwrap(),
            );
            (131, group, [&[0; 4][..], &group.octets()].concat())
        }
    };
    ethernet(
        frames::multicast_mac(to),
        mac,
        frames::IPV6,
        &frames::icmpv6(kind, from, to, &body),
    )
}

/// "I am your router, and this is your prefix" (RFC 4861, sections 4.2 and 4.6.2).
pub fn advertisement(random: &mut Random) -> Vec<u8> {
    let mut body = vec![64, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0];
    body.extend([3, 4, 64, 0xc0]);
    body.extend([0xff; 8]);
    body.extend([0; 4]);
    body.extend([0x20, 1, 0x0d, 0xb8]);
    body.extend(random.bytes::<4>());
    body.extend([0; 8]);
    body
}

/// Packets from and to anywhere.
fn spoofed(random: &mut Random, scene: &Scene) -> Vec<u8> {
    let outside = Ipv4Addr::new(198, 51, 100, 2);
    let packet = match random.below(8) {
        0 => {
            let to = [scene.host4, scene.other4, outside, Ipv4Addr::LOCALHOST][random.below(4)];
            let from = some4(random, scene);
            frames::udp4((from, 9), (to, random.number() as u16), b"spoofed")
        }
        1 => {
            let from = some4(random, scene);
            frames::syn4((from, random.number() as u16), (scene.host4, 22))
        }
        2 => {
            let from = some4(random, scene);
            let redirect = [&scene.own4.octets()[..], &[0x45; 28]].concat();
            frames::ipv4(
                frames::ICMP,
                from,
                scene.host4,
                &frames::icmp(5, 1, &redirect),
            )
        }
        // From itself, to all the addresses that the neighbour might have.
        3 => {
            let to = Ipv4Addr::from((u32::from(scene.other4) & !15) + random.below(16) as u32);
            frames::udp4((scene.own4, 9), (to, 9), b"scan")
        }
        _ => {
            let own_net = scene.other6.octets()[..8].to_vec();
            let scanned: [u8; 16] = [own_net, random.some(8)].concat().try_into().unwrap();
            let (from, to) = match random.below(4) {
                0 => (scene.own6, Ipv6Addr::from(scanned)),
                1 => (some6(random, scene), Ipv6Addr::LOCALHOST),
                2 => (some6(random, scene), scene.other6),
                _ => (some6(random, scene), scene.host6),
            };
            let packet = if random.below(2) == 0 {
                frames::udp6((from, 9), (to, random.number() as u16), b"spoofed")
            } else {
                frames::icmpv6(128, from, to, &[0; 8])
            };
            return ethernet(scene.to_mac, scene.own_mac, frames::IPV6, &packet);
        }
    };
    let from = if random.below(2) == 0 {
        scene.own_mac
    } else {
        random.mac()
    };
    ethernet(scene.to_mac, from, frames::IPV4, &packet)
}

/// Frames that are none of anything.
fn garbage(random: &mut Random, scene: &Scene) -> Vec<u8> {
    let kind = [
        frames::IPV4,
        frames::IPV6,
        frames::ARP,
        0x8100,
        0x88a8,
        0x88cc,
        random.number() as u16,
    ][random.below(7)];
    let to = [EVERYBODY, scene.to_mac, [0x33, 0x33, 0, 0, 0, 1]][random.below(3)];
    let length = random.below(1400);
    let from = random.mac();
    let mut payload = random.some(length);
    if kind == frames::IPV4 && payload.len() > 20 {
        // So that it goes further than the first look.
        payload[0] = 0x45 + random.below(11) as u8;
        let length = (payload.len() as u16).to_be_bytes();
        payload[2..4].copy_from_slice(&length);
        payload[12..16].copy_from_slice(&scene.own4.octets());
        payload[16..20].copy_from_slice(&scene.host4.octets());
        frames::fix_ipv4(&mut payload);
    }
    ethernet(to, from, kind, &payload)
}
