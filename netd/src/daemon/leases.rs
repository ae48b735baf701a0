//! What is told of leases.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Instant;

use registry::mac::Side;
use registry::{Mac, MachineName};
use tokio::sync::oneshot;

use super::Daemon;
use super::dhcp_service::Service;
use crate::dhcp::server::{ClientKey, Lease};
use crate::machines::Attachment;
use crate::subnets::Owner;

/// A lease.
#[derive(Clone, Debug)]
pub struct LeaseStatus {
    /// The machine that has it; empty where it is not known.
    pub machine: String,
    /// The zone, or empty.
    pub zone: String,
    /// The link on which it was given, by the interface's name.
    pub link: String,
    /// The address.
    pub address: IpAddr,
    /// The client's Ethernet address.
    pub mac: String,
    /// The client's identifier (option 61) in hexadecimal digits, or empty.
    pub client_id: String,
    /// What the client calls itself, or empty.
    pub hostname: String,
    /// Seconds until it ends.
    pub expires_in: u64,
}

/// The leases of one link, which its server tells.
#[derive(Debug)]
pub(super) struct LinkLeases {
    leases: oneshot::Receiver<Vec<Lease>>,
    owner: Owner,
    link: String,
    /// Whose Ethernet addresses are known, in a zone.
    members: HashMap<Mac, MachineName>,
    /// The one alone whose leases are asked for.
    only: Option<MachineName>,
}

impl Daemon {
    /// The leases of all links, or of one machine.
    pub(super) fn leases_of(&self, only: Option<&MachineName>) -> Vec<LinkLeases> {
        let links: Vec<u32> = match only {
            None => self.links.keys().copied().collect(),
            Some(name) => {
                let entry = self.machines.get(name).filter(|entry| entry.runs());
                let facing = entry.and_then(|entry| entry.machine.attachment.facing());
                facing.into_iter().collect()
            }
        };
        let leases = links.into_iter();
        leases
            .filter_map(|index| self.leases_on(index, only.copied()))
            .collect()
    }

    fn leases_on(&self, index: u32, only: Option<MachineName>) -> Option<LinkLeases> {
        let own = self.links.get(&index)?;
        let owner = own.owner?;
        let running = own.dhcp.as_ref().and_then(Service::running);
        let server = running.or_else(|| self.zones.dhcp(index))?;
        let members = match owner {
            Owner::Machine(_) => HashMap::new(),
            Owner::Zone(_) => self.members_by_mac(index),
        };
        Some(LinkLeases {
            leases: server.leases(),
            owner,
            link: self.world.link(index)?.name.clone(),
            members,
            only,
        })
    }

    fn members_by_mac(&self, bridge: u32) -> HashMap<Mac, MachineName> {
        let is_member = |attachment: &Attachment| matches!(attachment, Attachment::Zone { bridge: of, .. } if *of == bridge);
        let machines = self.machines.iter();
        let members = machines.filter(|(_, entry)| is_member(&entry.machine.attachment));
        members
            .map(|(name, _)| {
                let mac = Mac::of_machine(&self.host_id, name, Side::Container, 0);
                (mac, *name)
            })
            .collect()
    }

    pub(super) fn answer_leases(
        &self,
        only: Option<&MachineName>,
        answer: oneshot::Sender<Vec<LeaseStatus>>,
    ) {
        let leases = self.leases_of(only);
        // The links' own tasks answer: they are not waited for in here.
        tokio::task::spawn_local(async move {
            let _ = answer.send(gather(leases).await);
        });
    }
}

/// Waits for what the servers tell. One that has ended meanwhile tells nothing.
pub(super) async fn gather(links: Vec<LinkLeases>) -> Vec<LeaseStatus> {
    let mut all = Vec::new();
    for mut link in links {
        let leases = (&mut link.leases).await.unwrap_or_default();
        let told = leases.iter().filter_map(|lease| link.status(lease));
        all.extend(told);
    }
    all.sort_by(|one, other| (&one.link, one.address).cmp(&(&other.link, other.address)));
    all
}

impl LinkLeases {
    fn status(&self, lease: &Lease) -> Option<LeaseStatus> {
        let machine = match &self.owner {
            Owner::Machine(name) => Some(*name),
            Owner::Zone(_) => self.members.get(&lease.mac).copied(),
        };
        if self.only.is_some() && self.only != machine {
            return None;
        }
        let left = lease.until.saturating_duration_since(Instant::now());
        Some(LeaseStatus {
            machine: machine.map(|name| name.to_string()).unwrap_or_default(),
            zone: match &self.owner {
                Owner::Machine(_) => String::new(),
                Owner::Zone(name) => name.to_string(),
            },
            link: self.link.clone(),
            address: lease.address.into(),
            mac: lease.mac.to_string(),
            client_id: match &lease.client {
                ClientKey::Id(id) => id.iter().map(|byte| format!("{byte:02x}")).collect(),
                ClientKey::Reserved(_) => String::new(),
            },
            hostname: lease.hostname.clone().unwrap_or_default(),
            expires_in: left.as_secs(),
        })
    }
}
