//! Asking for addresses from containers' ends of links (RFC 2131, 4.4.1).
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::io;
use std::mem::{size_of, size_of_val, zeroed};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use etherparse::PacketBuilder;
use registry::Mac;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, socket_with};

/// How long is waited for an answer before it is asked again.
const AGAIN: Duration = Duration::from_millis(500);

/// Clients on the links of one network namespace, all by one socket.
#[derive(Debug)]
pub struct Clients {
    socket: OwnedFd,
}

impl Clients {
    /// In the calling thread's network namespace.
    ///
    /// # Errors
    /// The kernel refuses a packet socket.
    pub fn open() -> io::Result<Self> {
        let number = std::num::NonZero::new(u32::from((libc::ETH_P_IP as u16).to_be()));
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let protocol = number.map(Protocol::from_raw);
        let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, flags, protocol)?;
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, 64 << 20)?;
        Ok(Self { socket })
    }

    /// Asks on all these links, given by index and address, again and again until each
    /// had an offer. Gives the links that had none in time.
    ///
    /// # Errors
    /// The kernel refuses to wait.
    pub fn ask(&self, links: &[(u32, Mac)], patience: Duration) -> io::Result<Vec<u32>> {
        let mut left: HashMap<u32, Vec<u8>> = HashMap::new();
        for (index, mac) in links {
            left.insert(*index, discover(*mac, transaction(*index))?);
        }
        let deadline = Instant::now() + patience;
        while !left.is_empty() && Instant::now() < deadline {
            for (index, frame) in &left {
                // It may be down still.
                let _ = self.send(*index, frame);
            }
            let until = Instant::now() + AGAIN;
            while let Some(rest) = until.checked_duration_since(Instant::now()) {
                if left.is_empty() || !self.is_readable(rest)? {
                    break;
                }
                while let Some(index) = self.offered_on()? {
                    left.remove(&index);
                }
            }
        }
        Ok(left.into_keys().collect())
    }

    fn is_readable(&self, within: Duration) -> io::Result<bool> {
        let within = Timespec::try_from(within).ok();
        let mut asked = [PollFd::new(&self.socket, PollFlags::IN)];
        Ok(poll(&mut asked, within.as_ref())? > 0)
    }

    fn send(&self, index: u32, frame: &[u8]) -> io::Result<()> {
        // SAFETY: all-zero is a valid sockaddr_ll.
        let mut address: libc::sockaddr_ll = unsafe { zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_ifindex = index as i32;
        let length = size_of_val(&address) as u32;
        // SAFETY: both pointers are to live values of the lengths given.
        let sent = unsafe {
            libc::sendto(
                self.socket.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                0,
                (&raw const address).cast(),
                length,
            )
        };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Reads what came, up to an offer: its link. Nothing if no more is there.
    fn offered_on(&self) -> io::Result<Option<u32>> {
        let mut buffer = [0; 2048];
        loop {
            // SAFETY: all-zero is a valid sockaddr_ll.
            let mut address: libc::sockaddr_ll = unsafe { zeroed() };
            let mut length = size_of::<libc::sockaddr_ll>() as u32;
            // SAFETY: all pointers are to live values of the lengths given.
            let read = unsafe {
                libc::recvfrom(
                    self.socket.as_raw_fd(),
                    buffer.as_mut_ptr().cast(),
                    buffer.len(),
                    0,
                    (&raw mut address).cast(),
                    &raw mut length,
                )
            };
            let Ok(read) = usize::try_from(read) else {
                let error = io::Error::last_os_error();
                return match error.kind() {
                    io::ErrorKind::WouldBlock => Ok(None),
                    _ => Err(error),
                };
            };
            let index = address.sll_ifindex as u32;
            if is_offer(&buffer[..read], transaction(index)) {
                return Ok(Some(index));
            }
        }
    }
}

/// The link's own.
fn transaction(index: u32) -> [u8; 4] {
    index.to_be_bytes()
}

fn discover(mac: Mac, transaction: [u8; 4]) -> io::Result<Vec<u8>> {
    let mut message = vec![1, 1, 6, 0];
    message.extend(transaction);
    // No seconds; the answer as a broadcast.
    message.extend([0, 0, 0x80, 0]);
    message.resize(28, 0);
    message.extend(mac.0);
    message.resize(236, 0);
    message.extend([99, 130, 83, 99, 53, 1, 1, 255]);
    message.resize(300, 0);
    let builder = PacketBuilder::ethernet2(mac.0, [0xff; 6])
        .ipv4([0; 4], [255; 4], 64)
        .udp(68, 67);
    let mut frame = Vec::with_capacity(builder.size(message.len()));
    builder
        .write(&mut frame, &message)
        .map_err(io::Error::other)?;
    Ok(frame)
}

/// Whether a frame answers a transaction: UDP to port 68 with BOOTREPLY in it.
fn is_offer(frame: &[u8], transaction: [u8; 4]) -> bool {
    let Some(header) = frame.get(14).map(|first| usize::from(first & 15) * 4) else {
        return false;
    };
    let udp = frame.get(14 + header..).unwrap_or_default();
    udp.get(2..4) == Some(&[0, 68])
        && udp.get(8) == Some(&2)
        && udp.get(12..16) == Some(&transaction)
}
