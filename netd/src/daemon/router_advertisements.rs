//! Router advertisements on the links that have IPv6 subnets.
//!
//! rspawn has set all of it in `host0` before its payload runs: what is said here is for who
//! configures itself, and says the same. A link costs a place in a list until somebody asks
//! or its first advertisement is due, and no wake-up of its own: what is due far from now
//! is rounded, so that netd wakes once for the advertisements of many links.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use ipnetwork::{IpNetwork, Ipv6Network};

use super::Daemon;
use crate::log::{self, Pace};
use crate::plan::{self, Role};
use crate::profiles::{PrefixProfile, RouterProfile};
use crate::ra::{
    self, Advertiser, Dnssl, DomainName, Lifetime, MAX_INITIAL_RTR_ADVERT_INTERVAL,
    MAX_INITIAL_RTR_ADVERTISEMENTS, Prefix, RaConfig, RaSettings, RaWire, Rdnss, Solicited,
};
use crate::rtnl::Link;
use crate::subnets::Subnets;

/// The longest time between two advertisements on a container's own link. All that is said
/// lasts longer (RFC 8319) or for ever, who begins asks, and what changes is said at once.
const VETH_INTERVAL: Duration = Duration::from_secs(6 * 60 * 60);
/// The same on a zone's bridge.
const ZONE_INTERVAL: Duration = Duration::from_secs(30 * 60);
/// The shortest that an administrator's lifetimes can make it (RFC 4861, section 6.2.1).
const INTERVAL_MIN: Duration = Duration::from_secs(4);
/// Of what lasts for some time, so many advertisements may be lost, and one more.
const LOST_MAX: u32 = 2;
/// What is due later than this from now, is rounded up to whole ones of it.
const ROUND: Duration = Duration::from_secs(60);
/// What is due sooner is rounded up to whole ones of this.
const ROUND_SOON: Duration = Duration::from_millis(500);
/// How many links get their advertisements before others get their turn.
const AT_ONCE: usize = 32;
/// The most name servers of an advertisement.
const SERVERS_MAX: usize = 8;

/// That nothing can be sent is said at this pace.
static NOT_SENT: Pace = Pace::new();
/// So is what cannot be advertised.
static NOT_SAID: Pace = Pace::new();

/// The advertisements of all links.
#[derive(Debug)]
pub(super) struct Advertisements {
    wire: RaWire,
    links: HashMap<u32, OnLink>,
    /// When each link's are due.
    due: BTreeSet<(Instant, u32)>,
    /// From which whole minutes are counted.
    began: Instant,
}

/// The advertisements of a link.
#[derive(Debug)]
struct OnLink {
    /// As it is in the list of what is due.
    at: Instant,
    /// Whether what is said may be something else by now.
    stale: bool,
    /// None before the first is due.
    advertiser: Option<Box<Advertiser>>,
}

impl Advertisements {
    pub fn new(wire: RaWire) -> Self {
        Self {
            wire,
            links: HashMap::new(),
            due: BTreeSet::new(),
            began: Instant::now(),
        }
    }

    /// Waits for the next host that asks. Nothing is lost if the future is dropped.
    pub async fn asked(&mut self) -> io::Result<Solicited> {
        self.wire.next().await
    }

    /// When something is due.
    pub fn deadline(&self) -> Option<tokio::time::Instant> {
        self.due.first().map(|(at, _)| (*at).into())
    }

    /// How many links there are.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.links.len()
    }

    fn put_down(&mut self, index: u32, at: Instant) {
        let at = self.rounded(at);
        if let Some(on_link) = self.links.get_mut(&index) {
            self.due.remove(&(on_link.at, index));
            on_link.at = at;
            self.due.insert((at, index));
        }
    }

    fn rounded(&self, at: Instant) -> Instant {
        let now = Instant::now();
        if at <= now {
            return at;
        }
        let step = if at > now + 2 * ROUND {
            ROUND
        } else {
            ROUND_SOON
        };
        let since = at.saturating_duration_since(self.began).as_nanos();
        let step = step.as_nanos();
        let whole = since.div_ceil(step).saturating_mul(step);
        self.began + Duration::from_nanos(u64::try_from(whole).unwrap_or(u64::MAX))
    }

    fn forget(&mut self, index: u32) -> Option<Box<Advertiser>> {
        let on_link = self.links.remove(&index)?;
        self.due.remove(&(on_link.at, index));
        on_link.advertiser
    }
}

