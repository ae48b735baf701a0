//! What is to be of a link.

use std::net::Ipv4Addr;

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};

use super::client::ClientProfile;
use super::dhcp_server::DhcpProfile;
use super::relay::RelayProfile;
use super::router::RouterProfile;
use crate::network_file::{Wrong, value};
use crate::subnets::{Subnets, is_for_hosts};

/// The IPv4 subnets that can be a link's.
const V4_PREFIXES: std::ops::RangeInclusive<u8> = 8..=30;
/// The IPv6 subnets that can be a link's.
const V6_PREFIXES: std::ops::RangeInclusive<u8> = 16..=120;

/// What is to be of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The name of the file that says so.
    pub name: String,
    /// The link's IPv4 subnet.
    pub v4: Subnet4,
    /// The link's IPv6 subnet; none for one that netd chooses.
    pub v6: Option<Ipv6Network>,
    /// Whether DHCP is served on it.
    pub dhcp_server: bool,
    /// What its DHCP server hands out.
    pub dhcp: DhcpProfile,
    /// The link's maximum transmission unit in bytes; none to leave it alone.
    pub mtu: Option<u32>,
    /// What a DHCP client does on it.
    pub client: ClientProfile,
    /// What router advertisements say on it.
    pub router: RouterProfile,
    /// What passes DHCP requests on to servers elsewhere; none where netd answers itself.
    pub relay: Option<RelayProfile>,
}

/// An IPv4 subnet, by the host's address in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subnet4 {
    /// Any that a pool has, as wide as links of its kind usually have.
    Usual,
    /// Any that a pool has, with a prefix of this length.
    Any(u8),
    /// This one, of which the host has the first address.
    Fixed(Ipv4Network),
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            name: String::new(),
            v4: Subnet4::Usual,
            v6: None,
            dhcp_server: true,
            dhcp: DhcpProfile::default(),
            mtu: None,
            client: ClientProfile::default(),
            router: RouterProfile::default(),
            relay: None,
        }
    }
}

impl Profile {
    /// Whether another says the same, whatever file it is from.
    #[must_use]
    pub fn says_as(&self, other: &Self) -> bool {
        let renamed = Self {
            name: self.name.clone(),
            ..other.clone()
        };
        *self == renamed
    }

    /// Of subnets that somebody keeps, those that are as this says, where links of the kind
    /// usually have a prefix of this length.
    #[must_use]
    pub fn fitting(&self, kept: Subnets, usual: u8) -> Subnets {
        Subnets {
            v4: kept.v4.filter(|subnet| match self.v4 {
                Subnet4::Usual => subnet.prefix() == usual,
                Subnet4::Any(prefix) => subnet.prefix() == prefix,
                Subnet4::Fixed(fixed) => *subnet == fixed,
            }),
            v6: kept
                .v6
                .filter(|subnet| self.v6.is_none_or(|fixed| *subnet == fixed)),
        }
    }

    /// The subnet that is asked for by name and is not among those that a machine got.
    #[must_use]
    pub fn missed(&self, got: &Subnets) -> Option<IpNetwork> {
        let v4 = match self.v4 {
            Subnet4::Usual | Subnet4::Any(_) => None,
            Subnet4::Fixed(fixed) => Some(fixed).filter(|fixed| got.v4 != Some(*fixed)),
        };
        let v6 = self.v6.filter(|fixed| got.v6 != Some(*fixed));
        v4.map(IpNetwork::V4).or(v6.map(IpNetwork::V6))
    }

    /// The IPv4 subnet that is asked for by name, and the length of the prefix of any
    /// other that may do, where links of the kind usually have one of this length.
    #[must_use]
    pub fn v4_wanted(&self, usual: u8) -> (Option<Ipv4Network>, u8) {
        match self.v4 {
            Subnet4::Usual => (None, usual),
            Subnet4::Any(prefix) => (None, prefix),
            Subnet4::Fixed(fixed) => (Some(fixed), usual),
        }
    }
}

/// What `Address=` says, in its two forms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Addresses {
    pub v4: Option<Subnet4>,
    pub v6: Option<Ipv6Network>,
}

impl Addresses {
    /// Takes over a value. An empty one takes all away.
    pub fn add(&mut self, value: &str) -> Result<(), Wrong> {
        if value.is_empty() {
            *self = Self::default();
            return Ok(());
        }
        match value::network(value)? {
            IpNetwork::V4(network) => {
                let subnet = subnet4(network)?;
                put_once(&mut self.v4, subnet, "IPv4")
            }
            IpNetwork::V6(network) => {
                let subnet = subnet6(network)?;
                put_once(&mut self.v6, subnet, "IPv6")
            }
        }
    }
}

fn put_once<T>(place: &mut Option<T>, value: T, family: &str) -> Result<(), Wrong> {
    if place.is_some() {
        return Err(Wrong::new(format!(
            "the link has an {family} address by an earlier line, and netd gives it one; \
             write Address= without a value first to put another in its place"
        )));
    }
    *place = Some(value);
    Ok(())
}

fn subnet4(network: Ipv4Network) -> Result<Subnet4, Wrong> {
    let prefix = network.prefix();
    if !V4_PREFIXES.contains(&prefix) {
        return Err(prefix_wrong(V4_PREFIXES, prefix));
    }
    if network.ip().is_unspecified() {
        return Ok(Subnet4::Any(prefix));
    }
    let start = network.network();
    if !is_for_hosts(start) {
        return Err(Wrong::new(format!(
            "{network} cannot be a network of hosts"
        )));
    }
    let first = Ipv4Addr::from(u32::from(start) + 1);
    if network.ip() != first {
        return Err(Wrong::new(format!(
            "the host has the first address of its subnet: write {first}/{prefix}"
        )));
    }
    let subnet = Ipv4Network::new(start, prefix);
    subnet
        .map(Subnet4::Fixed)
        .map_err(|error| Wrong::new(error.to_string()))
}

fn subnet6(network: Ipv6Network) -> Result<Ipv6Network, Wrong> {
    let prefix = network.prefix();
    if !V6_PREFIXES.contains(&prefix) {
        return Err(prefix_wrong(V6_PREFIXES, prefix));
    }
    let start = network.network();
    // 2000::/3 and fc00::/7 (RFC 4291, section 2.4; RFC 4193).
    let first = start.octets()[0];
    if first & 0xe0 != 0x20 && first & 0xfe != 0xfc {
        return Err(Wrong::new(format!(
            "{network} is neither a global nor a unique local address (2000::/3, fc00::/7)"
        )));
    }
    let first = std::net::Ipv6Addr::from(u128::from(start) + 1);
    if network.ip() != first {
        return Err(Wrong::new(format!(
            "the host has the first address of its subnet: write {first}/{prefix}"
        )));
    }
    Ipv6Network::new(start, prefix).map_err(|error| Wrong::new(error.to_string()))
}

fn prefix_wrong(prefixes: std::ops::RangeInclusive<u8>, prefix: u8) -> Wrong {
    let (least, most) = (prefixes.start(), prefixes.end());
    Wrong::new(format!(
        "a link's subnet has a prefix from /{least} to /{most}, not /{prefix}"
    ))
}
