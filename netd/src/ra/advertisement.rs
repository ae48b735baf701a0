//! What a link's advertisements say, what was taken back included.

use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use ipnetwork::Ipv6Network;

use super::DomainName;
use super::config::{EACH_MAX, MAX_DOMAINS_LEN, RaConfig, RaSettings};
use super::option::{Dnssl, Lifetime, NdOption, Preference, Prefix, Rdnss, Route};
use super::packet::{Advertisement, PACKET_MAX};

/// What was advertised is taken back for as long as hosts may remember it, and for this
/// at most: no host keeps an address longer that is not valid any more (RFC 4862, section
/// 5.5.3).
const WITHDRAW_MAX: Duration = Duration::from_secs(2 * 3600);

/// What was advertised and is not any more, with when that need not be said any longer.
#[derive(Clone, Debug, Default)]
pub struct Withdrawn {
    prefixes: Vec<(Prefix, Instant)>,
    routes: Vec<(Route, Instant)>,
    servers: Vec<(Ipv6Addr, Instant)>,
    domains: Vec<(DomainName, Instant)>,
}

impl Withdrawn {
    /// Notes what `old` has and `new` has not; without `new`, all of it.
    pub fn note(&mut self, now: Instant, old: &RaConfig, new: Option<&RaConfig>) {
        let nothing = RaSettings::default();
        let old = old.settings();
        let new = new.map_or(&nothing, RaConfig::settings);
        let network = |prefix: &Prefix| prefix.network;
        let is_gone = |network: Ipv6Network| !new.prefixes.iter().any(|p| same(p.network, network));
        // Before what was withdrawn earlier, which goes first when there is too much.
        for prefix in old
            .prefixes
            .iter()
            .filter(|prefix| is_gone(network(prefix)))
        {
            let gone = Prefix {
                valid: Lifetime::ZERO,
                preferred: Lifetime::ZERO,
                ..*prefix
            };
            self.prefixes
                .retain(|(p, _)| !same(p.network, prefix.network));
            self.prefixes
                .insert(0, (gone, now + for_how_long(prefix.valid)));
        }
        self.prefixes.retain(|(prefix, _)| is_gone(network(prefix)));
        self.prefixes.truncate(EACH_MAX);

        let is_gone = |route: &Route| !new.routes.iter().any(|r| same(r.network, route.network));
        for route in old.routes.iter().filter(|route| is_gone(route)) {
            let gone = Route {
                lifetime: Lifetime::ZERO,
                ..*route
            };
            self.routes.retain(|(r, _)| !same(r.network, route.network));
            self.routes
                .insert(0, (gone, now + for_how_long(route.lifetime)));
        }
        self.routes.retain(|(route, _)| is_gone(route));
        self.routes.truncate(EACH_MAX);
        self.note_names(now, old, new);
    }

    fn note_names(&mut self, now: Instant, old: &RaSettings, new: &RaSettings) {
        let servers = new.rdnss.as_ref().map_or(&[][..], |rdnss| &rdnss.servers);
        if let Some(rdnss) = &old.rdnss {
            let until = now + for_how_long(rdnss.lifetime);
            renew(&mut self.servers, &rdnss.servers, until);
        }
        self.servers.retain(|(server, _)| !servers.contains(server));
        self.servers.truncate(EACH_MAX);

        let domains = new.dnssl.as_ref().map_or(&[][..], |dnssl| &dnssl.domains);
        if let Some(dnssl) = &old.dnssl {
            let until = now + for_how_long(dnssl.lifetime);
            renew(&mut self.domains, &dnssl.domains, until);
        }
        let mut len = 0;
        self.domains.retain(|(domain, _)| {
            let kept = !domains.contains(domain) && len + domain.wire_len() <= MAX_DOMAINS_LEN;
            len += if kept { domain.wire_len() } else { 0 };
            kept
        });
    }

    /// Forgets what all hosts have forgotten as well.
    pub fn expire(&mut self, now: Instant) {
        self.prefixes.retain(|(_, until)| *until > now);
        self.routes.retain(|(_, until)| *until > now);
        self.servers.retain(|(_, until)| *until > now);
        self.domains.retain(|(_, until)| *until > now);
    }