impl Daemon {
    /// A link has its addresses: from now on it has advertisements as well, the first some
    /// time within 16 s (RFC 4861, section 6.2.4), or when somebody asks.
    pub(super) fn advertise_on(&mut self, index: u32) {
        let advertisements = &mut self.advertisements;
        if matches!(advertisements.wire, RaWire::None) || advertisements.links.contains_key(&index)
        {
            return;
        }
        // A link that is gone by now tells so by an event.
        let _ = advertisements.wire.join(index);
        let wait = seed() % MAX_INITIAL_RTR_ADVERT_INTERVAL.as_secs().max(1);
        let at = Instant::now() + Duration::from_secs(wait + 1);
        let on_link = OnLink {
            at,
            stale: false,
            advertiser: None,
        };
        advertisements.links.insert(index, on_link);
        advertisements.put_down(index, at);
    }

    /// A link is gone, or not netd's any more.
    pub(super) fn stop_advertising(&mut self, index: u32) {
        self.advertisements.forget(index);
    }

    /// What is advertised may be something else now.
    pub(super) fn refresh_advertisements(&mut self) {
        let now = Instant::now();
        let links = self.advertisements.links.iter_mut();
        let speak = links.filter(|(_, on_link)| on_link.advertiser.is_some());
        let indices: Vec<u32> = speak
            .map(|(index, on_link)| {
                on_link.stale = true;
                *index
            })
            .collect();
        for index in indices {
            self.advertisements.put_down(index, now);
        }
    }

    /// The same on one link, where it may be that nothing was.
    pub(super) fn refresh_advertisements_of(&mut self, index: u32) {
        match self.advertisements.links.get_mut(&index) {
            Some(on_link) if on_link.advertiser.is_some() => {
                on_link.stale = true;
                self.advertisements.put_down(index, Instant::now());
            }
            Some(_) => {}
            None => self.advertise_on(index),
        }
    }

    /// Answers a host that asks for a router.
    pub(super) fn answer_solicitation(&mut self, asked: io::Result<Solicited>) {
        let solicited = match asked {
            Ok(solicited) => solicited,
            Err(error) => {
                tracing::debug!(%error, "cannot receive router solicitations");
                return;
            }
        };
        let Some(input) = solicited.heard.input() else {
            return;
        };
        let index = solicited.heard.ifindex;
        self.speak(index, input, Some(&solicited));
    }

    /// Sends what is due, and has what is left over done next.
    pub(super) fn advertise_what_is_due(&mut self) {
        let now = Instant::now();
        for _ in 0..AT_ONCE {
            let first = self.advertisements.due.first().copied();
            let Some((_, index)) = first.filter(|(at, _)| *at <= now) else {
                return;
            };
            self.speak(index, ra::Input::Time, None);
        }
    }

    /// Gives a link's machine an input, and does what it says.
    fn speak(&mut self, index: u32, input: ra::Input, asked: Option<&Solicited>) {
        let now = Instant::now();
        let Some(on_link) = self.advertisements.links.get(&index) else {
            return;
        };
        let (is_new, stale) = (on_link.advertiser.is_none(), on_link.stale);
        if is_new || stale {
            let config = self.advertised_on(index);
            let Some(on_link) = self.advertisements.links.get_mut(&index) else {
                return;
            };
            on_link.stale = false;
            match (config, &mut on_link.advertiser) {
                (Some(config), Some(advertiser)) => {
                    advertiser.handle(now, ra::Input::ConfigChanged(config));
                }
                (Some(config), None) => {
                    let mut advertiser = Box::new(Advertiser::new(config, seed()));
                    advertiser.start(now);
                    on_link.advertiser = Some(advertiser);
                }
                (None, _) => return self.say_goodbye(index, now),
            }
        }
        if let Some(on_link) = self.advertisements.links.get_mut(&index)
            && let Some(advertiser) = &mut on_link.advertiser
        {
            advertiser.handle(now, input);
        }
        self.send_advertisements(index, asked);
        let advertiser = self.advertisements.links.get(&index);
        let advertiser = advertiser.and_then(|on_link| on_link.advertiser.as_ref());
        if let Some(at) = advertiser.and_then(|advertiser| advertiser.deadline()) {
            self.advertisements.put_down(index, at);
        }
    }

    /// Nothing is to be advertised on a link any more: hosts are told so.
    fn say_goodbye(&mut self, index: u32, now: Instant) {
        let on_link = self.advertisements.links.get_mut(&index);
        if let Some(advertiser) = on_link.and_then(|on_link| on_link.advertiser.as_mut()) {
            advertiser.stop(now);
            self.send_advertisements(index, None);
        }
        self.advertisements.forget(index);
    }

