//! Putting back what somebody takes away: kernel parameters, files, addresses.
//!
//! Links, addresses and the firewall table heal by the events that the kernel sends of
//! them anyway. Here is what has to be watched besides, and what is said of it all.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use registry::MachineName;
use tokio::time::Instant;

use super::bridged::OwnPort;
use super::registration::Entry;
use super::{Broken, Daemon, Places, TRY_AGAIN_AFTER, at};
use crate::log::{self, Pace};
use crate::machines::Attachment;
use crate::plan::Action;
use crate::rtnl::{Author, Event, Link};
use crate::state_watch::{Holds, Removed, StateWatch};
use crate::sysctl::{self, Changed, Corrected};

/// How long after something was removed it is put back: whoever removes a directory
/// removes one file after the other.
const RESTORE_AFTER: Duration = Duration::from_millis(50);
/// How often a link is healed at once in [`HEALS_IN`]. Who takes away faster than this
/// does it on purpose, and netd does not wrestle with it for all of the processor.
const HEALS: u32 = 8;
/// What is put back of files is said at this pace.
static RESTORED: Pace = Pace::new();
/// What cannot be put back is said at this pace.
static UNRESTORED: Pace = Pace::new();
/// Within this it counts as once.
const AT_ONE_TIME: Duration = Duration::from_millis(200);
/// The span of time for [`HEALS`].
const HEALS_IN: Duration = Duration::from_secs(10);

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
    /// Whose files.
    machines: BTreeSet<MachineName>,
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

/// How often a link was healed lately.
#[derive(Debug, Default)]
pub(super) struct Heals {
    since: Option<Instant>,
    count: u32,
    last: Option<Instant>,
    /// The last line that was said at that time.
    said: Option<String>,
    lines: u32,
    /// Whether it was said that it is too often.
    told: bool,
    /// Who took something of it last.
    taken_by: Option<String>,
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

impl Heals {
    /// Counts that something was put back.
    fn note(&mut self, now: Instant) {
        if self.since.is_none_or(|since| now - since > HEALS_IN) {
            (self.since, self.count, self.told, self.lines) = (Some(now), 0, false, 0);
        }
        // One program takes several things at once, and one of them twice.
        if self.last.is_none_or(|last| now - last > AT_ONE_TIME) {
            self.last = Some(now);
            self.said = None;
            self.count = self.count.saturating_add(1);
        }
    }

    /// Whether a line is worth saying: not the same at one time, and not too many.
    fn may_say(&mut self, text: &str) -> bool {
        self.lines = self.lines.saturating_add(1);
        let new = self.said.as_deref() != Some(text) && self.lines <= 2 * HEALS;
        self.said = Some(text.to_owned());
        new
    }

    /// Whether something may be put back at once.
    fn may(&self, now: Instant) -> bool {
        self.count < HEALS || self.since.is_none_or(|since| now - since > HEALS_IN)
    }

    /// Who took something of it, as the end of a phrase.
    fn take_author(&mut self) -> String {
        by_whom(self.taken_by.take().as_deref())
    }

