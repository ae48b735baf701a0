//! What is advertised on a link.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::time::Duration;

use ipnetwork::Ipv6Network;
use registry::Mac;

use super::option::{Dnssl, Lifetime, Preference, Prefix, Rdnss, Route};
use super::pace::{MAX_INITIAL_RTR_ADVERTISEMENTS, MAX_RA_DELAY_TIME};

/// The most prefixes, routes and name servers, each: so that an advertisement fits every
/// link.
pub const EACH_MAX: usize = 8;
/// The most bytes that search domains have on the wire together.
pub const MAX_DOMAINS_LEN: usize = 256;
/// The longest URI of a captive portal, in bytes.
const URI_MAX: usize = 254;
/// The smallest MTU of a link with IPv6 (RFC 8200, section 5).
const MTU_MIN: u32 = 1280;
/// MaxRtrAdvInterval is from 4 to 65535 seconds (RFC 4861, section 6.2.1; RFC 8319,
/// section 4).
const MAX_INTERVAL: (Duration, Duration) = (Duration::from_secs(4), Duration::from_secs(65_535));
/// MinRtrAdvInterval is no less than this (RFC 4861, section 6.2.1).
const MIN_INTERVAL: Duration = Duration::from_secs(3);

/// What is to be advertised, as somebody wishes it. [`RaConfig::new`] says whether that
/// can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaSettings {
    /// The link's own Ethernet address, if hosts are to be told.
    pub mac: Option<Mac>,
    /// The hop limit that hosts should use; 0 leaves it open.
    pub hop_limit: u8,
    /// Whether addresses are to be had by DHCPv6.
    pub managed: bool,
    /// Whether other settings are to be had by DHCPv6.
    pub other: bool,
    /// How long this is a default router, in seconds: 0 if it is none, or no less than
    /// `max_interval`.
    pub router_lifetime: u16,
    /// Against other default routers of the link.
    pub preference: Preference,
    /// The shortest time between two unsolicited advertisements: 3 s at least, and three
    /// quarters of `max_interval` at most.
    pub min_interval: Duration,
    /// The longest time between two unsolicited advertisements: 4 s to 65535 s.
    pub max_interval: Duration,
    /// The longest time that a host waits for an answer, 500 ms at most. It keeps several
    /// routers from answering at once; zero is right where there is only one.
    pub solicited_delay: Duration,
    /// How long hosts take a neighbour for reachable, in milliseconds; 0 leaves it open.
    pub reachable_time: u32,
    /// How long hosts wait between two questions for a neighbour, in milliseconds; 0 leaves
    /// it open.
    pub retransmit_time: u32,
    /// How many advertisements come soon after each other at first and after each change: 1
    /// to [`MAX_INITIAL_RTR_ADVERTISEMENTS`].
    pub initial: u8,
    /// The link's MTU, in bytes: 1280 at least.
    pub mtu: Option<u32>,
    /// The link's prefixes: 8 at most.
    pub prefixes: Vec<Prefix>,
    /// What is reached by way of this host without its being a default router: 8 at most.
    pub routes: Vec<Route>,
    /// Name servers: 8 at most.
    pub rdnss: Option<Rdnss>,
    /// Search domains: [`MAX_DOMAINS_LEN`] bytes at most.
    pub dnssl: Option<Dnssl>,
    /// The URI of a captive portal's API, of 254 bytes at most (RFC 8910).
    pub captive_portal: Option<String>,
}

impl Default for RaSettings {
    /// The defaults of RFC 4861, section 6.2.1, without anything to advertise.
    fn default() -> Self {
        Self {
            mac: None,
            hop_limit: 64,
            managed: false,
            other: false,
            router_lifetime: 1800,
            preference: Preference::Medium,
            min_interval: Duration::from_secs(198),
            max_interval: Duration::from_secs(600),
            solicited_delay: MAX_RA_DELAY_TIME,
            reachable_time: 0,
            retransmit_time: 0,
            initial: MAX_INITIAL_RTR_ADVERTISEMENTS,
            mtu: None,
            prefixes: Vec::new(),
            routes: Vec::new(),
            rdnss: None,
            dnssl: None,
            captive_portal: None,
        }
    }
}

/// What is advertised on a link: settings that fit each other and one packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaConfig(RaSettings);

