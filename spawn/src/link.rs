//! The container's link on the host: made with its peer already inside, joined to
//! a bridge, and put out of the way at the end.

use std::io;

use registry::names::is_held;
use registry::{CONTAINER_LINK, IfName, LINK_GROUP, Mac, MachineName};
use rustix::process::Pid;

use crate::netlink::Netlink;
use crate::netlink::message::{Request, attribute, attributes, u32_at};

pub(crate) const RTM_NEWLINK: u16 = 16;
pub(crate) const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;
const RTM_NEWLINKPROP: u16 = 108;
const RTM_DELLINKPROP: u16 = 109;
pub(crate) const NLM_F_EXCL: u16 = 0x200;
pub(crate) const NLM_F_CREATE: u16 = 0x400;
const NLM_F_APPEND: u16 = 0x800;
pub(crate) const IFLA_ADDRESS: u16 = 1;
pub(crate) const IFLA_IFNAME: u16 = 3;
pub(crate) const IFLA_MASTER: u16 = 10;
pub(crate) const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_PID: u16 = 19;
const IFLA_AF_SPEC: u16 = 26;
pub(crate) const IFLA_GROUP: u16 = 27;
const IFLA_PROP_LIST: u16 = 52;
const IFLA_ALT_IFNAME: u16 = 53;
pub(crate) const IFLA_INFO_KIND: u16 = 1;
pub(crate) const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const ADDR_GEN_MODE_NONE: u8 = 1;
const AF_INET6: u16 = 10;
const IFF_UP: u32 = 1;

/// How often a link is renamed that somebody sets up at the same time.
const RENAMES_MAX: u32 = 8;

/// Length of `struct ifinfomsg`.
const IFINFO: usize = 16;

