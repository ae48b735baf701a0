//! The options of router advertisements and solicitations.

use std::net::Ipv6Addr;

use ipnetwork::Ipv6Network;
use registry::Mac;

use super::bytes::Fields;
use super::domain::DomainName;

/// Options have whole numbers of these bytes (RFC 4861, section 4.6).
const UNIT: usize = 8;

mod kind {
    pub(super) const SOURCE_LINK_LAYER: u8 = 1;
    pub(super) const PREFIX: u8 = 3;
    pub(super) const MTU: u8 = 5;
    /// RFC 4191, section 2.3.
    pub(super) const ROUTE: u8 = 24;
    /// RFC 8106, section 5.1.
    pub(super) const RDNSS: u8 = 25;
    /// RFC 8106, section 5.2.
    pub(super) const DNSSL: u8 = 31;
    /// RFC 8910, section 2.3.
    pub(super) const CAPTIVE_PORTAL: u8 = 37;
}

/// How long something is valid, in seconds; all ones are for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lifetime(pub u32);

impl Lifetime {
    /// Not valid any more.
    pub const ZERO: Self = Self(0);
    /// For ever.
    pub const INFINITE: Self = Self(u32::MAX);
}

/// A prefix of the link (RFC 4861, section 4.6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Prefix {
    /// The prefix; bits beyond its length are zeroes on the wire.
    pub network: Ipv6Network,
    /// Whether its addresses are on the link.
    pub on_link: bool,
    /// Whether hosts make addresses in it for themselves (RFC 4862).
    pub autonomous: bool,
    /// How long addresses in it work.
    pub valid: Lifetime,
    /// How long they are used for new connections; not longer than `valid`.
    pub preferred: Lifetime,
}

/// How much a router or a route is to be preferred (RFC 4191, section 2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Preference {
    /// Only if there is no other.
    Low,
    /// As usual.
    #[default]
    Medium,
    /// Over others.
    High,
}

impl Preference {
    /// Two bits.
    pub(super) const fn bits(self) -> u8 {
        match self {
            Self::Low => 0b11,
            Self::Medium => 0b00,
            Self::High => 0b01,
        }
    }

    /// Of the lowest two bits; none for the reserved value.
    pub(super) const fn of_bits(bits: u8) -> Option<Self> {
        match bits & 0b11 {
            0b00 => Some(Self::Medium),
            0b01 => Some(Self::High),
            0b11 => Some(Self::Low),
            _ => None,
        }
    }
}

/// A route by way of this router (RFC 4191, section 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Route {
    /// Where it goes; bits beyond the prefix's length are zeroes on the wire.
    pub network: Ipv6Network,
    /// Against other routers' routes to the same place.
    pub preference: Preference,
    /// How long it works.
    pub lifetime: Lifetime,
}

/// Name servers (RFC 8106, section 5.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rdnss {
    /// How long they may be used.
    pub lifetime: Lifetime,
    /// 1 to 127 addresses.
    pub servers: Vec<Ipv6Addr>,
}

/// Domains in which names are looked up (RFC 8106, section 5.2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Dnssl {
    /// How long they may be used.
    pub lifetime: Lifetime,
    /// At least one, with 2032 bytes on the wire at most.
    pub domains: Vec<DomainName>,
}

/// An option of a message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum NdOption {
    /// The sender's Ethernet address.
    SourceLinkLayer(Mac),
    /// The link's MTU, in bytes.
    Mtu(u32),
    /// A prefix of the link.
    Prefix(Prefix),
    /// A route by way of the sender.
    Route(Route),
    /// Name servers.
    Rdnss(Rdnss),
    /// Search domains.
    Dnssl(Dnssl),
    /// The URI of a captive portal's API (RFC 8910), ASCII without NUL.
    CaptivePortal(String),
}

