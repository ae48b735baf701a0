//! Sets: what their elements are, and where those come from.

use std::collections::BTreeSet;
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
}

impl Kind {
    /// Number of the type by which the program nft shows the elements; the kernel keeps
    /// it without looking.
    pub fn shown_as(self) -> u32 {
        const IPV4: u32 = 7;
        const IPV6: u32 = 8;
        const LINK: u32 = 20;
        const ICMPV6_TYPE: u32 = 29;
        // The parts of a compound are six bits each.
        match self {
            Kind::Icmpv6Type => ICMPV6_TYPE,
            Kind::Link => LINK,
            Kind::LinkAndIpv4 => LINK << 6 | IPV4,
            Kind::LinkAndIpv6 => LINK << 6 | IPV6,
        }
    }

    /// Length of an element in bytes.
    pub fn length(self) -> u32 {
        match self {
            Kind::Icmpv6Type => 1,
            Kind::Link => 4,
            Kind::LinkAndIpv4 => 8,
            Kind::LinkAndIpv6 => 20,
        }
    }

    /// The byte order of the elements; `None` where the parts have one each.
    pub fn byte_order(self) -> Option<ByteOrder> {
        match self {
            Kind::Icmpv6Type => Some(ByteOrder::Network),
            Kind::Link => Some(ByteOrder::Host),
            Kind::LinkAndIpv4 | Kind::LinkAndIpv6 => None,
        }
    }
}

/// An order of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ByteOrder {
    Host,
    Network,
}

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
    /// How many elements to make room for, if that is known beforehand.
    pub fn size(&self) -> Option<u32> {
        match &self.elements {
            Elements::Constant(elements) => u32::try_from(elements.len()).ok(),
            Elements::Ours(_) => None,
            Elements::OfPackets(_) => Some(ELEMENTS_MAX),
        }
    }
}
