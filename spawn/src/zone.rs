//! The bridge of a zone: made with the first container of it, removed with the last.

use std::path::Path;

use registry::{HostId, LINK_GROUP, Mac, RUNTIME_DIR, ZoneName};

use crate::link::{
    self, IFLA_ADDRESS, IFLA_GROUP, IFLA_IFNAME, IFLA_INFO_DATA, IFLA_INFO_KIND, IFLA_LINKINFO,
    IFLA_MASTER, LinkInfo, NLM_F_CREATE, NLM_F_EXCL, RTM_GETLINK, RTM_NEWLINK, ifinfo,
};
use crate::netlink::Netlink;
use crate::netlink::message::Request;

const RTM_DELLINK: u16 = 17;
const NLM_F_DUMP: u16 = 0x300;
/// Kernels before 6.7 have no such limit, and pass over the attribute.
const IFLA_BR_FDB_MAX_LEARNED: u16 = 49;
/// How many stations the bridge remembers by what they send: members cannot fill the host's
/// memory with invented ones. Frames to those beyond go to all ports, as to unknown ones.
const STATIONS_MAX: u32 = 8192;

/// A zone's bridge could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ZoneError {
    /// A link of the bridge's name is somebody else's.
    #[error(
        "a network interface called {} is there already and not of rspawn: delete it (ip link del {}), join it by --network-bridge=, or choose another zone",
        .0.bridge(), .0.bridge()
    )]
    Taken(ZoneName),
    /// The host has no identity.
    #[error(transparent)]
    HostId(#[from] registry::host_id::HostIdError),
    /// The kernel refused.
    #[error("cannot {doing} the bridge {}", .zone.bridge())]
    Kernel {
        /// What was being done.
        doing: &'static str,
        /// Whose bridge.
        zone: ZoneName,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

fn failed(doing: &'static str, zone: &ZoneName) -> impl Fn(std::io::Error) -> ZoneError {
    let zone = *zone;
    move |source| ZoneError::Kernel {
        doing,
        zone,
        source,
    }
}

/// The interface index of a zone's bridge, which is made if it is not there. The caller
/// is [joining](registry::zone::join). netd gives it addresses and sets it up.
///
/// # Errors
/// [`ZoneError`].
pub fn find_or_make(netlink: &mut Netlink, zone: &ZoneName) -> Result<u32, ZoneError> {
    match netlink.request(creation(zone)?) {
        Err(error) if error.raw_os_error() != Some(libc::EEXIST) => {
            return Err(failed("make", zone)(error));
        }
        _ => {}
    }
    match find(netlink, zone)? {
        Some(bridge) => Ok(bridge.ifindex),
        None => Err(ZoneError::Taken(*zone)),
    }
}

/// Removes a zone's bridge if it has no port and nobody is joining it.
///
/// # Errors
/// [`ZoneError::Kernel`].
pub fn remove_if_empty(zone: &ZoneName) -> Result<(), ZoneError> {
    let lock = registry::zone::try_remove(Path::new(RUNTIME_DIR));
    let Some(_nobody_joins) = lock.map_err(failed("remove", zone))? else {
        return Ok(());
    };
    let mut netlink = Netlink::open().map_err(failed("remove", zone))?;
    let Some(bridge) = find(&mut netlink, zone)? else {
        return Ok(());
    };
    let ports =
        Request::new(RTM_GETLINK, NLM_F_DUMP, &ifinfo(0, 0, 0)).number(IFLA_MASTER, bridge.ifindex);
    if netlink.has(ports).map_err(failed("look at", zone))? {
        return Ok(());
    }
    let removal = Request::new(RTM_DELLINK, 0, &ifinfo(bridge.ifindex, 0, 0));
    match netlink.request(removal) {
        Err(error) if error.raw_os_error() != Some(libc::ENODEV) => {
            Err(failed("remove", zone)(error))
        }
        _ => Ok(()),
    }
}

/// The bridge, if there is one and it is ours.
fn find(netlink: &mut Netlink, zone: &ZoneName) -> Result<Option<LinkInfo>, ZoneError> {
    let found = link::find(netlink, zone.bridge().as_str()).map_err(failed("look up", zone))?;
    Ok(found.filter(|link| link.kind == "bridge" && link.group == LINK_GROUP))
}

fn creation(zone: &ZoneName) -> Result<Request, ZoneError> {
    let mac = Mac::of_zone(&HostId::load()?, zone);
    let request = Request::new(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &ifinfo(0, 0, 0));
    Ok(request
        .text(IFLA_IFNAME, zone.bridge().as_str())
        .attribute(IFLA_ADDRESS, &mac.0)
        .number(IFLA_GROUP, LINK_GROUP)
        .nested(IFLA_LINKINFO, |r| {
            r.text(IFLA_INFO_KIND, "bridge")
                .nested(IFLA_INFO_DATA, |r| {
                    r.number(IFLA_BR_FDB_MAX_LEARNED, STATIONS_MAX)
                })
        }))
}
