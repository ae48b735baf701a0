//! What a server says beside the address.

use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;

use super::names;
use super::options::{Options, code};
use super::packet::is_host;

/// RFC 2132, section 5.1: "The minimum legal value for the MTU is 68."
const SMALLEST_MTU: u16 = 68;
/// The most addresses of one kind, and the most routes, that are taken.
pub(super) const ADDRESSES_MAX: usize = 16;
pub(super) const ROUTES_MAX: usize = 64;

/// A route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where it leads, with no bits behind the prefix.
    pub destination: Ipv4Network,
    /// By which host; the destination is on the link itself if `None` (RFC 3442).
    pub gateway: Option<Ipv4Addr>,
}

/// What a server says beside the address. All of it is checked: addresses are such as one
/// host can have, names of characters that can stand in any configuration file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Routes, one for each destination: those of option 121, or else the default route by
    /// the first router.
    pub routes: Vec<Route>,
    /// Default gateways, the preferred one first (option 3); none where option 121 is
    /// given, which takes their place (RFC 3442).
    pub routers: Vec<Ipv4Addr>,
    /// Name servers, the preferred one first (option 6).
    pub dns: Vec<Ipv4Addr>,
    /// The domain (option 15).
    pub domain: Option<String>,
    /// Domains in which names are completed (option 119).
    pub search: Vec<String>,
    /// Time servers (option 42).
    pub ntp: Vec<Ipv4Addr>,
    /// The link's MTU in bytes, 68 at least (option 26).
    pub mtu: Option<u16>,
    /// The broadcast address (option 28).
    pub broadcast: Option<Ipv4Addr>,
    /// The client's host name (option 12).
    pub hostname: Option<String>,
    /// The name of its time zone, such as "Europe/Berlin" (option 101).
    pub timezone: Option<String>,
    /// Its time zone in the form of POSIX's TZ (option 100).
    pub posix_timezone: Option<String>,
    /// Where a captive portal tells about itself (option 114).
    pub captive_portal: Option<String>,
}

impl Settings {
    /// What can be used of a server's options by a client with this address. What is
    /// malformed is left out: a bad time server should cost nobody the address.
    pub(super) fn read(options: &Options, address: Ipv4Addr) -> Self {
        let hosts = |code| {
            let mut hosts = Vec::new();
            for host in options.addresses(code) {
                if is_host(host) && hosts.len() < ADDRESSES_MAX && !hosts.contains(&host) {
                    hosts.push(host);
                }
            }
            hosts
        };
        let classless = options.get(code::CLASSLESS_ROUTES).and_then(classless);
        let routers = || {
            let mut routers: Vec<Ipv4Addr> = hosts(code::ROUTERS);
            routers.retain(|router| *router != address);
            routers
        };
        let routers = if classless.is_some() {
            Vec::new()
        } else {
            routers()
        };
        let fallback = || routers.first().copied().map(Route::default_by);
        let mtu = options.fixed(code::MTU).ok().flatten();
        let portal = |value| names::word(value).filter(|uri| uri != UNRESTRICTED);
        Self {
            routes: classless.unwrap_or_else(|| fallback().into_iter().collect()),
            routers,
            dns: hosts(code::DNS),
            domain: options.get(code::DOMAIN).and_then(names::first_name),
            search: options
                .get(code::SEARCH)
                .and_then(names::search_list)
                .unwrap_or_default(),
            ntp: hosts(code::NTP),
            mtu: mtu
                .map(u16::from_be_bytes)
                .filter(|mtu| *mtu >= SMALLEST_MTU),
            broadcast: options.address(code::BROADCAST).ok().flatten(),
            hostname: options.get(code::HOSTNAME).and_then(names::name),
            timezone: options.get(code::TIMEZONE).and_then(names::timezone),
            posix_timezone: options.get(code::POSIX_TIMEZONE).and_then(names::word),
            captive_portal: options.get(code::CAPTIVE_PORTAL).and_then(portal),
        }
    }
}

/// RFC 8910, section 2: this stands for "no captive portal".
const UNRESTRICTED: &str = "urn:ietf:params:capport:unrestricted";

impl Route {
    /// The default route by a gateway.
    pub(super) fn default_by(gateway: Ipv4Addr) -> Self {
        Self {
            destination: DEFAULT,
            gateway: Some(gateway),
        }
    }
}

/// 0.0.0.0/0.
const DEFAULT: Ipv4Network = match Ipv4Network::new_checked(Ipv4Addr::UNSPECIFIED, 0) {
    Some(network) => network,
    None => unreachable!(),
};

/// The routes of option 121 (RFC 3442), or nothing if it is damaged.
fn classless(mut value: &[u8]) -> Option<Vec<Route>> {
    let mut routes: Vec<Route> = Vec::new();
    if value.is_empty() {
        return None;
    }
    while let Some((prefix, rest)) = value.split_first() {
        // "Descriptors [...] the significant octets of the subnet number".
        let significant = usize::from(prefix.div_ceil(8));
        let (octets, rest) = rest.split_at_checked(significant)?;
        let (gateway, rest) = rest.split_first_chunk::<4>()?;
        value = rest;
        let mut base = [0; 4];
        for (to, from) in base.iter_mut().zip(octets) {
            *to = *from;
        }
        let network = Ipv4Network::new(base.into(), *prefix).ok()?;
        let route = Route {
            // "DHCP clients [...] the subnet number [...] is [...] masked".
            destination: normal(network),
            gateway: Some(Ipv4Addr::from(*gateway)).filter(|gateway| !gateway.is_unspecified()),
        };
        let is_new = routes
            .iter()
            .all(|known| known.destination != route.destination);
        if is_new && route.gateway.is_none_or(is_host) && routes.len() < ROUTES_MAX {
            routes.push(route);
        }
    }
    Some(routes)
}

/// The network without the bits behind its prefix.
pub(super) fn normal(network: Ipv4Network) -> Ipv4Network {
    Ipv4Network::new(network.network(), network.prefix()).unwrap_or(network)
}
