//! DHCP clients and link-local addresses: what netd is on the links that somebody else
//! serves, `host0` of a container first of all.
//!
//! [`Clients`] knows for which links there is one and tells each what the kernel says of
//! its link; each is a task that owns its engines, its sockets and its waits. What the
//! engines ([`crate::dhcp::client`], [`crate::acd`], [`crate::ipv4ll`]) say is set on the
//! link by `apply`, and kept for the next start by `store`.

mod alone;
mod apply;
mod conflicts;
mod events;
mod held;
mod identity;
mod link;
mod resolv_conf;
mod restore;
mod sockets;
mod store;
mod system;
mod task;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use registry::LINK_GROUP;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

pub use alone::serve_alone;
pub use held::HeldLease;
pub use resolv_conf::claim;
pub use system::{serve_names, start_helper};

use crate::daemon::link_facts;
use crate::profiles::{ClientProfile, Profiles};
use crate::rtnl::{Event, Link, LinkAddress};
use crate::worker::Queue;
use crate::world::World;
use link::{Begin, ClientLink, Left};
use resolv_conf::Resolver;
use store::Store;

/// For how long is waited for clients to give back what they have.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// What a client is told.
#[derive(Debug)]
enum Told {
    /// Its link is so now.
    Link(Box<Link>),
    /// An address of its link is new, or changed.
    Address(LinkAddress),
    /// An address of its link is gone.
    AddressGone(LinkAddress),
    /// These are all addresses of its link.
    Addresses(Vec<LinkAddress>),
    /// netd stops.
    Stop,
    /// Another client goes on from here, as another file says now.
    GoOn,
    /// There is to be none on its link any more.
    End,
}

/// What clients share.
#[derive(Debug)]
struct Shared {
    store: Store,
    queue: Queue,
    machine_id: Option<[u8; 16]>,
    resolver: RefCell<Resolver>,
    /// What the links have, by their index.
    held: RefCell<BTreeMap<u32, HeldLease>>,
}

/// The clients of this host, or container.
#[derive(Debug)]
pub struct Clients {
    shared: Rc<Shared>,
    links: HashMap<u32, Handle>,
}

/// A client that runs. When this is dropped, its link is gone.
#[derive(Debug)]
struct Handle {
    profile: ClientProfile,
    told: mpsc::UnboundedSender<Told>,
    task: JoinHandle<Option<Left>>,
}

impl Handle {
    fn tell(&self, told: Told) {
        // One that could not go on needs to know no more.
        let _ = self.told.send(told);
    }
}

impl Clients {
    /// None yet. Leases are kept in the directory `leases`, which need not be there, and
    /// written by the worker.
    #[must_use]
    pub fn new(leases: PathBuf, queue: Queue) -> Self {
        let shared = Shared {
            store: Store::new(leases, queue.clone()),
            machine_id: identity::machine_id(),
            resolver: RefCell::new(Resolver::new(queue.clone())),
            held: RefCell::default(),
            queue,
        };
        Self {
            shared: Rc::new(shared),
            links: HashMap::new(),
        }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.links.len()
    }

    /// The leases that are in use.
    #[must_use]
    pub fn leases(&self) -> Vec<HeldLease> {
        self.shared.held.borrow().values().cloned().collect()
    }

    /// Takes in what the kernel tells. Must be called within a tokio `LocalSet`.
    pub fn take(&mut self, event: &Event, profiles: &Profiles) {
        match event {
            Event::Link(link) => self.look_at(link, profiles, &[], false),
            Event::LinkGone(index) => drop(self.links.remove(index)),
            Event::Address(address) => self.tell(address.index, || Told::Address(address.clone())),
            Event::AddressGone(address) => {
                self.tell(address.index, || Told::AddressGone(address.clone()));
            }
            _ => {}
        }
    }

