//! Machines as they register, live and end.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use registry::cgroup2::{self, Group};
use registry::protocol::{Refusal, RefusalReason, Registered, ToSupervisor};
use registry::record::ADDRESSES_MAX;
use registry::{Address, LeaderId, MachineName, Record};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::{Daemon, Input};
use crate::machines::{Attachment, Machine};
use crate::rtnl::LinkAddress;
use crate::supervisors::{ConnectionId, Registering, SupervisorEvent};
use crate::{inside, leader_watch, log};

/// How often and how long apart an ended machine's cgroup is tried to be removed.
const REMOVALS: u32 = 50;
const REMOVAL_PAUSE: Duration = Duration::from_millis(20);

/// A machine with what serves it.
#[derive(Debug)]
pub(super) struct Entry {
    pub machine: Machine,
    /// Its supervisor's connection, none while that is being made anew.
    connection: Option<ConnectionId>,
    /// Where messages to its supervisor go. The connection ends when this does.
    to_supervisor: Option<mpsc::Sender<ToSupervisor>>,
    /// Whether its registration is still to be answered.
    unanswered: bool,
    /// Whether its end of the link is set, so that its name may resolve.
    configured: bool,
    /// The netlink socket from inside, until its link is known.
    netlink: Option<OwnedFd>,
    /// Whether its leader has ended, so that only cleaning up is left.
    ended: bool,
    /// Whether its supervisor has ended, which may have said goodbye before.
    unsupervised: bool,
    tasks: Vec<AbortHandle>,
}

