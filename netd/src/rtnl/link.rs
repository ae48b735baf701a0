//! Links.

use registry::Mac;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::link::{
    InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, Prop,
};

/// A link of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Interface index.
    pub index: u32,
    /// Name.
    pub name: String,
    /// Alternative names.
    pub altnames: Vec<String>,
    /// Link group.
    pub group: u32,
    /// Whether it is set up (IFF_UP), by whoever administers it.
    pub up: bool,
    /// What kind of link it is, as far as that matters here.
    pub kind: LinkType,
    /// Maximum transmission unit in bytes.
    pub mtu: u32,
    /// Ethernet address.
    pub mac: Option<Mac>,
    /// Interface index of the bridge (or other controller) that it belongs to.
    pub controller: Option<u32>,
    /// Interface index of a veth's other end, in that end's namespace.
    pub peer: Option<u32>,
}

/// The kinds of links that are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkType {
    /// One end of a veth.
    Veth,
    /// A bridge.
    Bridge,
    /// The loopback device.
    Loopback,
    /// Any other.
    Other,
}

impl Link {
    /// Reads a link from a message; `None` for what a bridge says of its ports,
    /// which comes as a link of another family.
    pub(super) fn from_message(message: &LinkMessage) -> Option<Self> {
        if message.header.interface_family != AddressFamily::Unspec {
            return None;
        }
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            altnames: Vec::new(),
            group: 0,
            up: message.header.flags.contains(LinkFlags::Up),
            kind: LinkType::Other,
            mtu: 0,
            mac: None,
            controller: None,
            peer: None,
        };
        if message.header.flags.contains(LinkFlags::Loopback) {
            link.kind = LinkType::Loopback;
        }
        for attribute in &message.attributes {
            link.take(attribute);
        }
        Some(link)
    }

    fn take(&mut self, attribute: &LinkAttribute) {
        match attribute {
            LinkAttribute::IfName(name) => self.name.clone_from(name),
            LinkAttribute::Group(group) => self.group = *group,
            LinkAttribute::Mtu(mtu) => self.mtu = *mtu,
            LinkAttribute::Controller(index) => self.controller = Some(*index).filter(|i| *i != 0),
            LinkAttribute::Link(index) => self.peer = Some(*index),
            LinkAttribute::Address(bytes) => {
                self.mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(Mac);
            }
            LinkAttribute::PropList(props) => {
                self.altnames
                    .extend(props.iter().filter_map(|prop| match prop {
                        Prop::AltIfName(name) => Some(name.clone()),
                        _ => None,
                    }));
            }
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    match info {
                        LinkInfo::Kind(InfoKind::Veth) => self.kind = LinkType::Veth,
                        LinkInfo::Kind(InfoKind::Bridge) => self.kind = LinkType::Bridge,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
}