    fn options(&self) -> Vec<NdOption> {
        let prefixes = self.prefixes.iter().map(|(p, _)| NdOption::Prefix(*p));
        let routes = self.routes.iter().map(|(r, _)| NdOption::Route(*r));
        let mut options: Vec<NdOption> = prefixes.chain(routes).collect();
        let servers: Vec<Ipv6Addr> = self.servers.iter().map(|(server, _)| *server).collect();
        if !servers.is_empty() {
            options.push(NdOption::Rdnss(Rdnss {
                lifetime: Lifetime::ZERO,
                servers,
            }));
        }
        let domains: Vec<DomainName> = self.domains.iter().map(|(name, _)| name.clone()).collect();
        if !domains.is_empty() {
            options.push(NdOption::Dnssl(Dnssl {
                lifetime: Lifetime::ZERO,
                domains,
            }));
        }
        options
    }
}

/// Puts `gone` before what is there, each once.
fn renew<T: Clone + PartialEq>(known: &mut Vec<(T, Instant)>, gone: &[T], until: Instant) {
    known.retain(|(one, _)| !gone.contains(one));
    let gone = gone.iter().map(|one| (one.clone(), until));
    known.splice(0..0, gone);
}

fn same(one: Ipv6Network, other: Ipv6Network) -> bool {
    (one.network(), one.prefix()) == (other.network(), other.prefix())
}

fn for_how_long(lifetime: Lifetime) -> Duration {
    Duration::from_secs(lifetime.0.into()).min(WITHDRAW_MAX)
}

/// The messages of one advertisement: one, or two where it says more than fits one
/// packet, which RFC 4861, section 6.2.3, allows.
pub fn messages(config: &RaConfig, withdrawn: &Withdrawn) -> Vec<Vec<u8>> {
    let mut whole = Advertisement {
        options: present(config),
        ..fixed(config)
    };
    let gone = withdrawn.options();
    let alone = whole.emit();
    whole.options.extend(gone.iter().cloned());
    let together = whole.emit();
    if together.len() <= PACKET_MAX {
        return vec![together];
    }
    let rest = Advertisement {
        options: gone,
        ..fixed(config)
    };
    vec![alone, rest.emit()]
}

/// What is said when nothing is advertised any more, everything being in `withdrawn`.
///
/// "In such cases, the router SHOULD transmit one or more [...] final multicast Router
/// Advertisements on the interface with a Router Lifetime field of zero." (RFC 4861,
/// section 6.2.5.)
pub fn farewell(config: &RaConfig, withdrawn: &Withdrawn) -> Vec<u8> {
    Advertisement {
        router_lifetime: 0,
        preference: Preference::Medium,
        options: withdrawn.options(),
        ..fixed(config)
    }
    .emit()
}

fn fixed(config: &RaConfig) -> Advertisement {
    let settings = config.settings();
    Advertisement {
        hop_limit: settings.hop_limit,
        managed: settings.managed,
        other: settings.other,
        // RFC 4191, section 2.2: "If the Router Lifetime is zero, the preference value
        // MUST be set to (00) by the sender".
        preference: match settings.router_lifetime {
            0 => Preference::Medium,
            _ => settings.preference,
        },
        router_lifetime: settings.router_lifetime,
        reachable_time: settings.reachable_time,
        retransmit_timer: settings.retransmit_time,
        ..Advertisement::default()
    }
}

fn present(config: &RaConfig) -> Vec<NdOption> {
    let settings = config.settings();
    let single = [
        settings.mac.map(NdOption::SourceLinkLayer),
        settings.mtu.map(NdOption::Mtu),
        settings.rdnss.clone().map(NdOption::Rdnss),
        settings.dnssl.clone().map(NdOption::Dnssl),
        settings.captive_portal.clone().map(NdOption::CaptivePortal),
    ];
    let prefixes = settings.prefixes.iter().copied().map(NdOption::Prefix);
    let routes = settings.routes.iter().copied().map(NdOption::Route);
    prefixes
        .chain(routes)
        .chain(single.into_iter().flatten())
        .collect()
}
