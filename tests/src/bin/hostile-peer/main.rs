//! `hostile-peer`: what a container with all of its rights does to those at the other
//! end of its link. Runs in the container's network, at full speed, for so long.
//!
//! ```text
//! hostile-peer KIND LINK SECONDS [KEY=VALUE]...
//! ```
//!
//! Kinds: see [`flood::KINDS`], [`churn::KINDS`] and [`once::KINDS`]. Keys: `cpu` (the only one that it
//! uses), `to_mac`, `own4`, `own6`, `host4`, `host6`, `other4`, `other6`, `other_mac` (the
//! neighbour's).
//! Prints how much it did.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod churn;
mod dhcp;
mod flood;
mod frames;
mod once;
mod random;
mod sys;

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

/// The longest that it goes on, whatever it is told.
const LONGEST: Duration = Duration::from_secs(120);

/// Where it stands and whom it is after.
#[derive(Debug)]
pub struct Scene {
    /// Its link.
    pub link: String,
    /// The link's own Ethernet address.
    pub own_mac: [u8; 6],
    /// The other end's.
    pub to_mac: [u8; 6],
    /// Another machine's.
    pub other_mac: [u8; 6],
    /// Its own addresses.
    pub own4: Ipv4Addr,
    /// Its own IPv6 address.
    pub own6: Ipv6Addr,
    /// The host's addresses on the link.
    pub host4: Ipv4Addr,
    /// The host's IPv6 address.
    pub host6: Ipv6Addr,
    /// Another machine's addresses.
    pub other4: Ipv4Addr,
    /// Another machine's IPv6 address.
    pub other6: Ipv6Addr,
    /// When to end.
    pub until: Instant,
}

impl Scene {
    /// Whether it is to go on: until its time is over, or it is asked to end (SIGTERM).
    pub fn goes_on(&self) -> bool {
        Instant::now() < self.until && !sys::asked_to_end()
    }
}

fn main() {
    let mut words = std::env::args().skip(1);
    let mut word = || words.next().expect("hostile-peer KIND LINK SECONDS");
    let (kind, link, seconds) = (word(), word(), word());
    let keys: HashMap<String, String> = words
        .map(|word| {
            let (key, value) = word.split_once('=').expect("KEY=VALUE");
            (key.to_owned(), value.to_owned())
        })
        .collect();
    if let Some(cpu) = keys.get("cpu") {
        sys::use_only(cpu.parse().unwrap());
    }
    sys::end_when_asked();
    let seconds: f64 = seconds.parse().unwrap();
    let scene = Scene {
        own_mac: sys::mac_of(&link),
        to_mac: keys.get("to_mac").map_or([0xff; 6], |text| mac(text)),
        other_mac: keys.get("other_mac").map_or([0xff; 6], |text| mac(text)),
        own4: of(&keys, "own4", Ipv4Addr::UNSPECIFIED),
        own6: of(&keys, "own6", Ipv6Addr::UNSPECIFIED),
        host4: of(&keys, "host4", Ipv4Addr::BROADCAST),
        host6: of(&keys, "host6", Ipv6Addr::UNSPECIFIED),
        other4: of(&keys, "other4", Ipv4Addr::BROADCAST),
        other6: of(&keys, "other6", Ipv6Addr::UNSPECIFIED),
        until: Instant::now() + Duration::from_secs_f64(seconds).min(LONGEST),
        link,
    };
    let done = if flood::KINDS.contains(&kind.as_str()) {
        flood::run(&kind, &scene)
    } else if churn::KINDS.contains(&kind.as_str()) {
        churn::run(&kind, &scene)
    } else if once::KINDS.contains(&kind.as_str()) {
        once::run(&kind, &scene)
    } else {
        panic!("unknown kind {kind}")
    };
    println!("{kind}: {done}");
}

fn of<T: std::str::FromStr>(keys: &HashMap<String, String>, key: &str, otherwise: T) -> T
where
    T::Err: std::fmt::Debug,
{
    keys.get(key)
        .map_or(otherwise, |text| text.parse().unwrap())
}

fn mac(text: &str) -> [u8; 6] {
    let bytes: Vec<u8> = text
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect();
    bytes.try_into().unwrap()
}