    /// Takes in all that is there, after it was read anew. Must be called within a tokio
    /// `LocalSet`.
    pub fn take_all(&mut self, world: &World, profiles: &Profiles) {
        self.links.retain(|index, _| world.link(*index).is_some());
        for link in world.links().filter(|link| link.group != LINK_GROUP) {
            let addresses = world.addresses(link.index);
            self.tell(link.index, || Told::Addresses(addresses.to_vec()));
            let has_default = apply::has_preset_route(world, link.index);
            self.look_at(link, profiles, addresses, has_default);
        }
    }

    /// Takes over what files say now: what they say of a link as before is not touched.
    /// Gives of how many links it is something else. Must be called within a tokio
    /// `LocalSet`.
    pub fn reload(&mut self, world: &World, profiles: &Profiles) -> usize {
        let mut changed = 0;
        for link in world.links().filter(|link| link.group != LINK_GROUP) {
            let profile = profiles.for_link(&link_facts(link)).client.clone();
            let was = self.links.get(&link.index).map(|handle| &handle.profile);
            if was.map_or(!profile.is_wanted(), |was| *was == profile) {
                continue;
            }
            changed += 1;
            let before = self.links.remove(&link.index);
            let order = if profile.is_wanted() {
                Told::GoOn
            } else {
                Told::End
            };
            if let Some(before) = &before {
                before.tell(order);
            }
            let addresses = world.addresses(link.index);
            let has_default = apply::has_preset_route(world, link.index);
            let before = before.map(|handle| handle.task);
            self.begin(link, profile, (addresses, has_default), before);
        }
        changed
    }

    /// Has every client stop: what is to stay until netd is back stays.
    pub async fn stop(&mut self) {
        let handles: Vec<Handle> = self.links.drain().map(|(_, handle)| handle).collect();
        for handle in &handles {
            handle.tell(Told::Stop);
        }
        for handle in handles {
            // One that does not end has nothing more to say.
            let _ = tokio::time::timeout(STOP_PATIENCE, handle.task).await;
        }
    }

    fn tell(&self, index: u32, told: impl FnOnce() -> Told) {
        if let Some(handle) = self.links.get(&index) {
            handle.tell(told());
        }
    }

    fn look_at(
        &mut self,
        link: &Link,
        profiles: &Profiles,
        addresses: &[LinkAddress],
        has_preset_route: bool,
    ) {
        // The host's own ends of containers' links have no client.
        if link.group == LINK_GROUP {
            return;
        }
        let there = self.links.get(&link.index);
        if let Some(handle) = there.filter(|handle| !handle.task.is_finished()) {
            return handle.tell(Told::Link(Box::new(link.clone())));
        }
        let profile = profiles.for_link(&link_facts(link)).client.clone();
        self.begin(link, profile, (addresses, has_preset_route), None);
    }

    /// Starts a client, if one is wanted, once the one before has ended.
    fn begin(
        &mut self,
        link: &Link,
        profile: ClientProfile,
        (addresses, has_preset_route): (&[LinkAddress], bool),
        before: Option<JoinHandle<Option<Left>>>,
    ) {
        let Some(mac) = link.mac.filter(|_| profile.is_wanted()) else {
            return;
        };
        let begin = Begin {
            link: link.clone(),
            mac,
            profile: profile.clone(),
            addresses: addresses.to_vec(),
            has_preset_route,
        };
        let (told, orders) = mpsc::unbounded_channel();
        let task = tokio::task::spawn_local(start(begin, self.shared.clone(), before, orders));
        let handle = Handle {
            profile,
            told,
            task,
        };
        self.links.insert(link.index, handle);
    }
}

/// Runs a client, from where the one before has left off.
async fn start(
    begin: Begin,
    shared: Rc<Shared>,
    before: Option<JoinHandle<Option<Left>>>,
    orders: mpsc::UnboundedReceiver<Told>,
) -> Option<Left> {
    let left = match before {
        Some(before) => tokio::time::timeout(STOP_PATIENCE, before).await.ok(),
        None => None,
    };
    let name = begin.link.name.clone();
    match ClientLink::new(begin, left.and_then(Result::ok).flatten(), shared) {
        Ok(client) => task::run(client, orders).await,
        Err(error) => {
            tracing::error!(link = %name, "no DHCP client: {}", crate::log::chain(&error));
            None
        }
    }
}
