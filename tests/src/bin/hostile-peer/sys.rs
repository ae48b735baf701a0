//! The system calls.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

static END: AtomicBool = AtomicBool::new(false);

extern "C" fn note_end(_signal: i32) {
    END.store(true, Ordering::Relaxed);
}

/// From now on SIGTERM only asks.
pub fn end_when_asked() {
    let handler = note_end as extern "C" fn(i32);
    // SAFETY: the handler only stores to an atomic, which is async-signal-safe.
    unsafe { libc::signal(libc::SIGTERM, handler as usize) };
}

/// Whether SIGTERM has come.
pub fn asked_to_end() -> bool {
    END.load(Ordering::Relaxed)
}

/// Keeps this process to one processor.
pub fn use_only(cpu: usize) {
    // SAFETY: an all-zero set is an empty one, which lives through both calls.
    unsafe {
        let mut set: libc::cpu_set_t = zeroed();
        libc::CPU_SET(cpu, &mut set);
        assert_eq!(
            libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set),
            0
        );
    }
}

/// The index of a link.
pub fn index_of(link: &str) -> u32 {
    let name = CString::new(link).unwrap();
    // SAFETY: a C string.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    assert_ne!(index, 0, "there is no {link}");
    index
}

/// The Ethernet address of a link.
pub fn mac_of(link: &str) -> [u8; 6] {
    let socket = socket(libc::AF_INET, libc::SOCK_DGRAM, 0);
    // SAFETY: all-zero is a valid ifreq, which lives through the call.
    unsafe {
        let mut request: libc::ifreq = zeroed();
        for (to, from) in request.ifr_name.iter_mut().zip(link.bytes()) {
            *to = from as libc::c_char;
        }
        let result = libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFHWADDR, &raw mut request);
        assert_eq!(result, 0, "{link}: {}", io::Error::last_os_error());
        let [a, b, c, d, e, f, ..] = request.ifr_ifru.ifru_hwaddr.sa_data;
        [a, b, c, d, e, f].map(|byte| byte as u8)
    }
}

fn socket(family: i32, kind: i32, protocol: i32) -> OwnedFd {
    // SAFETY: no pointers; what it gives is a new descriptor.
    unsafe {
        let fd = libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol);
        assert!(fd >= 0, "{}", io::Error::last_os_error());
        OwnedFd::from_raw_fd(fd)
    }
}

/// Sends frames as they are.
#[derive(Debug)]
pub struct FrameSocket(OwnedFd);

impl FrameSocket {
    /// On this link.
    pub fn open(link: &str) -> Self {
        let socket = socket(libc::AF_PACKET, libc::SOCK_RAW, 0);
        // SAFETY: all-zero is a valid sockaddr_ll, which lives through the call.
        unsafe {
            let mut address: libc::sockaddr_ll = zeroed();
            address.sll_family = libc::AF_PACKET as u16;
            address.sll_ifindex = index_of(link) as i32;
            let size = size_of::<libc::sockaddr_ll>() as u32;
            let bound = libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size);
            assert_eq!(bound, 0, "{}", io::Error::last_os_error());
        }
        Self(socket)
    }

    /// One frame.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        send(&self.0, frame)
    }
}

fn send(socket: &OwnedFd, bytes: &[u8]) -> io::Result<()> {
    // SAFETY: the pointer and the length are those of `bytes`.
    let sent = unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
    if sent < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// A route socket.
#[derive(Debug)]
pub struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

impl Netlink {
    /// In the network of the calling thread.
    pub fn open() -> Self {
        let socket = socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE);
        // SAFETY: all-zero is a valid sockaddr_nl, which lives through the call.
        unsafe {
            let mut address: libc::sockaddr_nl = zeroed();
            address.nl_family = libc::AF_NETLINK as u16;
            let size = size_of::<libc::sockaddr_nl>() as u32;
            let bound = libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size);
            assert_eq!(bound, 0, "{}", io::Error::last_os_error());
        }
        Self {
            socket,
            sequence: 0,
        }
    }

    /// Its port.
    pub fn port(&self) -> u32 {
        // SAFETY: all-zero is a valid sockaddr_nl, which lives through the call.
        unsafe {
            let mut address: libc::sockaddr_nl = zeroed();
            let mut size = size_of::<libc::sockaddr_nl>() as u32;
            let fd = self.socket.as_raw_fd();
            let result = libc::getsockname(fd, (&raw mut address).cast(), &raw mut size);
            assert_eq!(result, 0, "{}", io::Error::last_os_error());
            address.nl_pid
        }
    }

    fn message(&mut self, kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
        self.sequence += 1;
        let mut message = Vec::with_capacity(16 + body.len());
        message.extend((16 + body.len() as u32).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        message.extend(self.sequence.to_ne_bytes());
        message.extend(0_u32.to_ne_bytes());
        message.extend(body);
        message
    }

    /// Asks the kernel, and waits for its answer: 0, or the error.
    pub fn ask(&mut self, kind: u16, flags: u16, body: &[u8]) -> i32 {
        let message = self.message(kind, flags, body);
        send(&self.socket, &message).unwrap();
        let mut answer = [0_u8; 512];
        // SAFETY: the pointer and the length are those of `answer`.
        let length = unsafe {
            let fd = self.socket.as_raw_fd();
            libc::recv(fd, answer.as_mut_ptr().cast(), answer.len(), 0)
        };
        assert!(length >= 20, "{}", io::Error::last_os_error());
        i32::from_ne_bytes(answer[16..20].try_into().unwrap())
    }

    /// Tells another socket something, as if it were the kernel. Whether it took it.
    pub fn tell(&mut self, port: u32, kind: u16, sequence: u32, body: &[u8]) -> bool {
        self.sequence = sequence - 1;
        let message = self.message(kind, 0, body);
        // SAFETY: all-zero is a valid sockaddr_nl; the pointers and lengths are those of
        // `message` and `address`, which live through the call.
        unsafe {
            let mut address: libc::sockaddr_nl = zeroed();
            address.nl_family = libc::AF_NETLINK as u16;
            address.nl_pid = port;
            libc::sendto(
                self.socket.as_raw_fd(),
                message.as_ptr().cast(),
                message.len(),
                libc::MSG_DONTWAIT,
                (&raw const address).cast(),
                size_of::<libc::sockaddr_nl>() as u32,
            ) >= 0
        }
    }
}
