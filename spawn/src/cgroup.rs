//! The container's cgroups, in the unified hierarchy of every host: a scope of its
//! own, and in it the payload's. What holds for the container as a whole stands at the
//! scope, which is above the root of its cgroup namespace: nothing inside can name it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use registry::cgroup2::{
    EVENTS, Group, Hierarchy, MACHINE_SLICE, MARKS, is_marked, mark_of, remove_tree, says_populated,
};
use registry::unit_name::machine_scope;
use registry::{LeaderId, MachineName};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, XattrFlags, mkdir, rmdir};
use rustix::io::Errno;

use crate::error::{Doing, StepError};

const PAYLOAD: &str = "payload";
/// How long processes that were killed may take to go away.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a cgroup is made again that netd has taken for a crashed supervisor's.
const ATTEMPTS: u32 = 3;
/// What a container's init may want to share out.
const CONTROLLERS: [&str; 5] = ["cpuset", "cpu", "io", "memory", "pids"];
/// What one container may take of what all cgroups have in common; the file may be
/// missing with its controller, or on an older kernel.
const LIMITS: [(&str, &str); 3] = [
    ("cgroup.max.depth", "64"),
    ("cgroup.max.descendants", "4096"),
    ("pids.max", "16384"),
];

/// The cgroups cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// A step failed.
    #[error(transparent)]
    Step(#[from] StepError),
    /// It is there already, with processes in it, and not of rspawn's making.
    #[error(
        "the cgroup {0} holds processes that are not of rspawn: another manager runs a container of that name; stop it there, or choose another name with -M"
    )]
    Foreign(PathBuf),
    /// Another rspawn's container of that name runs.
    #[error(
        "the cgroup {0} is that of a container that runs: stop it first, or choose another name with -M"
    )]
    Running(PathBuf),
}

/// A container's cgroups, of this process's own making. They stay when the value is
/// dropped.
#[derive(Debug)]
pub struct Cgroup {
    directory: PathBuf,
    scope: Group,
    payload: Group,
    name: String,
    /// The mount through which it is reached.
    _hierarchy: Hierarchy,
}

impl Cgroup {
    /// Makes the cgroups of a machine, empty. What rspawn left of a machine of that
    /// name is killed first: the caller holds the name, so nobody looks after it.
    ///
    /// # Errors
    /// There is no unified hierarchy, it cannot be written, or the name is in use by
    /// another manager.
    pub fn create(machine: &MachineName) -> Result<Self, CgroupError> {
        let hierarchy = Hierarchy::find().doing(|| "find or mount a cgroup2 hierarchy".into())?;
        let below = Path::new(MACHINE_SLICE).join(machine_scope(machine.as_str()));
        let directory = hierarchy.directory_below(&below);
        let doing = || format!("make the cgroup {}", directory.display());
        let root = hierarchy.directory_below(Path::new(""));
        let slice = hierarchy.directory_below(Path::new(MACHINE_SLICE));
        make(&slice).doing(doing)?;
        let controllers = read(&root, "cgroup.controllers");
        share_out(&root, &controllers);
        share_out(&slice, &controllers);
        let mut attempt = 1;
        let (scope, payload) = loop {
            if !make(&directory).doing(doing)? {
                clear(&directory)?;
                make(&directory).doing(doing)?;
            }
            match fill(&directory, &controllers) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && attempt < ATTEMPTS => {
                    attempt += 1;
                }
                other => break other.doing(doing)?,
            }
        };
        Ok(Self {
            name: hierarchy.name_below(&below),
            directory,
            scope,
            payload,
            _hierarchy: hierarchy,
        })
    }

    /// The whole container's cgroup, as proc_pid_cgroup(5) names it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole container's cgroup. The payload has a cgroup of its own in it.
    #[must_use]
    pub fn scope(&self) -> &Group {
        &self.scope
    }

    /// The cgroup to clone the payload into.
    #[must_use]
    pub fn payload(&self) -> BorrowedFd<'_> {
        self.payload.as_fd()
    }

    /// Whether somebody else has removed it.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        !self.directory.join(PAYLOAD).is_dir()
    }

    /// Kills what is left in it and removes it.
    ///
    /// # Errors
    /// Something in it does not end.
    pub fn remove(&self) -> Result<(), StepError> {
        let doing = || format!("remove the cgroup {}", self.directory.display());
        rmdir(self.directory.join(PAYLOAD)).ok();
        if rmdir(&self.directory).is_ok() {
            return Ok(());
        }
        kill(&self.scope).doing(doing)?;
        remove_tree(&self.directory).doing(doing)
    }
}

