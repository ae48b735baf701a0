//! Conflict detection in virtual time.

mod defence;
mod detection;
mod packets;

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use registry::Mac;

use super::{
    ANNOUNCE_INTERVAL, Acd, AcdConfig, ArpPacket, DEFEND_INTERVAL, Defence, Event, Input,
    MAX_CONFLICTS, Operation, Output, Purpose, RATE_LIMIT_INTERVAL, Timings,
};

const OURS: Mac = Mac([2, 0, 0, 0, 0, 1]);
const OTHER: Mac = Mac([2, 0, 0, 0, 0, 2]);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 7, 9);
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(192, 168, 7, 10);

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn config(purpose: Purpose) -> AcdConfig {
    AcdConfig {
        mac: OURS,
        address: ADDRESS,
        timings: Timings::rfc(),
        purpose,
    }
}

/// What somebody else says who has `sender`.
fn from(sender: Ipv4Addr, operation: Operation) -> ArpPacket {
    ArpPacket {
        operation,
        sender_mac: OTHER,
        sender,
        target_mac: OURS,
        target: ELSEWHERE,
    }
}

/// A machine, its clock, and when it did what.
struct Bench {
    acd: Acd,
    begun: Instant,
    now: Instant,
    sent: Vec<(Duration, ArpPacket)>,
    told: Vec<(Duration, Event)>,
}

impl Bench {
    fn new(config: AcdConfig, seed: u64) -> Self {
        let now = Instant::now();
        Self {
            acd: Acd::new(config, seed),
            begun: now,
            now,
            sent: Vec::new(),
            told: Vec::new(),
        }
    }

    fn started(config: AcdConfig, seed: u64) -> Self {
        let mut bench = Self::new(config, seed);
        bench.start();
        bench
    }

    /// One that holds its address, nothing more to announce.
    fn holding(defence: Defence) -> Self {
        let mut bench = Self::started(config(Purpose::Hold(defence)), 1);
        bench.pass(seconds(20));
        assert_eq!(bench.events(), [Event::Free]);
        assert_eq!(bench.acd.deadline(), None);
        bench.sent.clear();
        bench.told.clear();
        bench
    }

    fn start(&mut self) {
        self.acd.start(self.now);
        self.drain();
    }

    /// Lets time pass, with a call at each deadline.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(deadline) = self.acd.deadline().filter(|at| *at <= until) {
            self.now = self.now.max(deadline);
            self.acd.handle(self.now, Input::Time);
            self.drain();
        }
        self.now = until;
    }

    fn hear(&mut self, packet: ArpPacket) {
        self.acd.handle(self.now, Input::Arp(packet));
        self.drain();
    }

    fn drain(&mut self) {
        let at = self.now - self.begun;
        while let Some(output) = self.acd.poll_output() {
            match output {
                Output::Send(packet) => self.sent.push((at, packet)),
                Output::Event(event) => self.told.push((at, event)),
            }
        }
    }

    fn packets(&self) -> Vec<ArpPacket> {
        self.sent.iter().map(|(_, packet)| *packet).collect()
    }

    fn events(&self) -> Vec<Event> {
        self.told.iter().map(|(_, event)| *event).collect()
    }

    /// The times between all that was sent, the first one's from the beginning.
    fn gaps(&self) -> Vec<Duration> {
        let times: Vec<Duration> = self.sent.iter().map(|(at, _)| *at).collect();
        let before = [Duration::ZERO].into_iter().chain(times.clone());
        times
            .iter()
            .zip(before)
            .map(|(at, from)| *at - from)
            .collect()
    }
}
