//! What the kernel says of links, addresses and routes.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use netlink_packet_core::{NLM_F_REPLACE, NetlinkMessage, NetlinkPayload};
use rtnetlink::MulticastGroup;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

use super::chunk::Chunk;
use super::dump::Dumps;
use super::filter::NOT_OF_PORTS;
use super::throttle::Throttle;
use super::{Author, Link, LinkAddress, Route, RtnlError};
use crate::netlink::{self, DATAGRAM_MAX};
use crate::socket_filter;

/// Room for events that were not read yet, in bytes. The kernel gives what its limit
/// allows; what is lost all the same is an [`Event::Overrun`].
const RECEIVE_BUFFER: usize = 8 << 20;

/// How many events are thrown away at once.
const DISCARDED_MAX: usize = 1 << 16;

const GROUPS: [MulticastGroup; 6] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv6Netconf,
];

/// A change on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A link is new, or changed.
    Link(Link),
    /// A link is gone; its interface index.
    LinkGone(u32),
    /// An address is new, or changed.
    Address(LinkAddress),
    /// An address is gone.
    AddressGone(LinkAddress),
    /// A route is new.
    Route(Route),
    /// A route has taken the place of another to the same destination.
    RouteReplaced(Route),
    /// A route is gone.
    RouteGone(Route),
    /// On a link, by its interface index, IPv6 begins anew, with no parameter as before.
    Ipv6Begun(u32),
    /// Events were lost: what is there must be read anew.
    Overrun,
}

/// All of the host's links, addresses and routes.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Links.
    pub links: Vec<Link>,
    /// Addresses of all links.
    pub addresses: Vec<LinkAddress>,
    /// Routes of all tables.
    pub routes: Vec<Route>,
}

/// Listens to the kernel.
///
/// Events wait in the socket's buffer, which is bounded, until they are asked for: who
/// brings about more of them than netd reads makes it read all anew, at netd's pace, and
/// takes none of its memory.
#[derive(Debug)]
pub struct Monitor {
    socket: AsyncFd<OwnedFd>,
    buffer: Vec<u8>,
    chunk: Chunk,
    /// What came and was not asked for yet.
    waiting: VecDeque<(Event, Author)>,
    throttle: Throttle,
    dumps: Dumps,
}

impl Monitor {
    /// Subscribes to the changes of the caller's network namespace. Must be called
    /// within a tokio runtime, and before the first [`Monitor::snapshot`].
    ///
    /// # Errors
    /// [`RtnlError::Open`].
    pub fn new() -> Result<Self, RtnlError> {
        Self::with_room(RECEIVE_BUFFER)
    }

    /// As [`Monitor::new`], with room for so many bytes of events that were not read yet.
    ///
    /// # Errors
    /// [`RtnlError::Open`].
    pub fn with_room(bytes: usize) -> Result<Self, RtnlError> {
        Ok(Self {
            socket: subscribe(bytes).map_err(RtnlError::Open)?,
            buffer: vec![0; DATAGRAM_MAX],
            chunk: Chunk::default(),
            waiting: VecDeque::new(),
            throttle: Throttle::new(Instant::now()),
            dumps: Dumps::open().map_err(RtnlError::Open)?,
        })
    }

    /// Waits for the next change, for a moment longer while there are very many. Nothing
    /// is lost if the future is dropped.
    ///
    /// # Errors
    /// The socket is broken, for which there is no known reason.
    pub async fn next(&mut self) -> io::Result<(Event, Author)> {
        loop {
            if let Some(told) = self.try_next()? {
                return Ok(told);
            }
            if let Some(until) = self.throttle.pause(Instant::now()) {
                tokio::time::sleep_until(until).await;
                continue;
            }
            let mut ready = self.socket.readable().await?;
            // Between the two something may have come: only an empty queue is waited for.
            let socket = self.socket.get_ref().as_fd();
            let read = take(socket, &mut self.buffer, &mut self.chunk, &mut self.waiting)?;
            self.throttle
                .note(read, read >= Chunk::FULL, Instant::now());
            if read == 0 {
                ready.clear_ready();
            }
        }
    }

    /// The next change that is known already, without waiting.
    ///
    /// # Errors
    /// As [`Monitor::next`].
    pub fn try_next(&mut self) -> io::Result<Option<(Event, Author)>> {
        loop {
            if let Some(told) = self.waiting.pop_front() {
                return Ok(Some(told));
            }
            if self.throttle.pause(Instant::now()).is_some() || !self.read()? {
                return Ok(None);
            }
        }
    }

    /// Reads what waits in the socket, up to a bound. Whether there was anything.
    fn read(&mut self) -> io::Result<bool> {
        let socket = self.socket.get_ref().as_fd();
        let read = take(socket, &mut self.buffer, &mut self.chunk, &mut self.waiting)?;
        self.throttle
            .note(read, read >= Chunk::FULL, Instant::now());
        Ok(read > 0)
    }

