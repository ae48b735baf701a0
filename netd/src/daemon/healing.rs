//! Putting back what somebody takes away: kernel parameters, files, addresses.
//!
//! Links, addresses and the firewall table heal by the events that the kernel sends of
//! them anyway. Here is what has to be watched besides, and what is said of it all.

mod heals;
mod ipv6;

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use registry::MachineName;
use tokio::time::Instant;

pub(super) use heals::Heals;

use super::bridged::OwnPort;
use super::registration::Entry;
use super::{Broken, Daemon, Places, TRY_AGAIN_AFTER, at};
use crate::log::{self, Pace};
use crate::machines::Attachment;
use crate::rtnl::Link;
use crate::state_watch::{Holds, Removed, StateWatch};
use crate::subnets::Owner;
use crate::sysctl::{self, Changed};

/// How long after something was removed it is put back: whoever removes a directory
/// removes one file after the other.
const RESTORE_AFTER: Duration = Duration::from_millis(50);
/// What is put back of files is said at this pace.
static RESTORED: Pace = Pace::new();
/// What cannot be put back is said at this pace.
static UNRESTORED: Pace = Pace::new();
/// Does again what a file stands for, a socket or a lock.
pub type Remake = Box<dyn FnMut() -> Result<(), String>>;

/// What is watched, and what is to be put back.
pub(super) struct Healing {
    parameters: Option<sysctl::Watch>,
    state: Option<StateWatch>,
    /// Files that others than the registry need.
    kept: Vec<(PathBuf, Remake)>,
    lost: Lost,
    restore_at: Option<Instant>,
    /// The ports of bridges that are looked after, by their interface index.
    pub ports: HashMap<u32, OwnPort>,
}

/// What was removed.
#[derive(Debug, Default)]
struct Lost {
    /// Whose records.
    machines: BTreeSet<MachineName>,
    /// Whose subnets.
    owners: BTreeSet<Owner>,
    /// Whether more than that.
    all: bool,
}

/// Something that the daemon has to look after.
#[derive(Debug)]
pub(super) enum Seen {
    /// Kernel parameters were written, maybe by netd itself.
    Parameters(Vec<Changed>),
    /// Files were removed, maybe by netd itself.
    Removed(Vec<Removed>),
    /// It is time to put files back.
    RestoreDue,
}

impl Healing {
    /// Watches what is there. Must be called within a tokio runtime.
    pub fn start(places: &Places) -> Self {
        let runtime = &places.runtime;
        let directories = [
            (runtime.clone(), Holds::Others),
            (runtime.join("machines"), Holds::Records),
            (runtime.join("addresses"), Holds::Addresses),
            (places.state.clone(), Holds::Others),
            (places.subnets(), Holds::Subnets),
        ];
        Self {
            parameters: watched("kernel parameters", sysctl::Watch::start()),
            state: watched("netd's files", StateWatch::start(directories)),
            kept: Vec::new(),
            lost: Lost::default(),
            restore_at: None,
            ports: HashMap::new(),
        }
    }

    /// Waits until there is something to look after. Nothing is lost if the future is
    /// dropped.
    pub async fn next(&self) -> Seen {
        let parameters = async {
            match &self.parameters {
                Some(parameters) => parameters.next().await.unwrap_or_default(),
                None => std::future::pending().await,
            }
        };
        let removed = async {
            match &self.state {
                Some(state) => state.next().await.unwrap_or_default(),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = parameters => Seen::Parameters(changed),
            removed = removed => Seen::Removed(removed),
            () = at(self.restore_at) => Seen::RestoreDue,
        }
    }
}

fn watched<T>(what: &str, watch: std::io::Result<T>) -> Option<T> {
    watch
        .map_err(|error| {
            tracing::warn!("{what} that somebody takes away are not put back: {error}")
        })
        .ok()
}

impl Daemon {
    /// Has `remake` called when the file at `path` is gone.
    pub fn keep(&mut self, path: PathBuf, remake: Remake) {
        self.healing.kept.push((path, remake));
    }

    pub(super) fn look_after(&mut self, seen: Seen) -> Result<(), Broken> {
        match seen {
            Seen::Parameters(changed) => {
                for changed in changed {
                    self.parameters_changed(changed);
                }
            }
            Seen::Removed(removed) => {
                for removed in removed {
                    self.note_removed(removed);
                }
            }
            Seen::RestoreDue => return self.restore_files(),
        }
        Ok(())
    }

    fn parameters_changed(&mut self, changed: Changed) {
        match changed {
            Changed::Link(index) => {
                self.suspect(index);
                self.look_whether_ipv6_is_on(index);
            }
            Changed::All => {
                self.uplinks_dirty = true;
                let all: Vec<u32> = self.links.keys().copied().collect();
                for index in all {
                    self.suspect(index);
                }
            }
        }
    }

    /// Has a link's parameters looked at.
    pub(super) fn suspect(&mut self, index: u32) {
        if let Some(own) = self.links.get_mut(&index) {
            own.guarded = false;
            self.world.distrust(index);
            self.dirty.insert(index);
        }
    }

    /// Watches the parameters of a link that is guarded now.
    pub(super) fn watch_parameters(&mut self, link: &Link) {
        let watch = self.healing.parameters.as_mut();
        if let Some(ended) = watch.and_then(|watch| watch.add(link.index, &link.name)) {
            self.worker.queue().add(move || drop(ended));
        }
    }

