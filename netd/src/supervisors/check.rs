//! Whether a registration is right.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use registry::LeaderId;
use registry::leader::pid_of;
use registry::protocol::{FromSupervisor, Network, Refusal, Registration, ToSupervisor, decode};
use rustix::net::{AddressFamily, sockopt};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

use super::caller::{self, Caller};
use super::connection::Message;
use super::{ConnectionId, Registering, bad, sys};
use crate::log;

/// The longest name of a manager, in bytes.
const SERVICE_MAX: usize = 64;
/// The longest path, in bytes (PATH_MAX).
const PATH_MAX: usize = 4096;

/// Why a registration is not taken.
pub(super) enum Rejected {
    /// It is wrong.
    Refused(Refusal),
    /// netd lacks something that it may have later: descriptors, memory.
    ForNow(io::Error),
}

impl From<Refusal> for Rejected {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Rejected {
    /// Tells what the end of a process does to a check from what it may also be.
    pub(super) fn unless_gone(error: io::Error, gone: Refusal) -> Self {
        match error.raw_os_error() {
            Some(libc::ESRCH | libc::ENOENT | libc::EINVAL) => Self::Refused(gone),
            _ => Self::ForNow(error),
        }
    }
}

/// Checks a registration: the caller is root, the leader a process that it has started
/// and that runs, the descriptors what they have to be, and no more.
pub(super) fn check(
    connection: ConnectionId,
    socket: &AsyncFd<OwnedFd>,
    (bytes, descriptors): Message,
    answer: mpsc::Sender<ToSupervisor>,
) -> Result<Registering, Rejected> {
    let caller = caller::of(socket)?;
    let message = decode(&bytes).map_err(|error| bad(log::foreign(&log::chain(&error))))?;
    let FromSupervisor::Register(registration) = message else {
        return Err(bad("the first message has to register a container").into());
    };
    check_texts(&registration)?;
    let mut descriptors = descriptors.into_iter();
    let (leader, leader_pidfd) = leader(descriptors.next(), &caller)?;
    let netlink = netlink(&registration.network, descriptors.next())?;
    if descriptors.next().is_some() {
        return Err(bad("there are more descriptors than a registration has").into());
    }
    check_cgroup(&registration.cgroup, &leader, &caller)?;
    Ok(Registering {
        connection,
        answer,
        registration,
        leader,
        leader_pidfd,
        supervisor: caller.process,
        netlink,
    })
}

/// What goes into records and answers holds no surprise for their readers.
fn check_texts(registration: &Registration) -> Result<(), Refusal> {
    let service = &registration.service;
    let plain = service.bytes().all(|byte| byte.is_ascii_graphic());
    if service.is_empty() || service.len() > SERVICE_MAX || !plain {
        return Err(bad(
            "the manager's name is not a word of at most 64 letters",
        ));
    }
    let is_id = |id: &String| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !registration.id.as_ref().is_none_or(is_id) {
        return Err(bad("the machine id does not have 32 hexadecimal digits"));
    }
    let root = &registration.root;
    if !root.starts_with('/') || root.len() > PATH_MAX || root.contains('\0') {
        return Err(bad("the tree is not an absolute path"));
    }
    Ok(())
}

/// The leader by its pidfd: a process that runs, and that the caller has started.
fn leader(pidfd: Option<OwnedFd>, caller: &Caller) -> Result<(LeaderId, OwnedFd), Rejected> {
    let pidfd = pidfd.ok_or_else(|| bad("the leader's pidfd is missing"))?;
    let pid = pid_of(&pidfd)
        .map_err(Rejected::ForNow)?
        .ok_or_else(|| bad("the first descriptor is not the pidfd of a process that runs"))?;
    let ended = || bad("the leader has ended");
    let leader =
        LeaderId::of(pid, &pidfd).map_err(|error| Rejected::unless_gone(error, ended()))?;
    if !caller.has_started(pid) {
        return Err(bad("the leader was not started by the process that registers it").into());
    }
    // Else what was looked at may have been another process of this id.
    if pid_of(&pidfd).map_err(Rejected::ForNow)? != Some(pid) {
        return Err(ended().into());
    }
    Ok((leader, pidfd))
}

/// The socket from inside, which a container with a network of its own has.
fn netlink(network: &Network, socket: Option<OwnedFd>) -> Result<Option<OwnedFd>, Rejected> {
    match *network {
        Network::Host => {
            return match socket {
                None => Ok(None),
                Some(_) => Err(bad("there is nothing to see inside the host's network").into()),
            };
        }
        Network::Veth { ifindex: 0 }
        | Network::Bridge { ifindex: 0, .. }
        | Network::Zone { ifindex: 0, .. } => {
            return Err(bad("no link has the interface index 0").into());
        }
        Network::Private | Network::Veth { .. } | Network::Bridge { .. } | Network::Zone { .. } => {
        }
    }
    let socket = socket
        .filter(is_netlink)
        .ok_or_else(|| bad("a netlink socket of the container's network namespace is missing"))?;
    let own = sys::own_network().map_err(Rejected::ForNow)?;
    let inside = sys::network_of(&socket)
        .map_err(|_| bad("the netlink socket's network namespace cannot be seen"))?;
    if inside == own {
        return Err(bad("the netlink socket is of the host's network").into());
    }
    Ok(Some(socket))
}

/// Whether a socket is of NETLINK_ROUTE, whose number is 0.
fn is_netlink(descriptor: &OwnedFd) -> bool {
    sockopt::socket_domain(descriptor).is_ok_and(|family| family == AddressFamily::NETLINK)
        && sockopt::socket_protocol(descriptor).is_ok_and(|protocol| protocol.is_none())
}

/// The cgroup is ended as a whole where the caller crashes: it holds the leader, and
/// neither the caller nor netd.
fn check_cgroup(cgroup: &str, leader: &LeaderId, caller: &Caller) -> Result<(), Refusal> {
    if cgroup.is_empty() {
        return Ok(());
    }
    if !is_cgroup(cgroup) {
        return Err(bad("the cgroup is not an absolute path"));
    }
    if !is_in_cgroup(leader.pid, cgroup) {
        return Err(bad(
            "the leader is not in the cgroup that is said to be the container's",
        ));
    }
    if is_in_cgroup(caller.process.pid, cgroup) || is_in_cgroup(std::process::id(), cgroup) {
        return Err(bad("the cgroup holds more than the container"));
    }
    Ok(())
}

/// Whether a process is in a cgroup or in one below it (proc_pid_cgroup(5)).
fn is_in_cgroup(pid: u32, cgroup: &str) -> bool {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let mut lines = text.lines();
    let own = lines
        .find_map(|line| line.strip_prefix("0::"))
        .unwrap_or_default();
    own.strip_prefix(cgroup)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a text names a cgroup: an absolute path without steps back.
fn is_cgroup(path: &str) -> bool {
    path.len() > 1
        && path.len() < 1024
        && path.starts_with('/')
        && path
            .split('/')
            .skip(1)
            .all(|part| !matches!(part, "" | "." | ".."))
        && !path.contains(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_never_leads_out_of_the_hierarchy() {
        assert!(is_cgroup("/machine.slice/machine-web.scope"));
        for path in [
            "",
            "/",
            "machine.slice",
            "/a/../b",
            "/a//b",
            "/a/",
            "/.",
            "/a\nb",
        ] {
            assert!(!is_cgroup(path), "{path:?}");
        }
    }

    #[test]
    fn texts_are_what_they_are_said_to_be() {
        let fine = Registration {
            name: "web".parse().unwrap(),
            service: "rspawn".into(),
            id: Some("0".repeat(32)),
            root: "/srv/web".into(),
            cgroup: String::new(),
            network: Network::Private,
            ephemeral: false,
            running: false,
        };
        assert!(check_texts(&fine).is_ok());
        let wrong: [fn(&mut Registration); 7] = [
            |r| r.service = String::new(),
            |r| r.service = "x".repeat(65),
            |r| r.service = "a b".into(),
            |r| r.service = "a\nLEADER=1".into(),
            |r| r.id = Some("0".repeat(31) + "g"),
            |r| r.root = "srv".into(),
            |r| r.root = "/".repeat(5000),
        ];
        for spoil in wrong {
            let mut registration = fine.clone();
            spoil(&mut registration);
            assert!(check_texts(&registration).is_err(), "{registration:?}");
        }
    }
}
