//! A link that loses, delays and repeats, and hosts on it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::*;
use crate::random::Random;

/// What a link does to packets.
#[derive(Clone, Copy, Debug)]
pub struct Quality {
    /// Of 100 packets to one host.
    pub lost: u64,
    /// Of 100 packets to one host.
    pub repeated: u64,
    pub delay: Duration,
}

pub const PERFECT: Quality = Quality {
    lost: 0,
    repeated: 0,
    delay: Duration::ZERO,
};

/// When a packet arrives, its number, at which host, and its bytes.
type Flying = (Instant, u64, usize, [u8; ArpPacket::LEN]);

/// Hosts on one link. As a kernel does, who has an address answers requests for it.
pub struct Link {
    hosts: Vec<Ipv4ll>,
    macs: Vec<Mac>,
    pub now: Instant,
    pub quality: Quality,
    random: Random,
    /// By arrival, then in the order in which they were sent.
    flying: BinaryHeap<Reverse<Flying>>,
    number: u64,
    pub claimed: BTreeMap<usize, Vec<Ipv4Addr>>,
    pub lost: Vec<(usize, Ipv4Addr)>,
}

impl Link {
    pub fn new(configs: impl IntoIterator<Item = Ipv4llConfig>, seed: u64) -> Self {
        let configs: Vec<Ipv4llConfig> = configs.into_iter().collect();
        Self {
            macs: configs.iter().map(|config| config.mac).collect(),
            hosts: configs.into_iter().map(Ipv4ll::new).collect(),
            now: Instant::now(),
            quality: PERFECT,
            random: Random::new(seed),
            flying: BinaryHeap::new(),
            number: 0,
            claimed: BTreeMap::new(),
            lost: Vec::new(),
        }
    }

    pub fn start(&mut self, host: usize) {
        self.hosts[host].start(self.now);
        self.drain(host);
    }

    pub fn addresses(&self) -> Vec<Option<Ipv4Addr>> {
        self.hosts.iter().map(Ipv4ll::address).collect()
    }

    pub fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            let timer = (0..self.hosts.len())
                .filter_map(|host| Some((self.hosts[host].deadline()?, host)))
                .min();
            let arrival = self.flying.peek().map(|Reverse((at, ..))| *at);
            let next = timer.map(|(at, _)| at).into_iter().chain(arrival).min();
            let Some(next) = next.filter(|next| *next <= until) else {
                break;
            };
            self.now = self.now.max(next);
            if arrival == Some(next) {
                self.arrive();
            } else if let Some((_, host)) = timer {
                self.hosts[host].handle(self.now, Input::Time);
                self.drain(host);
            }
        }
        self.now = until;
    }

    fn arrive(&mut self) {
        let Some(Reverse((_, _, host, bytes))) = self.flying.pop() else {
            return;
        };
        let packet = ArpPacket::parse(&bytes).unwrap();
        self.hosts[host].handle(self.now, Input::Arp(packet));
        self.drain(host);
        let asked = packet.operation == Operation::Request && packet.sender != packet.target;
        if asked && self.hosts[host].address() == Some(packet.target) {
            let answer = ArpPacket {
                operation: Operation::Reply,
                sender_mac: self.macs[host],
                sender: packet.target,
                target_mac: packet.sender_mac,
                target: packet.sender,
            };
            self.send(host, answer);
        }
    }

    fn drain(&mut self, host: usize) {
        while let Some(output) = self.hosts[host].poll_output() {
            match output {
                Output::Send(packet) => self.send(host, packet),
                Output::Event(Event::Claimed(address)) => {
                    self.claimed.entry(host).or_default().push(address);
                }
                Output::Event(Event::Lost { address, .. }) => self.lost.push((host, address)),
                Output::Event(Event::Taken { .. } | Event::Defended { .. }) => {}
            }
        }
    }

    /// Has a host send something of its own accord.
    pub fn speak(&mut self, host: usize, packet: ArpPacket) {
        self.send(host, packet);
    }

    fn send(&mut self, from: usize, packet: ArpPacket) {
        for to in (0..self.hosts.len()).filter(|to| *to != from) {
            let Quality {
                lost,
                repeated,
                delay,
            } = self.quality;
            if self.random.next() % 100 < lost {
                continue;
            }
            let copies = 1 + u64::from(self.random.next() % 100 < repeated);
            for _ in 0..copies {
                self.number += 1;
                let at = self.now + self.random.between(Duration::ZERO, delay);
                self.flying
                    .push(Reverse((at, self.number, to, packet.emit())));
            }
        }
    }
}