    fn send_advertisements(&mut self, index: u32, asked: Option<&Solicited>) {
        let source = self.link_local_of(index);
        let Some(on_link) = self.advertisements.links.get_mut(&index) else {
            return;
        };
        let Some(advertiser) = &mut on_link.advertiser else {
            return;
        };
        while let Some(output) = advertiser.poll_output() {
            let ra::Output::Send {
                destination,
                packet,
            } = output
            else {
                tracing::debug!(index, ?output, "router solicitation");
                continue;
            };
            let Some(source) = source else {
                tracing::debug!(index, "no link-local address to advertise from");
                continue;
            };
            let is_asker = |asked: &&Solicited| asked.heard.source == destination;
            let leaving = ra::Leaving {
                ifindex: index,
                source,
                destination,
                station: asked.filter(is_asker).and_then(|asked| asked.station),
                packet,
            };
            if let Err(error) = self.advertisements.wire.send(leaving) {
                NOT_SENT.say(|more| {
                    tracing::debug!(index, "cannot send a router advertisement: {error}{more}");
                });
            }
        }
    }

    fn link_local_of(&self, index: u32) -> Option<Ipv6Addr> {
        let addresses = self.world.addresses(index).iter();
        let mut ips = addresses.filter_map(|address| match address.address.ip() {
            IpAddr::V6(ip) => Some(ip),
            IpAddr::V4(_) => None,
        });
        ips.find(Ipv6Addr::is_unicast_link_local)
    }

    /// What is advertised on a link; nothing where nothing is to be.
    fn advertised_on(&self, index: u32) -> Option<RaConfig> {
        let link = self.world.link(index)?;
        let own = self.links.get(&index).filter(|own| own.confirmed)?;
        let (owner, subnets) = (own.owner?, own.subnets?);
        let profile = self.profile_of(link);
        let settings = self.ra_settings(link, &subnets, &profile.router)?;
        RaConfig::new(settings)
            .map_err(|error| {
                NOT_SAID.say(|more| {
                    tracing::error!(
                        of = %owner,
                        "{}: no router advertisements: {}{more}",
                        profile.name,
                        log::chain(&error)
                    );
                });
            })
            .ok()
    }

    fn ra_settings(
        &self,
        link: &Link,
        subnets: &Subnets,
        router: &RouterProfile,
    ) -> Option<RaSettings> {
        let own = subnets.v6.filter(|_| router.send)?;
        let is_zone = matches!(plan::role_of(link), Role::Zone(_));
        let (longest, initial) = match is_zone {
            true => (ZONE_INTERVAL, MAX_INITIAL_RTR_ADVERTISEMENTS),
            false => (VETH_INTERVAL, 1),
        };
        let prefixes = prefixes(own, router);
        let dns_lifetime = router.dns_lifetime.unwrap_or(match router.lifetime {
            0 => Lifetime(u16::MAX.into()),
            lifetime => Lifetime(lifetime.into()),
        });
        let routes: Vec<ra::Route> = router.routes.iter().filter_map(route).collect();
        let lifetimes = prefixes.iter().map(|prefix| prefix.preferred);
        let lifetimes = lifetimes
            .chain(routes.iter().map(|route| route.lifetime))
            .chain([Lifetime(router.lifetime.into()), dns_lifetime]);
        let max_interval = interval(longest, lifetimes);
        Some(RaSettings {
            mac: link.mac,
            hop_limit: router.hop_limit,
            managed: router.managed,
            other: router.other,
            router_lifetime: router.lifetime,
            preference: router.preference,
            reachable_time: router.reachable_time,
            retransmit_time: router.retransmit_time,
            min_interval: (max_interval * 3 / 4).max(Duration::from_secs(3)),
            max_interval,
            initial,
            // There is no other router that would answer at the same time.
            solicited_delay: Duration::ZERO,
            mtu: Some(self.mtu_for(link)),
            prefixes,
            routes,
            rdnss: self.rdnss(router, dns_lifetime),
            dnssl: self.dnssl(router, dns_lifetime),
            captive_portal: None,
        })
    }

    fn rdnss(&self, router: &RouterProfile, lifetime: Lifetime) -> Option<Rdnss> {
        let of_host = self.dns.servers.iter().filter_map(|server| match server {
            // One of the host's own links is no link of a container.
            IpAddr::V6(ip) if !ip.is_unicast_link_local() => Some(*ip),
            _ => None,
        });
        let servers: Vec<Ipv6Addr> = match router.dns.is_empty() {
            true => of_host.take(SERVERS_MAX).collect(),
            false => router.dns.clone(),
        };
        let named = router.emit_dns && !servers.is_empty();
        named.then_some(Rdnss { lifetime, servers })
    }

