//! The payload's cgroup: a directory of its own in the unified hierarchy, on every
//! host.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use registry::MachineName;
use registry::cgroup2::{Group, Hierarchy, remove_tree};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, mkdir, rmdir};

use crate::error::{Doing, StepError};
use crate::unit_name::machine_scope;

const SLICE: &str = "machine.slice";
/// How long processes that were killed may take to go away.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// A cgroup of this process's own making. It stays when the value is dropped.
#[derive(Debug)]
pub struct Cgroup {
    directory: PathBuf,
    group: Group,
    name: String,
    /// The mount through which it is reached.
    _hierarchy: Hierarchy,
}

impl Cgroup {
    /// Makes the cgroup of a machine, empty. What is left of a machine of that name
    /// is killed first: the caller holds the name, so nobody looks after it.
    ///
    /// # Errors
    /// There is no unified hierarchy, or it cannot be written.
    pub fn create(machine: &MachineName) -> Result<Self, StepError> {
        let hierarchy = Hierarchy::find().doing(|| "find or mount a cgroup2 hierarchy".into())?;
        let below = Path::new(SLICE).join(machine_scope(machine.as_str()));
        let directory = hierarchy.directory_below(&below);
        let doing = || format!("make the cgroup {}", directory.display());
        make(&hierarchy.directory_below(Path::new(SLICE))).doing(doing)?;
        if !make(&directory).doing(doing)? {
            Group::open(&directory)
                .and_then(|left| kill(&left))
                .doing(|| format!("empty the cgroup {}", directory.display()))?;
            remove_tree(&directory).doing(|| format!("remove {}", directory.display()))?;
            make(&directory).doing(doing)?;
        }
        let group = Group::open(&directory).doing(doing)?;
        Ok(Self {
            name: hierarchy.name_below(&below),
            directory,
            group,
            _hierarchy: hierarchy,
        })
    }

    /// The cgroup as proc_pid_cgroup(5) names it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether somebody else has removed it.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        !self.directory.is_dir()
    }

    /// Kills what is left in it and removes it.
    ///
    /// # Errors
    /// Something in it does not end.
    pub fn remove(&self) -> Result<(), StepError> {
        let doing = || format!("remove the cgroup {}", self.directory.display());
        if rmdir(&self.directory).is_ok() {
            return Ok(());
        }
        kill(&self.group).doing(doing)?;
        remove_tree(&self.directory).doing(doing)
    }
}

impl AsFd for Cgroup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.group.as_fd()
    }
}

/// Makes a directory; false if it was there.
fn make(path: &Path) -> io::Result<bool> {
    match mkdir(path, Mode::from_raw_mode(0o755)) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::EXIST) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Kills every process in a cgroup and below, and waits until none is left.
fn kill(group: &Group) -> io::Result<()> {
    group.kill()?;
    let events = group.file("cgroup.events")?;
    let deadline = Instant::now() + KILL_TIMEOUT;
    loop {
        let mut buffer = [0; 256];
        let read = rustix::io::pread(&events, &mut buffer, 0)?;
        let text = String::from_utf8_lossy(buffer.get(..read).unwrap_or(&[])).into_owned();
        if text.lines().any(|line| line == "populated 0") {
            return Ok(());
        }
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
}
