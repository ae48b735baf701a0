//! Many rtnetlink requests in one message to the kernel (rtnetlink(7)).

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use ipnetwork::IpNetwork;
use registry::Mac;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with, sockopt,
};

const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_CREATE_EXCL: u16 = 0x600;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_GROUP: u16 = 27;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_F_NODAD: u8 = 2;
const NESTED: u16 = 0x8000;
const IFF_UP: u32 = 1;
/// Room for the longest batch and for the events of thousands of links.
const BUFFER: usize = 512 << 20;

/// A veth that is to be made.
#[derive(Clone, Debug)]
pub struct Veth<'a> {
    /// Interface index of the host's end.
    pub index: u32,
    /// Name of the host's end.
    pub name: String,
    /// Link group of the host's end.
    pub group: u32,
    /// Name of the other end.
    pub peer: String,
    /// Interface index of the other end in its namespace.
    pub peer_index: u32,
    /// MAC addresses of the host's end and of the other.
    pub macs: [Mac; 2],
    /// Network namespace of the other end.
    pub namespace: BorrowedFd<'a>,
}

/// Requests that the kernel takes in one go.
#[derive(Debug, Default)]
pub struct Batch(Vec<u8>);

impl Batch {
    /// Adds the making of a veth.
    pub fn add_veth(&mut self, veth: &Veth<'_>) {
        let [host, other] = veth.macs;
        self.message(RTM_NEWLINK, NLM_F_CREATE_EXCL, |m| {
            m.raw(&link_header(veth.index, 0));
            m.text(IFLA_IFNAME, &veth.name);
            m.attribute(IFLA_ADDRESS, &host.0);
            m.attribute(IFLA_GROUP, &veth.group.to_ne_bytes());
            m.nested(IFLA_LINKINFO, |m| {
                m.text(IFLA_INFO_KIND, "veth");
                m.nested(IFLA_INFO_DATA, |m| {
                    m.nested(VETH_INFO_PEER, |m| {
                        // Of the same index as the host's end, in its own namespace.
                        m.raw(&link_header(veth.peer_index, 0));
                        m.text(IFLA_IFNAME, &veth.peer);
                        m.attribute(IFLA_ADDRESS, &other.0);
                        let namespace = veth.namespace.as_raw_fd();
                        m.attribute(IFLA_NET_NS_FD, &namespace.to_ne_bytes());
                    });
                });
            });
        });
    }

    /// Adds that a link goes up.
    pub fn set_up(&mut self, index: u32) {
        self.message(RTM_NEWLINK, 0, |m| m.raw(&link_header(index, IFF_UP)));
    }

    /// Adds an address with its prefix for a link.
    pub fn add_address(&mut self, index: u32, address: IpNetwork) {
        let (family, bytes) = match address.ip() {
            IpAddr::V4(ip) => (libc::AF_INET, ip.octets().to_vec()),
            IpAddr::V6(ip) => (libc::AF_INET6, ip.octets().to_vec()),
        };
        self.message(RTM_NEWADDR, NLM_F_CREATE_EXCL, |m| {
            let [a, b, c, d] = index.to_ne_bytes();
            let flags = IFA_F_NODAD;
            m.raw(&[family as u8, address.prefix(), flags, 0, a, b, c, d]);
            m.attribute(IFA_LOCAL, &bytes);
            m.attribute(IFA_ADDRESS, &bytes);
        });
    }

    /// Has the kernel do all of it, in the network namespace that the socket was made in.
    /// Gives how long that took.
    ///
    /// # Errors
    /// The first one that the kernel answered.
    pub fn perform(mut self, socket: &OwnedFd) -> io::Result<Duration> {
        let started = Instant::now();
        if self.0.is_empty() {
            return Ok(started.elapsed());
        }
        self.ask_for_an_answer();
        send(socket, &self.0, SendFlags::empty())?;
        let took = started.elapsed();
        let mut buffer = vec![0; 1 << 16];
        loop {
            let (length, _) = recv(socket, buffer.as_mut_slice(), RecvFlags::empty())?;
            for message in messages(&buffer[..length]) {
                if message.kind == NLMSG_ERROR {
                    let errno = i32::from_ne_bytes(message.body[..4].try_into().unwrap());
                    if errno != 0 {
                        return Err(io::Error::from_raw_os_error(-errno));
                    }
                    return Ok(took);
                }
            }
        }
    }

    /// The last request is acknowledged; of the others only failures are told.
    fn ask_for_an_answer(&mut self) {
        let mut at = 0;
        loop {
            let length = u32::from_ne_bytes(self.0[at..at + 4].try_into().unwrap()) as usize;
            let next = at + length.next_multiple_of(4);
            if next >= self.0.len() {
                break;
            }
            at = next;
        }
        self.0[at + 6] |= NLM_F_ACK as u8;
    }

    fn message(&mut self, kind: u16, flags: u16, body: impl FnOnce(&mut Self)) {
        let start = self.0.len();
        self.0.extend([0; 4]);
        self.0.extend(kind.to_ne_bytes());
        self.0.extend((flags | NLM_F_REQUEST).to_ne_bytes());
        self.0.extend([0; 8]);
        body(self);
        let length = (self.0.len() - start) as u32;
        self.0[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.0.extend((value.len() as u16 + 4).to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.raw(value);
    }

    fn text(&mut self, kind: u16, text: &str) {
        self.attribute(kind, &[text.as_bytes(), b"\0"].concat());
    }

    fn nested(&mut self, kind: u16, inside: impl FnOnce(&mut Self)) {
        let start = self.0.len();
        self.attribute(kind | NESTED, &[]);
        inside(self);
        let length = (self.0.len() - start) as u16;
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }
}

/// `struct ifinfomsg`.
fn link_header(index: u32, flags: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    let parts = [0, index, flags, flags];
    for (place, part) in bytes.chunks_exact_mut(4).zip(parts) {
        place.copy_from_slice(&part.to_ne_bytes());
    }
    bytes
}

/// A socket of rtnetlink in the calling thread's network namespace, with room for
/// much, that hears of `groups` (a bit each).
///
/// # Errors
/// As socket(2), setsockopt(2) and bind(2).
pub fn socket(groups: u32) -> io::Result<OwnedFd> {
    let kind = SocketType::RAW;
    let socket = socket_with(AddressFamily::NETLINK, kind, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_send_buffer_size_force(&socket, BUFFER)?;
    sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER)?;
    let own = rustix::net::netlink::SocketAddrNetlink::new(0, groups);
    rustix::net::bind(socket.as_fd(), &own)?;
    Ok(socket)
}

/// One message of a datagram.
#[derive(Debug)]
pub struct Message<'a> {
    /// RTM_* or NLMSG_*.
    pub kind: u16,
    /// What follows its header.
    pub body: &'a [u8],
}

/// The messages of a datagram.
pub fn messages(datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(*rest.first_chunk()?) as usize;
        let message = rest.get(..length).filter(|message| message.len() >= 16)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Message {
            kind: u16::from_ne_bytes([message[4], message[5]]),
            body: &message[16..],
        })
    })
}
