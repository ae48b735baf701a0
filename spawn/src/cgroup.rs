//! The payload's cgroup: a directory of its own in the unified hierarchy, on every
//! host.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use registry::MachineName;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, mkdir, openat, rmdir};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use crate::error::{Doing, StepError};
use crate::mountinfo;
use crate::unit_name::machine_scope;

const SLICE: &str = "machine.slice";
/// How long processes that were killed may take to go away.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// A cgroup of this process's own making. It stays when the value is dropped.
#[derive(Debug)]
pub struct Cgroup {
    directory: PathBuf,
    handle: OwnedFd,
    name: String,
    /// The mount through which it is reached, where the host has none.
    _hierarchy: Option<OwnedFd>,
}

impl Cgroup {
    /// Makes the cgroup of a machine, empty. What is left of a machine of that name
    /// is killed first: the caller holds the name, so nobody looks after it.
    ///
    /// # Errors
    /// There is no unified hierarchy, or it cannot be written.
    pub fn create(machine: &MachineName) -> Result<Self, StepError> {
        let (mount_point, root, hierarchy) = find_hierarchy()?;
        let below = Path::new(SLICE).join(machine_scope(machine.as_str()));
        let directory = mount_point.join(&below);
        let doing = || format!("make the cgroup {}", directory.display());
        make(&mount_point.join(SLICE)).doing(doing)?;
        if !make(&directory).doing(doing)? {
            kill(&directory).doing(|| format!("empty the cgroup {}", directory.display()))?;
            remove_tree(&directory).doing(|| format!("remove {}", directory.display()))?;
            make(&directory).doing(doing)?;
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = openat(CWD, &directory, flags, Mode::empty()).doing(doing)?;
        Ok(Self {
            name: Path::new(&root).join(&below).to_string_lossy().into_owned(),
            directory,
            handle,
            _hierarchy: hierarchy,
        })
    }

    /// The cgroup as proc_pid_cgroup(5) names it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
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
        kill(&self.directory).doing(doing)?;
        remove_tree(&self.directory).doing(doing)
    }
}

impl AsFd for Cgroup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

/// Mount point and root of the host's unified hierarchy. Where none is mounted, one
/// is, in no directory, and reached by its descriptor.
fn find_hierarchy() -> Result<(PathBuf, PathBuf, Option<OwnedFd>), StepError> {
    let text =
        std::fs::read("/proc/self/mountinfo").doing(|| "read /proc/self/mountinfo".into())?;
    let visible = |mount: &mountinfo::Mount| {
        // One that another mount covers is no use.
        rustix::fs::statfs(&mount.mount_point)
            .is_ok_and(|statfs| statfs.f_type as u64 == libc::CGROUP2_SUPER_MAGIC as u64)
    };
    let found = mountinfo::parse(&text).find(|mount| mount.kind == "cgroup2" && visible(mount));
    if let Some(mount) = found {
        return Ok((mount.mount_point, mount.root, None));
    }
    let doing = || "mount a cgroup2 hierarchy".into();
    let context = fsopen("cgroup2", FsOpenFlags::FSOPEN_CLOEXEC).doing(doing)?;
    fsconfig_create(&context).doing(doing)?;
    let mount = fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC,
    )
    .doing(doing)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", fd_number(&mount)));
    Ok((path, PathBuf::from("/"), Some(mount)))
}

fn fd_number(fd: &OwnedFd) -> i32 {
    use std::os::fd::AsRawFd;
    fd.as_raw_fd()
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
fn kill(directory: &Path) -> io::Result<()> {
    std::fs::write(directory.join("cgroup.kill"), "1")?;
    let path = directory.join("cgroup.events");
    let events = openat(CWD, &path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
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

/// Removes a cgroup and those below it, which are empty of processes.
fn remove_tree(directory: &Path) -> io::Result<()> {
    if rmdir(directory).is_ok() {
        return Ok(());
    }
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    match rmdir(directory) {
        Err(rustix::io::Errno::NOENT) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
