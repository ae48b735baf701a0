//! The connection to netd.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use registry::protocol::{
    ANSWER_TIMEOUT_MS, Configured, FromSupervisor, Refusal, Registered, Registration, ToSupervisor,
    decode, encode,
};
use registry::seqpacket::{Received, receive, send};
use registry::{RUNTIME_DIR, SUPERVISOR_SOCKET};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

/// First pause before another try to reach a netd that is just starting; doubled
/// each time.
const RETRY_FIRST: Duration = Duration::from_millis(20);
const RETRY_LAST: Duration = Duration::from_secs(5);
/// The pause after netd has not taken the container, or was gone again at once; doubled
/// each time.
const SETBACK_FIRST: Duration = Duration::from_secs(1);
const SETBACK_LAST: Duration = Duration::from_secs(300);
/// The pause from which on netd's socket is watched for.
const WATCH_FROM: Duration = Duration::from_millis(640);

/// The pause before another try to reach a netd that has as many connections waiting as
/// the kernel keeps for it.
const BACKLOG_PAUSE: Duration = Duration::from_millis(5);
/// How long netd may take to hear a goodbye.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(250);

/// What netd says.
#[derive(Debug)]
pub enum Event {
    /// The machine is registered.
    Registered(Registered),
    /// It is not.
    Refused(Refusal),
    /// The machine's name resolves.
    Published,
    /// The connection ended.
    Gone,
}

/// A connection to netd.
#[derive(Debug)]
pub struct Connection(OwnedFd);

impl Connection {
    /// Connects; never waits.
    ///
    /// # Errors
    /// netd is not there; with `WouldBlock`, it is, but more connect than it has taken
    /// so far.
    pub fn open() -> io::Result<Self> {
        Self::open_at(Path::new(SUPERVISOR_SOCKET))
    }

    /// Connects; waits until netd takes the connection, as long as `leader` lives and no
    /// longer than an answer may take.
    ///
    /// # Errors
    /// netd is not there; with `WouldBlock`, it is, but does not keep up.
    pub fn open_waiting(leader: impl AsFd) -> io::Result<Self> {
        let patience = Duration::from_millis(ANSWER_TIMEOUT_MS);
        Self::open_waiting_at(Path::new(SUPERVISOR_SOCKET), &leader, patience)
    }

