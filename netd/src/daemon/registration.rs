//! Machines as they register, live and end.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::time::Duration;

use registry::ifname::LinkKind;
use registry::mac::Side;
use registry::protocol::{Configured, Host0, Refusal, RefusalReason, Registered, ToSupervisor};
use registry::{Address, IfName, LINK_GROUP, LeaderId, Mac, MachineName, Record};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::bridged::Following;
use super::router_advertisements::by_advertisement;
use super::{Daemon, Input, tell_later};
use crate::log::Pace;
use crate::machines::{Attachment, Machine};
use crate::plan::{self, Role};
use crate::subnets::Owner;
use crate::supervisors::{ConnectionId, Registering, SupervisorEvent};
use crate::{leader_watch, log};

/// After what time a record that could not be written is tried again.
const PUBLISH_AGAIN: Duration = Duration::from_secs(1);

/// That a record cannot be written is said at this pace.
static UNWRITTEN: Pace = Pace::new();

/// A machine with what serves it.
#[derive(Debug)]
pub(super) struct Entry {
    pub machine: Machine,
    /// Its supervisor's connection, none while that is being made anew.
    pub connection: Option<ConnectionId>,
    /// Where messages to its supervisor go. The connection ends when this does.
    pub to_supervisor: Option<mpsc::Sender<ToSupervisor>>,
    /// Whether its registration is still to be answered.
    unanswered: bool,
    /// Whether its end of the link is set, so that its name may resolve.
    configured: bool,
    /// The netlink socket from inside, until its link is known.
    pub netlink: Option<OwnedFd>,
    /// What follows its addresses from inside.
    pub following: Option<Following>,
    /// When its addresses were written last, where the container sets the pace.
    pub written: Option<Instant>,
    /// Whether its leader has ended, so that only cleaning up is left.
    pub ended: bool,
    /// Whether its supervisor has ended, which may have said goodbye before.
    pub unsupervised: bool,
    /// What watches its supervisor while that has no connection.
    supervisor_watch: Option<AbortHandle>,
    /// What its record did not say the last time that it could not be written.
    unwritten: Option<BTreeSet<std::net::IpAddr>>,
    tasks: Vec<AbortHandle>,
}

impl Entry {
    /// A machine that nothing serves yet.
    fn new(machine: Machine) -> Self {
        Self {
            machine,
            connection: None,
            to_supervisor: None,
            unanswered: false,
            configured: false,
            netlink: None,
            following: None,
            written: None,
            ended: false,
            unsupervised: false,
            supervisor_watch: None,
            unwritten: None,
            tasks: Vec::new(),
        }
    }

    /// Whether the machine has not ended yet.
    pub fn runs(&self) -> bool {
        !self.ended
    }

    /// Whether its end of its link was set.
    pub fn is_settled(&self) -> bool {
        self.runs() && self.configured
    }

