//! A DHCP server's place at a bridge, and at UDP port 67 of the host's address there, where
//! relays elsewhere send what they pass on.

use std::io;
use std::net::Ipv4Addr;

use registry::Mac;

use super::{BridgePort, Received};
use crate::dhcp::relay::RelaySocket;
use crate::dhcp::server::{Datagram, Transmit, relay_of};

/// Stands for the interface of what comes by no link of the server's.
const ROUTED: u32 = 0;
/// Stands for the station behind which a relay elsewhere is.
const ELSEWHERE: Mac = Mac([2, 0, 0, 0, 0, 0]);

/// The server's place.
#[derive(Debug)]
pub struct RelayedPort {
    bridge: BridgePort,
    address: Ipv4Addr,
    socket: RelaySocket,
}

impl RelayedPort {
    /// The place at a bridge on which the host has this address.
    #[must_use]
    pub fn new(bridge: BridgePort, address: Ipv4Addr, socket: RelaySocket) -> Self {
        Self {
            bridge,
            address,
            socket,
        }
    }

    /// The bridge's index.
    #[must_use]
    pub fn ifindex(&self) -> u32 {
        self.bridge.ifindex()
    }

    /// Waits for the next request. Nothing is lost if the future is dropped.
    ///
    /// # Errors
    /// [`RelaySocket::recv`].
    pub async fn recv(&self) -> io::Result<Received> {
        loop {
            let (from, payload) = tokio::select! {
                received = self.bridge.recv() => return Ok(received),
                received = self.socket.recv() => received?,
            };
            // Who asks for himself does so on the link.
            if relay_of(&payload).is_none() {
                tracing::debug!(%from, "a DHCP request from elsewhere that no relay has passed on");
                continue;
            }
            return Ok(Received::Datagram(Datagram {
                port: ROUTED,
                source_mac: ELSEWHERE,
                source: *from.ip(),
                destination: self.address,
                payload,
            }));
        }
    }

    /// The next request of the bridge, if one waits.
    pub fn try_recv(&self) -> Option<Received> {
        self.bridge.try_recv()
    }

    /// Sends a datagram by the port that it names, or to a relay elsewhere as the host's
    /// routes have it, at once or not at all.
    ///
    /// # Errors
    /// If there is no way to it, or too much is on its way.
    pub fn send(&self, transmit: &Transmit) -> io::Result<()> {
        match transmit.port {
            ROUTED => self.socket.send(transmit.destination, &transmit.payload),
            _ => self.bridge.send(transmit),
        }
    }
}
