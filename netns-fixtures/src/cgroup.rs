//! A cgroup of its own for each host, ended and removed as one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::wait::wait_until;

/// A cgroup below the machine's cgroup2 mount, removed with everything in it when
/// the value is dropped.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Makes the cgroup `name` below the calling process's own.
    ///
    /// # Errors
    /// Where no cgroup2 is mounted, or the directory cannot be made.
    pub fn create(name: &str) -> io::Result<Self> {
        let parent = own()?;
        let path = parent.join(name);
        fs::create_dir(&path)?;
        Ok(Self { path })
    }

    /// The cgroup's directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Kills every process in it and below.
    pub fn kill(&self) {
        // Nothing can be done about a failure, and the removal will show it.
        let _ = fs::write(self.path.join("cgroup.kill"), "1");
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        self.kill();
        let gone = wait_until(Duration::from_secs(20), || remove_tree(&self.path).is_ok());
        if !gone {
            eprintln!("the cgroup {} cannot be removed", self.path.display());
        }
    }
}

/// The directory of the calling process's cgroup in the machine's cgroup2 tree.
///
/// # Errors
/// Where no cgroup2 is mounted.
pub fn own() -> io::Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let mount = mounts.lines().find_map(cgroup2_mount).ok_or_else(|| {
        io::Error::other("no cgroup2 is mounted: mount -t cgroup2 none /sys/fs/cgroup/unified")
    })?;
    let cgroups = fs::read_to_string("/proc/self/cgroup")?;
    let own = cgroups
        .lines()
        .find_map(|line| line.strip_prefix("0::/"))
        .unwrap_or("");
    Ok(Path::new(mount).join(own))
}

/// The mount point of a line of mountinfo (proc_pid_mountinfo(5)) that is of a cgroup2.
fn cgroup2_mount(line: &str) -> Option<&str> {
    let (before, after) = line.split_once(" - ")?;
    after
        .starts_with("cgroup2 ")
        .then(|| before.split(' ').nth(4))?
}

fn remove_tree(path: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(path)
}