    fn dnssl(&self, router: &RouterProfile, lifetime: Lifetime) -> Option<Dnssl> {
        let of_host = || self.dns.domain.as_ref()?.parse::<DomainName>().ok();
        let domains: Vec<DomainName> = match router.domains.is_empty() {
            true => of_host().into_iter().collect(),
            false => router.domains.clone(),
        };
        let named = router.emit_domains && !domains.is_empty();
        named.then_some(Dnssl { lifetime, domains })
    }
}

/// The prefixes of a link: its own subnet, and what files name.
fn prefixes(own: Ipv6Network, router: &RouterProfile) -> Vec<Prefix> {
    let named = |prefix: &PrefixProfile| {
        Some(Prefix {
            network: prefix.network?,
            on_link: prefix.on_link,
            // Addresses are made of 64 bits behind 64 (RFC 4862, section 5.5.3 (d)).
            autonomous: prefix.autonomous && prefix.network?.prefix() == 64,
            valid: prefix.valid,
            preferred: prefix.preferred.min(prefix.valid),
        })
    };
    let mut all: Vec<Prefix> = router.prefixes.iter().filter_map(named).collect();
    if !all.iter().any(|prefix| prefix.network == own) {
        let usual = PrefixProfile {
            network: Some(own),
            ..PrefixProfile::default()
        };
        all.extend(named(&usual));
    }
    all
}

fn route(route: &crate::profiles::RouteProfile) -> Option<ra::Route> {
    Some(ra::Route {
        network: route.network?,
        preference: ra::Preference::Medium,
        lifetime: route.lifetime,
    })
}

/// How long is between two advertisements at the most, so that nothing of this ends between
/// them.
fn interval(longest: Duration, lifetimes: impl Iterator<Item = Lifetime>) -> Duration {
    let ends = lifetimes.filter(|lifetime| *lifetime != Lifetime::ZERO);
    let ends = ends.map(|Lifetime(seconds)| Duration::from_secs(seconds.into()));
    let shortest = ends.min().map(|shortest| shortest / (LOST_MAX + 1));
    shortest.unwrap_or(longest).clamp(INTERVAL_MIN, longest)
}

/// The address that a machine's end of a link is to have in IPv6: the one that follows from
/// its Ethernet address, as it would give itself by an advertisement.
pub(super) fn by_advertisement(subnets: &Subnets, mac: registry::Mac) -> Vec<IpNetwork> {
    let made = subnets.v6.and_then(|v6| {
        let ip = plan::member_address_v6(v6, mac)?;
        Ipv6Network::new(ip, v6.prefix()).ok()
    });
    let of_family = |second: IpNetwork| match made {
        Some(made) if second.is_ipv6() => made.into(),
        _ => second,
    };
    subnets.container().map(of_family).collect()
}

/// A number that no other link has: the library's hashes are keyed at random.
fn seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_ends_between_two_advertisements() {
        let of = |seconds: &[u32]| {
            let lifetimes = seconds.iter().copied().map(Lifetime);
            interval(VETH_INTERVAL, lifetimes).as_secs()
        };
        assert_eq!(of(&[]), 21_600);
        assert_eq!(of(&[u32::MAX, 65_535]), 21_600);
        assert_eq!(of(&[u32::MAX, 0, 1_800]), 600);
        assert_eq!(of(&[5]), 4);
    }

    #[test]
    fn what_is_due_far_from_now_is_due_together() {
        let mut advertisements = Advertisements::new(RaWire::None);
        let now = Instant::now();
        for index in 1..1000 {
            let at = now + Duration::from_secs(16_200 + u64::from(index) * 5);
            let on_link = OnLink {
                at,
                stale: false,
                advertiser: None,
            };
            advertisements.links.insert(index, on_link);
            advertisements.put_down(index, at);
        }
        let times: BTreeSet<Instant> = advertisements.due.iter().map(|(at, _)| *at).collect();
        assert_eq!(advertisements.due.len(), 999);
        assert!(times.len() <= 90, "{}", times.len());
        // None of it too soon.
        for index in 1..1000 {
            let at = now + Duration::from_secs(16_200 + u64::from(index) * 5);
            assert!(advertisements.links[&index].at >= at);
            assert!(advertisements.links[&index].at <= at + ROUND);
        }
        advertisements.forget(7);
        assert_eq!(advertisements.due.len(), advertisements.count());
    }
}
