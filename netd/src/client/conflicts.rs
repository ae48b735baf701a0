//! Other hosts with our address, and link-local addresses, which are chosen so that nobody
//! else has them.

use std::net::Ipv4Addr;
use std::time::Instant;

use ipnetwork::Ipv4Network;

use super::link::{ClientLink, link_local};
use crate::rtnl::LeaseAddress;
use crate::{acd, dhcp::client, ipv4ll};

/// 169.254.0.0/16.
const LINK_LOCAL_PREFIX: u8 = 16;

impl ClientLink {
    /// Looks whether another host has an address. One that the link has already is ours.
    pub(super) fn probe(&mut self, address: Ipv4Addr) {
        let now = Instant::now();
        if self.has(address) {
            self.acd.set_address(address);
            self.acd.adopt(now);
            self.give_client(client::Input::Probed { address });
        } else {
            self.acd.start_with(now, address);
        }
    }

    pub(super) fn take_acd(&mut self, event: acd::Event) {
        let address = self.acd.address();
        match event {
            acd::Event::Free => self.give_client(client::Input::Probed { address }),
            acd::Event::Conflict { by } | acd::Event::Lost { by } => {
                tracing::warn!(link = %self.link.name, %address, %by, "another host has the address");
                self.give_client(client::Input::Conflict { address });
            }
            acd::Event::Defended { by } => {
                tracing::warn!(link = %self.link.name, %address, %by, "another host used the address, and was told that it is ours");
            }
        }
    }

    /// Looks for a link-local address; one that a netd before this has set is kept.
    pub(super) fn start_link_local(&mut self) {
        if !self.profile.link_local || self.ipv4ll.deadline().is_some() {
            return;
        }
        if self.ipv4ll.address().is_some() {
            return;
        }
        let now = Instant::now();
        match self.own_link_local() {
            Some(address) => self.ipv4ll.adopt(now, address),
            None => self.ipv4ll.start(now),
        }
    }

    /// Gives the link-local address up.
    pub(super) fn stop_link_local(&mut self) {
        let held = self.ipv4ll.stop();
        let set: Vec<Ipv4Addr> = self
            .own()
            .map(|network| network.ip())
            .chain(held)
            .filter(Ipv4Addr::is_link_local)
            .collect();
        for address in set {
            self.remove_link_local(address);
        }
        // The next time it begins as the first time.
        self.ipv4ll = link_local(self.mac, &self.profile, held);
    }

    pub(super) fn take_ipv4ll(&mut self, event: ipv4ll::Event) {
        let link = &self.link.name;
        match event {
            ipv4ll::Event::Claimed(address) => {
                tracing::info!(%link, %address, "no lease: a link-local address");
                self.set_link_local(address);
            }
            ipv4ll::Event::Lost { address, by } => {
                tracing::warn!(%link, %address, %by, "another host has the link-local address");
                self.remove_link_local(address);
            }
            ipv4ll::Event::Taken { address, by } => {
                tracing::debug!(%link, %address, %by, "another host has the link-local address");
            }
            ipv4ll::Event::Defended { address, by } => {
                tracing::warn!(%link, %address, %by, "another host used the link-local address, and was told that it is ours");
            }
        }
    }

    pub(super) fn set_link_local(&mut self, address: Ipv4Addr) {
        if let Ok(address) = Ipv4Network::new(address, LINK_LOCAL_PREFIX) {
            self.set_address(LeaseAddress {
                address,
                broadcast: None,
                seconds: None,
                marked: true,
            });
        }
    }

    fn remove_link_local(&mut self, address: Ipv4Addr) {
        if let Ok(network) = Ipv4Network::new(address, LINK_LOCAL_PREFIX) {
            self.remove_address(network);
        }
    }
}
