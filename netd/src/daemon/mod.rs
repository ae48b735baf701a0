//! The daemon: the one task that owns all state.
//!
//! Whatever happens comes in as an event; an event changes what is known and marks
//! the links that it touches; then each marked link is reconciled: what is to be is
//! planned, the difference made so. Starting, taking over after a crash and healing
//! are the same path.

mod actions;
mod bridged;
mod dead_links;
mod dhcp_service;
mod dns_watch;
mod ending;
mod firewall;
mod forwarding;
mod healing;
mod input;
mod leases;
mod left_behind;
mod link_local;
mod links;
mod observe;
mod profile;
mod registration;
mod relay;
mod reload;
mod retry;
mod router_advertisements;
mod status;
#[cfg(test)]
mod tests;
mod zones;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use registry::cgroup2::Hierarchy;
use registry::{HostId, MachineName};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::client::Clients;
use crate::dhcp_wire::Wire;
use crate::machines::{Claims, RegistryDir};
use crate::nft;
use crate::profiles::Profiles;
use crate::ra::RaWire;
use crate::rtnl::{Monitor, Requests};
use crate::subnets::{Owner, SubnetStore};
use crate::supervisors::{self, ConnectionId};
use crate::sysctl::UndoRecord;
use crate::upstream_dns::UpstreamDns;
use crate::worker::Worker;
use crate::world::World;

use firewall::Firewall;
use healing::Healing;
pub use healing::Remake;
pub use input::Input;
use input::tell_later;
pub use leases::LeaseStatus;
use link_local::LinkLocals;
use links::OwnLink;
pub(crate) use profile::facts as link_facts;
pub use profile::load as load_profiles;
use registration::Entry;
use relay::Relays;
use retry::Retries;
use router_advertisements::Advertisements;
use status::Queries;
pub use status::{ListedMachine, MachineStatus, Query};
use zones::Zones;

/// How many links or inputs are seen to before others get their turn.
const AT_ONCE: u32 = 16;
/// How many events other than the kernel's may wait.
const INPUTS: usize = 1024;
/// How long after lost events all is read anew at the earliest: what loses events seldom
/// loses one alone.
const RESYNCHRONIZE_AFTER: Duration = Duration::from_millis(100);
/// How long after a failure it is tried again to read the host's state anew.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How often it is looked for subnets that nobody has used for long.
const LAPSE_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// Where the daemon keeps things.
#[derive(Clone, Debug)]
pub struct Places {
    /// `/run/rspawn`.
    pub runtime: PathBuf,
    /// `/var/lib/rspawn`.
    pub state: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            runtime: registry::RUNTIME_DIR.into(),
            state: registry::STATE_DIR.into(),
        }
    }
}

impl Places {
    /// The directory of the leases of zones.
    #[must_use]
    pub fn leases(&self) -> PathBuf {
        self.state.join("leases")
    }

    /// The directory of the subnets that machines and zones keep.
    #[must_use]
    pub fn subnets(&self) -> PathBuf {
        self.state.join("subnets")
    }

    /// The directory of the addresses that members of zones keep.
    #[must_use]
    pub fn members(&self) -> PathBuf {
        self.state.join("members")
    }

    /// The directory of the leases that DHCP clients have.
    #[must_use]
    pub fn client_leases(&self) -> PathBuf {
        self.state.join("client")
    }

    /// The record of the kernel parameters that were changed.
    #[must_use]
    pub fn sysctl_undo(&self) -> PathBuf {
        self.state.join("sysctl-undo")
    }
}

