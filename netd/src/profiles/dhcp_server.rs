//! What is said of a link's DHCP server.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use ipnetwork::{IpNetwork, Ipv4Network};
use registry::Mac;

use super::client::text;
use crate::dhcp::server::{DEFAULT_LEASE_TIME, MAX_LEASE_TIME, Route, SendOption, ServerConfig};
use crate::network_file::value::{network, number, shown, time_span};
use crate::network_file::{Wrong, words};

/// A shorter lease has no time to be renewed in.
const LEASE_MIN: Duration = Duration::from_secs(4);
/// The time that stands for ever in a lease (RFC 2131, section 3.3).
const LEASE_MAX: Duration = Duration::from_secs(u32::MAX as u64);
/// As many addresses as one option of a reply holds.
const SERVERS_MAX: usize = 63;
/// As many domains and routes as a reply has room for, whatever they are.
const LIST_MAX: usize = 32;
/// The most options of other numbers.
const OPTIONS_MAX: usize = 64;
/// The most `[DHCPServerStaticLease]` sections.
const STATIC_MAX: usize = 65_536;
/// The longest domain name (RFC 1035, section 2.3.4).
const DOMAIN_MAX: usize = 253;
/// The longest label of one.
const LABEL_MAX: usize = 63;

/// What a DHCP server hands out, beyond what follows from its link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DhcpProfile {
    /// The lease time of a client that asks for none.
    pub lease_time: Option<Duration>,
    /// The longest lease time that a client can ask for.
    pub max_lease_time: Option<Duration>,
    /// Whether it hears its own link alone, and not what relays elsewhere pass on.
    pub bind_to_interface: bool,
    /// Whether it names a default gateway.
    pub emit_router: bool,
    /// Whether it names name servers.
    pub emit_dns: bool,
    /// The name servers; empty for the host's.
    pub dns: Vec<Ipv4Addr>,
    /// Whether it names time servers.
    pub emit_ntp: bool,
    /// The time servers.
    pub ntp: Vec<Ipv4Addr>,
    /// Whether it names a time zone.
    pub emit_timezone: bool,
    /// The time zone, by its name in the tz database.
    pub timezone: Option<String>,
    /// Whether it names the domain.
    pub emit_domain: bool,
    /// The domain; `None` for the host's.
    pub domain: Option<String>,
    /// The domains in which short names are looked for.
    pub search: Vec<String>,
    /// Ways to other networks.
    pub routes: Vec<Route>,
    /// Where users log in, a URI.
    pub captive_portal: Option<String>,
    /// Any other options.
    pub options: Vec<SendOption>,
    /// Whether an address is had without a second exchange (RFC 4039).
    pub rapid_commit: bool,
    /// Whether leases outlast netd.
    pub persist: bool,
    /// Addresses that are kept for somebody.
    pub static_leases: Arc<Vec<StaticLease>>,
    /// Where in the subnet the addresses begin that it gives to any client; 0 for the
    /// first.
    pub pool_offset: u32,
    /// How many there are of these; 0 for all up to the end of the subnet.
    pub pool_size: u32,
    /// How many addresses whoever is behind one port of a zone may have beside the members';
    /// none for what is usual.
    pub max_per_port: Option<u32>,
}

/// An address that is kept for somebody: a `[DHCPServerStaticLease]` section. It means
/// nothing without both of address and Ethernet address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StaticLease {
    /// Whose it is.
    pub mac: Option<Mac>,
    /// The address.
    pub address: Option<Ipv4Addr>,
    /// What its client is called.
    pub hostname: Option<String>,
}

impl Default for DhcpProfile {
    fn default() -> Self {
        Self {
            lease_time: None,
            max_lease_time: None,
            bind_to_interface: true,
            emit_router: true,
            emit_dns: true,
            dns: Vec::new(),
            emit_ntp: true,
            ntp: Vec::new(),
            emit_timezone: true,
            timezone: None,
            emit_domain: true,
            domain: None,
            search: Vec::new(),
            routes: Vec::new(),
            captive_portal: None,
            options: Vec::new(),
            rapid_commit: true,
            persist: true,
            static_leases: Arc::default(),
            pool_offset: 0,
            pool_size: 0,
            max_per_port: None,
        }
    }
}

impl DhcpProfile {
    /// The name servers that a container is told, where the host has these.
    #[must_use]
    pub fn servers(&self, of_host: &[IpAddr]) -> Vec<IpAddr> {
        match self {
            Self {
                emit_dns: false, ..
            } => Vec::new(),
            Self { dns, .. } if dns.is_empty() => of_host.to_vec(),
            Self { dns, .. } => dns.iter().copied().map(IpAddr::V4).collect(),
        }
    }

    /// The domain that a container is told, where the host has this.
    #[must_use]
    pub fn domain(&self, of_host: Option<&str>) -> Option<String> {
        let own = self.domain.as_deref();
        own.or(of_host)
            .filter(|_| self.emit_domain)
            .map(str::to_owned)
    }

