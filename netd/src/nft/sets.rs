//! Sets: what their elements are, and where those come from.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The most elements of a set that packets fill, about 8 MB. What finds no place in it
/// passes as far as its link's limit allows.
const ELEMENTS_MAX: u32 = 65_535;

/// What the elements of a set are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Types of ICMPv6 messages, a byte each.
    Icmpv6Type,
    /// Link indices, 32 bits in the host's byte order.
    Link,
    /// A link index and an IPv4 address.
    LinkAndIpv4,
    /// A link index and an IPv6 address.
    LinkAndIpv6,
    /// A link index and an Ethernet address.
    LinkAndMac,
    /// An IPv4 address.
    Ipv4,
    /// An IPv6 address.
    Ipv6,
    /// An Ethernet address.
    Mac,
}

impl Kind {
    /// Number of the type by which the program nft shows the elements; the kernel keeps
    /// it without looking.
    pub fn shown_as(self) -> u32 {
        const IPV4: u32 = 7;
        const IPV6: u32 = 8;
        const ETHERNET: u32 = 9;
        const LINK: u32 = 20;
        const ICMPV6_TYPE: u32 = 29;
        // The parts of a compound are six bits each.
        match self {
            Kind::Icmpv6Type => ICMPV6_TYPE,
            Kind::Link => LINK,
            Kind::LinkAndIpv4 => LINK << 6 | IPV4,
            Kind::LinkAndIpv6 => LINK << 6 | IPV6,
            Kind::LinkAndMac => LINK << 6 | ETHERNET,
            Kind::Ipv4 => IPV4,
            Kind::Ipv6 => IPV6,
            Kind::Mac => ETHERNET,
        }
    }

    /// Length of an element in bytes; each part of a compound is filled up to whole words.
    pub fn length(self) -> u32 {
        match self {
            Kind::Icmpv6Type => 1,
            Kind::Link | Kind::Ipv4 => 4,
            Kind::Mac => 6,
            Kind::LinkAndIpv4 => 8,
            Kind::LinkAndMac => 12,
            Kind::Ipv6 => 16,
            Kind::LinkAndIpv6 => 20,
        }
    }

    /// The byte order of the elements; `None` where the parts have one each.
    pub fn byte_order(self) -> Option<ByteOrder> {
        match self {
            Kind::Icmpv6Type | Kind::Ipv4 | Kind::Ipv6 | Kind::Mac => Some(ByteOrder::Network),
            Kind::Link => Some(ByteOrder::Host),
            Kind::LinkAndIpv4 | Kind::LinkAndIpv6 | Kind::LinkAndMac => None,
        }
    }
}

/// An order of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ByteOrder {
    Host,
    Network,
}

/// Elements that we set, by the name of their set.
pub(super) type Ours = BTreeMap<&'static str, BTreeSet<Vec<u8>>>;

/// Where the elements of a set come from.
#[derive(Debug, Clone)]
pub(super) enum Elements {
    /// They never change.
    Constant(BTreeSet<Vec<u8>>),
    /// We set them.
    Ours(BTreeSet<Vec<u8>>),
    /// Packets add them, for so long if their rule says nothing else.
    OfPackets(Duration),
}

impl Elements {
    /// Those that are to be there; `None` where that is not ours to say.
    pub fn wanted(&self) -> Option<&BTreeSet<Vec<u8>>> {
        match self {
            Elements::Constant(elements) | Elements::Ours(elements) => Some(elements),
            Elements::OfPackets(_) => None,
        }
    }
}

/// A named set.
#[derive(Debug, Clone)]
pub(super) struct Set {
    pub name: &'static str,
    pub kind: Kind,
    pub elements: Elements,
}

impl Set {
    /// A set whose elements are those of its name among `ours`.
    pub fn ours(name: &'static str, kind: Kind, ours: &Ours) -> Set {
        let elements = ours.get(name).cloned().unwrap_or_default();
        Set {
            name,
            kind,
            elements: Elements::Ours(elements),
        }
    }

    /// How many elements to make room for, if that is known beforehand.
    pub fn size(&self) -> Option<u32> {
        match &self.elements {
            Elements::Constant(elements) => u32::try_from(elements.len()).ok(),
            Elements::Ours(_) => None,
            Elements::OfPackets(_) => Some(ELEMENTS_MAX),
        }
    }
}
