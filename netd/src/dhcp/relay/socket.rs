//! The UDP socket by which a relay speaks with servers.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::async_fd::watch;
use crate::dhcp::SERVER_PORT;

/// The longest message that is read: more than an Ethernet frame holds.
const MESSAGE_MAX: usize = 2048;

/// A relay's place at UDP port 67 of one of the host's addresses.
#[derive(Debug)]
pub struct RelaySocket(AsyncFd<OwnedFd>);

impl RelaySocket {
    /// Takes port 67 of this address, beside whoever has it of all addresses and lets others
    /// share it.
    ///
    /// # Errors
    /// If the host has not this address, or another program keeps the port to itself. Must
    /// be called within a tokio runtime.
    pub fn open(address: Ipv4Addr) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let udp = Some(ipproto::UDP);
        let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, flags, udp)?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        rustix::net::bind(&socket, &SocketAddrV4::new(address, SERVER_PORT))?;
        watch(socket, Interest::READABLE).map(Self)
    }

    /// Waits for the next message, and gives the server that it came from. Nothing is lost
    /// if the future is dropped.
    ///
    /// # Errors
    /// If the kernel refuses to receive, for which there is no known reason.
    pub async fn recv(&self) -> io::Result<(SocketAddrV4, Vec<u8>)> {
        loop {
            let mut ready = self.0.readable().await?;
            let Ok(received) = ready.try_io(|socket| receive(socket.get_ref())) else {
                continue;
            };
            match received {
                // That a server did not listen comes as an error of the next call.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(error),
                Ok((SocketAddr::V4(from), message)) => return Ok((from, message)),
                Ok(_) => {}
            }
        }
    }

    /// Sends a message to a server, as the host's routes have it, at once or not at all.
    ///
    /// # Errors
    /// If there is no way to it, or too much is on its way.
    pub fn send(&self, to: SocketAddrV4, message: &[u8]) -> io::Result<()> {
        let flags = rustix::net::SendFlags::NOSIGNAL;
        rustix::net::sendto(self.0.get_ref(), message, flags, &to)?;
        Ok(())
    }
}

fn receive(socket: &OwnedFd) -> io::Result<(SocketAddr, Vec<u8>)> {
    // It shares the descriptor for the length of the call.
    let socket = UdpSocket::from(socket.try_clone()?);
    let mut buffer = [0_u8; MESSAGE_MAX];
    let (len, from) = socket.recv_from(&mut buffer)?;
    Ok((from, buffer.get(..len).unwrap_or_default().to_vec()))
}
