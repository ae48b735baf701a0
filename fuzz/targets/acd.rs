//! One address that is looked for and held, with others on the link that say anything of it.
#![no_main]

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use netd::acd::{
    Acd, AcdConfig, ArpPacket, Defence, Event, Input, Operation, Output, Purpose, Timings,
};
use registry::Mac;

const OURS: Mac = Mac([2, 0, 0, 0, 0, 1]);

#[derive(Arbitrary, Debug)]
struct Script {
    purpose: u8,
    total: u16,
    seed: u64,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Debug)]
enum Step {
    /// Time passes, in milliseconds.
    Pass(u16),
    Hear {
        mac: u8,
        reply: bool,
        sender: bool,
        target: bool,
    },
    Raw([u8; 28]),
    Stop,
    Start(u8),
    Adopt(u8),
}

struct Host {
    acd: Acd,
    now: Instant,
    /// Whether the address is used.
    holds: bool,
    is_probe: bool,
    defends: bool,
    sent: u32,
}

fn address(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, last)
}

impl Host {
    fn take(&mut self) {
        let mut outputs = 0;
        while let Some(output) = self.acd.poll_output() {
            outputs += 1;
            assert!(outputs <= 8, "outputs without end");
            match output {
                Output::Send(packet) => {
                    assert!(packet.sender_mac == OURS && packet.target == self.acd.address());
                    // RFC 5227, section 1.1: a probe has no sender's address, so that nobody
                    // takes it for the holder's.
                    let holds = packet.sender == packet.target;
                    assert!(holds == self.holds || !holds && packet.sender.is_unspecified());
                    assert_eq!(ArpPacket::parse(&packet.emit()), Ok(packet));
                    self.sent += 1;
                }
                Output::Event(Event::Free) => {
                    assert!(!self.holds);
                    self.holds = !self.is_probe;
                }
                Output::Event(Event::Conflict { by }) => assert!(!self.holds && by != OURS),
                Output::Event(Event::Defended { by }) => {
                    assert!(self.holds && self.defends && by != OURS);
                }
                Output::Event(Event::Lost { by }) => {
                    assert!(by != OURS && std::mem::take(&mut self.holds));
                }
            }
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Pass(time) => {
                let until = self.now + Duration::from_millis(time.into());
                while let Some(at) = self.acd.deadline().filter(|at| *at <= until) {
                    self.now = self.now.max(at);
                    self.acd.handle(self.now, Input::Time);
                    self.take();
                    assert!(self.acd.deadline().is_none_or(|next| next > self.now));
                }
                self.now = until;
            }
            Step::Hear {
                mac,
                reply,
                sender,
                target,
            } => {
                let ours = self.acd.address();
                let if_so = |so: bool| if so { ours } else { Ipv4Addr::UNSPECIFIED };
                self.hear(ArpPacket {
                    operation: if reply {
                        Operation::Reply
                    } else {
                        Operation::Request
                    },
                    sender_mac: Mac([2, 0, 0, 0, 0, mac]),
                    sender: if_so(sender),
                    target_mac: Mac([0; 6]),
                    target: if_so(target),
                });
            }
            Step::Raw(bytes) => {
                if let Ok(packet) = ArpPacket::parse(&bytes) {
                    self.hear(packet);
                }
            }
            Step::Stop => {
                self.acd.stop();
                self.holds = false;
                self.take();
                assert_eq!(self.acd.deadline(), None);
            }
            Step::Start(last) => {
                self.holds = false;
                self.acd.start_with(self.now, address(last));
                self.take();
            }
            Step::Adopt(last) => {
                self.acd.set_address(address(last));
                self.holds = !self.is_probe;
                self.acd.adopt(self.now);
                self.take();
            }
        }
    }

    fn hear(&mut self, packet: ArpPacket) {
        self.acd.handle(self.now, Input::Arp(packet));
        self.take();
    }
}

fuzz_target!(|script: Script| {
    let purpose = match script.purpose % 4 {
        0 => Purpose::Probe,
        1 => Purpose::Hold(Defence::GiveUp),
        2 => Purpose::Hold(Defence::Once),
        _ => Purpose::Hold(Defence::Always),
    };
    let config = AcdConfig {
        mac: OURS,
        address: address(7),
        timings: Timings::fast(Duration::from_millis(script.total.into())),
        purpose,
    };
    let mut host = Host {
        acd: Acd::new(config, script.seed),
        now: Instant::now(),
        holds: false,
        is_probe: purpose == Purpose::Probe,
        defends: matches!(purpose, Purpose::Hold(Defence::Once | Defence::Always)),
        sent: 0,
    };
    let begun = host.now;
    for step in script.steps.iter().take(200) {
        host.step(step);
    }
    let steps = u32::try_from(script.steps.len().min(200)).unwrap_or(200);
    let tens = u32::try_from((host.now - begun).as_secs() / 10).unwrap_or(0);
    assert!(
        host.sent <= 10 + 6 * (steps + tens),
        "{} packets",
        host.sent
    );
});
