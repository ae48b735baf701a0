//! The socket on which supervisors register their containers.
//!
//! Each connection is a task of its own that reads one message after the other and
//! checks it; what it lets pass goes to the daemon's loop.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use registry::LeaderId;
use registry::leader::pid_of;
use registry::protocol::{
    FromSupervisor, Network, Refusal, RefusalReason, Registration, ToSupervisor, decode, encode,
};
use registry::seqpacket::{Received, receive, send};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with,
    sockopt,
};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// How many supervisors may be connected at once.
const CONNECTIONS_MAX: usize = 8192;
/// How many connections may wait to be taken.
const BACKLOG: i32 = 1024;
/// How long to wait after something that may pass: no descriptors, no memory.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a new connection may stay silent.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// One connection of a supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(u64);

#[cfg(test)]
impl From<u64> for ConnectionId {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

/// What comes from supervisors.
#[derive(Debug)]
pub enum SupervisorEvent {
    /// A container is there, and its leader is the process that it is said to be.
    Registered(Box<Registering>),
    /// The container's end of its link is set as it was asked for.
    Configured(ConnectionId),
    /// The container ended, and its supervisor has cleaned up.
    Goodbye(ConnectionId),
    /// The connection ended.
    Closed(ConnectionId),
}

/// A registration whose descriptors and caller were checked.
#[derive(Debug)]
pub struct Registering {
    /// The connection that it came by.
    pub connection: ConnectionId,
    /// Where the answer goes.
    pub answer: mpsc::Sender<ToSupervisor>,
    /// What was said.
    pub registration: Registration,
    /// The payload's first process.
    pub leader: LeaderId,
    /// A pidfd of it.
    pub leader_pidfd: OwnedFd,
    /// The caller.
    pub supervisor: LeaderId,
    /// A pidfd of it.
    pub supervisor_pidfd: OwnedFd,
    /// A NETLINK_ROUTE socket from inside the container's network namespace.
    pub netlink: Option<OwnedFd>,
}

/// The socket could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {path}")]
pub struct ListenError {
    path: String,
    #[source]
    source: io::Error,
}

/// Listens at `path`, in the place of a socket that an earlier netd left there.
///
/// # Errors
/// [`ListenError`].
pub fn listen_at(path: &Path) -> Result<AsyncFd<OwnedFd>, ListenError> {
    let failed = |source| ListenError {
        path: path.display().to_string(),
        source,
    };
    listen_on(path).map_err(failed)
}

fn listen_on(path: &Path) -> io::Result<AsyncFd<OwnedFd>> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    // Made under another name and renamed: supervisors that watch the directory
    // connect as soon as the name is there, and must find it listening.
    let draft = path.with_extension("new");
    let _ = fs::remove_file(&draft);
    bind(&socket, &SocketAddrUnix::new(&draft)?)?;
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o600))?;
    listen(&socket, BACKLOG)?;
    fs::rename(&draft, path)?;
    crate::async_fd::watch(socket, Interest::READABLE)
}

