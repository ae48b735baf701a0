//! Router advertisements in virtual time, and their bytes.

mod config;
mod packets;
mod solicited;
mod unsolicited;
mod withdrawal;

use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use ipnetwork::Ipv6Network;
use registry::Mac;

use super::*;

const ROUTER: Mac = Mac([2, 0, 0, 0, 0, 1]);
const HOST: Mac = Mac([2, 0, 0, 0, 0, 2]);
const HOST_ADDRESS: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0xff, 0xfe00, 2);

fn network(text: &str) -> Ipv6Network {
    text.parse().unwrap()
}

fn address(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

fn settings() -> RaSettings {
    RaSettings {
        mac: Some(ROUTER),
        mtu: Some(1420),
        prefixes: vec![Prefix::autonomous(network("fd00:1:2:3::/64"))],
        rdnss: Some(Rdnss {
            lifetime: Lifetime(1800),
            servers: vec![address("fd00:1:2:3::1")],
        }),
        dnssl: Some(Dnssl {
            lifetime: Lifetime(1800),
            domains: vec!["example.org".parse().unwrap()],
        }),
        ..RaSettings::default()
    }
}

fn config_of(settings: RaSettings) -> RaConfig {
    RaConfig::new(settings).unwrap()
}

/// An advertisement that was sent: when, to whom, and what it says.
type Sent = (Duration, Ipv6Addr, Advertisement);

/// A machine and its clock.
struct Bench {
    machine: Advertiser,
    begun: Instant,
    now: Instant,
    sent: Vec<Sent>,
    told: Vec<Event>,
}

impl Bench {
    fn started(settings: RaSettings, seed: u64) -> Self {
        let now = Instant::now();
        let mut machine = Advertiser::new(config_of(settings), seed);
        machine.start(now);
        let mut bench = Self {
            machine,
            begun: now,
            now,
            sent: Vec::new(),
            told: Vec::new(),
        };
        bench.drain();
        bench
    }

    /// One that has nothing to say for minutes.
    fn quiet() -> Self {
        let mut bench = Self::started(settings(), 1);
        while bench.sent.len() < usize::from(MAX_INITIAL_RTR_ADVERTISEMENTS) {
            bench.pass(Duration::from_secs(1));
        }
        bench.pass(Duration::from_secs(10));
        bench.sent.clear();
        bench
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(deadline) = self.machine.deadline().filter(|at| *at <= until) {
            self.now = self.now.max(deadline);
            self.handle(Input::Time);
        }
        self.now = until;
    }

    fn handle(&mut self, input: Input) {
        self.machine.handle(self.now, input);
        self.drain();
    }

    fn ask(&mut self, source: Ipv6Addr) {
        self.handle(Input::Solicitation {
            source,
            source_link_layer: None,
            hop_limit: 255,
        });
    }

    fn change(&mut self, settings: RaSettings) {
        self.handle(Input::ConfigChanged(config_of(settings)));
    }

    fn drain(&mut self) {
        let at = self.now - self.begun;
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Send {
                    destination,
                    packet,
                } => {
                    assert!(packet.len() <= PACKET_MAX);
                    let message = Advertisement::parse(&packet).unwrap();
                    assert_eq!(message.emit(), packet);
                    self.sent.push((at, destination, message));
                }
                Output::Event(event) => self.told.push(event),
            }
        }
    }

    fn times_to(&self, destination: Ipv6Addr) -> Vec<Duration> {
        let to_it = self.sent.iter().filter(|(_, to, _)| *to == destination);
        to_it.map(|(at, ..)| *at).collect()
    }

    /// The lifetimes of a prefix in what was sent last.
    fn lifetimes(&self, network: Ipv6Network) -> Option<(u32, u32)> {
        let (_, _, message) = self.sent.last()?;
        message.options.iter().find_map(|option| match option {
            NdOption::Prefix(prefix) if prefix.network == network => {
                Some((prefix.valid.0, prefix.preferred.0))
            }
            _ => None,
        })
    }
}
