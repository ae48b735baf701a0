//! Noticing that somebody removes what netd keeps in files.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use registry::MachineName;
use rustix::fs::inotify::WatchFlags;

use crate::inotify::{Change, Inotify};
use crate::subnets::Owner;

/// Watches the directories of the registry and of what is kept.
#[derive(Debug)]
pub struct StateWatch {
    inotify: Inotify,
    directories: Vec<Directory>,
}

#[derive(Debug)]
struct Directory {
    path: PathBuf,
    holds: Holds,
    watch: Option<i32>,
}

/// What the files of a directory are named after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Machines: their records.
    Records,
    /// Addresses of machines.
    Addresses,
    /// Machines and zones: their subnets.
    Subnets,
    /// Each is something else.
    Others,
}

/// What was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    /// A machine's record.
    Record(MachineName),
    /// The link from an address to its machine's record.
    Address(IpAddr),
    /// Somebody's subnets.
    Subnets(Owner),
    /// Something else: a socket, a directory, or who knows what.
    Something,
}

impl StateWatch {
    /// Watches these directories. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// inotify is not to be had.
    pub fn start(directories: impl IntoIterator<Item = (PathBuf, Holds)>) -> io::Result<Self> {
        let directory = |(path, holds)| Directory {
            path,
            holds,
            watch: None,
        };
        let mut watch = Self {
            inotify: Inotify::new()?,
            directories: directories.into_iter().map(directory).collect(),
        };
        watch.watch_again();
        Ok(watch)
    }

    /// Watches the directories that are there now, also where they were made anew.
    pub fn watch_again(&mut self) {
        let removals = WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        for directory in &mut self.directories {
            directory.watch = self.inotify.add(&directory.path, removals).ok();
        }
    }

    /// Waits for something to be removed, be it by netd itself. Nothing is lost if the
    /// future is dropped.
    ///
    /// # Errors
    /// None that is known of.
    pub async fn next(&self) -> io::Result<Vec<Removed>> {
        loop {
            let changes = self.inotify.next().await?;
            let removed: Vec<Removed> = changes
                .iter()
                .filter_map(|change| self.removed(change))
                .collect();
            if !removed.is_empty() {
                return Ok(removed);
            }
        }
    }

    fn removed(&self, change: &Change) -> Option<Removed> {
        let mut directories = self.directories.iter();
        let known = directories.find(|directory| directory.watch == Some(change.watch));
        let Some(directory) = known else {
            // Of a directory that was replaced; or changes were lost.
            return (change.watch < 0).then_some(Removed::Something);
        };
        let Some(name) = change.name.as_deref() else {
            return Some(Removed::Something);
        };
        if name.starts_with('.') {
            return None;
        }
        Some(match directory.holds {
            Holds::Records => Removed::Record(name.parse().ok()?),
            Holds::Addresses => Removed::Address(name.parse().ok()?),
            Holds::Subnets => Removed::Subnets(name.parse().ok()?),
            Holds::Others if is_draft(name) => return None,
            Holds::Others => Removed::Something,
        })
    }
}

/// Whether it is one of netd's own, before it gets its name.
fn is_draft(name: &str) -> bool {
    Path::new(name)
        .extension()
        .is_some_and(|extension| extension == "new")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn removals_are_told_and_drafts_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let machines = directory.path().join("machines");
        std::fs::create_dir(&machines).unwrap();
        let places = [
            (directory.path().to_owned(), Holds::Others),
            (machines.clone(), Holds::Records),
        ];
        let mut watch = StateWatch::start(places).unwrap();
        for name in [".web", "web"] {
            std::fs::write(machines.join(name), "").unwrap();
        }
        std::fs::rename(machines.join(".web"), machines.join("web")).unwrap();
        std::fs::write(directory.path().join("bus.new"), "").unwrap();
        std::fs::remove_file(directory.path().join("bus.new")).unwrap();
        std::fs::remove_file(machines.join("web")).unwrap();
        let web = Removed::Record("web".parse().unwrap());
        assert_eq!(watch.next().await.unwrap(), std::slice::from_ref(&web));
        std::fs::remove_dir(&machines).unwrap();
        let told = watch.next().await.unwrap();
        assert!(told.iter().all(|removed| *removed == Removed::Something));
        std::fs::create_dir(&machines).unwrap();
        watch.watch_again();
        std::fs::write(machines.join("web"), "").unwrap();
        std::fs::rename(machines.join("web"), directory.path().join("x")).unwrap();
        while watch.next().await.unwrap() != [Removed::clone(&web)] {}
    }
}
