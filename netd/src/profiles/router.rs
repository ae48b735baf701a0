//! What is said of router advertisements.

use std::net::Ipv6Addr;
use std::time::Duration;

use ipnetwork::{IpNetwork, Ipv6Network};

use crate::network_file::value::{network, number, shown, time_span};
use crate::network_file::{Wrong, words};
use crate::ra::{DomainName, Lifetime, MAX_DOMAINS_LEN, Preference};

/// How long the host is a default router without a further word, in seconds: the longest
/// that can be said (RFC 8319), so that netd's absence takes nobody's way out.
pub(super) const ROUTER_LIFETIME: u16 = u16::MAX;
/// The shortest (RFC 4861, section 6.2.1).
const ROUTER_LIFETIME_MIN: u64 = 4;
/// The most of each that fit an advertisement.
const EACH_MAX: usize = 8;
/// As many [IPv6Prefix] or [IPv6RoutePrefix] sections: the link's own prefix is one more.
const SECTIONS_MAX: usize = EACH_MAX - 1;
/// The longest time that a neighbour counts as reachable (RFC 4861, section 6.2.1), and
/// more than anybody waits for one.
const MILLISECONDS_MAX: u128 = 3_600_000;

/// What router advertisements say on a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterProfile {
    /// Whether there are any.
    pub send: bool,
    /// Whether addresses are to be had by DHCPv6.
    pub managed: bool,
    /// Whether other settings are to be had by DHCPv6.
    pub other: bool,
    /// How long the host is a default router, in seconds; 0 if it is none.
    pub lifetime: u16,
    /// Against other routers.
    pub preference: Preference,
    /// The hop limit that hosts should use; 0 leaves it open.
    pub hop_limit: u8,
    /// How long a neighbour counts as reachable, in milliseconds; 0 leaves it open.
    pub reachable_time: u32,
    /// The time between two questions for a neighbour, in milliseconds; 0 leaves it open.
    pub retransmit_time: u32,
    /// Whether name servers are named.
    pub emit_dns: bool,
    /// The name servers; empty for the host's.
    pub dns: Vec<Ipv6Addr>,
    /// Whether search domains are named.
    pub emit_domains: bool,
    /// The search domains; empty for the host's.
    pub domains: Vec<DomainName>,
    /// How long name servers and domains hold; as long as the router without it.
    pub dns_lifetime: Option<Lifetime>,
    /// Prefixes beside the link's own, or what is said of that.
    pub prefixes: Vec<PrefixProfile>,
    /// What is reached by way of the host though it is no default router.
    pub routes: Vec<RouteProfile>,
}

/// What is said of a prefix: an `[IPv6Prefix]` section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixProfile {
    /// The prefix; the section means nothing without one.
    pub network: Option<Ipv6Network>,
    /// Whether its addresses are on the link.
    pub on_link: bool,
    /// Whether hosts make addresses in it for themselves.
    pub autonomous: bool,
    /// How long addresses in it are used for new connections.
    pub preferred: Lifetime,
    /// How long they work.
    pub valid: Lifetime,
}

/// What is said of a route: an `[IPv6RoutePrefix]` section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteProfile {
    /// Where it goes; the section means nothing without.
    pub network: Option<Ipv6Network>,
    /// How long it works.
    pub lifetime: Lifetime,
}

impl Default for RouterProfile {
    fn default() -> Self {
        Self {
            send: true,
            managed: false,
            other: false,
            lifetime: ROUTER_LIFETIME,
            preference: Preference::Medium,
            hop_limit: 64,
            reachable_time: 0,
            retransmit_time: 0,
            emit_dns: true,
            dns: Vec::new(),
            emit_domains: true,
            domains: Vec::new(),
            dns_lifetime: None,
            prefixes: Vec::new(),
            routes: Vec::new(),
        }
    }
}

impl Default for PrefixProfile {
    /// For ever: the subnet is the link's for as long as that is there, and what is not so
    /// any more is taken back.
    fn default() -> Self {
        Self {
            network: None,
            on_link: true,
            autonomous: true,
            preferred: Lifetime::INFINITE,
            valid: Lifetime::INFINITE,
        }
    }
}

impl Default for RouteProfile {
    fn default() -> Self {
        Self {
            network: None,
            lifetime: Lifetime(ROUTER_LIFETIME.into()),
        }
    }
}

impl RouterProfile {
    /// Leaves out the sections that were told to be too many.
    pub(super) fn bounded(mut self) -> Self {
        self.prefixes.truncate(SECTIONS_MAX);
        self.routes.truncate(SECTIONS_MAX);
        self
    }
}

/// A further section begins.
pub(super) fn begin<T: Default>(sections: &mut Vec<T>) -> Result<(), Wrong> {
    // One that is too many is there for its keys, which are not those of the one before.
    sections.push(T::default());
    if sections.len() > SECTIONS_MAX {
        return Err(Wrong::new(format!(
            "the section has no effect: an advertisement has room for {SECTIONS_MAX} of them"
        )));
    }
    Ok(())
}

/// The section that was begun last.
pub(super) fn last<T>(sections: &mut [T]) -> Result<&mut T, Wrong> {
    let missing = || Wrong::new("the key stands in no section");
    sections.last_mut().ok_or_else(missing)
}

