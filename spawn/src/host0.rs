//! The container's own end of its link, and its loopback: set from the host by a
//! socket that was opened inside.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};

use ipnetwork::IpNetwork;
use registry::CONTAINER_LINK;
use registry::protocol::{Host0, Route};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::error::{Doing, StepError};
use crate::link::{find, set_up};
use crate::netlink::message::Request;
use crate::netlink::{Netlink, open_route_socket};
use crate::tell;

const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_CREATE: u16 = 0x400;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_FLAGS: u16 = 8;
const IFA_CACHEINFO: u16 = 6;
/// Lifetime of IPv6 addresses in seconds, 68 years: newer systemd-networkd takes away
/// those whose lifetime has no end, whatever it is told to keep.
const LIFETIME_V6: u32 = 0x7fff_ffff;
const IFA_F_NODAD: u32 = 2;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PREFSRC: u16 = 7;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_DHCP: u8 = 16;
const RTN_UNICAST: u8 = 1;
const IFLA_MTU: u16 = 4;
const LOOPBACK: u32 = 1;

/// `count` sockets of rtnetlink, opened in the network namespace of the process that
/// `pidfd` holds, with the caller's credentials.
///
/// # Errors
/// The namespace cannot be entered; or left, which ends the program, since it must
/// not go on where it is.
pub fn open_inside(pidfd: impl AsFd, count: usize) -> Result<Vec<OwnedFd>, StepError> {
    let own = openat(
        CWD,
        "/proc/self/ns/net",
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .doing(|| "open the host's network namespace".into())?;
    let net = Some(LinkNameSpaceType::Network);
    move_into_link_name_space(pidfd.as_fd(), net)
        .doing(|| "enter the container's network namespace".into())?;
    let sockets: Vec<io::Result<OwnedFd>> = (0..count).map(|_| open_route_socket()).collect();
    if let Err(error) = move_into_link_name_space(own.as_fd(), net) {
        tell!("cannot return to the host's network namespace: {error}");
        std::process::abort();
    }
    let mut opened = Vec::with_capacity(count);
    for socket in sockets {
        opened.push(socket.doing(|| "open a netlink socket in the container".into())?);
    }
    Ok(opened)
}

/// Sets the loopback up.
///
/// # Errors
/// What the kernel answered.
pub fn set_loopback_up(netlink: &mut Netlink) -> Result<(), StepError> {
    netlink
        .request(set_up(LOOPBACK))
        .doing(|| "set the container's loopback up".into())
}

/// Sets `host0` up without an address.
///
/// # Errors
/// What the kernel answered.
pub fn set_up_alone(netlink: &mut Netlink) -> Result<(), StepError> {
    configure(
        netlink,
        &Host0 {
            addresses: vec![],
            routes: vec![],
            dns: vec![],
            domain: None,
            mtu: None,
        },
    )
}

/// Sets `host0` up and gives it what netd answered.
///
/// # Errors
/// What the kernel answered, and to what.
pub fn configure(netlink: &mut Netlink, host0: &Host0) -> Result<(), StepError> {
    let link = find(netlink, CONTAINER_LINK)
        .and_then(|link| link.ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV)))
        .doing(|| format!("find the container's {CONTAINER_LINK}"))?;
    let steps = steps(host0);
    let requests = steps.iter().map(|step| step.request(link.ifindex));
    netlink
        .request_all(requests.collect())
        .or_else(|(place, error)| {
            let what = steps.get(place).map_or_else(String::new, Step::to_string);
            Err(error).doing(|| what)
        })
}

/// What is set of `host0`, each after what it needs.
enum Step<'a> {
    Address(IpNetwork),
    Up(Option<u32>),
    Route(&'a Route),
}

/// All of it. Up as late as can be, since the kernel takes its time over a link that has a
/// carrier, and nobody else sets a link meanwhile; but an IPv6 address has its route at
/// once only on a link that is up.
fn steps(host0: &Host0) -> Vec<Step<'_>> {
    let addresses = |v6: bool| {
        let addresses = host0.addresses.iter().copied();
        addresses.filter(move |address| address.is_ipv6() == v6)
    };
    let before = addresses(false).map(Step::Address);
    let after = addresses(true).map(Step::Address);
    before
        .chain([Step::Up(host0.mtu)])
        .chain(after)
        .chain(host0.routes.iter().map(Step::Route))
        .collect()
}

impl Step<'_> {
    fn request(&self, ifindex: u32) -> Request {
        match self {
            Self::Address(address) => new_address(ifindex, *address),
            Self::Up(None) => set_up(ifindex),
            Self::Up(Some(mtu)) => set_up(ifindex).number(IFLA_MTU, *mtu),
            Self::Route(route) => new_route(ifindex, route),
        }
    }
}

impl fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "give {CONTAINER_LINK} the address {address}"),
            Self::Up(_) => write!(f, "set the container's {CONTAINER_LINK} up"),
            Self::Route(route) => {
                write!(f, "give the container the route to {}", route.destination)
            }
        }
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn family(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => libc::AF_INET as u8,
        IpAddr::V6(_) => libc::AF_INET6 as u8,
    }
}

fn new_address(ifindex: u32, address: IpNetwork) -> Request {
    let bytes = octets(address.ip());
    let mut body = vec![family(address.ip()), address.prefix(), 0, 0];
    body.extend(ifindex.to_ne_bytes());
    let mut request = Request::new(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, &body)
        .attribute(IFA_LOCAL, &bytes)
        .attribute(IFA_ADDRESS, &bytes);
    match address {
        IpNetwork::V4(network) if network.prefix() < 31 => {
            request = request.attribute(IFA_BROADCAST, &network.broadcast().octets());
        }
        IpNetwork::V4(_) => {}
        // The link has no third party that could have it, and the address is to
        // be of use at once.
        IpNetwork::V6(_) => {
            let lifetime = LIFETIME_V6.to_ne_bytes();
            let information = [lifetime, lifetime, [0; 4], [0; 4]].concat();
            request = request
                .number(IFA_FLAGS, IFA_F_NODAD)
                .attribute(IFA_CACHEINFO, &information);
        }
    }
    request
}

fn new_route(ifindex: u32, route: &Route) -> Request {
    let mut body = vec![
        family(route.gateway),
        route.destination.prefix(),
        0,
        0,
        RT_TABLE_MAIN,
        RTPROT_DHCP,
        0,
        RTN_UNICAST,
    ];
    body.extend([0; 4]);
    let mut request = Request::new(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, &body);
    if route.destination.prefix() > 0 {
        request = request.attribute(RTA_DST, &octets(route.destination.network()));
    }
    request
        .attribute(RTA_GATEWAY, &octets(route.gateway))
        .attribute(RTA_PREFSRC, &octets(route.preferred_source))
        .number(RTA_OIF, ifindex)
}
