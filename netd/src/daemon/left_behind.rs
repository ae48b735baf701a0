//! What supervisors have left behind that were killed before they registered, or while
//! no netd was there.
//!
//! The proof that somebody was killed is the file of a name that nobody has locked
//! (`registry::names`). Whatever else bears the name is nobody's then: the cgroup with
//! rspawn's mark, the link of our group, the file for networkd, what was made in the
//! tree. The file itself goes last, so that a netd that is killed in between leaves the
//! proof to the next one. A supervisor that is just starting, or waits to connect, has
//! its name locked and is not touched; where there is no file at all, nothing is proven.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use registry::cgroup2::{Group, MACHINE_SLICE, is_marked};
use registry::ifname::LinkKind;
use registry::names::{NameState, clear_left_in, state_in};
use registry::unit_name::machine_scope;
use registry::{IfName, LINK_GROUP, MachineName};
use rustix::fs::inotify::WatchFlags;
use rustix::fs::rmdir;
use tokio::sync::mpsc;

use super::{Daemon, Input};
use crate::inotify::Inotify;
use crate::log::Pace;
use crate::rtnl::LinkType;

/// How long after a name was let go it is looked at: its lock goes a moment later.
const LET_GO: Duration = Duration::from_millis(10);
/// How often it is looked at while it is locked. Whoever locked it may only have tried
/// to, and have been told that it is taken.
const LOOKS: u32 = 5;
/// How many names are cleared away before anything else gets its turn.
const AT_ONCE: usize = 16;
/// How long after the directory of names went it is made and watched again.
const WATCH_AGAIN: Duration = Duration::from_secs(1);

static UNWATCHED: Pace = Pace::new();
static NOT_GIVEN_BACK: Pace = Pace::new();

/// Directory of the names below the runtime directory.
pub(super) fn names_dir(runtime: &Path) -> PathBuf {
    runtime.join("names")
}

/// Watches for names that their supervisors let go without giving them back, and tells
/// `daemon`.
///
/// A supervisor has its name's file open for writing, and has removed it before it ends
/// in order: only one that is killed closes a file that is still there.
pub(super) fn watch(runtime: &Path, daemon: mpsc::Sender<Input>) {
    let directory = names_dir(runtime);
    let mut watched = watch_directory(&directory);
    tokio::task::spawn_local(async move {
        loop {
            match &watched {
                Ok(inotify) => tell_of_names(inotify, &directory, &daemon).await,
                Err(error) => UNWATCHED.say(|held_back| {
                    tracing::warn!(
                        "cannot watch {}: what a supervisor that is killed before it registers \
                         leaves behind is not cleared away ({error}){held_back}",
                        directory.display()
                    );
                }),
            }
            tokio::time::sleep(WATCH_AGAIN).await;
            watched = watch_directory(&directory);
            if watched.is_ok() {
                // Of those that were let go meanwhile nothing was told.
                tell_of_left(names_in(&directory), &directory, &daemon).await;
            }
        }
    });
}

fn watch_directory(directory: &Path) -> io::Result<Inotify> {
    fs::create_dir_all(directory)?;
    let inotify = Inotify::new()?;
    let events = WatchFlags::CLOSE_WRITE | WatchFlags::EXCL_UNLINK | WatchFlags::ONLYDIR;
    inotify.add(directory, events)?;
    Ok(inotify)
}

/// Comes back when the directory is gone.
async fn tell_of_names(inotify: &Inotify, directory: &Path, daemon: &mpsc::Sender<Input>) {
    while let Ok(changes) = inotify.next().await {
        let were_lost = changes.iter().any(|change| change.watch < 0);
        let names = if were_lost {
            names_in(directory)
        } else {
            let names = changes.iter().filter_map(|change| change.name.as_deref());
            names.filter_map(|name| name.parse().ok()).collect()
        };
        tell_of_left(names, directory, daemon).await;
        if changes.iter().any(|change| change.gone) {
            return;
        }
    }
}

/// Tells of those of the names that are let go, or will be in a moment.
async fn tell_of_left(
    mut names: BTreeSet<MachineName>,
    directory: &Path,
    daemon: &mpsc::Sender<Input>,
) {
    for _ in 0..LOOKS {
        if names.is_empty() {
            break;
        }
        tokio::time::sleep(LET_GO).await;
        let (mut held, mut left) = (BTreeSet::new(), Vec::new());
        for name in names {
            match state_in(directory, &name) {
                Ok(NameState::Held) => drop(held.insert(name)),
                Ok(NameState::Left) => left.push(name),
                Ok(NameState::Free) | Err(_) => {}
            }
        }
        tell(&left, daemon).await;
        names = held;
    }
}