    /// The address that is kept for whoever has this Ethernet address.
    #[must_use]
    pub fn static_lease(&self, mac: Mac) -> Option<Ipv4Addr> {
        let mut leases = self.static_leases.iter();
        leases.find(|lease| lease.mac == Some(mac))?.address
    }

    /// The addresses that are kept for others than this Ethernet address.
    #[must_use]
    pub fn static_leases_of_others(&self, mac: Mac) -> BTreeSet<Ipv4Addr> {
        let others = self.static_leases.iter();
        let others = others.filter(|lease| lease.mac.is_some_and(|holder| holder != mac));
        others.filter_map(|lease| lease.address).collect()
    }

    /// Changes what a server would hand out without it. The host's name servers and its
    /// domain are in `config` already. Gives what cannot be: the rest is as it says.
    pub fn refine(&self, config: &mut ServerConfig) -> Vec<Wrong> {
        let usual = self.lease_time.unwrap_or(DEFAULT_LEASE_TIME);
        config.lease_time = usual;
        // Who asks for a longer lease than the usual longest need not say so twice.
        config.max_lease_time = self.max_lease_time.unwrap_or(MAX_LEASE_TIME.max(usual));
        if !self.emit_router {
            config.router = None;
        }
        if !self.emit_dns {
            config.dns.clear();
        } else if !self.dns.is_empty() {
            config.dns.clone_from(&self.dns);
        }
        config.domain = self.domain(config.domain.as_deref());
        config.search.clone_from(&self.search);
        if self.emit_ntp {
            config.ntp.clone_from(&self.ntp);
        }
        config.time_zone = self.timezone.clone().filter(|_| self.emit_timezone);
        config.routes.clone_from(&self.routes);
        config.captive_portal.clone_from(&self.captive_portal);
        config.options.clone_from(&self.options);
        config.rapid_commit = self.rapid_commit;
        let mut wrong = Vec::new();
        if let Err(error) = config.limit_pool(self.pool_offset, self.pool_size) {
            wrong.push(Wrong::new(format!("{error}; all of the subnet is served")));
        }
        for lease in self.static_leases.iter().take(STATIC_MAX) {
            let (Some(mac), Some(address)) = (lease.mac, lease.address) else {
                continue;
            };
            match config.reserve(mac, address) {
                Ok(()) => {
                    if let Some(name) = &lease.hostname {
                        config.name_reserved(address, name.clone());
                    }
                }
                Err(error) => wrong.push(Wrong::new(error.to_string())),
            }
        }
        wrong
    }
}

pub(super) fn lease_time(value: &str) -> Result<Duration, Wrong> {
    let time = time_span(value)?;
    if time < LEASE_MIN {
        return Err(Wrong::new(format!(
            "a lease lasts {} seconds or longer",
            LEASE_MIN.as_secs()
        )));
    }
    Ok(time.min(LEASE_MAX))
}

/// Adds addresses of servers; an empty value takes all away.
pub(super) fn add_servers(
    servers: &mut Vec<Ipv4Addr>,
    value: &str,
    what: &str,
) -> Result<(), Wrong> {
    add_words(servers, value, SERVERS_MAX, what, |word| {
        let usable = |ip: &Ipv4Addr| !ip.is_unspecified() && !ip.is_multicast();
        word.parse().ok().filter(usable).ok_or_else(|| {
            Wrong::new(format!(
                "\"{}\" is no IPv4 address of a {what}",
                shown(word)
            ))
        })
    })
}

/// Adds domains; an empty value takes all away.
pub(super) fn add_domains(domains: &mut Vec<String>, value: &str) -> Result<(), Wrong> {
    add_words(domains, value, LIST_MAX, "domain", domain)
}