/// A link could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The bridge is not there.
    #[error(
        "there is no network interface called {0}: create the bridge first (ip link add {0} type bridge)"
    )]
    NoBridge(IfName),
    /// The link that was named is something else.
    #[error("the network interface {0} is not a bridge: name a bridge with --network-bridge=")]
    NotABridge(IfName),
    /// Someone else has the link's name.
    #[error(
        "a network interface called {0} is there already and not of rspawn: rename or delete it, or choose another machine name with -M"
    )]
    Taken(IfName),
    /// Another machine's name is shortened to the same, and it runs.
    #[error(
        "the network interface {name} is that of the machine {machine}, which is running: stop that one, or choose another machine name with -M"
    )]
    OfAnother {
        /// The link.
        name: IfName,
        /// Whose it is.
        machine: MachineName,
    },
    /// The kernel refused.
    #[error("cannot {doing} {name}")]
    Kernel {
        /// What was being done.
        doing: &'static str,
        /// To which link.
        name: IfName,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// What a link is to be.
#[derive(Clone, Debug)]
pub struct LinkPlan {
    /// Name on the host.
    pub name: IfName,
    /// The full name, where it is too long for a name.
    pub altname: Option<String>,
    /// Address of the host's end.
    pub host_mac: Mac,
    /// Address of the container's end.
    pub container_mac: Mac,
}

/// A link as the kernel describes it.
#[derive(Clone, Debug)]
pub struct LinkInfo {
    /// Interface index.
    pub ifindex: u32,
    /// Link group.
    pub group: u32,
    /// What kind of link it is, such as `bridge`; empty for hardware.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Its other names.
    pub altnames: Vec<String>,
}

fn text(value: &[u8]) -> String {
    let value = value.strip_suffix(b"\0").unwrap_or(value);
    String::from_utf8_lossy(value).into_owned()
}

pub(crate) fn ifinfo(ifindex: u32, flags: u32, change: u32) -> [u8; IFINFO] {
    let mut body = [0; IFINFO];
    let parts = [0u32, ifindex, flags, change];
    for (place, part) in body.chunks_exact_mut(4).zip(parts) {
        place.copy_from_slice(&part.to_ne_bytes());
    }
    body
}

/// The request that changes a link's flags; more attributes may follow.
#[must_use]
pub fn set_link(ifindex: u32, flags: u32, change: u32) -> Request {
    Request::new(RTM_SETLINK, 0, &ifinfo(ifindex, flags, change))
}

/// The request that sets a link up.
#[must_use]
pub fn set_up(ifindex: u32) -> Request {
    set_link(ifindex, IFF_UP, IFF_UP)
}

/// Looks a link up by name or altname; `None` where there is none.
///
/// # Errors
/// What the kernel answered.
pub fn find(netlink: &mut Netlink, name: &str) -> io::Result<Option<LinkInfo>> {
    let by = if name.len() > registry::ifname::IFNAME_MAX {
        IFLA_ALT_IFNAME
    } else {
        IFLA_IFNAME
    };
    let request = Request::new(RTM_GETLINK, 0, &ifinfo(0, 0, 0)).text(by, name);
    let body = match netlink.query(request) {
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return Ok(None),
        other => other?,
    };
    let rest = body.get(IFINFO..).unwrap_or(&[]);
    let kind = attribute(rest, IFLA_LINKINFO)
        .and_then(|info| attribute(info, IFLA_INFO_KIND))
        .map(text)
        .unwrap_or_default();
    let altnames = attribute(rest, IFLA_PROP_LIST)
        .map(|list| {
            attributes(list)
                .filter(|(kind, _)| *kind == IFLA_ALT_IFNAME)
                .map(|(_, value)| text(value))
                .collect()
        })
        .unwrap_or_default();
    Ok(Some(LinkInfo {
        ifindex: u32_at(&body, 4).unwrap_or(0),
        group: attribute(rest, IFLA_GROUP)
            .and_then(|value| u32_at(value, 0))
            .unwrap_or(0),
        kind,
        name: attribute(rest, IFLA_IFNAME).map(text).unwrap_or_default(),
        altnames,
    }))
}

/// Interface index of the bridge of that name.
///
/// # Errors
/// It is not there, or no bridge.
pub fn find_bridge(netlink: &mut Netlink, name: &IfName) -> Result<u32, LinkError> {
    let found = find(netlink, name.as_str()).map_err(|source| LinkError::Kernel {
        doing: "look up the network interface",
        name: name.clone(),
        source,
    })?;
    match found {
        None => Err(LinkError::NoBridge(name.clone())),
        Some(link) if link.kind != "bridge" => Err(LinkError::NotABridge(name.clone())),
        Some(link) => Ok(link.ifindex),
    }
}

/// Makes the link, its peer `host0` already in the network namespace of `leader`,
/// and joins it to `bridge`, if one is given, and sets it up then. Gives its index.
///
/// The caller holds the machine's name: a link of ours that has the link's name or
/// altname belongs to a machine that ended, and is put out of the way; unless the
/// name is another machine's as well, and that one runs.
///
/// # Errors
/// See [`LinkError`].
pub fn create(
    netlink: &mut Netlink,
    plan: &LinkPlan,
    leader: Pid,
    bridge: Option<u32>,
) -> Result<u32, LinkError> {
    let failed = |doing| {
        let name = plan.name.clone();
        move |source| LinkError::Kernel {
            doing,
            name,
            source,
        }
    };
    let made = netlink.request(creation(plan, leader));
    match made {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {
            clear_name(netlink, plan)?;
            netlink
                .request(creation(plan, leader))
                .map_err(failed("create the link"))?;
        }
        other => other.map_err(failed("create the link"))?,
    }
    let link = find(netlink, plan.name.as_str())
        .map_err(failed("look up the link"))?
        .ok_or_else(|| failed("find the link")(io::ErrorKind::NotFound.into()))?;
    if let Some(altname) = &plan.altname {
        add_altname(netlink, link.ifindex, altname)
            .or_else(|_| {
                clear_name(netlink, plan).ok();
                add_altname(netlink, link.ifindex, altname)
            })
            .map_err(failed("name the link in full,"))?;
    }
    if let Some(bridge) = bridge {
        join(netlink, link.ifindex, bridge).map_err(failed("join the bridge by"))?;
    }
    Ok(link.ifindex)
}

/// Makes a link the port of a bridge. It gets no address of its own, so that nothing
/// on the bridge talks to the host by it.
fn join(netlink: &mut Netlink, ifindex: u32, bridge: u32) -> io::Result<()> {
    let no_address = set_link(ifindex, 0, 0).nested(IFLA_AF_SPEC, |r| {
        r.nested(AF_INET6, |r| {
            r.attribute(IFLA_INET6_ADDR_GEN_MODE, &[ADDR_GEN_MODE_NONE])
        })
    });
    match netlink.request(no_address) {
        // The host has no IPv6.
        Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {}
        other => other?,
    }
    netlink.request(set_link(ifindex, 0, 0).number(IFLA_MASTER, bridge))?;
    netlink.request(set_up(ifindex))
}

fn creation(plan: &LinkPlan, leader: Pid) -> Request {
    let request = Request::new(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &ifinfo(0, 0, 0))
        .text(IFLA_IFNAME, plan.name.as_str())
        .attribute(IFLA_ADDRESS, &plan.host_mac.0)
        .number(IFLA_GROUP, LINK_GROUP);
    request.nested(IFLA_LINKINFO, |r| {
        r.text(IFLA_INFO_KIND, "veth").nested(IFLA_INFO_DATA, |r| {
            r.nested(VETH_INFO_PEER, |r| {
                r.raw(&ifinfo(0, 0, 0))
                    .text(IFLA_IFNAME, CONTAINER_LINK)
                    .attribute(IFLA_ADDRESS, &plan.container_mac.0)
                    .number(IFLA_NET_NS_PID, leader.as_raw_pid().cast_unsigned())
            })
        })
    })
}

fn add_altname(netlink: &mut Netlink, ifindex: u32, altname: &str) -> io::Result<()> {
    let flags = NLM_F_CREATE | NLM_F_EXCL | NLM_F_APPEND;
    let request = Request::new(RTM_NEWLINKPROP, flags, &ifinfo(ifindex, 0, 0))
        .nested(IFLA_PROP_LIST, |r| r.text(IFLA_ALT_IFNAME, altname));
    netlink.request(request)
}

/// Puts links of ours away that have one of the plan's names.
fn clear_name(netlink: &mut Netlink, plan: &LinkPlan) -> Result<(), LinkError> {
    let failed = |source| LinkError::Kernel {
        doing: "put away the old link",
        name: plan.name.clone(),
        source,
    };
    let names = [Some(plan.name.as_str()), plan.altname.as_deref()];
    for name in names.into_iter().flatten() {
        match find(netlink, name).map_err(failed)? {
            Some(link) if link.group == LINK_GROUP => {
                if let Some(machine) = other_owner(&link, plan).filter(is_held) {
                    let name = plan.name.clone();
                    return Err(LinkError::OfAnother { name, machine });
                }
                put_away(netlink, &link).map_err(failed)?;
            }
            Some(_) => return Err(LinkError::Taken(plan.name.clone())),
            None => {}
        }
    }
    Ok(())
}

/// The machine that a link of ours belongs to, if it is not the plan's: short names
/// of two machines may be the same, full ones never.
fn other_owner(link: &LinkInfo, plan: &LinkPlan) -> Option<MachineName> {
    let full = link.altnames.first().unwrap_or(&link.name);
    if full == plan.altname.as_deref().unwrap_or(plan.name.as_str()) {
        return None;
    }
    let (_, machine) = full.split_once('-')?;
    machine.parse().ok()
}

/// Puts a link of ours whose container is gone out of the way: no altnames, renamed, no
/// bridge's port. The kernel frees it with the namespace; to delete it would take 15 to
/// 40 ms, and to set it down almost as long where many links are, since the kernel goes
/// through all routes for that. netd takes its routes.
///
/// # Errors
/// What the kernel answered.
pub fn put_away(netlink: &mut Netlink, link: &LinkInfo) -> io::Result<()> {
    for altname in &link.altnames {
        let request = Request::new(RTM_DELLINKPROP, 0, &ifinfo(link.ifindex, 0, 0))
            .nested(IFLA_PROP_LIST, |r| r.text(IFLA_ALT_IFNAME, altname));
        gone_is_fine(netlink.request(request))?;
    }
    let name = IfName::of_dead_link(link.ifindex);
    // A bridge that it was a port of is rid of it now, not when the kernel frees it.
    let renamed = |request: Request| {
        request
            .text(IFLA_IFNAME, name.as_str())
            .number(IFLA_MASTER, 0)
    };
    match netlink.request(renamed(set_link(link.ifindex, 0, 0))) {
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
        other => return gone_is_fine(other),
    }
    // Before Linux 6.2 a link that is up keeps its name, also where the same request sets
    // it down; it is first set down, if need be repeatedly: netd would set one up again
    // that is down and has its machine's name.
    for _ in 0..RENAMES_MAX {
        gone_is_fine(netlink.request(set_link(link.ifindex, 0, IFF_UP)))?;
        match netlink.request(renamed(set_link(link.ifindex, 0, IFF_UP))) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
            other => return gone_is_fine(other),
        }
    }
    Err(io::Error::from_raw_os_error(libc::EBUSY))
}

fn gone_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
        other => other,
    }
}
