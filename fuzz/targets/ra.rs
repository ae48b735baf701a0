//! Router solicitations and advertisements, and a router that hears them.
#![no_main]

use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use arbitrary::Arbitrary;
use ipnetwork::Ipv6Network;
use libfuzzer_sys::fuzz_target;
use netd::ra::{
    ALL_NODES, Advertisement, Advertiser, Dnssl, DomainName, Input, Lifetime, NdOption, Output,
    PACKET_MAX, Preference, Prefix, RaConfig, RaSettings, Rdnss, Route, Solicitation, checksum,
    with_checksum,
};
use registry::Mac;

#[derive(Arbitrary, Debug)]
struct Script<'a> {
    bytes: &'a [u8],
    /// The options of an advertisement whose fixed fields are sound.
    options: &'a [u8],
    first: Settings,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Debug)]
enum Step {
    /// Time passes, in tenths of a second.
    Pass(u16),
    Ask {
        source: u8,
        kind: u8,
        mac: bool,
        hop_limit: u8,
    },
    Change(Settings),
    Start,
    Stop,
}

#[derive(Arbitrary, Debug)]
struct Settings {
    prefixes: Vec<(u8, u8, u32, u32)>,
    routes: Vec<(u8, u8, u32)>,
    servers: Vec<u8>,
    domains: Vec<String>,
    portal: Option<String>,
    lifetimes: (u16, u32, u32),
    interval: (u16, u16),
    delay: u16,
    mtu: Option<u32>,
}

fn network(number: u8, len: u8) -> Option<Ipv6Network> {
    let address = Ipv6Addr::new(0xfd00, 0, 0, number.into(), 0, 0, 0, number.into());
    Ipv6Network::new(address, len).ok()
}

impl Settings {
    fn config(&self) -> Option<RaConfig> {
        let (router_lifetime, rdnss, dnssl) = self.lifetimes;
        let prefixes = self
            .prefixes
            .iter()
            .filter_map(|(number, len, valid, preferred)| {
                Some(Prefix {
                    valid: Lifetime(*valid),
                    preferred: Lifetime(*preferred),
                    ..Prefix::autonomous(network(*number, *len)?)
                })
            });
        let routes = self.routes.iter().filter_map(|(number, len, lifetime)| {
            Some(Route {
                network: network(*number, *len)?,
                preference: Preference::High,
                lifetime: Lifetime(*lifetime),
            })
        });
        let servers = self
            .servers
            .iter()
            .map(|number| Ipv6Addr::from(u128::from(*number)));
        let domains = self
            .domains
            .iter()
            .filter_map(|name| name.parse::<DomainName>().ok());
        let (servers, domains): (Vec<_>, Vec<_>) = (servers.collect(), domains.collect());
        RaConfig::new(RaSettings {
            mac: Some(Mac([2, 0, 0, 0, 0, 1])),
            router_lifetime,
            min_interval: Duration::from_secs(self.interval.0.into()),
            max_interval: Duration::from_secs(self.interval.1.into()),
            solicited_delay: Duration::from_millis(self.delay.into()),
            mtu: self.mtu,
            prefixes: prefixes.collect(),
            routes: routes.collect(),
            rdnss: (!servers.is_empty()).then_some(Rdnss {
                lifetime: Lifetime(rdnss),
                servers,
            }),
            dnssl: (!domains.is_empty()).then_some(Dnssl {
                lifetime: Lifetime(dnssl),
                domains,
            }),
            captive_portal: self.portal.clone(),
            ..RaSettings::default()
        })
        .ok()
    }
}

fn take(machine: &mut Advertiser) -> usize {
    let mut sent = 0;
    while let Some(output) = machine.poll_output() {
        let Output::Send {
            destination,
            packet,
        } = output
        else {
            continue;
        };
        assert!(packet.len() <= PACKET_MAX && packet.len() % 8 == 0);
        assert!(destination == ALL_NODES || destination.is_unicast_link_local());
        let read = Advertisement::parse(&packet).expect("what we write can be read");
        assert_eq!(read.emit(), packet);
        sent += 1;
    }
    sent
}

fn play(machine: &mut Advertiser, steps: &[Step]) {
    let mut now = Instant::now();
    machine.start(now);
    take(machine);
    for step in steps {
        match step {
            Step::Pass(tenths) => {
                let until = now + Duration::from_millis(100) * u32::from(*tenths);
                while let Some(at) = machine.deadline().filter(|at| *at <= until) {
                    now = now.max(at);
                    machine.handle(now, Input::Time);
                    assert!(take(machine) > 0, "woken for nothing");
                    assert!(machine.deadline().is_none_or(|next| next > now));
                }
                now = until;
            }
            Step::Ask {
                source,
                kind,
                mac,
                hop_limit,
            } => {
                let prefix = [0, 0xfe80, 0xff02, 0x2001][usize::from(kind % 4)];
                let source = Ipv6Addr::new(prefix, 0, 0, 0, 0, 0, 0, (*source).into());
                let source_link_layer = mac.then_some(Mac([2, 0, 0, 0, 0, 2]));
                machine.handle(
                    now,
                    Input::Solicitation {
                        source,
                        source_link_layer,
                        hop_limit: hop_limit | 0xf0,
                    },
                );
                assert!(take(machine) <= 2);
            }
            Step::Change(settings) => {
                if let Some(config) = settings.config() {
                    machine.handle(now, Input::ConfigChanged(config));
                    assert!(take(machine) <= 2);
                }
            }
            Step::Start => {
                machine.start(now);
                take(machine);
            }
            Step::Stop => {
                machine.stop(now);
                take(machine);
                assert_eq!(machine.deadline(), None);
            }
        }
    }
}

fn read(bytes: &[u8]) {
    if let Ok(solicitation) = Solicitation::parse(bytes) {
        assert_eq!(Solicitation::parse(&solicitation.emit()), Ok(solicitation));
    }
    if let Ok(advertisement) = Advertisement::parse(bytes) {
        let fits = |option: &NdOption| match option {
            NdOption::Dnssl(names) => {
                names
                    .domains
                    .iter()
                    .map(DomainName::wire_len)
                    .sum::<usize>()
                    <= 2032
            }
            _ => true,
        };
        let again = Advertisement::parse(&advertisement.emit());
        if advertisement.options.iter().all(fits) {
            assert_eq!(again.as_ref(), Ok(&advertisement));
        }
        let (source, destination) = (Ipv6Addr::LOCALHOST, ALL_NODES);
        let whole = with_checksum(source, destination, bytes.to_vec());
        assert_eq!(checksum(source, destination, &whole), 0);
    }
}

fuzz_target!(|script: Script<'_>| {
    read(script.bytes);
    for kind in [133, 134] {
        let mut bytes = vec![kind, 0, 0, 0];
        bytes.resize(if kind == 133 { 8 } else { 16 }, 0);
        bytes.extend(script.options);
        read(&bytes);
    }
    if let Some(config) = script
        .first
        .config()
        .or_else(|| RaConfig::new(RaSettings::default()).ok())
    {
        play(
            &mut Advertiser::new(config, 1),
            script.steps.get(..100).unwrap_or(&script.steps),
        );
    }
});
