//! The sockets of a client at its link.

use std::io;
use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::OwnedFd;

use registry::Mac;

use crate::acd::ArpPacket;
use crate::arp_socket::{ArpSocket, ArpSocketError};
use crate::dhcp::client::{ServerDatagram, Transmit};
use crate::dhcp::server;
use crate::dhcp_wire::{OpenError, PacketSocket, Received};
use crate::worker::Queue;

/// A client's sockets. Packets leave and come in past the firewall of this host.
#[derive(Debug)]
pub(super) struct Sockets {
    index: u32,
    dhcp: PacketSocket,
    arp: ArpSocket,
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
        })
    }

    /// Waits for what comes next. Nothing is lost if the future is dropped.
    pub async fn next(&self) -> io::Result<Heard> {
        tokio::select! {
            received = self.dhcp.recv() => Ok(match received? {
                Received::Datagram(datagram) => Heard::Dhcp(ServerDatagram {
                    source_mac: datagram.source_mac,
                    source: datagram.source,
                    destination: datagram.destination,
                    payload: datagram.payload,
                }),
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
            None => send_routed(&transmit),
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

    /// Closes them elsewhere: it takes the kernel its time.
    pub fn close(self, queue: &Queue) {
        let descriptors: [OwnedFd; 2] = [self.dhcp.into_descriptor(), self.arp.into_descriptor()];
        queue.add(move || drop(descriptors));
    }
}

/// Sends from an address of this host.
fn send_routed(transmit: &Transmit) -> io::Result<()> {
    let source: SocketAddrV4 = transmit.source;
    UdpSocket::bind(source)?.send_to(&transmit.payload, transmit.destination)?;
    Ok(())
}