/// Makes what belongs into a new scope.
fn fill(scope: &Path, controllers: &str) -> io::Result<(Group, Group)> {
    let group = Group::open(scope)?;
    // Each is of use to somebody, and neither can be had everywhere.
    let supervisor = LeaderId::own()?.to_string();
    let value = supervisor.as_bytes();
    let marks =
        MARKS.map(|mark| rustix::fs::setxattr(scope, mark, value, XattrFlags::empty()).is_ok());
    if marks == [false; 2] {
        // It works all the same, but nobody clears it away after a crash.
        rustix::fs::stat(scope)?;
    }
    for (file, limit) in LIMITS {
        group.write(file, limit).ok();
    }
    share_out(scope, controllers);
    let payload = scope.join(PAYLOAD);
    make(&payload)?;
    let payload = Group::open(&payload)?;
    Ok((group, payload))
}

/// Clears away a cgroup that has the scope's name: one of rspawn's with all that is in
/// it, any other only if nothing is.
fn clear(directory: &Path) -> Result<(), CgroupError> {
    let left = match Group::open(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.doing(|| format!("open the cgroup {}", directory.display()))?,
    };
    let emptying = || format!("empty the cgroup {}", directory.display());
    if is_supervised(&left) {
        return Err(CgroupError::Running(directory.to_owned()));
    }
    if is_marked(&left) {
        kill(&left).doing(emptying)?;
    } else if left.is_populated().doing(emptying)? {
        return Err(CgroupError::Foreign(directory.to_owned()));
    }
    remove_tree(directory).doing(|| format!("remove the cgroup {}", directory.display()))?;
    Ok(())
}

/// Whether the rspawn that made a cgroup still is there. Its lock on the name would say so
/// as well, unless somebody has removed the name's file.
fn is_supervised(scope: &Group) -> bool {
    let supervisor = mark_of(scope).and_then(|mark| mark.parse::<LeaderId>().ok());
    // What cannot be looked at may well run.
    supervisor.is_some_and(|supervisor| !matches!(supervisor.reopen(), Ok(None)))
}

/// Lets the cgroups below have controllers of their own, as far as there are any; one
/// that cannot be shared out, as with processes beside them, is done without.
fn share_out(directory: &Path, controllers: &str) {
    if lacking(controllers, "").is_empty() {
        return;
    }
    let shared = read(directory, "cgroup.subtree_control");
    for controller in lacking(controllers, &shared) {
        let file = directory.join("cgroup.subtree_control");
        std::fs::write(file, format!("+{controller}")).ok();
    }
}

fn read(directory: &Path, file: &str) -> String {
    std::fs::read_to_string(directory.join(file)).unwrap_or_default()
}

fn lacking<'a>(there: &'a str, shared: &str) -> Vec<&'a str> {
    there
        .split_whitespace()
        .filter(|one| CONTROLLERS.contains(one))
        .filter(|one| !shared.split_whitespace().any(|other| other == *one))
        .collect()
}

/// Makes a directory; false if it was there.
fn make(path: &Path) -> io::Result<bool> {
    match mkdir(path, Mode::from_raw_mode(0o755)) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Kills every process in a cgroup and below, and waits until none is left.
fn kill(group: &Group) -> io::Result<()> {
    group.kill()?;
    let events = group.file(EVENTS)?;
    let deadline = Instant::now() + KILL_TIMEOUT;
    while says_populated(&events)? {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let timeout = Timespec::try_from(left).ok();
        poll(
            &mut [PollFd::new(&events, PollFlags::PRI)],
            timeout.as_ref(),
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_that_are_shared_out_already_are_left() {
        let there = "cpuset cpu io memory hugetlb pids misc\n";
        assert_eq!(lacking(there, "cpu pids\n"), ["cpuset", "io", "memory"]);
        assert!(lacking("hugetlb\n", "").is_empty());
    }
}
