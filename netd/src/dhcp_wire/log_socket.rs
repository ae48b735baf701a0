//! The one socket by which our firewall table hands over the requests of all links.
//!
//! The table's rule lets each link have so many a second and no more, so that no link
//! fills the socket's buffer for the others; see [`crate::nft::rules`].

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_netfilter::NetfilterMessage;
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, sockopt};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use super::log_message::{self, Logged, Packet};
use super::{Received, frame, sys};
use crate::dhcp::server::Transmit;
use crate::log::Pace;
use crate::netlink::{self, DATAGRAM_MAX};
use crate::ra::Solicited;

/// The group that requests are logged to; the same number as that of our links.
pub const GROUP: u16 = registry::LINK_GROUP as u16;
/// Room for requests that were not read yet, in bytes: some thousand, each with the page
/// that the kernel takes for it.
const RECEIVE_BUFFER: usize = 8 << 20;
/// How many requests of a link wait for its server; the oldest stay.
const WAITING_MAX: usize = 64;
/// How many router solicitations wait to be answered.
const SOLICITED_MAX: usize = 128;
/// How many requests are handed out before others get their turn.
const AT_ONCE: usize = 64;
/// Lines about requests that were lost.
static LOST: Pace = Pace::new();

/// Why there is no such socket.
#[derive(Debug, thiserror::Error)]
pub enum LogSocketError {
    /// No socket for sending.
    #[error("cannot open a packet socket for DHCP")]
    PacketSocket(#[source] io::Error),
    /// No socket for receiving.
    #[error("cannot open a netlink socket for DHCP")]
    Netlink(#[source] io::Error),
    /// The kernel does not give it our packets.
    #[error("cannot have DHCP requests by nfnetlink_log, group {GROUP}")]
    Bind(#[source] io::Error),
}

/// The requests of all links, and the way for answers.
#[derive(Clone, Debug)]
pub struct LogSocket {
    sender: Arc<OwnedFd>,
    places: Places,
}

/// Hands out what a [`LogSocket`] receives.
#[derive(Debug)]
pub struct Reader {
    socket: AsyncFd<OwnedFd>,
    places: Places,
    asked: UnboundedSender<u32>,
    solicited: mpsc::Sender<Solicited>,
}

/// The links on which the first request has come, and the router solicitations of all.
#[derive(Debug)]
pub struct Asked {
    links: UnboundedReceiver<u32>,
    solicited: Option<mpsc::Receiver<Solicited>>,
}

/// That requests of a link are expected, which has no server yet: the first that comes is
/// told of by [`Asked`], and waits for its server with those that follow. Without it, and
/// without a server, requests are lost.
#[derive(Debug)]
pub struct Expected {
    ifindex: u32,
    places: Places,
}

/// The servers' places, by the index of their link.
type Places = Arc<Mutex<HashMap<u32, Place>>>;

/// A server's place.
#[derive(Debug)]
enum Place {
    /// Nobody has asked yet, and there is no server.
    Expected,
    /// Somebody has; there is no server yet.
    Asked(Arc<Inbox>),
    /// Its server has what comes.
    Served(Arc<Inbox>),
}

/// Requests of one link that wait for its server.
#[derive(Debug, Default)]
struct Inbox {
    waiting: Mutex<Waiting>,
    new: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    requests: VecDeque<Received>,
    dropped: u32,
}

/// A server's place at one link.
#[derive(Debug)]
pub struct LogPort {
    ifindex: u32,
    inbox: Arc<Inbox>,
    places: Places,
    sender: Arc<OwnedFd>,
}

impl LogSocket {
    /// Opens it in the calling thread's network namespace, before the firewall table
    /// begins to log. Nothing comes in until the reader runs. Must be called within a tokio
    /// runtime.
    ///
    /// # Errors
    /// [`LogSocketError`], where the kernel lacks nfnetlink_log or another process has our
    /// group of it.
    pub fn open() -> Result<(Self, Reader, Asked), LogSocketError> {
        // Bound to no protocol, it receives nothing and no packet passes by it.
        let sender = sys::open().map_err(LogSocketError::PacketSocket)?;
        let socket = listen()?;
        let places = Places::default();
        // As many as there are links, at the most.
        let (asked, links) = mpsc::unbounded_channel();
        let (sender_of_solicited, solicited) = mpsc::channel(SOLICITED_MAX);
        let reader = Reader {
            socket,
            places: places.clone(),
            asked,
            solicited: sender_of_solicited,
        };
        let asked = Asked {
            links,
            solicited: Some(solicited),
        };
        let sender = Arc::new(sender);
        Ok((Self { sender, places }, reader, asked))
    }

    /// Has requests of the link with this index told of, before it has a server.
    #[must_use]
    pub fn expect(&self, ifindex: u32) -> Expected {
        let mut places = lock(&self.places);
        // A server that still has the place is over, and has yet to notice.
        if !matches!(places.get(&ifindex), Some(Place::Asked(_))) {
            places.insert(ifindex, Place::Expected);
        }
        drop(places);
        Expected {
            ifindex,
            places: self.places.clone(),
        }
    }

    /// A server's place at the link with this index, instead of the one before if there
    /// was one, and with the requests that wait for one.
    #[must_use]
    pub fn port(&self, ifindex: u32) -> LogPort {
        let mut places = lock(&self.places);
        let inbox = match places.remove(&ifindex) {
            Some(Place::Asked(inbox)) => inbox,
            _ => Arc::default(),
        };
        places.insert(ifindex, Place::Served(inbox.clone()));
        LogPort {
            ifindex,
            inbox,
            places: self.places.clone(),
            sender: self.sender.clone(),
        }
    }
}

impl Asked {
    /// The next link, by its index, whose server is wanted. It may be gone by now. Nothing
    /// is lost if the future is dropped.
    pub async fn next(&mut self) -> u32 {
        match self.links.recv().await {
            Some(ifindex) => ifindex,
            // The reader has ended, with a word of it.
            None => std::future::pending().await,
        }
    }
}

impl Asked {
    /// The router solicitations of all links; nothing the second time.
    pub fn take_solicited(&mut self) -> Option<mpsc::Receiver<Solicited>> {
        self.solicited.take()
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        let mut places = lock(&self.places);
        if !matches!(places.get(&self.ifindex), Some(Place::Served(_))) {
            places.remove(&self.ifindex);
        }
    }
}

impl LogPort {
    /// The link's index.
    #[must_use]
    pub fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// Waits for the next request. Nothing is lost if the future is dropped.
    pub async fn recv(&self) -> Received {
        loop {
            let new = self.inbox.new.notified();
            if let Some(request) = lock(&self.inbox.waiting).requests.pop_front() {
                return request;
            }
            new.await;
        }
    }

    /// Sends a datagram, at once or not at all.
    ///
    /// # Errors
    /// If the link is down or gone, its queue is full, or the datagram too long.
    pub fn send(&self, transmit: &Transmit) -> io::Result<()> {
        frame::send(&self.sender, transmit)
    }

    /// How many requests found no place since the last call.
    #[must_use]
    pub fn take_drops(&self) -> u32 {
        std::mem::take(&mut lock(&self.inbox.waiting).dropped)
    }
}

impl Drop for LogPort {
    fn drop(&mut self) {
        let mut places = lock(&self.places);
        // Another may have its place by now.
        if let Some(Place::Served(inbox)) = places.get(&self.ifindex)
            && Arc::ptr_eq(inbox, &self.inbox)
        {
            places.remove(&self.ifindex);
        }
    }
}

impl Inbox {
    fn put(&self, request: Received) {
        let mut waiting = lock(&self.waiting);
        if waiting.requests.len() < WAITING_MAX {
            waiting.requests.push_back(request);
            self.new.notify_one();
        } else {
            waiting.dropped = waiting.dropped.saturating_add(1);
        }
    }
}

/// Nobody panics between two changes that belong together.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A netlink socket that has our group's packets.
fn listen() -> Result<AsyncFd<OwnedFd>, LogSocketError> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        flags,
        Some(NETFILTER),
    )
    .map_err(|error| LogSocketError::Netlink(error.into()))?;
    bind(&socket).map_err(LogSocketError::Bind)?;
    // The greater size needs CAP_NET_ADMIN; without it losses are but likelier.
    if sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER).is_err() {
        let _ = sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER);
    }
    crate::async_fd::watch(socket, Interest::READABLE).map_err(LogSocketError::Netlink)
}

