//! What root does to its own network by netlink, at full speed.

use std::fs;
use std::net::Ipv4Addr;

use crate::Scene;
use crate::sys::{Netlink, index_of};

/// Its kinds: 10,000 addresses; addresses that come and go, as many; the link that does; its Ethernet
/// address; messages into netlink sockets that others have opened in this network; nothing
/// but computing, to compare.
pub const KINDS: [&str; 6] = ["fill", "addresses", "flap", "mac", "netlink", "spin"];

const NEW_LINK: u16 = 16;
const NEW_ADDRESS: u16 = 20;
const DELETE_ADDRESS: u16 = 21;
const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
const CREATE: u16 = 0x400;

const ADDRESSES: u32 = 10_000;
/// 10.99.0.0.
const BASE: u32 = 0x0a63_0000;

/// Goes on until the time is over. How often it did what.
pub fn run(kind: &str, scene: &Scene) -> String {
    let index = index_of(&scene.link);
    match kind {
        "fill" => fill(index),
        "addresses" => addresses(scene, index),
        "flap" => flap(scene, index),
        "mac" => mac(scene, index),
        "spin" => {
            while scene.goes_on() {}
            "nothing".to_owned()
        }
        _ => messages(scene, index),
    }
}

fn fill(index: u32) -> String {
    let mut netlink = Netlink::open();
    let mut added = 0;
    for number in 1..=ADDRESSES {
        let body = address(index, Ipv4Addr::from(BASE + number));
        added += i32::from(netlink.ask(NEW_ADDRESS, REQUEST | ACKNOWLEDGE | CREATE, &body) == 0);
    }
    format!("{added} addresses added")
}

fn addresses(scene: &Scene, index: u32) -> String {
    let mut netlink = Netlink::open();
    let (mut added, mut removed) = (0_u32, 0_u32);
    while scene.goes_on() {
        for (kind, done) in [(NEW_ADDRESS, &mut added), (DELETE_ADDRESS, &mut removed)] {
            for number in 1..=ADDRESSES {
                let body = address(index, Ipv4Addr::from(BASE + number));
                if netlink.ask(kind, REQUEST | ACKNOWLEDGE | CREATE, &body) == 0 {
                    *done += 1;
                }
                if kind == NEW_ADDRESS && !scene.goes_on() {
                    break;
                }
            }
        }
    }
    format!("{added} addresses added, {removed} removed")
}

fn flap(scene: &Scene, index: u32) -> String {
    let mut netlink = Netlink::open();
    let mut done = 0_u32;
    while scene.goes_on() {
        for flags in [0_u32, 1] {
            let refusal = netlink.ask(NEW_LINK, REQUEST | ACKNOWLEDGE, &link(index, flags, 1));
            assert_eq!(refusal, 0, "the link cannot be set up or down");
        }
        done += 1;
    }
    format!("{done} times down and up")
}

/// The link's own Ethernet address, another each time.
fn mac(scene: &Scene, index: u32) -> String {
    let mut netlink = Netlink::open();
    let mut done = 0_u32;
    while scene.goes_on() {
        let mut body = link(index, 0, 0);
        body.extend([10, 0, 1, 0, 2, 0]);
        body.extend(done.to_be_bytes());
        body.extend([0, 0]);
        assert_eq!(netlink.ask(NEW_LINK, REQUEST | ACKNOWLEDGE, &body), 0);
        done += 1;
    }
    // As it was.
    let mut body = link(index, 0, 0);
    body.extend([10, 0, 1, 0]);
    body.extend(scene.own_mac);
    body.extend([0, 0]);
    netlink.ask(NEW_LINK, REQUEST | ACKNOWLEDGE, &body);
    format!("{done} addresses")
}

/// Tells every netlink socket of this network lies about its addresses.
fn messages(scene: &Scene, index: u32) -> String {
    let mut netlink = Netlink::open();
    let own = netlink.port();
    let (mut sent, mut refused) = (0_u64, 0_u64);
    let mut listeners = 0;
    while scene.goes_on() {
        let ports = ports();
        listeners = listeners.max(ports.iter().filter(|port| **port != own).count());
        for _ in 0..1000 {
            for port in ports.iter().filter(|port| **port != own) {
                let lie = address(index, Ipv4Addr::new(10, 98, 76, 54));
                match netlink.tell(*port, NEW_ADDRESS, 1, &lie) {
                    true => sent += 1,
                    false => refused += 1,
                }
            }
        }
    }
    format!("{sent} sent, {refused} refused, {listeners} listeners")
}

/// The ports of the route sockets of this network (/proc/net/netlink).
fn ports() -> Vec<u32> {
    let table = fs::read_to_string("/proc/thread-self/net/netlink").unwrap();
    let rows = table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row.get(1) == Some(&"0"))
        .filter_map(|row| row.get(2)?.parse().ok())
        .filter(|port| *port != 0)
        .collect()
}

/// ifaddrmsg, and the address twice.
fn address(index: u32, ip: Ipv4Addr) -> Vec<u8> {
    let mut body = vec![libc::AF_INET as u8, 32, 0, 0];
    body.extend(index.to_ne_bytes());
    for kind in [1_u8, 2] {
        body.extend([8, 0, kind, 0]);
        body.extend(ip.octets());
    }
    body
}

/// ifinfomsg.
fn link(index: u32, flags: u32, change: u32) -> Vec<u8> {
    let mut body = vec![0; 4];
    body.extend(index.to_ne_bytes());
    body.extend(flags.to_ne_bytes());
    body.extend(change.to_ne_bytes());
    body
}