    /// Watches the parameters of a link no longer.
    pub(super) fn unwatch_parameters(&mut self, index: u32) {
        let watch = self.healing.parameters.as_mut();
        if let Some(ended) = watch.and_then(|watch| watch.remove(index)) {
            self.worker.queue().add(move || drop(ended));
        }
    }

    fn note_removed(&mut self, removed: Removed) {
        match removed {
            Removed::Record(name) if self.machines.get(&name).is_some_and(Entry::is_published) => {
                self.healing.lost.machines.insert(name);
            }
            Removed::Address(ip) => {
                let claimants: Vec<MachineName> = self.claims.claimants(ip).collect();
                self.healing.lost.machines.extend(claimants);
            }
            // Also of one that does not run now.
            Removed::Subnets(owner) if self.store.kept(&owner).is_some() => {
                self.healing.lost.owners.insert(owner);
            }
            Removed::Something => self.healing.lost.all = true,
            // netd itself removed it.
            Removed::Record(_) | Removed::Subnets(_) => {}
        }
        let lost = &self.healing.lost;
        if lost.all || !lost.machines.is_empty() || !lost.owners.is_empty() {
            let due = Instant::now() + RESTORE_AFTER;
            self.healing.restore_at.get_or_insert(due);
        }
    }

    /// Writes anew what is gone of netd's files.
    fn restore_files(&mut self) -> Result<(), Broken> {
        self.healing.restore_at = None;
        let lost = std::mem::take(&mut self.healing.lost);
        let (mut restored, mut failed) = (Vec::new(), false);
        for directory in [&self.places.runtime, &self.places.state] {
            match std::fs::create_dir_all(directory) {
                Err(error) if error.kind() == std::io::ErrorKind::ReadOnlyFilesystem => {
                    return Err(Broken::NotWritable(directory.clone()));
                }
                // Those below are made next, and say what is wrong.
                _ => {}
            }
        }
        if let Err(error) = self.registry.make_directories() {
            UNRESTORED.say(|more| tracing::error!("{}{more}", log::chain(&error)));
            failed = true;
        }
        // Here already, so that it can be watched.
        if let Err(error) = std::fs::create_dir_all(self.places.subnets()) {
            let path = self.places.subnets();
            UNRESTORED.say(|more| tracing::error!("cannot make {}: {error}{more}", path.display()));
            failed = true;
        }
        let machines: Vec<MachineName> = if lost.all {
            self.machines.keys().copied().collect()
        } else {
            lost.machines.into_iter().collect()
        };
        let before = crate::operations::done();
        for name in &machines {
            if self.machines.get(name).is_some_and(Entry::is_published) {
                self.publish(name);
            }
        }
        let records = crate::operations::done()
            .since(&before)
            .registry_writes
            .get();
        if records > 0 {
            restored.push(format!("{records} files of the registry"));
        }
        let subnets = self.restore_subnets(lost.owners, lost.all);
        if subnets > 0 {
            restored.push(format!("the subnets of {subnets} links"));
        }
        if lost.all {
            failed |= self.restore_kept(&mut restored);
        }
        if !restored.is_empty() {
            RESTORED.say(|more| {
                tracing::warn!(
                    "somebody removed files of netd's (the kernel does not tell who); restored: \
                     {}{more}",
                    restored.join(", ")
                );
            });
        }
        if lost.all
            && let Some(state) = &mut self.healing.state
        {
            state.watch_again();
        }
        if failed {
            self.healing.lost.all = true;
            self.healing.restore_at = Some(Instant::now() + TRY_AGAIN_AFTER);
        }
        Ok(())
    }

    fn restore_subnets(&mut self, owners: BTreeSet<Owner>, all: bool) -> usize {
        // Also what those keep that do not run.
        let owners = if all { self.store.owners() } else { owners };
        let mut restored = 0;
        for owner in owners {
            let entry = owner.machine().and_then(|name| self.machines.get(name));
            if entry.is_some_and(|entry| {
                entry.machine.ephemeral || !matches!(entry.machine.attachment, Attachment::Veth(_))
            }) {
                continue;
            }
            let Some((path, text)) = self.store.file(&owner, SystemTime::now()) else {
                continue;
            };
            if !path.exists() {
                restored += 1;
                self.worker.queue().add(move || super::keep(&path, &text));
            }
        }
        restored
    }

    /// Whether something failed.
    fn restore_kept(&mut self, restored: &mut Vec<String>) -> bool {
        let mut failed = false;
        match self.sysctl_undo.restore() {
            Ok(true) => restored.push(self.places.sysctl_undo().display().to_string()),
            Ok(false) => {}
            Err(error) => {
                UNRESTORED.say(|more| tracing::error!("{}{more}", log::chain(&error)));
                failed = true;
            }
        }
        for (path, remake) in &mut self.healing.kept {
            if path.exists() {
                continue;
            }
            match remake() {
                Ok(()) => restored.push(path.display().to_string()),
                Err(error) => {
                    UNRESTORED.say(|more| {
                        tracing::error!("{} cannot be made anew: {error}{more}", path.display());
                    });
                    failed = true;
                }
            }
        }
        failed
    }
}