impl NdOption {
    /// Appends it to a message.
    ///
    /// What does not fit an option's 2040 bytes is left out; [`RaConfig`](super::RaConfig)
    /// has no such options.
    pub(super) fn write(&self, to: &mut Vec<u8>) {
        match self {
            Self::SourceLinkLayer(mac) => put(to, kind::SOURCE_LINK_LAYER, &[&mac.0]),
            Self::Mtu(mtu) => put(to, kind::MTU, &[&[0; 2], &mtu.to_be_bytes()]),
            Self::Prefix(prefix) => write_prefix(prefix, to),
            Self::Route(route) => write_route(route, to),
            Self::Rdnss(Rdnss { lifetime, servers }) => {
                let servers: Vec<u8> = servers.iter().flat_map(Ipv6Addr::octets).collect();
                put(
                    to,
                    kind::RDNSS,
                    &[&[0; 2], &lifetime.0.to_be_bytes(), &servers],
                );
            }
            Self::Dnssl(Dnssl { lifetime, domains }) => {
                let mut names = Vec::new();
                domains.iter().for_each(|domain| domain.write(&mut names));
                put(
                    to,
                    kind::DNSSL,
                    &[&[0; 2], &lifetime.0.to_be_bytes(), &names],
                );
            }
            Self::CaptivePortal(uri) => put(to, kind::CAPTIVE_PORTAL, &[uri.as_bytes()]),
        }
    }

    /// Reads an option's value, without type and length; none if it means nothing to us
    /// or is not what its kind should be: "receivers MUST silently ignore any options
    /// they do not recognize and continue processing the message" (RFC 4861, section
    /// 4.6).
    fn read(kind: u8, value: &[u8]) -> Option<Self> {
        let mut fields = Fields(value);
        let option = match kind {
            kind::SOURCE_LINK_LAYER => Self::SourceLinkLayer(Mac(fields.take()?)),
            kind::MTU => {
                let _reserved = fields.half()?;
                Self::Mtu(fields.word()?)
            }
            kind::PREFIX => Self::Prefix(read_prefix(&mut fields)?),
            kind::ROUTE => return read_route(value).map(Self::Route),
            kind::RDNSS => return read_rdnss(fields).map(Self::Rdnss),
            kind::DNSSL => return read_dnssl(fields).map(Self::Dnssl),
            kind::CAPTIVE_PORTAL => return read_portal(value).map(Self::CaptivePortal),
            _ => return None,
        };
        fields.0.is_empty().then_some(option)
    }
}

/// Reads the options at a message's end; none if one is cut off or has no length, which
/// makes the whole message invalid (RFC 4861, sections 6.1.1 and 6.1.2).
pub(super) fn read_all(mut bytes: &[u8]) -> Option<Vec<NdOption>> {
    let mut options = Vec::new();
    while let [kind, units, ..] = bytes {
        let len = UNIT * usize::from(*units);
        if len == 0 {
            return None;
        }
        let (option, rest) = bytes.split_at_checked(len)?;
        options.extend(
            option
                .get(2..)
                .and_then(|value| NdOption::read(*kind, value)),
        );
        bytes = rest;
    }
    bytes.is_empty().then_some(options)
}

/// Appends an option of these parts, padded with zeroes.
fn put(to: &mut Vec<u8>, kind: u8, parts: &[&[u8]]) {
    let len = 2 + parts.iter().map(|part| part.len()).sum::<usize>();
    let Ok(units) = u8::try_from(len.div_ceil(UNIT)) else {
        return;
    };
    to.extend([kind, units]);
    parts.iter().for_each(|part| to.extend_from_slice(part));
    let end = to.len() + usize::from(units) * UNIT - len;
    to.resize(end, 0);
}

fn write_prefix(prefix: &Prefix, to: &mut Vec<u8>) {
    let flags = u8::from(prefix.on_link) << 7 | u8::from(prefix.autonomous) << 6;
    put(
        to,
        kind::PREFIX,
        &[
            &[prefix.network.prefix(), flags],
            &prefix.valid.0.to_be_bytes(),
            &prefix.preferred.0.to_be_bytes(),
            &[0; 4],
            &prefix.network.network().octets(),
        ],
    );
}