    /// The link has all that it is to have.
    pub(super) fn nothing_taken(&mut self) {
        self.taken_by = None;
    }
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
            Changed::Link(index) => self.suspect(index),
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
    fn suspect(&mut self, index: u32) {
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

    /// Notes who takes something of a link that has all it is to have.
    pub(super) fn note_taken(&mut self, event: &Event, author: Author) {
        let index = match event {
            Event::AddressGone(address) if address.ours => address.index,
            Event::RouteGone(route) => route.link.unwrap_or(0),
            Event::Link(link)
                if self.world.link(link.index).is_some_and(|before| {
                    (before.up && !link.up)
                        || (before.controller.is_some() && link.controller != before.controller)
                }) =>
            {
                link.index
            }
            _ => return,
        };
        let own = self.links.get_mut(&index).filter(|own| own.confirmed);
        let port = self.healing.ports.get_mut(&index);
        let port = port.filter(|port| port.whole).map(|port| &mut port.heals);
        if let Some(heals) = own.map(|own| &mut own.heals).or(port)
            && heals.taken_by.is_none()
        {
            // At once: it may be gone a moment later.
            heals.taken_by = author.describe();
        }
    }

    /// How often something of a link was put back.
    fn heals_of(&mut self, index: u32) -> Option<&mut Heals> {
        let port = self.healing.ports.get_mut(&index);
        let port = port.map(|port| &mut port.heals);
        let own = self.links.get_mut(&index).map(|own| &mut own.heals);
        own.or(port)
    }

    /// Whether something that was taken from a link may be put back now.
    pub(super) fn may_heal(&mut self, link: &Link) -> bool {
        let heals = self.heals_of(link.index);
        heals.is_none_or(|heals| heals.may(Instant::now()))
    }

    /// Counts that something was put back. Whether the line about it is to be said.
    fn note_heal(&mut self, link: &Link, line: &str) -> bool {
        let Some(heals) = self.heals_of(link.index) else {
            return true;
        };
        heals.note(Instant::now());
        if heals.count == HEALS && !std::mem::replace(&mut heals.told, true) {
            tracing::warn!(
                link = %link.name,
                "what netd sets is taken away again and again{}: it is put back at a slower pace \
                 from now on",
                by_whom(heals.taken_by.as_deref())
            );
        }
        heals.may_say(line)
    }

    /// Says what was put back.
    pub(super) fn tell_healed<'a>(
        &mut self,
        link: &Link,
        machine: &MachineName,
        actions: impl Iterator<Item = &'a Action>,
    ) {
        let mut done: Vec<String> = Vec::new();
        for action in actions {
            match action {
                Action::AddAddress(address) => done.push(format!("address {address}")),
                Action::SetUp => done.push("the link set up".into()),
                Action::SetMtu(mtu) => done.push(format!("MTU {mtu}")),
                Action::AddRoute(address) => {
                    let network = address.network();
                    done.push(format!("route {network}/{}", address.prefix()));
                }
                Action::Join(bridge) => {
                    let bridge = self.world.link(*bridge);
                    let name = bridge.map_or("its bridge", |bridge| &bridge.name);
                    done.push(format!("port of {name}"));
                }
                Action::Guard | Action::RemoveAddress(_) => {}
            }
        }
        let done = done.join(", ");
        if done.is_empty() || !self.note_heal(link, &done) {
            return;
        }
        let by = self.heals_of(link.index).map(Heals::take_author);
        tracing::warn!(
            %machine,
            link = %link.name,
            "restored: {done}, taken away{}",
            by.unwrap_or_default()
        );
    }

    /// Says which kernel parameters were put back. The kernel does not tell by whom they
    /// were changed.
    pub(super) fn tell_corrected(
        &mut self,
        machine: &MachineName,
        link: &Link,
        corrected: &[Corrected],
    ) {
        if corrected.is_empty() {
            return;
        }
        let each = corrected.iter().map(|parameter| {
            format!(
                "{} was {}, is {} again",
                parameter.path.display(),
                parameter.former,
                parameter.value
            )
        });
        let line = each.collect::<Vec<String>>().join("; ");
        if self.note_heal(link, &line) {
            tracing::warn!(%machine, link = %link.name, "restored: {line}");
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
            Removed::Subnets(name) if self.store.kept(&name).is_some() => {
                self.healing.lost.machines.insert(name);
            }
            Removed::Something => self.healing.lost.all = true,
            // netd itself removed it.
            Removed::Record(_) | Removed::Subnets(_) => {}
        }
        if self.healing.lost.all || !self.healing.lost.machines.is_empty() {
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
        let subnets = self.restore_subnets(&machines, lost.all);
        if subnets > 0 {
            restored.push(format!("the subnets of {subnets} machines"));
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

    fn restore_subnets(&mut self, machines: &[MachineName], all: bool) -> usize {
        // Also what machines keep that do not run.
        let names: Vec<MachineName> = if all {
            self.store.names().into_iter().collect()
        } else {
            machines.to_vec()
        };
        let mut restored = 0;
        for name in names {
            let entry = self.machines.get(&name);
            if entry.is_some_and(|entry| {
                entry.machine.ephemeral || !matches!(entry.machine.attachment, Attachment::Veth(_))
            }) {
                continue;
            }
            let Some((path, text)) = self.store.file(&name, SystemTime::now()) else {
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

fn by_whom(who: Option<&str>) -> String {
    match who {
        Some(who) => format!(" by {who}"),
        None => " (the kernel does not tell by whom)".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_not_wrestled_for() {
        let mut heals = Heals::default();
        let start = Instant::now();
        for n in 0..HEALS {
            let now = start + AT_ONE_TIME * 2 * n;
            assert!(heals.may(now));
            heals.note(now);
            assert!(heals.may_say("a"));
            heals.note(now + AT_ONE_TIME);
            assert!(!heals.may_say("a"));
        }
        assert!(!heals.may(start + HEALS_IN));
        assert!(heals.may(start + HEALS_IN + Duration::from_millis(1)));
    }
}
