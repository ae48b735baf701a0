//! Single frames, of which each tries one thing.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::Scene;
use crate::dhcp;
use crate::flood;
use crate::frames::{self, EVERYBODY, ethernet};
use crate::random::Random;
use crate::sys::FrameSocket;

/// Its kinds.
pub const KINDS: [&str; 22] = [
    "udp4-as-other",
    "udp4-to-loopback",
    "udp6-as-other",
    "udp6-to-loopback",
    "udp4-from-own",
    "udp6-from-own",
    "advertise-router",
    "redirect4",
    "redirect6",
    "arp-as-other",
    "arp-as-host",
    "arp-as-anybody",
    "na-as-other",
    "na-as-host",
    "serve-dhcp",
    "udp4-by-mac-of-other",
    "udp4-from-many",
    "arp-probe-of-other",
    "arp-as-other-tagged",
    "arp-as-other-tagged-twice",
    "na-as-other-tagged-twice",
    "advertise-router-tagged-twice",
];

/// Another station than the sender.
const FORGED_MAC: [u8; 6] = [2, 0, 0, 0, 0xba, 0xd0];
/// Where datagrams of these kinds go.
const PORT: u16 = 4700;

/// Sends the frames of one kind.
pub fn run(kind: &str, scene: &Scene) -> String {
    let socket = FrameSocket::open(&scene.link);
    let (kind, tags) = match (
        kind.strip_suffix("-tagged-twice"),
        kind.strip_suffix("-tagged"),
    ) {
        (Some(kind), _) => (kind, 2),
        (None, Some(kind)) => (kind, 1),
        (None, None) => (kind, 0),
    };
    let frames = frames_of(kind, scene).into_iter();
    let frames: Vec<Vec<u8>> = frames.map(|frame| tagged(&frame, tags)).collect();
    for frame in &frames {
        socket.send(frame).unwrap();
    }
    format!("{} sent", frames.len())
}

/// The frame with so many tags of no VLAN (IEEE 802.1Q), which whoever gets it passes over.
fn tagged(frame: &[u8], tags: usize) -> Vec<u8> {
    let (addresses, rest) = frame.split_at(12);
    [addresses, &[0x81, 0, 0, 0].repeat(tags), rest].concat()
}