async fn tell(left: &[MachineName], daemon: &mpsc::Sender<Input>) {
    for names in left.chunks(AT_ONCE) {
        let _ = daemon.send(Input::NamesLeft(names.to_vec())).await;
    }
}

/// The names that have a file.
fn names_in(directory: &Path) -> BTreeSet<MachineName> {
    let Ok(list) = fs::read_dir(directory) else {
        return BTreeSet::new();
    };
    list.flatten()
        .filter_map(|file| file.file_name().to_str()?.parse().ok())
        .collect()
}

impl Daemon {
    /// Finds what was left behind while no netd was there; it is cleared away when
    /// everything else is served. Those that are recorded are looked after by their
    /// records.
    pub(super) fn find_left_behind(&self) {
        clear_drafts(&self.places.state);
        let subnets = self.places.state.join("subnets");
        // Only the worker writes there.
        self.worker.queue().add(move || clear_drafts(&subnets));
        let directory = names_dir(&self.places.runtime);
        let left: Vec<MachineName> = names_in(&directory)
            .into_iter()
            .filter(|name| !self.machines.contains_key(name))
            .filter(|name| matches!(state_in(&directory, name), Ok(NameState::Left)))
            .collect();
        let daemon = self.sender.clone();
        tokio::task::spawn_local(async move { tell(&left, &daemon).await });
    }

    /// The supervisors that had these names were killed.
    pub(super) fn names_left(&mut self, names: Vec<MachineName>) {
        let supervised = |entry: &super::Entry| !entry.unsupervised;
        // Of one that is registered its process tells, too.
        let nobodys: Vec<MachineName> = names
            .into_iter()
            .filter(|name| !self.machines.get(name).is_some_and(supervised))
            .collect();
        if nobodys.is_empty() {
            return;
        }
        let links = self.own_links_by_name();
        for name in nobodys {
            self.clear_left_behind(name, &links);
        }
    }

    /// Clears away what bears a name, if the name was left; of the links only those that
    /// are given.
    pub(super) fn clear_left_behind(&mut self, name: MachineName, links: &HashMap<String, u32>) {
        let scope = Path::new(MACHINE_SLICE).join(machine_scope(name.as_str()));
        // Looked at before the name is: what is there by then, and not of one that
        // holds the name, is nobody's.
        let cgroup = self.cgroups.as_ref().and_then(|cgroups| {
            let directory = cgroups.directory_below(&scope);
            let group = Group::open(&directory).ok()?;
            Some((directory, group))
        });
        let directory = names_dir(&self.places.runtime);
        if !matches!(state_in(&directory, &name), Ok(NameState::Left)) {
            return;
        }
        tracing::info!(machine = %name, "what its killed supervisor left is cleared away");
        for kind in [LinkKind::Veth, LinkKind::BridgePort] {
            let (short, full) = IfName::of_machine(kind, &name);
            let _ = fs::remove_file(registry::networkd::keep_off_file(short.as_str()));
            let names = full.iter().map(String::as_str).chain([short.as_str()]);
            if let Some(index) = names.filter_map(|name| links.get(name)).next() {
                self.retire_link(*index);
            }
        }
        let (runtime, worker) = (self.places.runtime.clone(), self.worker.queue());
        // What is in the tree may be on a disk, or behind a network.
        let give_back = move || {
            let told = clear_left_in(&runtime, &names_dir(&runtime), &name);
            if let Err(error) = told {
                NOT_GIVEN_BACK.say(|held_back| {
                    tracing::warn!(
                        machine = %name, "its name cannot be given back: {error}{held_back}"
                    );
                });
            }
        };
        let Some((directory, group)) = cgroup else {
            worker.add(give_back);
            return;
        };
        if !is_marked(&group) {
            // Killed before it could mark it: there is nothing in it then. Else it is
            // not ours.
            let _ = rmdir(&directory);
            worker.add(give_back);
            return;
        }
        let Ok(id) = group.id() else {
            // It goes away by itself at this moment; what is in it does not outlive it.
            let _ = group.kill();
            worker.add(give_back);
            return;
        };
        let ended = self.end_processes(&name, directory, id);
        tokio::task::spawn_local(async move {
            if ended.await.is_ok() {
                worker.add(give_back);
            }
        });
    }

