//! The sockets of a client at its link.

use std::cell::Cell;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::OwnedFd;

use registry::Mac;

use crate::acd::ArpPacket;
use crate::arp_socket::{ArpSocket, ArpSocketError};
use crate::dhcp::CLIENT_PORT;
use crate::dhcp::client::{ServerDatagram, Transmit};
use crate::dhcp::server;
use crate::dhcp_wire::{OpenError, PacketSocket, Received};
use crate::socket_filter::{self, RETURN, op};
use crate::worker::Queue;

/// A client's sockets. Packets leave and come in past the firewall of this host.
#[derive(Debug)]
pub(super) struct Sockets {
    index: u32,
    dhcp: PacketSocket,
    arp: ArpSocket,
    leased: Option<Leased>,
    /// Who brought the last message: a server, or a relay, which most often is the router.
    messenger: Cell<Option<Mac>>,
}

/// Port 68 of a leased address.
///
/// What a server sends to that has come in by the packet socket already; but if nobody had
/// the port, the kernel would answer that it is closed. And from here goes what is for a
/// server on another link, as the host's routes have it.
#[derive(Debug)]
struct Leased {
    address: Ipv4Addr,
    socket: UdpSocket,
}

impl Leased {
    fn open(address: Ipv4Addr) -> io::Result<Self> {
        let socket = UdpSocket::bind(SocketAddrV4::new(address, CLIENT_PORT))?;
        // Nobody reads it: nothing is to wait there.
        let socket = OwnedFd::from(socket);
        socket_filter::attach(&socket, &[op(RETURN, 0)])?;
        let socket = UdpSocket::from(socket);
        socket.set_nonblocking(true)?;
        Ok(Self { address, socket })
    }
}

/// A client has no sockets.
#[derive(Debug, thiserror::Error)]
pub(super) enum SocketsError {
    #[error(transparent)]
    Dhcp(#[from] OpenError),
    #[error(transparent)]
    Arp(#[from] ArpSocketError),
}

/// What came in.
#[derive(Debug)]
pub(super) enum Heard {
    Dhcp(ServerDatagram),
    Arp(ArpPacket),
    /// Nothing that means anything.
    Nothing,
}

impl Sockets {
    pub fn open(index: u32) -> Result<Self, SocketsError> {
        Ok(Self {
            index,
            dhcp: PacketSocket::open_for_client(index)?,
            arp: ArpSocket::open(index)?,
            leased: None,
            messenger: Cell::new(None),
        })
    }

    /// Takes port 68 of an address that the link has, or lets go of it.
    ///
    /// # Errors
    /// Where another program has it: then that one hears and answers.
    pub fn set_leased(&mut self, address: Option<Ipv4Addr>) -> io::Result<()> {
        if self.leased.as_ref().map(|leased| leased.address) != address {
            self.leased = None;
            self.leased = address.map(Leased::open).transpose()?;
        }
        Ok(())
    }

    /// Waits for what comes next. Nothing is lost if the future is dropped.
    pub async fn next(&self) -> io::Result<Heard> {
        tokio::select! {
            received = self.dhcp.recv() => Ok(match received? {
                Received::Datagram(datagram) => {
                    self.messenger.set(Some(datagram.source_mac));
                    Heard::Dhcp(ServerDatagram {
                        source_mac: datagram.source_mac,
                        source: datagram.source,
                        destination: datagram.destination,
                        payload: datagram.payload,
                    })
                }
                Received::Damaged(error) => {
                    tracing::debug!(ifindex = self.index, %error, "frame ignored");
                    Heard::Nothing
                }
            }),
            heard = self.arp.recv() => Ok(Heard::Arp(heard?.packet)),
        }
    }

    pub fn send_arp(&self, packet: &ArpPacket) -> io::Result<()> {
        self.arp.send(self.index, packet)
    }

    /// Sends a message: to the station that it is for, or, where nobody knows that one, as
    /// the host's routes have it.
    pub fn send_dhcp(&self, transmit: Transmit) -> io::Result<()> {
        match transmit.destination_mac {
            Some(mac) => self.send_to_station(transmit, mac),
            None => match (self.send_routed(&transmit), self.messenger.get()) {
                // Where netd may have no such socket, as under its unit.
                (Err(_), Some(messenger)) => self.send_to_station(transmit, messenger),
                (result, _) => result,
            },
        }
    }

    fn send_to_station(&self, transmit: Transmit, destination_mac: Mac) -> io::Result<()> {
        self.dhcp.send(&server::Transmit {
            port: self.index,
            destination_mac,
            source: transmit.source,
            destination: transmit.destination,
            payload: transmit.payload,
        })
    }

    fn send_routed(&self, transmit: &Transmit) -> io::Result<()> {
        let is_source = |leased: &&Leased| leased.address == *transmit.source.ip();
        let leased = self.leased.as_ref().filter(is_source);
        let leased = leased.ok_or(io::ErrorKind::AddrNotAvailable)?;
        leased
            .socket
            .send_to(&transmit.payload, transmit.destination)?;
        Ok(())
    }

    /// Closes them elsewhere: it takes the kernel its time.
    pub fn close(self, queue: &Queue) {
        let descriptors: [OwnedFd; 2] = [self.dhcp.into_descriptor(), self.arp.into_descriptor()];
        queue.add(move || drop(descriptors));
    }
}
