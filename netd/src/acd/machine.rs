//! The machine that looks after one address.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use registry::Mac;

use super::timings::{
    ANNOUNCE_INTERVAL, ANNOUNCE_NUM, DEFEND_INTERVAL, MAX_CONFLICTS, PROBE_NUM, RATE_LIMIT_INTERVAL,
};
use super::{AcdConfig, ArpPacket, Defence, Event, Input, Output, Purpose};
use crate::random::Random;

/// Address conflict detection for one address on one link, without I/O and without a
/// clock.
#[derive(Clone, Debug)]
pub struct Acd {
    config: AcdConfig,
    random: Random,
    state: State,
    /// When an address was tried last: what ends before the first probe was no try.
    tried: Option<Instant>,
    /// How often that failed since one was held for long.
    conflicts: u32,
    outputs: VecDeque<Output>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not started, done, or beaten.
    Resting,
    /// `sent` probes are on their way; what comes next is due at `next`.
    Probing { sent: u8, next: Instant },
    /// The address is ours.
    Holding(Held),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    since: Instant,
    announced: u8,
    /// When the next announcement is due, if there is one.
    next: Option<Instant>,
    /// When somebody else was last told that the address is taken.
    defended: Option<Instant>,
    defence: Defence,
}

impl Acd {
    /// A machine that waits for [`Acd::start`]. Hosts should have different seeds: they
    /// keep apart what hosts do that start at the same time.
    #[must_use]
    pub fn new(config: AcdConfig, seed: u64) -> Self {
        Self {
            config,
            random: Random::new(seed),
            state: State::Resting,
            tried: None,
            conflicts: 0,
            outputs: VecDeque::new(),
        }
    }

