//! The cgroups of containers, as far as netd ends them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where the cgroup2 hierarchy is mounted.
#[derive(Clone, Debug)]
pub struct Cgroup2 {
    mount: PathBuf,
}

impl Cgroup2 {
    /// Finds the mount by /proc/self/mountinfo; `None` where there is none.
    #[must_use]
    pub fn find() -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        mount_in(&mounts).map(|mount| Self {
            mount: PathBuf::from(mount),
        })
    }

    /// Kills every process of a cgroup and of those below it (cgroup.kill), which
    /// none of them can ward off.
    ///
    /// # Errors
    /// The cgroup cannot be written to; that it is gone is no error.
    pub fn kill(&self, cgroup: &str) -> io::Result<()> {
        match fs::write(self.path(cgroup).join("cgroup.kill"), "1") {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    /// Removes a cgroup whose processes have ended, and those below it.
    ///
    /// # Errors
    /// A process is still in it.
    pub fn remove(&self, cgroup: &str) -> io::Result<()> {
        remove_tree(&self.path(cgroup))
    }

    fn path(&self, cgroup: &str) -> PathBuf {
        self.mount.join(cgroup.trim_start_matches('/'))
    }
}

fn remove_tree(path: &Path) -> io::Result<()> {
    let Ok(entries) = fs::read_dir(path) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    match fs::remove_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// The mount point of the whole hierarchy in a proc_pid_mountinfo(5).
fn mount_in(mountinfo: &str) -> Option<&str> {
    mountinfo.lines().find_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        (root == "/" && file_system.starts_with("cgroup2 ")).then_some(point)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hierarchy_is_found_on_hybrid_hosts_too() {
        let hybrid = "30 23 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n\
            31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw\n\
            32 30 0:28 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n";
        assert_eq!(mount_in(hybrid), Some("/sys/fs/cgroup/unified"));
        let part = "31 30 0:27 /a/b /mnt rw - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_in(part), None);
    }
}
