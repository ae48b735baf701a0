//! What the daemon tells of itself on the bus.

use std::time::UNIX_EPOCH;

use registry::MachineName;
use tokio::sync::{mpsc, oneshot};

use super::Daemon;
use super::leases::{LeaseStatus, gather};
use super::registration::Entry;
use crate::client::HeldLease;

/// A question to the daemon. Whoever asks and is gone is not answered.
#[derive(Debug)]
pub enum Query {
    /// All machines that run.
    List(oneshot::Sender<Vec<ListedMachine>>),
    /// One machine, as a list has it.
    One(MachineName, oneshot::Sender<Option<ListedMachine>>),
    /// One machine, with the leases of its link.
    Status(MachineName, oneshot::Sender<Option<MachineStatus>>),
    /// What netd itself has leased, as a client.
    ClientLeases(oneshot::Sender<Vec<HeldLease>>),
    /// The leases of all links, or of one machine.
    Leases(Option<MachineName>, oneshot::Sender<Vec<LeaseStatus>>),
    /// Files have changed. The answer is what there is to be said of them, a line each.
    Reload(oneshot::Sender<Vec<String>>),
}

/// How many questions may wait; who asks more waits to ask.
const QUERIES_MAX: usize = 8;

/// The questions that wait. Anybody may ask: so they have a queue of their own, of
/// which each turn of the daemon answers one, and never fill that of the supervisors.
#[derive(Debug)]
pub(super) struct Queries {
    sender: mpsc::Sender<Query>,
    receiver: mpsc::Receiver<Query>,
}

impl Default for Queries {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(QUERIES_MAX);
        Self { sender, receiver }
    }
}

impl Queries {
    /// The next question. Nothing is lost if the future is dropped.
    pub(super) async fn next(&mut self) -> Query {
        match self.receiver.recv().await {
            Some(query) => query,
            // There is always one sender.
            None => std::future::pending().await,
        }
    }
}

/// What a list has of a machine.
#[derive(Clone, Debug)]
pub struct ListedMachine {
    /// Its name.
    pub name: String,
    /// The manager that registered it.
    pub service: String,
    /// `host`, `private`, `veth`, `bridge` or `zone`.
    pub network: &'static str,
    /// Its addresses, in the order in which its name resolves.
    pub addresses: Vec<String>,
}

/// What is to be known of a machine.
#[derive(Clone, Debug)]
pub struct MachineStatus {
    /// Its name.
    pub name: String,
    /// The manager that registered it.
    pub service: String,
    /// Machine id, 32 hexadecimal digits, or empty.
    pub id: String,
    /// Its tree's directory on the host; empty where netd does not know it.
    pub root: String,
    /// Process id of its first process.
    pub leader: u32,
    /// Its cgroup, or empty.
    pub cgroup: String,
    /// `host`, `private`, `veth`, `bridge` or `zone`.
    pub network: &'static str,
    /// Name of the host's end of its link, or empty.
    pub link: String,
    /// When it was registered, microseconds since the epoch.
    pub since: u64,
    /// Its addresses, in the order in which its name resolves.
    pub addresses: Vec<String>,
    /// Its subnets.
    pub subnets: Vec<String>,
    /// What of the host overlaps its subnets, or empty.
    pub clash: String,
    /// What DHCP clients on its link have.
    pub leases: Vec<LeaseStatus>,
}

impl Daemon {
    /// Where questions are asked.
    #[must_use]
    pub fn queries(&self) -> mpsc::Sender<Query> {
        self.queries.sender.clone()
    }

    pub(super) fn answer(&mut self, query: Query) {
        match query {
            Query::List(answer) => {
                // What it costs, anybody can have it done again and again.
                if !answer.is_closed() {
                    let running = self.machines.values().filter(|entry| entry.runs());
                    let _ = answer.send(running.map(ListedMachine::from).collect());
                }
            }
            Query::One(name, answer) => {
                let entry = self.machines.get(&name).filter(|entry| entry.runs());
                let _ = answer.send(entry.map(ListedMachine::from));
            }
            Query::Status(name, answer) => self.answer_status(&name, answer),
            Query::ClientLeases(answer) => drop(answer.send(self.clients.leases())),
            Query::Leases(name, answer) => self.answer_leases(name.as_ref(), answer),
            Query::Reload(answer) => {
                // Who does not wait for it has had it done all the same.
                let _ = answer.send(self.reload());
            }
        }
    }

    fn answer_status(&self, name: &MachineName, answer: oneshot::Sender<Option<MachineStatus>>) {
        let Some(entry) = self.machines.get(name).filter(|entry| entry.runs()) else {
            let _ = answer.send(None);
            return;
        };
        let mut status = self.status(entry);
        let leases = self.leases_of(Some(name));
        // The link's own task answers: it is not waited for in here.
        tokio::task::spawn_local(async move {
            status.leases = gather(leases).await;
            let _ = answer.send(Some(status));
        });
    }

    fn status(&self, entry: &Entry) -> MachineStatus {
        let machine = &entry.machine;
        let link = machine.attachment.link();
        let facing = machine.attachment.facing();
        let own = facing.and_then(|index| self.links.get(&index));
        let subnets = own.and_then(|own| own.subnets);
        let since = machine
            .since
            .0
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        MachineStatus {
            name: machine.name.to_string(),
            service: machine.service.clone(),
            id: machine.id.clone().unwrap_or_default(),
            root: machine.root.clone().unwrap_or_default(),
            leader: machine.leader.pid,
            cgroup: machine.cgroup.clone(),
            network: machine.attachment.as_str(),
            link: link
                .and_then(|index| self.world.link(index))
                .map(|link| link.name.clone())
                .unwrap_or_default(),
            since: u64::try_from(since.as_micros()).unwrap_or(u64::MAX),
            addresses: machine.addresses.iter().map(ToString::to_string).collect(),
            subnets: subnets.map_or_else(Vec::new, |subnets| {
                subnets
                    .prefixes()
                    .map(|prefix| prefix.to_string())
                    .collect()
            }),
            clash: subnets
                .and_then(|subnets| self.clash_with(&subnets))
                .map(|prefix| prefix.to_string())
                .unwrap_or_default(),
            leases: Vec::new(),
        }
    }
}

impl From<&Entry> for ListedMachine {
    fn from(entry: &Entry) -> Self {
        let machine = &entry.machine;
        Self {
            name: machine.name.to_string(),
            service: machine.service.clone(),
            network: machine.attachment.as_str(),
            addresses: machine.addresses.iter().map(ToString::to_string).collect(),
        }
    }
}