    fn open_at(path: &Path) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        connect(&socket, &SocketAddrUnix::new(path)?)?;
        Ok(Self(socket))
    }

    fn open_waiting_at(path: &Path, leader: &impl AsFd, patience: Duration) -> io::Result<Self> {
        let deadline = Instant::now() + patience;
        loop {
            let error = match Self::open_at(path) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => error,
                other => return other,
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(error);
            }
            // Nothing tells that there is room again (unix(7)).
            let pause = Timespec::try_from(left.min(BACKLOG_PAUSE)).ok();
            let mut waited = [PollFd::new(leader, PollFlags::IN)];
            if poll(&mut waited, pause.as_ref()).is_ok_and(|ready| ready > 0) {
                return Err(error);
            }
        }
    }

    /// Asks for the machine to be registered.
    ///
    /// # Errors
    /// netd is gone.
    pub fn register(
        &self,
        registration: &Registration,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let message = FromSupervisor::Register(registration.clone());
        let bytes = encode(&message).map_err(io::Error::other)?;
        send(&self.0, &bytes, descriptors)
    }

    /// Says that the container's end of its link is set as netd asked for; netd is to say
    /// when the name resolves, if an `answer` is wanted.
    pub fn configured(&self, answer: bool) {
        self.tell(&FromSupervisor::Configured(Configured { answer }));
    }

    /// Says that the container ended in order.
    pub fn goodbye(&self) {
        self.tell(&FromSupervisor::Goodbye);
    }

    /// A netd that is gone is noticed by the end of the connection.
    fn tell(&self, message: &FromSupervisor) {
        if let Ok(bytes) = encode(message) {
            send(&self.0, &bytes, &[]).ok();
        }
    }

    /// Waits until netd has closed the connection after a goodbye, so that the name
    /// is free for the next start; not for long.
    pub fn wait_for_close(&self) {
        let deadline = Instant::now() + CLOSE_TIMEOUT;
        while !matches!(self.event(), Some(Event::Gone)) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let timeout = Timespec::try_from(left).ok();
            let mut waited = [PollFd::new(&self.0, PollFlags::IN)];
            poll(&mut waited, timeout.as_ref()).ok();
        }
    }

    /// What netd said, if it said anything. What makes no sense counts as the end
    /// of the connection.
    #[must_use]
    pub fn event(&self) -> Option<Event> {
        match receive(&self.0) {
            Ok(Received::Message(bytes, _)) => match decode(&bytes) {
                Ok(ToSupervisor::Registered(registered)) => Some(Event::Registered(registered)),
                Ok(ToSupervisor::Refused(refusal)) => Some(Event::Refused(refusal)),
                Ok(ToSupervisor::Published) => Some(Event::Published),
                Err(_) => Some(Event::Gone),
            },
            Ok(Received::Closed | Received::Oversized) => Some(Event::Gone),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                None
            }
            Err(_) => Some(Event::Gone),
        }
    }

    /// Waits for netd's answer, as long as `leader` lives and no longer than the
    /// protocol allows. `None` if there was none in that time.
    #[must_use]
    pub fn answer(&self, leader: impl AsFd) -> Option<Event> {
        let deadline = Instant::now() + Duration::from_millis(ANSWER_TIMEOUT_MS);
        let leader = leader.as_fd();
        loop {
            if let Some(event) = self.event() {
                return Some(event);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let mut waited = [
                PollFd::new(&self.0, PollFlags::IN),
                PollFd::new(&leader, PollFlags::IN),
            ];
            let timeout = Timespec::try_from(left).ok();
            match poll(&mut waited, timeout.as_ref()) {
                Ok(0) => return None,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return None,
                Ok(_) if !waited[1].revents().is_empty() => return self.event(),
                Ok(_) => {}
            }
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Waits for a netd that is not there: at first by trying again after short pauses,
/// then by watching for its socket. A watch takes the kernel 10 ms and more to close,
/// which a container that soon ends must not pay for.
#[derive(Debug)]
pub struct Watch {
    inotify: Option<OwnedFd>,
    retry: Option<(Instant, Duration)>,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            inotify: None,
            retry: Some((Instant::now(), RETRY_FIRST)),
        }
    }
}

impl Watch {
    /// A watch after so many tries that netd ended one way or another: the pause before
    /// the next one grows with them.
    #[must_use]
    pub fn after(setbacks: u32) -> Self {
        let pause = match setbacks.checked_sub(1) {
            None => return Self::default(),
            Some(doublings) => SETBACK_FIRST.saturating_mul(1 << doublings.min(16)),
        };
        let pause = pause.min(SETBACK_LAST);
        Self {
            inotify: None,
            retry: Some((Instant::now() + pause, RETRY_FIRST)),
        }
    }

    /// What says that there is news, once there is a watch.
    #[must_use]
    pub fn news(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(AsFd::as_fd)
    }

    /// When the next try is due.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.retry.map(|(due, _)| due)
    }

    /// Takes the news: something appeared beside netd's socket.
    pub fn take_news(&mut self) {
        let mut buffer = [0; 4096];
        if let Some(inotify) = &self.inotify {
            while rustix::io::read(inotify, &mut buffer).is_ok_and(|read| read > 0) {}
        }
        self.retry = Some((Instant::now(), RETRY_FIRST));
    }

    /// Tries to connect, if a try is due. The socket appears a moment before netd
    /// listens on it, so that a refusal is followed by another try.
    pub fn try_connect(&mut self) -> Option<Connection> {
        let (due, pause) = self.retry?;
        if Instant::now() < due {
            return None;
        }
        if pause >= WATCH_FROM && self.inotify.is_none() {
            // Before the try, or what appears in between would not be seen. Without
            // a watch it goes on with tries.
            self.inotify = watch_runtime_dir().ok();
        }
        match Connection::open() {
            Ok(connection) => {
                self.retry = None;
                Some(connection)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                // It is there.
                self.retry = Some((Instant::now() + RETRY_FIRST, pause));
                None
            }
            Err(_) if self.inotify.is_none() || Path::new(SUPERVISOR_SOCKET).exists() => {
                self.retry = Some((Instant::now() + pause, (pause * 2).min(RETRY_LAST)));
                None
            }
            Err(_) => {
                self.retry = None;
                None
            }
        }
    }
}

fn watch_runtime_dir() -> io::Result<OwnedFd> {
    let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
    let inotify = inotify::init(flags)?;
    let events = inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
    inotify::add_watch(&inotify, RUNTIME_DIR, events)?;
    Ok(inotify)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{accept, bind, listen};

    #[test]
    fn it_waits_for_a_netd_that_has_many_connections_to_take() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("supervisor.sock");
        let flags = SocketFlags::CLOEXEC;
        let netd = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        bind(&netd, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        listen(&netd, 2).unwrap();
        let mut before = vec![];
        let full = loop {
            match Connection::open_at(&path) {
                Ok(connection) => before.push(connection),
                Err(error) => break error,
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);

        let (leader, end_of_leader) = rustix::pipe::pipe().unwrap();
        let brief = Duration::from_millis(50);
        let began = Instant::now();
        let given_up = Connection::open_waiting_at(&path, &leader, brief).unwrap_err();
        assert_eq!(given_up.kind(), io::ErrorKind::WouldBlock);
        assert!(began.elapsed() >= brief);

        let long = Duration::from_secs(20);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| Connection::open_waiting_at(&path, &leader, long));
            let _taken = accept(&netd).unwrap();
            waiting.join().unwrap().unwrap();
        });

        // Full again; but the leader has ended.
        drop(end_of_leader);
        let began = Instant::now();
        assert!(Connection::open_waiting_at(&path, &leader, long).is_err());
        assert!(began.elapsed() < long / 2);
    }

    #[test]
    fn the_pause_after_setbacks_is_bounded() {
        let pause = |setbacks| {
            let due = Watch::after(setbacks).due().unwrap();
            due.saturating_duration_since(Instant::now()).as_secs_f64()
        };
        assert!(pause(0) < 0.1);
        assert!((0.9..=1.0).contains(&pause(1)));
        assert!((3.9..=4.0).contains(&pause(3)));
        for many in [12, 40, u32::MAX] {
            assert!((299.0..=300.0).contains(&pause(many)));
        }
    }
}