    /// The links of our group that may be of machines, by their full names. One whose
    /// name is short for another, which it was not given any more, counts by that: its
    /// supervisor was killed in between.
    fn own_links_by_name(&self) -> HashMap<String, u32> {
        let own = self
            .world
            .links()
            .filter(|link| link.group == LINK_GROUP && link.kind == LinkType::Veth);
        own.map(|link| {
            let is_ours = |name: &&String| name.starts_with("ve-") || name.starts_with("vb-");
            let full = link.altnames.iter().find(is_ours).unwrap_or(&link.name);
            (full.clone(), link.index)
        })
        .collect()
    }
}

/// Removes the files of a state directory that somebody was about to rename who was
/// killed.
fn clear_drafts(directory: &Path) {
    let Ok(list) = fs::read_dir(directory) else {
        return;
    };
    for entry in list.flatten() {
        let name = entry.file_name();
        let left = match name.to_str().and_then(|name| name.rsplit_once('.')) {
            // No machine's name begins with a dot, but one may end in that.
            Some((name, "new")) => name == "sysctl-undo" || name.starts_with('.'),
            Some(("host-id", pid)) => {
                pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists()
            }
            _ => false,
        };
        if left {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::fs::File;

    /// Waits until the daemon was told of a name.
    async fn told(inputs: &mut mpsc::Receiver<Input>, name: &str) {
        let name: MachineName = name.parse().unwrap();
        let until_told = async {
            loop {
                if let Some(Input::NamesLeft(names)) = inputs.recv().await
                    && names.contains(&name)
                {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), until_told)
            .await
            .unwrap();
    }

    /// Watches the names of a runtime directory, which the test is given with what the
    /// daemon is told.
    async fn watching<F: Future<Output = ()>>(
        test: impl FnOnce(PathBuf, mpsc::Receiver<Input>) -> F,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (sender, inputs) = mpsc::channel(1024);
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async {
                watch(dir.path(), sender);
                test(dir.path().to_owned(), inputs).await;
            })
            .await;
    }

    #[tokio::test]
    async fn names_left_while_nothing_was_watched_are_told() {
        watching(async |runtime, mut inputs| {
            let names = names_dir(&runtime);
            fs::write(names.join("first"), "").unwrap();
            told(&mut inputs, "first").await;
            // What is moved to its place is never written there.
            let other = runtime.join("other");
            fs::create_dir(&other).unwrap();
            fs::write(other.join("second"), "").unwrap();
            fs::remove_dir_all(&names).unwrap();
            fs::rename(&other, &names).unwrap();
            told(&mut inputs, "second").await;
        })
        .await;
    }

    #[tokio::test]
    async fn names_whose_events_were_lost_are_told() {
        watching(async |runtime, mut inputs| {
            let names = names_dir(&runtime);
            let queue_max = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events");
            let queue_max: usize = queue_max.unwrap().trim().parse().unwrap();
            let mut ring: VecDeque<_> = ["a", "b"].into();
            for _ in 0..=queue_max {
                // Two that are alike would be one.
                let name = ring.pop_front().unwrap();
                drop(File::create(names.join(name)).unwrap());
                ring.push_back(name);
            }
            drop(File::create(names.join("lost")).unwrap());
            told(&mut inputs, "lost").await;
        })
        .await;
    }

    #[test]
    fn drafts_of_those_that_were_killed_go() {
        let dir = tempfile::tempdir().unwrap();
        let alive = format!("host-id.{}", std::process::id());
        for file in [
            "sysctl-undo",
            "sysctl-undo.new",
            "host-id",
            "host-id.4294967295",
            &alive,
        ] {
            fs::write(dir.path().join(file), "").unwrap();
        }
        clear_drafts(dir.path());
        let list = fs::read_dir(dir.path()).unwrap();
        let left: BTreeSet<_> = list.map(|entry| entry.unwrap().file_name()).collect();
        let kept = ["sysctl-undo", "host-id", &alive].map(Into::into);
        assert_eq!(left, BTreeSet::from(kept));
    }
}