    /// Throws away what was not read yet, before all is read anew.
    ///
    /// # Errors
    /// [`RtnlError::Events`].
    pub fn discard(&mut self) -> Result<(), RtnlError> {
        self.waiting.clear();
        // Bounded: who changes links faster than this reads has all read anew again.
        for _ in 0..DISCARDED_MAX {
            let socket = self.socket.get_ref().as_fd();
            match netlink::receive(socket, &mut self.buffer) {
                Ok(None) => return Ok(()),
                Ok(Some(_)) => {}
                Err(error) if is_loss(&error) => {}
                Err(error) => return Err(RtnlError::Events(error)),
            }
        }
        Ok(())
    }

    /// Reads all that is there. Events of changes that it holds already may follow.
    ///
    /// # Errors
    /// [`RtnlError::Dump`].
    pub async fn snapshot(&mut self) -> Result<Snapshot, RtnlError> {
        Ok(Snapshot {
            links: self.dumps.links().await?,
            addresses: self.dumps.addresses().await?,
            routes: self.dumps.routes().await?,
        })
    }

    /// Reads all routes of all tables.
    ///
    /// # Errors
    /// [`RtnlError::Dump`].
    pub async fn routes(&mut self) -> Result<Vec<Route>, RtnlError> {
        self.dumps.routes().await
    }
}

fn subscribe(room: usize) -> io::Result<AsyncFd<OwnedFd>> {
    let socket = open()?;
    // The greater size needs CAP_NET_ADMIN; without it overruns are but likelier.
    if sockopt::set_socket_recv_buffer_size_force(&socket, room).is_err() {
        let _ = sockopt::set_socket_recv_buffer_size(&socket, room);
    }
    let mut groups = 0;
    for group in GROUPS {
        groups |= 1 << (group as u32 - 1);
    }
    let own = rustix::net::netlink::SocketAddrNetlink::new(0, groups);
    socket_filter::attach(&socket, &NOT_OF_PORTS)?;
    rustix::net::bind(&socket, &own)?;
    crate::async_fd::watch(socket, Interest::READABLE)
}

/// A routing netlink socket of the caller's network namespace.
pub(super) fn open() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        flags,
        None,
    )?)
}

/// Reads what waits in a socket, up to a bound. How many datagrams, losses among them.
fn take(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    chunk: &mut Chunk,
    events: &mut VecDeque<(Event, Author)>,
) -> io::Result<usize> {
    let (mut read, mut lost) = (0, false);
    while !chunk.is_full() && !lost {
        match netlink::receive(socket, buffer) {
            Ok(None) => break,
            // Others than the kernel have nothing to say here.
            Ok(Some(datagram)) if datagram.from == 0 => {
                datagram.messages().for_each(|message| chunk.push(message));
            }
            Ok(Some(_)) => {}
            Err(error) if is_loss(&error) => lost = true,
            Err(error) => return Err(error),
        }
        read += 1;
    }
    chunk.drain(|message| events.extend(decode(message)));
    if lost {
        events.push_back((Event::Overrun, Author::default()));
    }
    Ok(read)
}

/// Whether an error says that events were lost, and nothing worse.
fn is_loss(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOBUFS) || error.kind() == io::ErrorKind::FileTooLarge
}

/// Reads one netlink message, with its header, as an event; `None` if it tells of
/// nothing that matters here, or cannot be understood.
#[must_use]
pub fn decode(message: &[u8]) -> Option<(Event, Author)> {
    if let Some(index) = super::netconf::begun(message) {
        return Some((Event::Ipv6Begun(index), Author::default()));
    }
    let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(message).ok()?;
    let author = Author::new(message.header.port_number);
    let NetlinkPayload::InnerMessage(inner) = message.payload else {
        return None;
    };
    let event = match inner {
        RouteNetlinkMessage::NewLink(link) => Event::Link(Link::from_message(&link)?),
        RouteNetlinkMessage::DelLink(link) => Event::LinkGone(Link::from_message(&link)?.index),
        RouteNetlinkMessage::NewAddress(address) => {
            Event::Address(LinkAddress::from_message(&address)?)
        }
        RouteNetlinkMessage::DelAddress(address) => {
            Event::AddressGone(LinkAddress::from_message(&address)?)
        }
        RouteNetlinkMessage::NewRoute(route) => {
            let route = Route::from_message(&route)?;
            match message.header.flags & NLM_F_REPLACE {
                0 => Event::Route(route),
                _ => Event::RouteReplaced(route),
            }
        }
        RouteNetlinkMessage::DelRoute(route) => Event::RouteGone(Route::from_message(&route)?),
        _ => return None,
    };
    Some((event, author))
}