    /// Whether its name is to resolve: where netd says which addresses it has, not before
    /// they are set.
    pub fn is_published(&self) -> bool {
        self.runs() && (self.configured || !self.machine.attachment.is_assigned())
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
            self.links.entry(index).or_default().owner = Some(name.into());
            self.dirty.insert(index);
        }
        let mut entry = Entry::new(machine);
        entry.configured = true;
        // What was given out was nobody else's.
        let addresses = entry.machine.addresses.clone();
        self.to_publish.extend(match entry.machine.attachment {
            Attachment::Veth(_) | Attachment::Zone { .. } => self.claims.assign(name, addresses),
            _ => self.claims.claim(name, addresses),
        });
        let attachment = entry.machine.attachment;
        self.insert(entry);
        if let Attachment::Zone { bridge, .. } = attachment {
            self.join_zone(name, bridge);
        }
        // One that has ended says so at once, by the same way as one that ends later.
        self.watch_process(name, leader, None, Input::LeaderEnded);
        self.watch_supervisor(name, supervisor);
    }

    /// Watches a supervisor that has no connection: the end of one tells as much, and
    /// costs no further descriptor.
    fn watch_supervisor(&mut self, name: MachineName, supervisor: LeaderId) {
        let watch = self.watch_process(name, supervisor, None, Input::SupervisorEnded);
        if let Some(entry) = self.machines.get_mut(&name) {
            entry.supervisor_watch = watch;
        }
    }

    fn watch_process(
        &mut self,
        name: MachineName,
        process: LeaderId,
        pidfd: Option<OwnedFd>,
        input: fn(MachineName, LeaderId) -> Input,
    ) -> Option<AbortHandle> {
        let daemon = self.sender.clone();
        let task = tokio::task::spawn_local(async move {
            match pidfd {
                Some(pidfd) => leader_watch::ended(pidfd).await,
                None => leader_watch::ended_unless_same(process.clone()).await,
            }
            let _ = daemon.send(input(name, process)).await;
        });
        let entry = self.machines.get_mut(&name)?;
        entry.tasks.retain(|task| !task.is_finished());
        entry.tasks.push(task.abort_handle());
        Some(task.abort_handle())
    }

    pub(super) async fn take_supervisor_event(&mut self, event: SupervisorEvent) {
        match event {
            SupervisorEvent::Registered(registering) => self.register(*registering).await,
            SupervisorEvent::Configured(connection, Configured { answer }) => {
                if let Some(name) = self.machine_of(connection) {
                    self.is_configured(&name, answer);
                }
            }
            SupervisorEvent::Goodbye(connection) => {
                if let Some(name) = self.machine_of(connection) {
                    self.forget(name);
                }
            }
            SupervisorEvent::Closed(connection) => {
                let name = self.machine_of(connection);
                self.connections.remove(&connection);
                if let Some(name) = name
                    && let Some(entry) = self.machines.get_mut(&name)
                {
                    // Whether it crashed or comes again, its process tells.
                    entry.connection = None;
                    let supervisor = entry.machine.supervisor.clone();
                    if entry.unsupervised {
                        self.crashed(name).await;
                    } else {
                        self.watch_supervisor(name, supervisor);
                    }
                }
            }
        }
    }

    fn machine_of(&self, connection: ConnectionId) -> Option<MachineName> {
        let name = self.connections.get(&connection)?;
        let entry = self.machines.get(name)?;
        (entry.connection == Some(connection)).then_some(*name)
    }

    /// The machine that is attached by the link with this index.
    pub(super) fn attached_by(&self, link: u32) -> Option<(MachineName, &Entry)> {
        let name = self.attached.get(&link)?;
        let entry = self.machines.get(name)?;
        (entry.machine.attachment.link() == Some(link)).then_some((*name, entry))
    }

    fn insert(&mut self, entry: Entry) {
        let name = entry.machine.name;
        if let Some(link) = entry.machine.attachment.link() {
            self.attached.insert(link, name);
        }
        self.machines.insert(name, entry);
    }

    /// Takes a machine out of the table.
    pub(super) fn remove(&mut self, name: &MachineName) -> Option<Entry> {
        let entry = self.machines.remove(name)?;
        if let Some(link) = entry.machine.attachment.link()
            && self.attached.get(&link) == Some(name)
        {
            self.attached.remove(&link);
        }
        Some(entry)
    }

    async fn register(&mut self, registering: Registering) {
        let name = registering.registration.name;
        let network = Attachment::from(&registering.registration.network);
        if let Some(message) = self.wrong_link(&name, network) {
            let refusal = Refusal {
                reason: RefusalReason::BadRequest,
                message,
            };
            let _ = registering.answer.try_send(ToSupervisor::Refused(refusal));
            return;
        }
        if let Some(entry) = self.machines.get(&name) {
            let machine = &entry.machine;
            // None but the supervisor itself takes its connection's place.
            let same = machine.supervisor == registering.supervisor;
            if same && machine.leader == registering.leader {
                self.reconnect(registering);
                return;
            }
            // What cannot be told from one that runs is not ended.
            if !entry.ended && !matches!(machine.supervisor.reopen(), Ok(None)) {
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

    /// Why a machine cannot be attached as its supervisor says, as far as the kernel has
    /// told of the link.
    fn wrong_link(&self, name: &MachineName, attachment: Attachment) -> Option<String> {
        let kind = match attachment {
            Attachment::Veth(_) => LinkKind::Veth,
            Attachment::Bridge { .. } | Attachment::Zone { .. } => LinkKind::BridgePort,
            Attachment::Host | Attachment::Private => return None,
        };
        let link = self.world.link(attachment.link()?)?;
        let (own, _) = IfName::of_machine(kind, name);
        let attached = self.attached_by(link.index);
        let others = attached.is_some_and(|(other, entry)| other != *name && entry.runs());
        if link.group != LINK_GROUP || link.name != own.as_str() || others {
            return Some(format!("link {} is not that of machine {name}", link.name));
        }
        if let Attachment::Zone { bridge, .. } = attachment
            && let Some(bridge) = self.world.link(bridge)
            && !matches!(plan::role_of(bridge), Role::Zone(_))
        {
            return Some(format!("link {} is not the bridge of a zone", bridge.name));
        }
        None
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
        let mut machine = Machine::new(registration, leader.clone(), supervisor);
        machine.cgroup_id = self.cgroup_id(&machine);
        tracing::info!(
            machine = %name,
            leader = leader.pid,
            network = machine.attachment.as_str(),
            "registered"
        );
        let attachment = machine.attachment;
        let mut entry = Entry::new(machine);
        entry.connection = Some(connection);
        entry.to_supervisor = Some(answer);
        entry.unanswered = true;
        self.connections.insert(connection, name);
        self.insert(entry);
        self.watch_process(
            name,
            leader,
            Some(registering.leader_pidfd),
            Input::LeaderEnded,
        );
        self.attach(name, attachment, netlink);
    }

    /// A supervisor is back after netd was started anew.
    fn reconnect(&mut self, registering: Registering) {
        let name = registering.registration.name;
        let Some(entry) = self.machines.get_mut(&name) else {
            return;
        };
        if let Some(watch) = entry.supervisor_watch.take() {
            watch.abort();
        }
        entry.connection = Some(registering.connection);
        entry.to_supervisor = Some(registering.answer);
        self.connections.insert(registering.connection, name);
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
                // One that the kernel has yet to tell of would count as gone; its event
                // marks it.
                if self.world.link(index).is_none() {
                    return;
                }
                let own = self.links.entry(index).or_default();
                own.owner = Some(name.into());
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
                self.dirty.insert(port);
            }
            Attachment::Zone { port, bridge } => {
                if let Some(entry) = self.machines.get_mut(&name) {
                    entry.netlink = netlink;
                }
                self.follow_bridged(port);
                self.dirty.insert(port);
                self.join_zone(name, bridge);
            }
            Attachment::Host | Attachment::Private => {
                self.publish(&name);
                self.answer_registration(&name, Registered::default());
            }
        }
    }

    fn is_configured(&mut self, name: &MachineName, answer: bool) {
        let Some(entry) = self.machines.get_mut(name) else {
            return;
        };
        entry.configured = true;
        self.publish(name);
        let entry = self.machines.get(name).filter(|_| answer);
        if let Some(supervisor) = entry.and_then(|entry| entry.to_supervisor.as_ref()) {
            // One that has ended does not wait.
            let _ = supervisor.try_send(ToSupervisor::Published);
        }
    }

    /// A veth has all that it is to have: its machine can start.
    pub(super) fn link_is_ready(&mut self, name: &MachineName, index: u32) {
        let Some(subnets) = self.links.get(&index).and_then(|own| own.subnets) else {
            return;
        };
        let Some(link) = self.world.link(index) else {
            return;
        };
        let mac = Mac::of_machine(&self.host_id, name, Side::Container, 0);
        let host0 = self.host0(link, &subnets, by_advertisement(&subnets, mac));
        let Some(entry) = self.machines.get(name) else {
            return;
        };
        if entry.ended || entry.machine.attachment != Attachment::Veth(index) {
            return;
        }
        let ephemeral = entry.machine.ephemeral;
        self.assign(name, host0);
        self.name_link_local(name, index);
        if !ephemeral {
            self.keep_subnets(&Owner::from(*name));
        }
    }

    /// Gives a machine its addresses, and answers its registration with them.
    pub(super) fn assign(&mut self, name: &MachineName, host0: Host0) {
        let Some(entry) = self.machines.get_mut(name) else {
            return;
        };
        let before = entry.machine.ips();
        let addresses = host0.addresses.iter();
        entry.machine.addresses = addresses
            .map(|address| Address {
                ip: address.ip(),
                scope: 0,
            })
            .collect();
        let configured = entry.configured;
        let assigned = entry.machine.addresses.clone();
        self.to_publish.extend(self.claims.assign(*name, assigned));
        if configured {
            self.publish_after(name, &before);
        }
        // Else its name would resolve to what does not answer yet, and the neighbour
        // probes that are lost then are sent again only after a second.
        self.answer_registration(name, Registered { host0: Some(host0) });
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

    pub(super) fn publish(&mut self, name: &MachineName) {
        self.publish_after(name, &BTreeSet::new());
    }

    /// Writes a machine's record, and takes back the links of the addresses `before`.
    pub(super) fn publish_after(
        &mut self,
        name: &MachineName,
        before: &BTreeSet<std::net::IpAddr>,
    ) {
        let Some(entry) = self.machines.get(name).filter(|entry| entry.runs()) else {
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
        let found = self.found_by_address(&entry.machine);
        if let Err(error) = self.registry.publish(name, &text, before, &found) {
            UNWRITTEN.say(|more| {
                let why = log::chain(&error);
                tracing::error!(machine = %name, "its name does not resolve: {why}{more}");
            });
            self.publish_later(*name, before);
        }
    }

    /// Has a machine's record tried again, once however often it is asked for.
    fn publish_later(&mut self, name: MachineName, before: &BTreeSet<std::net::IpAddr>) {
        let Some(entry) = self.machines.get_mut(&name) else {
            return;
        };
        let waits = entry.unwritten.is_some();
        entry.unwritten.get_or_insert_default().extend(before);
        if waits {
            return;
        }
        let again = tell_later(&self.sender, PUBLISH_AGAIN, Input::PublishAgain(name));
        entry.tasks.retain(|task| !task.is_finished());
        entry.tasks.push(again);
    }

    /// What could not be written is tried again.
    pub(super) fn publish_again(&mut self, name: &MachineName) {
        let Some(entry) = self.machines.get_mut(name) else {
            return;
        };
        let before = entry.unwritten.take().unwrap_or_default();
        if entry.is_published() {
            self.publish_after(name, &before);
        }
    }
}