fn read_prefix(fields: &mut Fields<'_>) -> Option<Prefix> {
    let len = fields.byte()?;
    let flags = fields.byte()?;
    let valid = Lifetime(fields.word()?);
    let preferred = Lifetime(fields.word()?);
    let _reserved = fields.word()?;
    let network = masked(fields.address()?, len)?;
    // RFC 4862, section 5.5.3 (c): "If the preferred lifetime is greater than the valid
    // lifetime, silently ignore the Prefix Information option."
    (preferred <= valid).then_some(Prefix {
        network,
        on_link: flags & 0x80 != 0,
        autonomous: flags & 0x40 != 0,
        valid,
        preferred,
    })
}

fn write_route(route: &Route, to: &mut Vec<u8>) {
    let prefix = route.network.prefix();
    let octets = route.network.network().octets();
    // RFC 4191, section 2.3: length 3, 2 or 1, as many bytes of the prefix as count.
    let significant = match prefix {
        0 => 0,
        1..=64 => 8,
        _ => 16,
    };
    put(
        to,
        kind::ROUTE,
        &[
            &[prefix, route.preference.bits() << 3],
            &route.lifetime.0.to_be_bytes(),
            octets.get(..significant).unwrap_or_default(),
        ],
    );
}

fn read_route(value: &[u8]) -> Option<Route> {
    let mut fields = Fields(value);
    let len = fields.byte()?;
    let flags = fields.byte()?;
    let lifetime = Lifetime(fields.word()?);
    let mut octets = [0; 16];
    if fields.0.len() > octets.len() || fields.0.len() * 8 < usize::from(len) {
        return None;
    }
    octets
        .iter_mut()
        .zip(fields.0)
        .for_each(|(to, from)| *to = *from);
    Some(Route {
        network: masked(Ipv6Addr::from(octets), len)?,
        // "If the Reserved (10) value is received, the Route Information Option MUST be
        // ignored."
        preference: Preference::of_bits(flags >> 3)?,
        lifetime,
    })
}

fn read_rdnss(mut fields: Fields<'_>) -> Option<Rdnss> {
    let _reserved = fields.half()?;
    let lifetime = Lifetime(fields.word()?);
    let (addresses, rest) = fields.0.as_chunks::<16>();
    // RFC 8106, section 5.3.1: a length of at least 3, and odd.
    (rest.is_empty() && !addresses.is_empty()).then(|| Rdnss {
        lifetime,
        servers: addresses.iter().copied().map(Ipv6Addr::from).collect(),
    })
}

fn read_dnssl(mut fields: Fields<'_>) -> Option<Dnssl> {
    let _reserved = fields.half()?;
    let lifetime = Lifetime(fields.word()?);
    let mut domains = Vec::new();
    let mut bytes = fields.0;
    // The padding: zeroes.
    while bytes.iter().any(|byte| *byte != 0) {
        let (domain, rest) = DomainName::read(bytes)?;
        domains.push(domain);
        bytes = rest;
    }
    (!domains.is_empty()).then_some(Dnssl { lifetime, domains })
}

fn read_portal(value: &[u8]) -> Option<String> {
    let end = value.iter().rposition(|byte| *byte != 0)? + 1;
    let uri = value.get(..end)?;
    let is_uri = uri.iter().all(u8::is_ascii_graphic);
    is_uri.then(|| String::from_utf8_lossy(uri).into_owned())
}

/// The prefix of `len` bits that `address` is in; none if there are not so many.
fn masked(address: Ipv6Addr, len: u8) -> Option<Ipv6Network> {
    let network = Ipv6Network::new(address, len).ok()?;
    Ipv6Network::new(network.network(), len).ok()
}
