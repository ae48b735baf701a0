//! The socket on which supervisors register their containers.
//!
//! Each connection is a task of its own that reads one message after the other and
//! checks it; what it lets pass goes to the daemon's loop. What is wrong is answered
//! with a refusal that says why, and ends the connection.

mod caller;
mod check;
mod connection;
mod sys;
mod waiting;

use std::cell::Cell;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use registry::LeaderId;
use registry::protocol::{Configured, Refusal, RefusalReason, Registration, ToSupervisor};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

use crate::log::Pace;
use waiting::Waiting;

/// How many supervisors may be connected at once.
const CONNECTIONS_MAX: usize = 8192;
/// How many connections may wait to be taken.
const BACKLOG: i32 = 1024;
/// How long to wait after something that may pass: no descriptors, no memory.
const PAUSE: Duration = Duration::from_millis(100);

static NOT_TAKEN: Pace = Pace::new();
static TOO_MANY: Pace = Pace::new();

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
    Configured(ConnectionId, Configured),
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
    /// The payload's first process, which the caller or a child of its has started.
    pub leader: LeaderId,
    /// A pidfd of it.
    pub leader_pidfd: OwnedFd,
    /// The caller.
    pub supervisor: LeaderId,
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
    // Nobody but root takes a place on it.
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o600))?;
    listen(&socket, BACKLOG)?;
    fs::rename(&draft, path)?;
    crate::async_fd::watch(socket, Interest::READABLE)
}

/// The connections that there are, and the places for further ones. They outlive the
/// socket that they came by, where that is made anew.
#[derive(Clone, Debug, Default)]
pub struct Connections {
    slots: Rc<()>,
    waiting: Waiting,
    last: Rc<Cell<u64>>,
}

impl Connections {
    fn next_id(&self) -> ConnectionId {
        self.last.set(self.last.get() + 1);
        ConnectionId(self.last.get())
    }
}

/// Takes connections for ever, and tells `events` what comes from them.
pub async fn accept_all<T: From<SupervisorEvent> + 'static>(
    listener: AsyncFd<OwnedFd>,
    connections: Connections,
    events: mpsc::Sender<T>,
) {
    let Connections { slots, waiting, .. } = &connections;
    loop {
        let Some(socket) = accept(&listener).await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        if Rc::strong_count(slots) > CONNECTIONS_MAX {
            TOO_MANY.say(|held_back| {
                tracing::warn!(
                    "{CONNECTIONS_MAX} supervisors are connected: one turned away{held_back}"
                );
            });
            connection::turn_away(&socket, &too_many());
            continue;
        }
        let id = connections.next_id();
        let (slot, events, place) = (slots.clone(), events.clone(), waiting.join(id));
        tokio::task::spawn_local(async move {
            connection::serve(id, socket, place, &events).await;
            let _ = events.send(SupervisorEvent::Closed(id).into()).await;
            drop(slot);
        });
    }
}

async fn accept(listener: &AsyncFd<OwnedFd>) -> Option<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let accepted = listener.async_io(Interest::READABLE, |socket| Ok(accept_with(socket, flags)?));
    match accepted.await {
        Ok(socket) => Some(socket),
        Err(error) => {
            // Out of descriptors, most likely: what holds them must end first.
            NOT_TAKEN.say(|held_back| {
                tracing::warn!("cannot take a supervisor's connection: {error}{held_back}");
            });
            None
        }
    }
}

fn too_many() -> Refusal {
    refusal(
        RefusalReason::Failed,
        "netd has as many connections as it takes: try again later",
    )
}

fn refusal(reason: RefusalReason, message: impl Into<String>) -> Refusal {
    Refusal {
        reason,
        message: message.into(),
    }
}

fn bad(message: impl Into<String>) -> Refusal {
    refusal(RefusalReason::BadRequest, message)
}