/// `RouterLifetimeSec=`.
pub(super) fn lifetime(value: &str) -> Result<u16, Wrong> {
    let seconds = time_span(value)?.as_secs();
    let is_one = seconds == 0 || seconds >= ROUTER_LIFETIME_MIN;
    let lifetime = u16::try_from(seconds).ok().filter(|_| is_one);
    lifetime.ok_or_else(|| Wrong::new("a router lasts from 4 to 65535 seconds, or is none with 0"))
}

/// `RouterPreference=`.
pub(super) fn preference(value: &str) -> Result<Preference, Wrong> {
    match value {
        "low" => Ok(Preference::Low),
        "medium" | "normal" | "default" => Ok(Preference::Medium),
        "high" => Ok(Preference::High),
        _ => Err(Wrong::new(format!(
            "\"{}\" is neither low nor medium nor high",
            shown(value)
        ))),
    }
}

/// `HopLimit=`.
pub(super) fn hop_limit(value: &str) -> Result<u8, Wrong> {
    let number = number(value, 0, u8::MAX.into())?;
    Ok(u8::try_from(number).unwrap_or(u8::MAX))
}

/// `ReachableTimeSec=` and `RetransmitSec=`.
pub(super) fn milliseconds(value: &str) -> Result<u32, Wrong> {
    let time = time_span(value)?.as_millis();
    let milliseconds = u32::try_from(time.min(MILLISECONDS_MAX + 1)).unwrap_or(u32::MAX);
    if time > MILLISECONDS_MAX {
        return Err(Wrong::new("it is an hour at most"));
    }
    Ok(milliseconds)
}

/// A lifetime in seconds; `infinity` is for ever.
pub(super) fn seconds(value: &str) -> Result<Lifetime, Wrong> {
    let time = time_span(value)?;
    if time == Duration::MAX {
        return Ok(Lifetime::INFINITE);
    }
    let seconds = u32::try_from(time.as_secs()).ok();
    let seconds = seconds.filter(|seconds| *seconds < u32::MAX);
    seconds
        .map(Lifetime)
        .ok_or_else(|| Wrong::new("write infinity for what lasts for more than 136 years"))
}

/// `Prefix=`: hosts make addresses by 64 bits of their own.
pub(super) fn prefix(value: &str) -> Result<Option<Ipv6Network>, Wrong> {
    let network = network6(value)?;
    let address = network.network();
    if network.prefix() == 0 || address.is_unicast_link_local() || address.is_multicast() {
        let text = format!("\"{}\" can be no prefix of a link", shown(value));
        return Err(Wrong::new(text));
    }
    Ok(Some(network))
}

/// `Route=`.
pub(super) fn route(value: &str) -> Result<Option<Ipv6Network>, Wrong> {
    let network = network6(value)?;
    let address = network.network();
    if address.is_unicast_link_local() || address.is_multicast() {
        let text = format!("no route leads to \"{}\"", shown(value));
        return Err(Wrong::new(text));
    }
    Ok(Some(network))
}

fn network6(value: &str) -> Result<Ipv6Network, Wrong> {
    match network(value)? {
        IpNetwork::V6(v6) if v6.ip() == v6.network() => Ok(v6),
        IpNetwork::V6(v6) => Err(Wrong::new(format!(
            "write {}/{}: behind the prefix there are zeroes",
            v6.network(),
            v6.prefix()
        ))),
        IpNetwork::V4(_) => Err(Wrong::new(format!("\"{}\" is of IPv4", shown(value)))),
    }
}

/// `DNS=`.
pub(super) fn add_servers(servers: &mut Vec<Ipv6Addr>, value: &str) -> Result<(), Wrong> {
    if value.is_empty() {
        servers.clear();
        return Ok(());
    }
    let mut more = Vec::new();
    for word in words(value)? {
        let usable = |ip: &Ipv6Addr| !ip.is_unspecified() && !ip.is_multicast();
        more.push(word.parse().ok().filter(usable).ok_or_else(|| {
            let word = shown(&word);
            Wrong::new(format!("\"{word}\" is no IPv6 address of a name server"))
        })?);
    }
    if servers.len() + more.len() > EACH_MAX {
        return Err(Wrong::new(format!("more than {EACH_MAX} name servers")));
    }
    servers.extend(more);
    Ok(())
}

/// `Domains=`.
pub(super) fn add_domains(domains: &mut Vec<DomainName>, value: &str) -> Result<(), Wrong> {
    if value.is_empty() {
        domains.clear();
        return Ok(());
    }
    let mut all = domains.clone();
    for word in words(value)? {
        let domain = word.parse::<DomainName>();
        all.push(domain.map_err(|error| Wrong::new(format!("\"{}\": {error}", shown(&word))))?);
    }
    let len: usize = all.iter().map(DomainName::wire_len).sum();
    if len > MAX_DOMAINS_LEN {
        return Err(Wrong::new(format!(
            "an advertisement has room for {MAX_DOMAINS_LEN} bytes of domains"
        )));
    }
    *domains = all;
    Ok(())
}
