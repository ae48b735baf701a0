//! Noticing that somebody changes kernel parameters.
//!
//! The kernel tells of the writing of a parameter's file as of any file's (inotify(7)), as
//! long as it is written through the same mount of procfs. Such a watch ends unnoticed when
//! memory is short and the kernel forgets the directory, so a descriptor holds on to it
//! where there are enough of them.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::WatchFlags;
use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Resource, getrlimit};

use super::{NET, Protocol};
use crate::inotify::{Ending, Inotify};

/// What part of the descriptors may go into holding on to directories: one in so many.
const SHARE: u64 = 4;

/// Watches the parameters of links, and those that count for all links.
#[derive(Debug)]
pub struct Watch {
    inotify: Inotify,
    links: HashMap<u32, Watched>,
    owners: HashMap<i32, u32>,
    held: u64,
    held_max: u64,
    /// Whether it was said already that not all can be watched.
    complained: bool,
}

#[derive(Debug)]
struct Watched {
    name: String,
    watches: Vec<i32>,
    directories: Vec<OwnedFd>,
}

/// What is left of the watch of a link, to be dropped where that may take its time.
#[derive(Debug)]
pub struct Ended {
    _watches: Ending,
    _directories: Vec<OwnedFd>,
}

/// Whose parameters were changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// Those of the link with this index.
    Link(u32),
    /// Those that count for all links.
    All,
}

impl Watch {
    /// Watches the parameters that count for all links. Must be called within a tokio
    /// runtime.
    ///
    /// # Errors
    /// inotify is not to be had.
    pub fn start() -> io::Result<Self> {
        let watch = Self {
            inotify: Inotify::new()?,
            links: HashMap::new(),
            owners: HashMap::new(),
            held: 0,
            held_max: getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) / SHARE,
            complained: false,
        };
        for directory in ["ipv4", "ipv4/conf/all", "ipv6/conf/all"] {
            // The host may be without IPv6.
            let _ = watch
                .inotify
                .add(&Path::new(NET).join(directory), WatchFlags::MODIFY);
        }
        Ok(watch)
    }

    /// Watches the parameters of a link from now on. Gives what is left of the watch that
    /// it had by another name.
    pub fn add(&mut self, index: u32, name: &str) -> Option<Ended> {
        if self
            .links
            .get(&index)
            .is_some_and(|known| known.name == name)
        {
            return None;
        }
        let before = self.remove(index);
        let mut watched = Watched {
            name: name.to_owned(),
            watches: Vec::new(),
            directories: Vec::new(),
        };
        for protocol in [Protocol::V4, Protocol::V6] {
            let path = protocol.conf().join(name);
            match self.inotify.add(&path, WatchFlags::MODIFY) {
                Ok(watch) => {
                    watched.watches.push(watch);
                    self.owners.insert(watch, index);
                    watched.directories.extend(self.hold(&path));
                }
                // It is gone, or the host is without the protocol.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => self.complain(&error),
            }
        }
        self.links.insert(index, watched);
        before
    }

    /// Watches a link no longer.
    pub fn remove(&mut self, index: u32) -> Option<Ended> {
        let watched = self.links.remove(&index)?;
        for watch in &watched.watches {
            self.owners.remove(watch);
        }
        self.held = self.held.saturating_sub(watched.directories.len() as u64);
        Some(Ended {
            _watches: self.inotify.ending(watched.watches),
            _directories: watched.directories,
        })
    }

    /// Waits for parameters to be changed, by whomever. Nothing is lost if the future is
    /// dropped.
    ///
    /// # Errors
    /// None that is known of.
    pub async fn next(&self) -> io::Result<Vec<Changed>> {
        loop {
            let mut changed: Vec<Changed> = Vec::new();
            for change in self.inotify.next().await? {
                let whose = match self.owners.get(&change.watch) {
                    Some(index) => Changed::Link(*index),
                    // Changes were lost, or it is one of those that count for all.
                    None if change.watch < 0 || is_a_switch(change.name.as_deref()) => Changed::All,
                    None => continue,
                };
                if !changed.contains(&whose) {
                    changed.push(whose);
                }
            }
            if !changed.is_empty() {
                return Ok(changed);
            }
        }
    }

    fn hold(&mut self, path: &Path) -> Option<OwnedFd> {
        if self.held >= self.held_max {
            return None;
        }
        let directory = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
        self.held += 1;
        Some(directory)
    }

    fn complain(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.complained, true) {
            tracing::warn!(
                "not all kernel parameters can be watched, so that changes of them may go \
                 unnoticed: {error}; raise fs.inotify.max_user_watches"
            );
        }
    }
}

/// Whether a parameter that counts for all links changes those of each.
fn is_a_switch(name: Option<&str>) -> bool {
    matches!(name, Some("ip_forward" | "forwarding" | "force_forwarding"))
}