fn bind(socket: &OwnedFd) -> io::Result<()> {
    rustix::net::bind(socket, &SocketAddrNetlink::new(0, 0))?;
    let mut bytes = Vec::new();
    netlink::append(&mut bytes, 1, log_message::bind(GROUP));
    rustix::net::sendto(
        socket,
        &bytes,
        SendFlags::empty(),
        &SocketAddrNetlink::new(0, 0),
    )?;
    let mut buffer = vec![0; DATAGRAM_MAX];
    // The kernel answers within send().
    let answer = netlink::receive(socket.as_fd(), &mut buffer)?;
    let answer = answer.and_then(|answer| answer.messages().next());
    let answer = answer.ok_or(io::ErrorKind::UnexpectedEof)?;
    let answer = NetlinkMessage::<NetfilterMessage>::deserialize(answer);
    match answer.map_err(io::Error::other)?.payload {
        NetlinkPayload::Error(error) if error.code.is_some() => Err(error.to_io()),
        _ => Ok(()),
    }
}

impl Reader {
    /// Gives each link's requests to its server, for ever.
    pub async fn run(self) {
        let mut buffer = vec![0; DATAGRAM_MAX];
        loop {
            let mut ready = match self.socket.readable().await {
                Ok(ready) => ready,
                Err(error) => {
                    tracing::error!("no DHCP any more: {error}; restart netd");
                    return;
                }
            };
            if self.read(&mut buffer) {
                ready.clear_ready();
            }
            // However many come, others get their turn.
            tokio::task::yield_now().await;
        }
    }

    /// Reads some of what waits. Whether nothing is left.
    fn read(&self, buffer: &mut [u8]) -> bool {
        for _ in 0..AT_ONCE {
            match netlink::receive(self.socket.get_ref().as_fd(), buffer) {
                Ok(Some(datagram)) if datagram.from == 0 => {
                    let packets = datagram.messages().filter_map(Packet::read);
                    packets.for_each(|packet| self.sort(packet));
                }
                Ok(Some(_)) => {}
                Ok(None) => return true,
                Err(error) => LOST.say(|more| {
                    tracing::warn!("DHCP requests were lost: {error}{more}");
                }),
            }
        }
        false
    }

    fn sort(&self, packet: Packet) {
        if !packet.is_ipv6() {
            self.deliver(packet.request());
        } else if let Some(solicited) = packet.solicited() {
            // Whoever is not answered for want of room asks again.
            let _ = self.solicited.try_send(solicited);
        }
    }

    fn deliver(&self, Logged { ifindex, received }: Logged) {
        let mut places = lock(&self.places);
        match places.get_mut(&ifindex) {
            None => {}
            Some(Place::Asked(inbox) | Place::Served(inbox)) => inbox.put(received),
            Some(place) => {
                let inbox = Arc::<Inbox>::default();
                inbox.put(received);
                *place = Place::Asked(inbox);
                // Who does not listen wants to serve nobody.
                let _ = self.asked.send(ifindex);
            }
        }
    }
}