fn frames_of(kind: &str, scene: &Scene) -> Vec<Vec<u8>> {
    let v4 = |packet: Vec<u8>| ethernet(scene.to_mac, scene.own_mac, frames::IPV4, &packet);
    let v6 = |packet: Vec<u8>| ethernet(scene.to_mac, scene.own_mac, frames::IPV6, &packet);
    let said = kind.as_bytes();
    let local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0xbad, 0, 1);
    let all = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let mut random = Random::new();
    match kind {
        "udp4-as-other" => vec![v4(frames::udp4(
            (scene.other4, 9),
            (scene.host4, PORT),
            said,
        ))],
        "udp6-as-other" => vec![v6(frames::udp6(
            (scene.other6, 9),
            (scene.host6, PORT),
            said,
        ))],
        "udp4-to-loopback" => [Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 2)]
            .map(|to| v4(frames::udp4((scene.own4, 9), (to, PORT), said)))
            .to_vec(),
        "udp6-to-loopback" => [scene.own6, Ipv6Addr::LOCALHOST]
            .map(|from| v6(frames::udp6((from, 9), (Ipv6Addr::LOCALHOST, PORT), said)))
            .to_vec(),
        "udp4-from-own" => vec![v4(frames::udp4((scene.own4, 9), (scene.host4, PORT), said))],
        "udp6-from-own" => vec![v6(frames::udp6((scene.own6, 9), (scene.host6, PORT), said))],
        "advertise-router" => {
            let packet = frames::icmpv6(134, local, all, &flood::advertisement(&mut random));
            vec![ethernet(
                frames::multicast_mac(all),
                scene.own_mac,
                frames::IPV6,
                &packet,
            )]
        }
        "udp4-by-mac-of-other" => {
            let packet = frames::udp4((scene.own4, 9), (scene.host4, PORT), said);
            vec![ethernet(
                scene.to_mac,
                scene.other_mac,
                frames::IPV4,
                &packet,
            )]
        }
        // All of its /24 but the ends.
        "udp4-from-many" => (1..255)
            .map(|last| {
                let [a, b, c, _] = scene.own4.octets();
                let from = Ipv4Addr::new(a, b, c, last);
                v4(frames::udp4((from, 9), (scene.host4, PORT), said))
            })
            .collect(),
        // What RFC 5227 has a host ask before it uses an address: it forges nothing.
        "arp-probe-of-other" => {
            let sender = (scene.own_mac, Ipv4Addr::UNSPECIFIED);
            let question = frames::arp(1, sender, ([0; 6], scene.other4));
            vec![ethernet(EVERYBODY, scene.own_mac, frames::ARP, &question)]
        }
        "redirect4" => {
            let inner = frames::udp4((scene.host4, 9), (scene.other4, 9), b"");
            let body = [&scene.own4.octets()[..], &inner].concat();
            let message = frames::icmp(5, 1, &body);
            [scene.own4, scene.other4]
                .map(|from| v4(frames::ipv4(frames::ICMP, from, scene.host4, &message)))
                .to_vec()
        }
        "redirect6" => {
            let body = [&[0; 4][..], &local.octets(), &scene.other6.octets()].concat();
            vec![v6(frames::icmpv6(
                frames::REDIRECT,
                local,
                scene.host6,
                &body,
            ))]
        }
        "arp-as-other" => arp_as(scene, scene.other4),
        "arp-as-host" => arp_as(scene, scene.host4),
        "arp-as-anybody" => (1..=200)
            .map(|n| {
                let sender = (FORGED_MAC, Ipv4Addr::new(203, 0, 113, n));
                let question = frames::arp(1, sender, ([0; 6], scene.host4));
                ethernet(EVERYBODY, FORGED_MAC, frames::ARP, &question)
            })
            .collect(),
        "na-as-other" => advertise(scene, scene.other6),
        "na-as-host" => advertise(scene, scene.host6),
        _ => [dhcp::OFFER, dhcp::ACK, dhcp::NAK]
            .iter()
            .flat_map(|kind| {
                let to = [Ipv4Addr::BROADCAST, scene.host4, scene.other4];
                let reply = to.map(|to| dhcp::reply(&mut random, scene, *kind, to));
                let mac = [EVERYBODY, scene.to_mac, scene.to_mac];
                [0, 1, 2].map(|n| ethernet(mac[n], scene.own_mac, frames::IPV4, &reply[n]))
            })
            .collect(),
    }
}

/// Says in every way that ARP has that an address is here.
fn arp_as(scene: &Scene, ip: Ipv4Addr) -> Vec<Vec<u8>> {
    let claims = [
        frames::arp(2, (FORGED_MAC, ip), (scene.to_mac, scene.host4)),
        frames::arp(1, (FORGED_MAC, ip), ([0; 6], scene.host4)),
        frames::arp(1, (FORGED_MAC, ip), (EVERYBODY, ip)),
        frames::arp(2, (FORGED_MAC, ip), (EVERYBODY, ip)),
    ];
    let targets = [scene.to_mac, EVERYBODY];
    claims
        .iter()
        .flat_map(|packet| targets.map(|to| ethernet(to, FORGED_MAC, frames::ARP, packet)))
        .collect()
}

/// The same by neighbour discovery.
fn advertise(scene: &Scene, ip: Ipv6Addr) -> Vec<Vec<u8>> {
    let all = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let group = frames::solicited_node(scene.host6);
    // Solicited, and overriding what was known.
    let answer = [
        &[0x60, 0, 0, 0][..],
        &ip.octets(),
        &frames::link_layer(2, FORGED_MAC),
    ]
    .concat();
    let question = [
        &[0; 4][..],
        &scene.host6.octets(),
        &frames::link_layer(1, FORGED_MAC),
    ]
    .concat();
    vec![
        (
            all,
            frames::icmpv6(frames::NEIGHBOUR_ADVERTISEMENT, ip, all, &answer),
        ),
        (
            group,
            frames::icmpv6(frames::NEIGHBOUR_SOLICITATION, ip, group, &question),
        ),
    ]
    .into_iter()
    .map(|(to, packet)| ethernet(frames::multicast_mac(to), FORGED_MAC, frames::IPV6, &packet))
    .collect()
}
