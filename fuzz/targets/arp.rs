//! ARP packets, and hosts with a link-local address that hear them.
#![no_main]

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use netd::acd::{ArpPacket, Operation, Timings};
use netd::ipv4ll::{Event, Input, Ipv4ll, Ipv4llConfig, Output, Seed, is_selectable};
use registry::Mac;

const OURS: Mac = Mac([2, 0, 0, 0, 0, 1]);

#[derive(Arbitrary, Debug)]
struct Script<'a> {
    bytes: &'a [u8],
    start: Option<u16>,
    total: u16,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Debug)]
enum Step {
    /// Time passes, in milliseconds.
    Pass(u16),
    /// Somebody says something of the address that is held or looked for.
    Hear {
        mac: u8,
        reply: bool,
        sender: bool,
    },
    /// A packet of any bytes.
    Raw([u8; 28]),
    Stop,
    Start,
    Adopt(u16),
}

struct Host {
    machine: Ipv4ll,
    now: Instant,
    /// What was probed or announced last.
    last: Ipv4Addr,
    held: Option<Ipv4Addr>,
    sent: u32,
}

impl Host {
    fn take(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Send(packet) => {
                    assert!(is_selectable(packet.target) && packet.sender_mac == OURS);
                    assert!(packet.sender.is_unspecified() || packet.sender == packet.target);
                    assert_eq!(ArpPacket::parse(&packet.emit()), Ok(packet));
                    self.last = packet.target;
                    self.sent += 1;
                }
                Output::Event(Event::Claimed(address)) => {
                    assert_eq!(self.held.replace(address), None);
                    assert!(is_selectable(address));
                }
                Output::Event(Event::Lost { address, .. }) => {
                    assert_eq!(self.held.take(), Some(address));
                }
                Output::Event(Event::Defended { address, .. }) => {
                    assert_eq!(self.held, Some(address));
                }
                Output::Event(Event::Taken { .. }) => assert_eq!(self.held, None),
            }
        }
        assert_eq!(self.machine.address(), self.held);
    }

    fn hear(&mut self, packet: ArpPacket) {
        self.machine.handle(self.now, Input::Arp(packet));
        self.take();
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Pass(time) => {
                let until = self.now + Duration::from_millis(time.into());
                while let Some(at) = self.machine.deadline().filter(|at| *at <= until) {
                    self.now = self.now.max(at);
                    self.machine.handle(self.now, Input::Time);
                    self.take();
                    // A deadline that was served is over.
                    assert!(self.machine.deadline().is_none_or(|next| next > self.now));
                }
                self.now = until;
            }
            Step::Hear { mac, reply, sender } => self.hear(ArpPacket {
                operation: if reply {
                    Operation::Reply
                } else {
                    Operation::Request
                },
                sender_mac: Mac([2, 0, 0, 0, 0, mac]),
                sender: if sender {
                    self.last
                } else {
                    Ipv4Addr::UNSPECIFIED
                },
                target_mac: Mac([0; 6]),
                target: self.last,
            }),
            Step::Raw(bytes) => {
                if let Ok(packet) = ArpPacket::parse(&bytes) {
                    self.hear(packet);
                }
            }
            Step::Stop => {
                assert_eq!(self.machine.stop(), self.held.take());
                assert_eq!(self.machine.deadline(), None);
            }
            Step::Start => {
                self.held = None;
                self.machine.start(self.now);
                self.take();
            }
            Step::Adopt(address) => {
                let address = link_local(address);
                self.machine.adopt(self.now, address);
                // Another one is claimed as after a start.
                self.held = is_selectable(address).then_some(address);
                self.take();
            }
        }
    }
}

fn link_local(number: u16) -> Ipv4Addr {
    let [a, b] = number.to_be_bytes();
    Ipv4Addr::new(169, 254, a, b)
}

fuzz_target!(|script: Script<'_>| {
    if let Ok(packet) = ArpPacket::parse(script.bytes) {
        assert_eq!(script.bytes.get(..28), Some(&packet.emit()[..]));
    }
    let mut host = Host {
        machine: Ipv4ll::new(Ipv4llConfig {
            mac: OURS,
            seed: Seed::from_mac(OURS),
            start_address: script.start.map(link_local),
            timings: Timings::fast(Duration::from_millis(script.total.into())),
        }),
        now: Instant::now(),
        last: Ipv4Addr::new(169, 254, 7, 7),
        held: None,
        sent: 0,
    };
    let begun = host.now;
    for step in script.steps.iter().take(200) {
        host.step(step);
    }
    // Whatever others say, we do not fill the link: a start brings ten tries at most, and
    // then one a minute; each try has three probes and two announcements, and a defence
    // comes once in ten seconds or after a start.
    let steps = u32::try_from(script.steps.len().min(200)).unwrap_or(200);
    let minutes = u32::try_from((host.now - begun).as_secs() / 10).unwrap_or(0);
    assert!(
        host.sent <= 60 + 6 * (steps + minutes),
        "{} packets",
        host.sent
    );
});
