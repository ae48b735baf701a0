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
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use registry::cgroup2::{Group, MACHINE_SLICE, is_marked};
use registry::ifname::LinkKind;
use registry::names::{NameState, clear_left_in, state_in};
use registry::unit_name::machine_scope;
use registry::{IfName, LINK_GROUP, MachineName};
use rustix::fs::{inotify, rmdir};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

use super::{Daemon, Input};
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
    let watched = watch_directory(&directory);
    tokio::task::spawn_local(async move {
        let mut watched = watched;
        loop {
            match watched {
                Ok(inotify) => tell_of_names(&inotify, &directory, &daemon).await,
                Err(error) => tracing::warn!(
                    "cannot watch {}: what a supervisor that is killed before it registers \
                     leaves behind is not cleared away ({error})",
                    directory.display()
                ),
            }
            tokio::time::sleep(WATCH_AGAIN).await;
            watched = watch_directory(&directory);
        }
    });
}

fn watch_directory(directory: &Path) -> io::Result<AsyncFd<OwnedFd>> {
    fs::create_dir_all(directory)?;
    let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
    let inotify = inotify::init(flags)?;
    let events = inotify::WatchFlags::CLOSE_WRITE
        | inotify::WatchFlags::EXCL_UNLINK
        | inotify::WatchFlags::ONLYDIR;
    inotify::add_watch(&inotify, directory, events)?;
    crate::async_fd::watch(inotify, Interest::READABLE)
}

/// Comes back when the directory is gone.
async fn tell_of_names(inotify: &AsyncFd<OwnedFd>, directory: &Path, daemon: &mpsc::Sender<Input>) {
    loop {
        let read = inotify
            .async_io(Interest::READABLE, |inotify| Ok(read_names(inotify)?))
            .await;
        let Ok((mut names, watching)) = read else {
            return;
        };
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
            if !left.is_empty() {
                let _ = daemon.send(Input::NamesLeft(left)).await;
            }
            names = held;
        }
        if !watching {
            return;
        }
    }
}

/// The names in the next events, and whether the directory is still watched.
fn read_names(inotify: &OwnedFd) -> rustix::io::Result<(BTreeSet<MachineName>, bool)> {
    let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
    let mut events = inotify::Reader::new(inotify, &mut buffer);
    let (mut names, mut watching) = (BTreeSet::new(), true);
    loop {
        let event = events.next()?;
        watching &= !event.events().contains(inotify::ReadFlags::IGNORED);
        let name = event.file_name().and_then(|name| name.to_str().ok());
        names.extend(name.and_then(|name| name.parse::<MachineName>().ok()));
        if events.is_buffer_empty() {
            return Ok((names, watching));
        }
    }
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
        let Ok(list) = fs::read_dir(&directory) else {
            return;
        };
        let left: Vec<MachineName> = list
            .flatten()
            .filter_map(|file| file.file_name().to_str()?.parse().ok())
            .filter(|name| !self.machines.contains_key(name))
            .filter(|name| matches!(state_in(&directory, name), Ok(NameState::Left)))
            .collect();
        let daemon = self.sender.clone();
        tokio::task::spawn_local(async move {
            for names in left.chunks(AT_ONCE) {
                let _ = daemon.send(Input::NamesLeft(names.to_vec())).await;
            }
        });
    }

    /// The supervisors that had these names were killed.
    pub(super) fn names_left(&mut self, names: Vec<MachineName>) {
        let links = self.own_links_by_name();
        for name in names {
            let supervised = |entry: &super::Entry| !entry.unsupervised;
            // Of one that is registered its process tells, too.
            if !self.machines.get(&name).is_some_and(supervised) {
                self.clear_left_behind(name, &links);
            }
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
                tracing::warn!(machine = %name, "its name cannot be given back: {error}");
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
        let Ok(id) = group.id() else { return };
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
