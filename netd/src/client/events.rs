//! What a client's engines say is done.

use std::time::Instant;

use super::link::ClientLink;
use crate::dhcp::client::{self, Client, Event, Loss, SavedLease, Transmit};
use crate::profiles::Keep;
use crate::{acd, ipv4ll};

impl ClientLink {
    /// Does what the engines want, until they want nothing.
    pub(super) fn flush(&mut self) {
        loop {
            if let Some(output) = self.client.as_mut().and_then(Client::poll_output) {
                match output {
                    client::Output::Send(transmit) => self.send(transmit),
                    client::Output::Event(event) => self.take_dhcp(event),
                }
            } else if let Some(output) = self.acd.poll_output() {
                match output {
                    acd::Output::Send(packet) => self.send_arp(&packet),
                    acd::Output::Event(event) => self.take_acd(event),
                }
            } else if let Some(output) = self.ipv4ll.poll_output() {
                match output {
                    ipv4ll::Output::Send(packet) => self.send_arp(&packet),
                    ipv4ll::Output::Event(event) => self.take_ipv4ll(event),
                }
            } else {
                return;
            }
        }
    }

    /// What cannot be sent is lost as on any wire: it is sent again.
    fn send(&mut self, transmit: Transmit) {
        let sent = self
            .sockets
            .as_ref()
            .map(|sockets| sockets.send_dhcp(transmit));
        if let Some(Err(error)) = sent {
            tracing::debug!(link = %self.link.name, %error, "cannot send a DHCP message");
        }
    }

    fn send_arp(&mut self, packet: &acd::ArpPacket) {
        let sent = self
            .sockets
            .as_ref()
            .map(|sockets| sockets.send_arp(packet));
        if let Some(Err(error)) = sent {
            tracing::debug!(link = %self.link.name, %error, "cannot send an ARP packet");
        }
    }

    fn take_dhcp(&mut self, event: Event) {
        let name = &self.link.name;
        tracing::debug!(link = %name, ?event, "DHCP");
        match event {
            Event::ToProbe(lease) => self.probe(lease.address.ip()),
            Event::Bound(lease) => {
                let (address, server) = (lease.address, lease.server);
                tracing::info!(link = %name, %address, %server, "leased");
                self.apply(*lease);
                self.stop_link_local();
                self.keep_lease();
            }
            Event::Renewed { lease, changes } => {
                if changes != client::Changes::default() {
                    tracing::info!(link = %name, ?changes, "the server has changed what it gives");
                }
                self.apply(*lease);
                self.keep_lease();
            }
            Event::Lost { address, why } => {
                tracing::warn!(link = %name, %address, "the address is lost: {}", because(why));
                if why == Loss::Expired && self.profile.keep == Keep::Always {
                    tracing::warn!(link = %name, %address, "it stays until there is another lease, as a file says");
                    self.shared.held.borrow_mut().remove(&self.link.index);
                    return;
                }
                if why != Loss::Expired {
                    self.shared.store.forget(name);
                }
                self.acd.stop();
                self.withdraw(address);
            }
            Event::NoAnswer { stopped } => {
                tracing::warn!(link = %name, stopped, "no DHCP server gives an address");
                if self.profile.link_local && self.usable().next().is_none() {
                    self.start_link_local();
                }
            }
            Event::Informed(_) | Event::Ignored { .. } => {}
        }
    }

    /// Keeps the lease that is in use for the next start.
    fn keep_lease(&self) {
        if let (Some(client), Some(lease)) = (&self.client, &self.applied) {
            let saved = SavedLease::new(lease, client.config(), Instant::now());
            self.shared.store.keep(&self.link.name, &saved);
        }
    }
}

fn because(why: Loss) -> &'static str {
    match why {
        Loss::Expired => "no server has renewed the lease in time",
        Loss::Nak => "a server says that it is not ours",
        Loss::Released => "it was given back",
        Loss::Declined => "another host uses it",
        Loss::Replaced => "the server gave another one",
    }
}