/// The daemon.
pub struct Daemon {
    places: Places,
    host_id: HostId,
    boot_id: String,
    monitor: Monitor,
    requests: Requests,
    wire: Wire,
    firewall: Firewall,
    world: World,
    profiles: Profiles,
    store: SubnetStore,
    registry: RegistryDir,
    cgroups: Option<Rc<Hierarchy>>,
    /// What cannot be removed of them, as far as that was said.
    unremoved: ending::Told,
    worker: Worker,
    /// What netd is on links that somebody else serves.
    clients: Clients,
    dns: UpstreamDns,
    sysctl_undo: UndoRecord,
    machines: BTreeMap<MachineName, Entry>,
    /// Which machine was registered last over a connection that is open.
    connections: HashMap<ConnectionId, MachineName>,
    /// Which machine was attached last by the link with this index.
    attached: HashMap<u32, MachineName>,
    claims: Claims,
    /// The machines on bridges whose addresses may be others than those recorded.
    to_publish: BTreeSet<MachineName>,
    links: HashMap<u32, OwnLink>,
    zones: Zones,
    advertisements: Advertisements,
    relays: Relays,
    link_locals: LinkLocals,
    /// Links that were put out of the way, until the kernel frees them.
    retired: HashSet<u32>,
    dirty: BTreeSet<u32>,
    uplinks_dirty: bool,
    /// Whether the host forwards what containers send.
    forwards: bool,
    /// What is watched that the kernel's events do not tell of.
    healing: Healing,
    /// The links that something failed on.
    retries: Retries,
    /// When all is to be read anew, after events were lost.
    resynchronize_at: Option<Instant>,
    /// How long after lost events that is.
    resynchronize_pause: Duration,
    /// Whether routes were read anew since links are being reconciled.
    routes_are_fresh: bool,
    lapse_at: Instant,
    sender: mpsc::Sender<Input>,
    inputs: mpsc::Receiver<Input>,
    /// What is asked on the bus.
    queries: Queries,
}