/// A name of the DNS.
pub(super) fn domain(value: &str) -> Result<String, Wrong> {
    let name = value.strip_suffix('.').unwrap_or(value);
    let is_label = |label: &str| {
        (1..=LABEL_MAX).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    if name.len() > DOMAIN_MAX || !name.split('.').all(is_label) {
        return Err(Wrong::new(format!("\"{}\" is no domain", shown(value))));
    }
    Ok(name.to_owned())
}

/// A time zone's name. Whether clients know it, they know.
pub(super) fn timezone(value: &str) -> Result<Option<String>, Wrong> {
    let is_name = value.split('/').all(|part| {
        !part.is_empty()
            && !part.starts_with('.')
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+-_.".contains(&byte))
    });
    match is_name {
        true => text(value),
        false => Err(Wrong::new(format!(
            "\"{}\" is no time zone, such as Europe/Berlin",
            shown(value)
        ))),
    }
}

/// Adds `NETWORK GATEWAY`; an empty value takes all away.
pub(super) fn add_route(routes: &mut Vec<Route>, value: &str) -> Result<(), Wrong> {
    if value.is_empty() {
        routes.clear();
        return Ok(());
    }
    let wrong = || {
        Wrong::new(format!(
            "\"{}\" is no network and the router to it, such as 10.8.0.0/16 192.168.1.1",
            shown(value)
        ))
    };
    let parts = words(value)?;
    let [to, by] = parts.as_slice() else {
        return Err(wrong());
    };
    let IpNetwork::V4(to) = network(to)? else {
        return Err(wrong());
    };
    let destination = Ipv4Network::new(to.network(), to.prefix()).map_err(|_| wrong())?;
    let gateway = by.parse().map_err(|_| wrong())?;
    if routes.len() == LIST_MAX {
        return Err(too_many(LIST_MAX, "route"));
    }
    routes.push(Route {
        destination,
        gateway,
    });
    Ok(())
}

/// Adds `NUMBER:TYPE:VALUE`; an empty value takes all away.
pub(super) fn add_option(options: &mut Vec<SendOption>, value: &str) -> Result<(), Wrong> {
    if value.is_empty() {
        options.clear();
        return Ok(());
    }
    let mut parts = value.splitn(3, ':');
    let (Some(code), Some(kind), Some(data)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(Wrong::new(format!(
            "\"{}\" is no option, such as 42:ipv4address:192.0.2.1",
            shown(value)
        )));
    };
    let code = u8::try_from(number(code, 1, 254)?).unwrap_or_default();
    let option = SendOption::new(code, option_value(kind, data)?)
        .map_err(|error| Wrong::new(error.to_string()))?;
    if options.len() == OPTIONS_MAX {
        return Err(too_many(OPTIONS_MAX, "option"));
    }
    options.push(option);
    Ok(())
}

fn option_value(kind: &str, data: &str) -> Result<Vec<u8>, Wrong> {
    let wrong = || Wrong::new(format!("\"{}\" is no {kind}", shown(data)));
    Ok(match kind {
        "uint8" => vec![data.parse::<u8>().map_err(|_| wrong())?],
        "uint16" => data
            .parse::<u16>()
            .map_err(|_| wrong())?
            .to_be_bytes()
            .into(),
        "uint32" => data
            .parse::<u32>()
            .map_err(|_| wrong())?
            .to_be_bytes()
            .into(),
        "ipv4address" => data
            .parse::<Ipv4Addr>()
            .map_err(|_| wrong())?
            .octets()
            .into(),
        "ipv6address" => data
            .parse::<Ipv6Addr>()
            .map_err(|_| wrong())?
            .octets()
            .into(),
        "string" => {
            let words = words(data)?;
            words.join(" ").into_bytes()
        }
        other => {
            return Err(Wrong::new(format!(
                "\"{}\" is no type of an option: uint8, uint16, uint32, ipv4address, \
                 ipv6address and string are",
                shown(other)
            )));
        }
    })
}

/// Begins a `[DHCPServerStaticLease]` section.
pub(super) fn begin_static(leases: &mut Arc<Vec<StaticLease>>) -> Result<(), Wrong> {
    let leases = Arc::make_mut(leases);
    // One that is too many takes the keys that would change the one before.
    leases.truncate(STATIC_MAX);
    leases.push(StaticLease::default());
    match leases.len() > STATIC_MAX {
        true => Err(too_many(STATIC_MAX, "[DHCPServerStaticLease] section")),
        false => Ok(()),
    }
}

/// The `[DHCPServerStaticLease]` section that is being read.
pub(super) fn last_static(leases: &mut Arc<Vec<StaticLease>>) -> Result<&mut StaticLease, Wrong> {
    Arc::make_mut(leases)
        .last_mut()
        .ok_or_else(|| Wrong::new("the section is passed over"))
}

/// An Ethernet address.
pub(super) fn mac(value: &str) -> Result<Option<Mac>, Wrong> {
    value.parse().map(Some).map_err(|_| {
        Wrong::new(format!(
            "\"{}\" is no Ethernet address, such as 02:11:22:33:44:55",
            shown(value)
        ))
    })
}

/// An address of a host.
pub(super) fn host_address(value: &str) -> Result<Option<Ipv4Addr>, Wrong> {
    let usable = |ip: &Ipv4Addr| !ip.is_unspecified() && !ip.is_multicast();
    value
        .parse()
        .ok()
        .filter(usable)
        .map(Some)
        .ok_or_else(|| Wrong::new(format!("\"{}\" is no IPv4 address", shown(value))))
}

fn add_words<T>(
    list: &mut Vec<T>,
    value: &str,
    most: usize,
    what: &str,
    meaning: impl Fn(&str) -> Result<T, Wrong>,
) -> Result<(), Wrong> {
    if value.is_empty() {
        list.clear();
        return Ok(());
    }
    let more = words(value)?
        .iter()
        .map(|word| meaning(word))
        .collect::<Result<Vec<T>, Wrong>>()?;
    if list.len() + more.len() > most {
        return Err(too_many(most, what));
    }
    list.extend(more);
    Ok(())
}

fn too_many(most: usize, what: &str) -> Wrong {
    Wrong::new(format!("more than {most} {what}s"))
}