/// Takes connections for ever, and tells `events` what comes from them.
pub async fn accept_all<T: From<SupervisorEvent> + 'static>(
    listener: AsyncFd<OwnedFd>,
    events: mpsc::Sender<T>,
) {
    let slots = std::rc::Rc::new(());
    let mut next = 0;
    loop {
        let accepted = listener
            .async_io(Interest::READABLE, |socket| {
                Ok(accept_with(
                    socket,
                    SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
                )?)
            })
            .await;
        let socket = match accepted {
            Ok(socket) => socket,
            Err(error) => {
                // Out of descriptors, most likely: what holds them must end first.
                tracing::warn!("cannot take a supervisor's connection: {error}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        if std::rc::Rc::strong_count(&slots) > CONNECTIONS_MAX {
            tracing::warn!(
                "more than {CONNECTIONS_MAX} supervisors are connected: one turned away"
            );
            continue;
        }
        next += 1;
        let (slot, events) = (slots.clone(), events.clone());
        tokio::task::spawn_local(async move {
            let id = ConnectionId(next);
            serve(id, socket, &events).await;
            let _ = events.send(SupervisorEvent::Closed(id).into()).await;
            drop(slot);
        });
    }
}

async fn serve<T: From<SupervisorEvent>>(
    id: ConnectionId,
    socket: OwnedFd,
    events: &mpsc::Sender<T>,
) {
    let Ok(socket) = crate::async_fd::watch(socket, Interest::READABLE | Interest::WRITABLE) else {
        return;
    };
    let (answer, mut answers) = mpsc::channel(4);
    let first = match timeout(SILENCE_MAX, next_message(&socket)).await {
        Ok(Some(first)) => first,
        Ok(None) | Err(_) => return,
    };
    match register(id, &socket, first, answer) {
        Ok(registering) => {
            if events
                .send(SupervisorEvent::Registered(Box::new(registering)).into())
                .await
                .is_err()
            {
                return;
            }
        }
        Err(Rejected::Refused(refusal)) => {
            tracing::warn!("registration refused: {}", refusal.message);
            reply(&socket, &ToSupervisor::Refused(refusal)).await;
            return;
        }
        Err(Rejected::ForNow(error)) => {
            // Refused, its supervisor would not come again; one whose connection ends does.
            tracing::warn!("a registration cannot be checked now: {error}");
            tokio::time::sleep(PAUSE).await;
            return;
        }
    }
    loop {
        tokio::select! {
            answer = answers.recv() => match answer {
                Some(answer) => {
                    reply(&socket, &answer).await;
                    if matches!(answer, ToSupervisor::Refused(_)) {
                        return;
                    }
                }
                None => return,
            },
            message = next_message(&socket) => match message {
                Some((bytes, _)) => match decode::<FromSupervisor>(&bytes) {
                    Ok(FromSupervisor::Goodbye) => {
                        let _ = events.send(SupervisorEvent::Goodbye(id).into()).await;
                        return;
                    }
                    Ok(FromSupervisor::Configured) => {
                        if events.send(SupervisorEvent::Configured(id).into()).await.is_err() {
                            return;
                        }
                    }
                    Ok(FromSupervisor::Register(_)) => {
                        tracing::warn!("a supervisor registered twice over one connection: closed");
                        return;
                    }
                    Err(error) => {
                        tracing::warn!("a supervisor's connection is closed: {error}");
                        return;
                    }
                },
                None => return,
            },
        }
    }
}

/// The next message and its descriptors; `None` at the end of the connection.
async fn next_message(socket: &AsyncFd<OwnedFd>) -> Option<(Vec<u8>, Vec<OwnedFd>)> {
    match socket
        .async_io(Interest::READABLE, |socket| receive(socket))
        .await
    {
        Ok(Received::Message(bytes, descriptors)) => Some((bytes, descriptors)),
        Ok(Received::Closed) => None,
        Ok(Received::Oversized) => {
            tracing::warn!("a supervisor sent a message that is too long: connection closed");
            None
        }
        Err(error) => {
            tracing::debug!("a supervisor's connection broke: {error}");
            None
        }
    }
}

async fn reply(socket: &AsyncFd<OwnedFd>, answer: &ToSupervisor) {
    let bytes = match encode(answer) {
        Ok(bytes) => bytes,
        Err(error) => {
            tracing::error!("an answer to a supervisor cannot be sent: {error}");
            return;
        }
    };
    let sent = socket.async_io(Interest::WRITABLE, |socket| send(socket, &bytes, &[]));
    // One that does not read its answers is not waited for.
    match timeout(SILENCE_MAX, sent).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!("an answer to a supervisor was lost: {error}"),
        Err(_) => tracing::debug!("a supervisor does not read its answers"),
    }
}

/// Why a registration is not taken.
enum Rejected {
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
    fn unless_gone(error: io::Error, gone: Refusal) -> Self {
        match error.raw_os_error() {
            Some(libc::ESRCH | libc::ENOENT | libc::EINVAL) => Self::Refused(gone),
            _ => Self::ForNow(error),
        }
    }
}

fn refusal(reason: RefusalReason, message: impl Into<String>) -> Refusal {
    Refusal {
        reason,
        message: message.into(),
    }
}

/// Checks a registration: the caller is root, the leader a process that runs, the
/// descriptors what they have to be.
fn register(
    connection: ConnectionId,
    socket: &AsyncFd<OwnedFd>,
    (bytes, descriptors): (Vec<u8>, Vec<OwnedFd>),
    answer: mpsc::Sender<ToSupervisor>,
) -> Result<Registering, Rejected> {
    let bad = |message: &str| refusal(RefusalReason::BadRequest, message);
    let (supervisor, supervisor_pidfd) = caller(socket)?;
    let message =
        decode(&bytes).map_err(|error| refusal(RefusalReason::BadRequest, error.to_string()))?;
    let FromSupervisor::Register(registration) = message else {
        return Err(bad("the first message has to register a container").into());
    };
    let mut descriptors = descriptors.into_iter();
    let leader_pidfd = descriptors
        .next()
        .ok_or_else(|| bad("the leader's pidfd is missing"))?;
    let pid = pid_of(&leader_pidfd)
        .map_err(Rejected::ForNow)?
        .ok_or_else(|| bad("the first descriptor is not the pidfd of a process that runs"))?;
    if pid == 1 || pid == std::process::id() || pid == supervisor.pid {
        return Err(bad("the leader has to be the container's first process").into());
    }
    let leader = LeaderId::of(pid, &leader_pidfd)
        .map_err(|error| Rejected::unless_gone(error, bad("the leader has ended")))?;
    let own_network = !matches!(registration.network, Network::Host);
    let netlink = descriptors.next();
    if own_network && !netlink.as_ref().is_some_and(is_netlink) {
        return Err(bad("a netlink socket of the container's network namespace is missing").into());
    }
    if !registration.cgroup.is_empty() && !is_cgroup(&registration.cgroup) {
        return Err(bad("the cgroup is not an absolute path").into());
    }
    if !registration.cgroup.is_empty() && !is_in_cgroup(pid, &registration.cgroup) {
        return Err(
            bad("the leader is not in the cgroup that is said to be the container's").into(),
        );
    }
    Ok(Registering {
        connection,
        answer,
        registration,
        leader,
        leader_pidfd,
        supervisor,
        supervisor_pidfd,
        netlink: netlink.filter(|_| own_network),
    })
}

fn caller(socket: &AsyncFd<OwnedFd>) -> Result<(LeaderId, OwnedFd), Rejected> {
    let not_allowed = |message: &str| refusal(RefusalReason::NotAllowed, message);
    let credentials = sockopt::socket_peercred(socket.as_fd())
        .map_err(|_| not_allowed("the caller has no credentials"))?;
    if !credentials.uid.is_root() {
        return Err(not_allowed("only root may register containers").into());
    }
    let gone = |error| Rejected::unless_gone(error, not_allowed("the caller has ended"));
    let pid = credentials.pid.as_raw_nonzero();
    let outside = || not_allowed("the caller is in another PID namespace");
    let number = u32::try_from(pid.get()).map_err(|_| outside())?;
    let pid = Pid::from_raw(pid.get()).ok_or_else(outside)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|error| gone(error.into()))?;
    let id = LeaderId::of(number, &pidfd).map_err(gone)?;
    Ok((id, pidfd))
}

fn is_netlink(descriptor: &OwnedFd) -> bool {
    sockopt::socket_domain(descriptor).is_ok_and(|family| family == AddressFamily::NETLINK)
        && sockopt::socket_protocol(descriptor).is_ok_and(|protocol| protocol.is_none())
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
pub(crate) fn is_cgroup(path: &str) -> bool {
    path.len() > 1
        && path.len() < 1024
        && path.starts_with('/')
        && path
            .split('/')
            .skip(1)
            .all(|part| !matches!(part, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::is_cgroup;

    #[test]
    fn a_cgroup_never_leads_out_of_the_hierarchy() {
        assert!(is_cgroup("/machine.slice/machine-web.scope"));
        for path in ["", "/", "machine.slice", "/a/../b", "/a//b", "/a/", "/."] {
            assert!(!is_cgroup(path), "{path:?}");
        }
    }
}