/// Why the daemon cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The kernel's links.
    #[error(transparent)]
    Rtnl(#[from] crate::rtnl::RtnlError),
    /// The firewall table.
    #[error(transparent)]
    Nft(#[from] nft::NftError),
    /// The kept subnets.
    #[error(transparent)]
    Subnets(#[from] crate::subnets::StoreError),
    /// The registry.
    #[error(transparent)]
    Registry(#[from] crate::machines::RegistryDirError),
    /// The host's identity.
    #[error(transparent)]
    HostId(#[from] registry::host_id::HostIdError),
    /// The supervisors' socket.
    #[error(transparent)]
    Listen(#[from] supervisors::ListenError),
    /// What the system gives every process.
    #[error("cannot {what}")]
    System {
        /// What was being done.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
}

/// Why the daemon cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// Without it netd sees nothing.
    #[error("the connection to the kernel (rtnetlink) is broken")]
    Connection(#[from] std::io::Error),
    /// What a service manager made writable for netd is gone, and comes back when netd is
    /// started anew.
    #[error("{} was removed and cannot be made anew here", .0.display())]
    NotWritable(PathBuf),
}

impl Daemon {
    /// Takes over what is there: links, records, subnets. Must be called within a
    /// tokio `LocalSet`.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(places: Places) -> Result<Self, StartError> {
        let system = |what| move |source| StartError::System { what, source };
        let registry = RegistryDir::open(&places.runtime)?;
        let monitor = Monitor::new()?;
        let nft_monitor = nft::Monitor::open()?;
        // Before the table, which hands it what comes in.
        let mut wire = Wire::open();
        let advertisements = Advertisements::new(RaWire::open(wire.take_solicited()));
        let (sender, inputs) = mpsc::channel(INPUTS);
        let worker = Worker::start().map_err(system("start a thread"))?;
        let clients = Clients::new(places.client_leases(), worker.queue());
        let mut daemon = Self {
            host_id: HostId::load()?,
            boot_id: registry::leader::boot_id().map_err(system("read the boot id"))?,
            requests: Requests::new()?,
            firewall: Firewall::install(nft_monitor, wire.log_group())?,
            wire,
            store: SubnetStore::open(&places.subnets(), SystemTime::now())?,
            worker,
            clients,
            cgroups: find_cgroups(),
            unremoved: ending::Told::default(),
            dns: UpstreamDns::read(),
            sysctl_undo: UndoRecord::at(places.sysctl_undo()),
            world: World::default(),
            profiles: profile::load(),
            machines: BTreeMap::new(),
            connections: HashMap::new(),
            attached: HashMap::new(),
            claims: Claims::default(),
            to_publish: BTreeSet::new(),
            links: HashMap::new(),
            zones: Zones::default(),
            advertisements,
            relays: Relays::new(),
            link_locals: LinkLocals::open(),
            retired: HashSet::new(),
            dirty: BTreeSet::new(),
            uplinks_dirty: true,
            forwards: false,
            healing: Healing::start(&places),
            retries: Retries::default(),
            resynchronize_at: None,
            resynchronize_pause: RESYNCHRONIZE_AFTER,
            routes_are_fresh: false,
            lapse_at: Instant::now() + LAPSE_EVERY,
            places,
            monitor,
            registry,
            sender,
            inputs,
            queries: Queries::default(),
        };
        left_behind::watch(&daemon.places.runtime, daemon.sender.clone());
        daemon.resynchronize().await?;
        daemon.adopt_records()?;
        daemon.find_left_behind();
        daemon.reserve_present();
        daemon.reconcile().await;
        daemon.firewall.all_are_known();
        dns_watch::start(daemon.sender.clone());
        daemon.listen_for_supervisors()?;
        Ok(daemon)
    }

    fn listen_for_supervisors(&mut self) -> Result<(), StartError> {
        let path = self.places.runtime.join("supervisor.sock");
        let connections = supervisors::Connections::default();
        let mut accepting = accept_supervisors(&path, &connections, &self.sender)?;
        let (socket, sender) = (path.clone(), self.sender.clone());
        let remake = move || {
            accepting.abort();
            accepting = accept_supervisors(&socket, &connections, &sender)
                .map_err(|error| crate::log::chain(&error))?;
            Ok(())
        };
        self.keep(path, Box::new(remake));
        Ok(())
    }

    /// Where jobs for the one thread beside this go.
    #[must_use]
    pub fn worker(&self) -> crate::worker::Queue {
        self.worker.queue()
    }

    /// How many machines and links are served.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.machines.len(), self.links.len())
    }

    /// Works until `stop` is done. What containers have, they keep.
    ///
    /// # Errors
    /// [`Broken`]. What containers have, they keep.
    pub async fn run(&mut self, stop: impl Future<Output = ()>) -> Result<(), Broken> {
        tokio::pin!(stop);
        loop {
            let publish_at = self.publish_bridged_at();
            let claim_at = self.link_locals.deadline();
            let advertise_at = self.advertisements.deadline();
            tokio::select! {
                () = &mut stop => return Ok(()),
                told = self.monitor.next() => self.take_kernel_events(told?)?,
                Some(input) = self.inputs.recv() => {
                    self.take(input).await;
                    for _ in 1..AT_ONCE {
                        let Ok(input) = self.inputs.try_recv() else { break };
                        self.take(input).await;
                    }
                }
                index = self.wire.asked() => {
                    self.start_dhcp(index);
                }
                heard = self.link_locals.next() => self.take_link_local(heard),
                () = at(claim_at) => self.claim_what_is_due(),
                heard = self.relays.next() => self.take_relayed(heard),
                asked = self.advertisements.asked() => self.answer_solicitation(asked),
                () = at(advertise_at) => self.advertise_what_is_due(),
                query = self.queries.next() => self.answer(query),
                () = self.firewall.look_after() => {}
                seen = self.healing.next() => self.look_after(seen)?,
                () = at(self.resynchronize_at) => {
                    self.resynchronize_at = None;
                    if let Err(error) = self.resynchronize().await {
                        tracing::error!("{}", crate::log::chain(&error));
                        self.resynchronize_at = Some(Instant::now() + TRY_AGAIN_AFTER);
                    }
                }
                () = at(self.retries.next()) => {
                    self.dirty.extend(self.retries.take_due(Instant::now()));
                }
                () = tokio::time::sleep_until(self.lapse_at) => self.lapse_subnets(),
                () = at(publish_at) => {}
                // More than one turn's worth is marked.
                () = std::future::ready(()), if !self.dirty.is_empty() => {}
            }
            self.take_waiting_events()?;
            self.reconcile_some().await;
            // However much comes in, the servers of the links get their turn.
            tokio::task::yield_now().await;
        }
    }

    /// Has the DHCP clients stop; the last thing to do.
    pub async fn stop_clients(&mut self) {
        self.clients.stop().await;
    }

    async fn take(&mut self, input: Input) {
        match input {
            Input::Supervisor(event) => self.take_supervisor_event(event).await,
            Input::LeaderEnded(name, leader) => self.leader_ended(name, &leader),
            Input::SupervisorEnded(name, supervisor) => {
                self.supervisor_ended(name, &supervisor).await;
            }
            Input::Addresses(name, leader, addresses) => {
                self.take_addresses(name, &leader, &addresses);
            }
            Input::NamesLeft(names) => self.names_left(names),
            Input::Unlinked(name, leader) => self.tell_unlinked(name, &leader),
            Input::DeadLinkStays(index) => self.set_dead_down(index),
            Input::PublishAgain(name) => self.publish_again(&name),
            Input::DnsChanged => self.reread_dns(),
        }
    }

    /// Reconciles all that is marked.
    async fn reconcile(&mut self) {
        loop {
            self.reconcile_some().await;
            if self.dirty.is_empty() {
                return;
            }
        }
    }

    /// Reconciles so much of what is marked that events are not kept waiting for long.
    async fn reconcile_some(&mut self) {
        self.routes_are_fresh = false;
        for _ in 0..AT_ONCE {
            let Some(index) = self.dirty.pop_first() else {
                break;
            };
            self.reconcile_link(index).await;
        }
        if !self.dirty.is_empty() {
            tokio::task::yield_now().await;
        }
        if self.uplinks_dirty && !self.links.is_empty() {
            self.uplinks_dirty = false;
            self.reconcile_forwarding();
        }
        self.publish_bridged();
    }

    /// Writes somebody's subnets to disk, later.
    fn keep_subnets(&mut self, owner: &Owner) {
        let Some((path, text)) = self.store.file(owner, SystemTime::now()) else {
            return;
        };
        crate::operations::count(|done| &done.subnet_writes, 1);
        self.worker.queue().add(move || keep(&path, &text));
    }

    /// Gives back the subnets that have not been used for long.
    fn lapse_subnets(&mut self) {
        self.lapse_at = Instant::now() + LAPSE_EVERY;
        let in_use: BTreeSet<Owner> = self.links.values().filter_map(|l| l.owner).collect();
        for path in self.store.lapse(SystemTime::now(), &in_use) {
            // Behind what is still to be written.
            self.worker
                .queue()
                .add(move || drop(std::fs::remove_file(path)));
        }
    }
}

fn accept_supervisors(
    path: &Path,
    connections: &supervisors::Connections,
    daemon: &mpsc::Sender<Input>,
) -> Result<AbortHandle, supervisors::ListenError> {
    let listener = supervisors::listen_at(path)?;
    let accepting = supervisors::accept_all(listener, connections.clone(), daemon.clone());
    Ok(tokio::task::spawn_local(accepting).abort_handle())
}

fn find_cgroups() -> Option<Rc<Hierarchy>> {
    match Hierarchy::find() {
        Ok(hierarchy) => Some(Rc::new(hierarchy)),
        Err(error) => {
            tracing::warn!(
                "no cgroup2 hierarchy ({error}): what a crashed supervisor leaves is not ended"
            );
            None
        }
    }
}

/// Waits until then; for ever, if there is no time given.
async fn at(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}

fn keep(path: &Path, text: &str) {
    if let Err(error) = crate::subnets::write(path, text) {
        tracing::error!("{}", crate::log::chain(&error));
    }
}