/// Why settings cannot be advertised.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Times between advertisements outside of their ranges.
    #[error(
        "advertisements cannot come every {min:?} to {max:?}: the longer time must be 4 s to \
         65535 s, and the shorter one 3 s to three quarters of that"
    )]
    Interval {
        /// The shorter one.
        min: Duration,
        /// The longer one.
        max: Duration,
    },
    /// Hosts would wait too long.
    #[error("answers cannot be delayed by {0:?}: 500 ms is the most")]
    Delay(Duration),
    /// Hosts would forget the router between two advertisements.
    #[error("a router lifetime of {0} s is shorter than the time between advertisements")]
    RouterLifetime(u16),
    /// No link with IPv6 has such an MTU.
    #[error("an MTU of {0} bytes is too small for IPv6, which needs 1280")]
    Mtu(u32),
    /// A prefix or route twice, or one that no link can have.
    #[error("{0} cannot be advertised: it is there twice, link-local or multicast")]
    Network(Ipv6Network),
    /// Addresses would be preferred for longer than they are valid.
    #[error("{0} cannot be preferred for longer than it is valid")]
    Lifetimes(Ipv6Network),
    /// Not the address of a name server.
    #[error("{0} cannot be the address of a name server")]
    Server(Ipv6Addr),
    /// More than fits.
    #[error("there are too many {0} to advertise, or none where there should be some")]
    Count(&'static str),
    /// Not a URI, or a long one.
    #[error("the captive portal's URI must be of 1 to 254 printable ASCII characters")]
    Uri,
}

impl RaConfig {
    /// Checks settings.
    ///
    /// # Errors
    /// If they contradict each other, or are more than fits a packet that fits every link.
    pub fn new(settings: RaSettings) -> Result<Self, ConfigError> {
        check_times(&settings)?;
        if let Some(mtu) = settings.mtu.filter(|mtu| *mtu < MTU_MIN) {
            return Err(ConfigError::Mtu(mtu));
        }
        let prefixes = settings.prefixes.iter().map(|prefix| prefix.network);
        check_networks("prefixes", prefixes)?;
        let routes = settings.routes.iter().map(|route| route.network);
        check_networks("routes", routes)?;
        let too_long = |prefix: &&Prefix| prefix.preferred > prefix.valid;
        if let Some(prefix) = settings.prefixes.iter().find(too_long) {
            return Err(ConfigError::Lifetimes(prefix.network));
        }
        check_names(&settings)?;
        let is_uri = |uri: &String| {
            (1..=URI_MAX).contains(&uri.len()) && uri.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if !settings.captive_portal.as_ref().is_none_or(is_uri) {
            return Err(ConfigError::Uri);
        }
        Ok(Self(settings))
    }

    /// What was checked.
    #[must_use]
    pub fn settings(&self) -> &RaSettings {
        &self.0
    }
}

fn check_times(settings: &RaSettings) -> Result<(), ConfigError> {
    let (min, max) = (settings.min_interval, settings.max_interval);
    let (least, most) = MAX_INTERVAL;
    if !(least..=most).contains(&max) || !(MIN_INTERVAL..=max * 3 / 4).contains(&min) {
        return Err(ConfigError::Interval { min, max });
    }
    if settings.solicited_delay > MAX_RA_DELAY_TIME {
        return Err(ConfigError::Delay(settings.solicited_delay));
    }
    let lifetime = settings.router_lifetime;
    if lifetime != 0 && Duration::from_secs(lifetime.into()) < max {
        return Err(ConfigError::RouterLifetime(lifetime));
    }
    Ok(())
}

fn check_networks(
    what: &'static str,
    networks: impl Iterator<Item = Ipv6Network>,
) -> Result<(), ConfigError> {
    let mut seen = BTreeSet::new();
    for network in networks {
        let address = network.network();
        let is_local = address.is_unicast_link_local() || address.is_multicast();
        if is_local || !seen.insert((address, network.prefix())) {
            return Err(ConfigError::Network(network));
        }
    }
    if seen.len() > EACH_MAX {
        return Err(ConfigError::Count(what));
    }
    Ok(())
}

fn check_names(settings: &RaSettings) -> Result<(), ConfigError> {
    if let Some(Rdnss { servers, .. }) = &settings.rdnss {
        if !(1..=EACH_MAX).contains(&servers.len()) {
            return Err(ConfigError::Count("name servers"));
        }
        let is_none = |server: &&Ipv6Addr| server.is_multicast() || server.is_unspecified();
        if let Some(server) = servers.iter().find(is_none) {
            return Err(ConfigError::Server(*server));
        }
    }
    if let Some(Dnssl { domains, .. }) = &settings.dnssl {
        let len: usize = domains.iter().map(super::DomainName::wire_len).sum();
        if !(1..=MAX_DOMAINS_LEN).contains(&len) {
            return Err(ConfigError::Count("search domains"));
        }
    }
    Ok(())
}

impl Prefix {
    /// A prefix in which hosts make addresses for themselves, with the lifetimes of RFC
    /// 4861, section 6.2.1: 30 days, 7 of them preferred.
    #[must_use]
    pub const fn autonomous(network: Ipv6Network) -> Self {
        Self {
            network,
            on_link: true,
            autonomous: true,
            valid: Lifetime(2_592_000),
            preferred: Lifetime(604_800),
        }
    }
}
