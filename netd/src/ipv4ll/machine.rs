//! The machine that finds an address and keeps it.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::Instant;

use super::{Event, Input, Ipv4llConfig, Output, is_selectable};
use crate::acd::{self, Acd, AcdConfig, Defence, Purpose};

/// A link-local address for one link, without I/O and without a clock.
#[derive(Clone, Debug)]
pub struct Ipv4ll {
    config: Ipv4llConfig,
    acd: Acd,
    /// How many addresses were taken, or lost.
    generation: u32,
    outputs: VecDeque<Output>,
}

impl Ipv4ll {
    /// A machine that waits for [`Ipv4ll::start`].
    #[must_use]
    pub fn new(config: Ipv4llConfig) -> Self {
        let Ipv4llConfig { mac, seed, .. } = config;
        let wanted = config
            .start_address
            .filter(|address| is_selectable(*address));
        let acd = AcdConfig {
            mac,
            address: wanted.unwrap_or_else(|| seed.candidate(mac, 0)),
            timings: config.timings,
            // RFC 3927, section 2.5 (b).
            purpose: Purpose::Hold(Defence::Once),
        };
        Self {
            acd: Acd::new(acd, seed.waits(mac)),
            config,
            generation: 0,
            outputs: VecDeque::new(),
        }
    }

    /// The address that is held, if there is one.
    #[must_use]
    pub fn address(&self) -> Option<Ipv4Addr> {
        self.acd.is_holding().then(|| self.acd.address())
    }

    /// Looks for an address: when the link comes up, or comes back and may be another
    /// network. The one that was held last is tried first.
    pub fn start(&mut self, now: Instant) {
        self.outputs.clear();
        self.acd.start(now);
        self.take(now);
    }

    /// Goes on holding `address` without a gap, which is set on the link from before
    /// this program started. One that hosts may not choose is not held.
    pub fn adopt(&mut self, now: Instant, address: Ipv4Addr) {
        self.outputs.clear();
        self.acd.stop();
        if is_selectable(address) {
            self.acd.set_address(address);
            self.acd.adopt(now);
        } else {
            self.start(now);
        }
    }

    /// Lets the address go, and returns it: it is to be taken off the link. To be called
    /// when DHCP gave an address, or the link is gone. Nothing is sent or told any more.
    pub fn stop(&mut self) -> Option<Ipv4Addr> {
        let address = self.address();
        self.outputs.clear();
        self.acd.stop();
        address
    }

    /// When [`Ipv4ll::handle`] wants to be called with [`Input::Time`].
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.acd.deadline()
    }

    /// The next thing to be done, until there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Takes what happened at `now`.
    pub fn handle(&mut self, now: Instant, input: Input) {
        let input = match input {
            Input::Arp(packet) => acd::Input::Arp(packet),
            Input::Time => acd::Input::Time,
        };
        self.acd.handle(now, input);
        self.take(now);
    }

    /// Takes what the conflict detection has to say of the address.
    fn take(&mut self, now: Instant) {
        while let Some(output) = self.acd.poll_output() {
            let address = self.acd.address();
            match output {
                acd::Output::Send(packet) => self.outputs.push_back(Output::Send(packet)),
                acd::Output::Event(acd::Event::Free) => self.tell(Event::Claimed(address)),
                acd::Output::Event(acd::Event::Defended { by }) => {
                    self.tell(Event::Defended { address, by });
                }
                acd::Output::Event(acd::Event::Conflict { by }) => {
                    self.tell(Event::Taken { address, by });
                    self.try_next(now);
                }
                acd::Output::Event(acd::Event::Lost { by }) => {
                    self.tell(Event::Lost { address, by });
                    self.try_next(now);
                }
            }
        }
    }

    fn try_next(&mut self, now: Instant) {
        let taken = self.acd.address();
        let mut next = taken;
        while next == taken {
            self.generation = self.generation.wrapping_add(1);
            next = self.config.seed.candidate(self.config.mac, self.generation);
        }
        self.acd.start_with(now, next);
    }

    fn tell(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }
}