impl Entry {
    /// Whether the machine has not ended yet.
    pub fn runs(&self) -> bool {
        !self.ended
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Daemon {
    /// Takes over the machines that an earlier netd recorded, and clears away those
    /// that ended meanwhile.
    pub(super) fn adopt_records(&mut self) -> Result<(), crate::machines::RegistryDirError> {
        for (name, text) in self.registry.load()? {
            let record = Record::parse(text.as_bytes()).ok();
            let machine = record.and_then(|record| Machine::from_record(&record, &self.boot_id));
            let Some(machine) = machine else {
                tracing::info!(machine = %name, "recorded at an earlier boot: forgotten");
                self.registry.withdraw(&name, &BTreeSet::new())?;
                continue;
            };
            self.adopt(machine);
        }
        Ok(())
    }

    fn adopt(&mut self, machine: Machine) {
        let (name, leader, supervisor) = (
            machine.name,
            machine.leader.clone(),
            machine.supervisor.clone(),
        );
        tracing::info!(machine = %name, leader = leader.pid, "taken over");
        if let Attachment::Veth(index) = machine.attachment {
            self.links.entry(index).or_default().machine = Some(name);
            self.dirty.insert(index);
        }
        let entry = Entry {
            machine,
            connection: None,
            to_supervisor: None,
            unanswered: false,
            configured: true,
            netlink: None,
            ended: false,
            unsupervised: false,
            tasks: Vec::new(),
        };
        self.machines.insert(name, entry);
        // One that has ended says so at once, by the same way as one that ends later.
        self.watch_process(name, leader.clone(), leader.reopen(), Input::LeaderEnded);
        self.watch_process(
            name,
            supervisor.clone(),
            supervisor.reopen(),
            Input::SupervisorEnded,
        );
    }

    fn watch_process(
        &mut self,
        name: MachineName,
        process: LeaderId,
        pidfd: Option<OwnedFd>,
        input: fn(MachineName, LeaderId) -> Input,
    ) {
        let daemon = self.sender.clone();
        let task = tokio::task::spawn_local(async move {
            if let Some(pidfd) = pidfd {
                leader_watch::ended(pidfd).await;
            }
            let _ = daemon.send(input(name, process)).await;
        });
        if let Some(entry) = self.machines.get_mut(&name) {
            entry.tasks.push(task.abort_handle());
        }
    }

    pub(super) async fn take_supervisor_event(&mut self, event: SupervisorEvent) {
        match event {
            SupervisorEvent::Registered(registering) => self.register(*registering).await,
            SupervisorEvent::Configured(connection) => {
                if let Some(name) = self.machine_of(connection)
                    && let Some(entry) = self.machines.get_mut(&name)
                {
                    entry.configured = true;
                    self.publish(&name);
                }
            }
            SupervisorEvent::Goodbye(connection) => {
                if let Some(name) = self.machine_of(connection) {
                    self.forget(name);
                }
            }
            SupervisorEvent::Closed(connection) => {
                if let Some(name) = self.machine_of(connection)
                    && let Some(entry) = self.machines.get_mut(&name)
                {
                    // Whether it crashed or comes again, its process tells.
                    entry.connection = None;
                    if entry.unsupervised {
                        self.crashed(name).await;
                    }
                }
            }
        }
    }

    fn machine_of(&self, connection: ConnectionId) -> Option<MachineName> {
        let mut machines = self.machines.iter();
        machines
            .find(|(_, entry)| entry.connection == Some(connection))
            .map(|(name, _)| *name)
    }

    async fn register(&mut self, registering: Registering) {
        let name = registering.registration.name;
        if let Some(entry) = self.machines.get(&name) {
            let machine = &entry.machine;
            if machine.leader == registering.leader {
                self.reconnect(registering);
                return;
            }
            if !entry.ended && machine.supervisor.reopen().is_some() {
                let message = format!("machine {name} runs already");
                let refusal = Refusal {
                    reason: RefusalReason::NameInUse,
                    message,
                };
                let _ = registering.answer.try_send(ToSupervisor::Refused(refusal));
                return;
            }
            self.abandon(name).await;
            self.forget(name);
        }
        self.admit(registering);
    }

    fn admit(&mut self, registering: Registering) {
        let Registering {
            connection,
            answer,
            registration,
            netlink,
            ..
        } = registering;
        let (leader, supervisor) = (registering.leader, registering.supervisor);
        let name = registration.name;
        let mut machine = Machine::new(registration, leader.clone(), supervisor.clone());
        let group = self
            .cgroups
            .as_ref()
            .and_then(|cgroups| cgroups.open(&machine.cgroup).ok());
        machine.cgroup_id = group.and_then(|group| group.id().ok()).unwrap_or(0);
        tracing::info!(
            machine = %name,
            leader = leader.pid,
            network = machine.attachment.as_str(),
            "registered"
        );
        let attachment = machine.attachment;
        let entry = Entry {
            machine,
            connection: Some(connection),
            to_supervisor: Some(answer),
            unanswered: true,
            configured: false,
            netlink: None,
            ended: false,
            unsupervised: false,
            tasks: Vec::new(),
        };
        self.machines.insert(name, entry);
        self.watch_process(
            name,
            leader,
            Some(registering.leader_pidfd),
            Input::LeaderEnded,
        );
        let pidfd = Some(registering.supervisor_pidfd);
        self.watch_process(name, supervisor, pidfd, Input::SupervisorEnded);
        self.attach(name, attachment, netlink);
    }

    /// A supervisor is back after netd was started anew.
    fn reconnect(&mut self, registering: Registering) {
        let name = registering.registration.name;
        let Some(entry) = self.machines.get_mut(&name) else {
            return;
        };
        entry.connection = Some(registering.connection);
        entry.to_supervisor = Some(registering.answer);
        entry.unanswered = true;
        entry.machine.root = Some(registering.registration.root);
        let attachment = entry.machine.attachment;
        self.attach(name, attachment, registering.netlink);
    }

    fn attach(&mut self, name: MachineName, attachment: Attachment, netlink: Option<OwnedFd>) {
        match attachment {
            Attachment::Veth(index) => {
                // The socket from inside is let go: it would keep the namespace alive,
                // and nothing that the container does changes its name's addresses.
                let own = self.links.entry(index).or_default();
                own.machine = Some(name);
                if own.confirmed {
                    self.link_is_ready(&name, index);
                } else {
                    self.dirty.insert(index);
                }
            }
            Attachment::Bridge { port, .. } => {
                if let Some(entry) = self.machines.get_mut(&name) {
                    entry.netlink = netlink;
                }
                self.publish(&name);
                self.answer_registration(&name, Registered::default());
                self.follow_bridged(port);
            }
            Attachment::Host | Attachment::Private => {
                self.publish(&name);
                self.answer_registration(&name, Registered::default());
            }
        }
    }

    /// A veth has all that it is to have: its machine can start.
    pub(super) fn link_is_ready(&mut self, name: &MachineName, index: u32) {
        let Some(subnets) = self.links.get(&index).and_then(|own| own.subnets) else {
            return;
        };
        let host0 = self
            .world
            .link(index)
            .map(|link| self.host0(link, &subnets));
        let Some(entry) = self.machines.get_mut(name) else {
            return;
        };
        if entry.ended || entry.machine.attachment != Attachment::Veth(index) {
            return;
        }
        let container = subnets.container();
        entry.machine.addresses = container
            .map(|address| Address {
                ip: address.ip(),
                scope: 0,
            })
            .collect();
        let (ephemeral, configured) = (entry.machine.ephemeral, entry.configured);
        if configured {
            self.publish(name);
        }
        // Else its name would resolve to what does not answer yet, and the neighbour
        // probes that are lost then are sent again only after a second.
        self.answer_registration(name, Registered { host0 });
        if !ephemeral {
            self.keep_subnets(name);
        }
    }

    fn answer_registration(&mut self, name: &MachineName, registered: Registered) {
        let Some(entry) = self.machines.get_mut(name) else {
            return;
        };
        if std::mem::take(&mut entry.unanswered)
            && let Some(supervisor) = &entry.to_supervisor
        {
            // The connection may have ended; then nobody waits for the answer.
            let _ = supervisor.try_send(ToSupervisor::Registered(registered));
        }
    }

    /// Follows the addresses of the machine whose link is this port of a bridge.
    pub(super) fn follow_bridged(&mut self, port: u32) {
        let Some(peer) = self.world.link(port).and_then(|link| link.peer) else {
            return;
        };
        let mut machines = self.machines.iter_mut();
        let waiting = machines.find_map(|(name, entry)| match entry.machine.attachment {
            Attachment::Bridge { port: own, .. } if own == port => entry
                .netlink
                .take()
                .map(|netlink| (*name, entry.machine.leader.clone(), netlink)),
            _ => None,
        });
        let Some((name, leader, netlink)) = waiting else {
            return;
        };
        let (sender, mut told) = mpsc::channel(1);
        let daemon = self.sender.clone();
        let watch = tokio::task::spawn_local(inside::watch(netlink, peer, sender));
        let tell = tokio::task::spawn_local(async move {
            while let Some(addresses) = told.recv().await {
                let input = Input::Addresses(name, leader.clone(), addresses);
                if daemon.send(input).await.is_err() {
                    return;
                }
            }
        });
        if let Some(entry) = self.machines.get_mut(&name) {
            entry
                .tasks
                .extend([watch.abort_handle(), tell.abort_handle()]);
        }
    }

    /// Takes over what a container on a bridge has: routable addresses, or where it
    /// has none those of its link.
    pub(super) fn take_addresses(
        &mut self,
        name: MachineName,
        leader: &LeaderId,
        addresses: Vec<LinkAddress>,
    ) {
        let Some(entry) = self.machines.get(&name) else {
            return;
        };
        if entry.ended || entry.machine.leader != *leader {
            return;
        }
        let scope = entry.machine.attachment.facing().unwrap_or(0);
        let mut taken: Vec<Address> = addresses
            .iter()
            .filter(|address| self.is_own_address(address.address.ip(), &name))
            .filter_map(|address| answer_of(address, scope))
            .collect();
        if taken
            .iter()
            .any(|address| !crate::rtnl::is_link_local(address.ip))
        {
            taken.retain(|address| !crate::rtnl::is_link_local(address.ip));
        }
        taken.sort_by_key(|address| address.ip);
        taken.truncate(ADDRESSES_MAX);
        let before = entry.machine.ips();
        let Some(entry) = self.machines.get_mut(&name) else {
            return;
        };
        if entry.machine.addresses != taken {
            entry.machine.addresses = taken;
            self.publish_after(&name, &before);
        }
    }

    fn publish(&mut self, name: &MachineName) {
        self.publish_after(name, &BTreeSet::new());
    }

    fn publish_after(&mut self, name: &MachineName, before: &BTreeSet<std::net::IpAddr>) {
        let Some(entry) = self.machines.get_mut(name) else {
            return;
        };
        let link = entry
            .machine
            .attachment
            .link()
            .and_then(|index| self.world.link(index));
        let text = entry
            .machine
            .record(&self.boot_id, link.map(|link| link.name.as_str()));
        entry.machine.published = Some(Instant::now());
        let now = entry.machine.ips();
        if let Err(error) = self.registry.publish(name, &text, before, &now) {
            tracing::error!(machine = %name, "its name does not resolve: {}", log::chain(&error));
        }
    }

    /// The payload's first process has ended: the machine is no more.
    pub(super) fn leader_ended(&mut self, name: MachineName, leader: &LeaderId) {
        let Some(entry) = self.machines.get_mut(&name) else {
            return;
        };
        if entry.machine.leader != *leader {
            return;
        }
        entry.ended = true;
        self.withdraw(&name);
        if self
            .machines
            .get(&name)
            .is_some_and(|entry| entry.unsupervised)
        {
            self.forget(name);
        }
    }

    /// The supervisor has ended. Its goodbye may still be under way; the end of its
    /// connection is behind that.
    pub(super) async fn supervisor_ended(&mut self, name: MachineName, supervisor: &LeaderId) {
        let Some(entry) = self.machines.get_mut(&name) else {
            return;
        };
        if entry.machine.supervisor != *supervisor {
            return;
        }
        entry.unsupervised = true;
        if entry.connection.is_none() {
            self.crashed(name).await;
        }
    }

    /// The supervisor has ended without a goodbye: what it left behind is ended.
    async fn crashed(&mut self, name: MachineName) {
        let ended = self.machines.get(&name).is_some_and(|entry| entry.ended);
        tracing::warn!(machine = %name, "its supervisor has crashed: the machine is ended");
        self.abandon(name).await;
        if ended {
            self.forget(name);
        }
    }

    /// Ends all of a machine that nobody supervises.
    async fn abandon(&mut self, name: MachineName) {
        let Some(entry) = self.machines.get_mut(&name) else {
            return;
        };
        (entry.connection, entry.to_supervisor) = (None, None);
        let (cgroup, id) = (entry.machine.cgroup.clone(), entry.machine.cgroup_id);
        let link = entry.machine.attachment.link();
        self.end_processes(&name, &cgroup, id);
        if let Some(index) = link {
            self.retire_link(index).await;
        }
    }

    /// Kills what is in a machine's cgroup, and removes it once that has ended. A
    /// cgroup of the same name that is a later machine's is left alone.
    fn end_processes(&self, name: &MachineName, cgroup: &str, id: u64) {
        let Some(cgroups) = self.cgroups.clone() else {
            return;
        };
        let is_same = move |group: &Group| group.id().is_ok_and(|found| found == id);
        let Some(group) = cgroups.open(cgroup).ok().filter(is_same) else {
            return;
        };
        if let Err(error) = group.kill() {
            tracing::error!(machine = %name, "cannot end the processes of {cgroup}: {error}");
        }
        let Some(directory) = cgroups.directory_of(cgroup) else {
            return;
        };
        tokio::task::spawn_local(async move {
            for _ in 0..REMOVALS {
                if !Group::open(&directory).as_ref().is_ok_and(is_same)
                    || cgroup2::remove_tree(&directory).is_ok()
                {
                    return;
                }
                tokio::time::sleep(REMOVAL_PAUSE).await;
            }
            tracing::warn!(
                "{} cannot be removed: processes are left in it",
                directory.display()
            );
            drop(cgroups);
        });
    }

    fn withdraw(&mut self, name: &MachineName) {
        let Some(entry) = self.machines.get(name) else {
            return;
        };
        if let Err(error) = self.registry.withdraw(name, &entry.machine.ips()) {
            tracing::error!(machine = %name, "{}", log::chain(&error));
        }
    }

    fn forget(&mut self, name: MachineName) {
        self.withdraw(&name);
        let Some(entry) = self.machines.remove(&name) else {
            return;
        };
        if entry.machine.ephemeral {
            self.store.release(&name);
        } else if matches!(entry.machine.attachment, Attachment::Veth(_)) {
            // The 90 days for which it is kept begin now.
            self.keep_subnets(&name);
        }
        tracing::info!(machine = %name, "ended");
    }
}

fn answer_of(address: &LinkAddress, scope: u32) -> Option<Address> {
    let ip = address.address.ip();
    if crate::rtnl::is_link_local(ip) {
        // RFC 4007, section 11: only a link-local IPv6 address takes a scope.
        return Some(Address {
            ip,
            scope: if ip.is_ipv6() { scope } else { 0 },
        });
    }
    address.usable.then_some(Address { ip, scope: 0 })
}
