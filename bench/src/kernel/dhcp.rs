//! Asking for an address from a container's end of a link (RFC 2131, 4.4.1).

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use etherparse::PacketBuilder;
use registry::Mac;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};

/// How long is waited for an answer before it is asked again.
const AGAIN: Duration = Duration::from_millis(20);

/// Asks on the link `name` of the calling thread's network namespace until there is
/// an offer. Whether there was one in time.
///
/// # Errors
/// There is no such link, or the kernel refuses a packet socket.
pub fn is_offered(name: &str, mac: Mac, patience: Duration) -> io::Result<bool> {
    let socket = packet_socket(name)?;
    // The link's own: no other asks on it.
    let transaction = [mac.0[2], mac.0[3], mac.0[4], mac.0[5]];
    let discover = discover(mac, transaction)?;
    let deadline = Instant::now() + patience;
    let mut buffer = [0; 2048];
    while Instant::now() < deadline {
        // It may be down still.
        let _ = send(&socket, &discover, SendFlags::empty());
        let until = Instant::now() + AGAIN;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            let mut asked = [PollFd::new(&socket, PollFlags::IN)];
            let left = Timespec::try_from(left).ok();
            if poll(&mut asked, left.as_ref())? == 0 {
                break;
            }
            if let Ok((length, _)) = recv(&socket, &mut buffer, RecvFlags::DONTWAIT)
                && is_offer(&buffer[..length], transaction)
            {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

#[allow(unsafe_code)]
fn packet_socket(name: &str) -> io::Result<OwnedFd> {
    use std::os::fd::AsRawFd;
    let index = rustix::net::netdevice::name_to_index(
        rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?,
        name,
    )?;
    let protocol = (libc::ETH_P_IP as u16).to_be();
    let flags = SocketFlags::CLOEXEC;
    let number = std::num::NonZero::new(u32::from(protocol)).map(rustix::net::Protocol::from_raw);
    let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, flags, number)?;
    // SAFETY: all-zero is a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol;
    address.sll_ifindex = index as i32;
    let length = size_of_val(&address) as u32;
    // SAFETY: the address is valid and as long as said.
    if unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(socket)
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