    /// The address in question.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.config.address
    }

    /// Whether the address was found free, and is held here.
    #[must_use]
    pub fn is_holding(&self) -> bool {
        matches!(self.state, State::Holding(_))
    }

    /// Whether it is being found out whether the address is free.
    #[must_use]
    pub fn is_probing(&self) -> bool {
        matches!(self.state, State::Probing { .. })
    }

    /// Looks whether the address is free. To be called also when the link came back:
    /// it may be another network now.
    ///
    /// After [`MAX_CONFLICTS`] conflicts one address is tried each
    /// [`RATE_LIMIT_INTERVAL`], and this one so waits until it may be.
    pub fn start(&mut self, now: Instant) {
        self.outputs.clear();
        let timings = self.config.timings;
        let next_allowed = self.tried.map(|last| last + RATE_LIMIT_INTERVAL);
        let from = match next_allowed.filter(|_| self.conflicts >= MAX_CONFLICTS) {
            Some(allowed) => now.max(allowed),
            None => now,
        };
        if timings.is_off() && from <= now {
            return self.found_free(now);
        }
        self.state = State::Probing {
            // With no probing there is only the wait for the next try.
            sent: if timings.is_off() { PROBE_NUM } else { 0 },
            next: from + self.wait_before_probing(),
        };
    }

    /// The same for another address; conflicts of all addresses count together.
    pub fn start_with(&mut self, now: Instant, address: Ipv4Addr) {
        self.set_address(address);
        self.start(now);
    }

    /// Rests, and looks after another address when it is started again.
    pub fn set_address(&mut self, address: Ipv4Addr) {
        self.stop();
        self.config.address = address;
    }

    /// Holds the address without looking first: it was in use here all along, and
    /// whoever held it before has said nothing. It is not announced either.
    pub fn adopt(&mut self, now: Instant) {
        self.outputs.clear();
        if let Purpose::Hold(defence) = self.config.purpose {
            self.state = State::Holding(Held {
                since: now,
                announced: ANNOUNCE_NUM,
                next: None,
                defended: None,
                defence,
            });
        }
    }

    /// Lets the address go, or stops looking. Nothing is sent or told any more.
    pub fn stop(&mut self) {
        self.outputs.clear();
        self.state = State::Resting;
    }

    /// When [`Acd::handle`] wants to be called with [`Input::Time`].
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Resting => None,
            State::Probing { next, .. } => Some(next),
            State::Holding(held) => held.next,
        }
    }

    /// The next thing to be done, until there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Takes what happened at `now`.
    pub fn handle(&mut self, now: Instant, input: Input) {
        // What was heard comes first: a conflict that was heard just before the last
        // wait is over was heard in time, however late this is called.
        if let Input::Arp(packet) = input
            && packet.sender_mac != self.config.mac
        {
            self.heard(now, &packet);
        }
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            self.due(now);
        }
    }

    fn due(&mut self, now: Instant) {
        match self.state {
            State::Resting => {}
            State::Probing { sent, .. } if sent >= PROBE_NUM => self.found_free(now),
            State::Probing { sent, .. } => self.probe(now, sent),
            State::Holding(held) => self.announce(now, held),
        }
    }

    fn probe(&mut self, now: Instant, sent: u8) {
        let AcdConfig { mac, address, .. } = self.config;
        if sent == 0 {
            self.tried = Some(now);
        }
        self.send(ArpPacket::probe(mac, address));
        let sent = sent.saturating_add(1);
        let (shortest, longest) = self.config.timings.between_probes();
        // From when it was sent, not from when it was due: a machine that is called late
        // still leaves others the time to answer.
        let wait = if sent >= PROBE_NUM {
            self.config.timings.announce_wait()
        } else {
            self.random.between(shortest, longest)
        };
        self.state = State::Probing {
            sent,
            next: now + wait,
        };
    }

    fn found_free(&mut self, now: Instant) {
        if self.config.timings.is_off() {
            self.tried = Some(now);
        }
        self.tell(Event::Free);
        match self.config.purpose {
            Purpose::Probe => self.state = State::Resting,
            Purpose::Hold(defence) => self.announce(
                now,
                Held {
                    since: now,
                    announced: 0,
                    next: Some(now),
                    defended: None,
                    defence,
                },
            ),
        }
    }

    fn announce(&mut self, now: Instant, held: Held) {
        self.send_announcement();
        let announced = held.announced.saturating_add(1);
        self.state = State::Holding(Held {
            announced,
            next: (announced < ANNOUNCE_NUM).then(|| now + ANNOUNCE_INTERVAL),
            ..held
        });
    }

    fn heard(&mut self, now: Instant, packet: &ArpPacket) {
        let address = self.config.address;
        let by = packet.sender_mac;
        let uses = packet.sender == address;
        match self.state {
            // RFC 5227, section 2.1.1: "If during this period, from the beginning of the
            // probing process until ANNOUNCE_WAIT seconds after the last probe packet is
            // sent, the host receives any ARP packet (Request *or* Reply) on the
            // interface where the probe is being performed, where the packet's 'sender
            // IP address' is the address being probed for, then the host MUST treat this
            // address as being in use by some other host [...]. In addition, if during
            // this period the host receives any ARP Probe where the packet's 'target IP
            // address' is the address being probed for, and the packet's 'sender
            // hardware address' is not the hardware address of any of the host's
            // interfaces, then the host SHOULD similarly treat this as an address
            // conflict".
            State::Probing { .. } if uses || packet.is_probe_for(address) => {
                self.beaten(Event::Conflict { by });
            }
            State::Holding(held) if uses => self.contested(now, held, by),
            State::Resting | State::Probing { .. } | State::Holding(_) => {}
        }
    }

    /// RFC 5227, section 2.4.
    fn contested(&mut self, now: Instant, held: Held, by: Mac) {
        let is_recent = held
            .defended
            .is_some_and(|last| now.saturating_duration_since(last) < DEFEND_INTERVAL);
        match held.defence {
            Defence::GiveUp => self.lost(now, held, by),
            Defence::Once if is_recent => self.lost(now, held, by),
            // "the host MUST NOT send another defensive ARP Announcement", lest two hosts
            // that are both so minded fill the link with them.
            Defence::Always if is_recent => {}
            Defence::Once | Defence::Always => {
                self.state = State::Holding(Held {
                    defended: Some(now),
                    ..held
                });
                self.send_announcement();
                self.tell(Event::Defended { by });
            }
        }
    }

    fn lost(&mut self, now: Instant, held: Held, by: Mac) {
        // An address that was held for long says that the earlier trouble is over; one
        // that was not is part of it, or whoever waits for each claim to end before
        // contesting it would have us try addresses without end.
        if now.saturating_duration_since(held.since) >= RATE_LIMIT_INTERVAL {
            self.conflicts = 0;
        }
        self.beaten(Event::Lost { by });
    }

    fn beaten(&mut self, event: Event) {
        self.conflicts = self.conflicts.saturating_add(1);
        self.state = State::Resting;
        self.tell(event);
    }

    fn wait_before_probing(&mut self) -> Duration {
        let longest = self.config.timings.probe_wait();
        self.random.between(Duration::ZERO, longest)
    }

    fn send_announcement(&mut self) {
        let AcdConfig { mac, address, .. } = self.config;
        self.send(ArpPacket::announcement(mac, address));
    }

    fn send(&mut self, packet: ArpPacket) {
        self.outputs.push_back(Output::Send(packet));
    }

    fn tell(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }
}
