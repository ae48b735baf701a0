//! Links.

use registry::Mac;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::link::{
    AfSpecInet, AfSpecInet6, AfSpecUnspec, Inet6DevConf, InetDevConf, InfoKind, LinkAttribute,
    LinkFlags, LinkInfo, LinkMessage, Prop,
};

use crate::sysctl::{Held, Protocol};

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
    /// Whether it can carry packets (IFF_LOWER_UP).
    pub carrier: bool,
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
    /// Which kernel parameters were as a guarded link has them when the kernel told this.
    pub held: Held,
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
            carrier: message.header.flags.contains(LinkFlags::LowerUp),
            kind: LinkType::Other,
            mtu: 0,
            mac: None,
            controller: None,
            peer: None,
            held: Held::default(),
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
            LinkAttribute::AfSpecUnspec(families) => self.held = held(families),
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

/// What the parameters of a link say of its guard.
fn held(families: &[AfSpecUnspec]) -> Held {
    let (mut v4, mut v6) = (None, None);
    for family in families {
        match family {
            AfSpecUnspec::Inet(all) => {
                v4 = all.iter().find_map(|one| match one {
                    AfSpecInet::DevConf(conf) => Some(conf),
                    _ => None,
                });
            }
            AfSpecUnspec::Inet6(all) => {
                v6 = all.iter().find_map(|one| match one {
                    AfSpecInet6::DevConf(conf) => Some(conf),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    Held::observe(|protocol, key| match protocol {
        Protocol::V4 => ipv4_parameter(v4?, key),
        Protocol::V6 => ipv6_parameter(v6?, key),
    })
}

fn ipv4_parameter(conf: &InetDevConf, key: &str) -> Option<i32> {
    Some(match key {
        "accept_redirects" => conf.accept_redirects,
        "accept_source_route" => conf.accept_source_route,
        "accept_local" => conf.accept_local,
        "arp_accept" => conf.arp_accept,
        "arp_filter" => conf.arpfilter,
        "proxy_arp" => conf.proxy_arp,
        "route_localnet" => conf.route_localnet,
        "rp_filter" => conf.rp_filter,
        "send_redirects" => conf.send_redirects,
        "forwarding" => conf.forwarding,
        _ => return None,
    })
}

fn ipv6_parameter(conf: &Inet6DevConf, key: &str) -> Option<i32> {
    Some(match key {
        "accept_ra" => conf.accept_ra,
        "autoconf" => conf.autoconf,
        "accept_redirects" => conf.accept_redirects,
        "accept_source_route" => conf.accept_source_route,
        "proxy_ndp" => conf.proxy_ndp,
        "accept_dad" => conf.accept_dad,
        "force_forwarding" => conf.force_forwarding,
        _ => return None,
    })
}
