//! The unified cgroup hierarchy (cgroups(7)), as far as containers are put into it
//! and ended by it.

use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat, rmdir};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use crate::mountinfo;

/// The hierarchy, through one of its mounts.
#[derive(Debug)]
pub struct Hierarchy {
    mount_point: PathBuf,
    root: PathBuf,
    /// The mount itself, where the host has none and it is in no directory.
    _mount: Option<OwnedFd>,
}

/// A cgroup that is there. It is this one and no other, also after its name has
/// become another's.
#[derive(Debug)]
pub struct Group {
    directory: OwnedFd,
}

impl Hierarchy {
    /// Finds the hierarchy, on unified and on hybrid hosts; mounts it, in no
    /// directory, where no mount of it is there.
    ///
    /// # Errors
    /// It cannot be mounted.
    pub fn find() -> io::Result<Self> {
        let text = fs::read("/proc/self/mountinfo")?;
        let visible = |mount: &mountinfo::Mount| {
            // One that another mount covers is no use.
            rustix::fs::statfs(&mount.mount_point)
                .is_ok_and(|statfs| statfs.f_type as u64 == libc::CGROUP2_SUPER_MAGIC as u64)
        };
        let found = mountinfo::parse(&text).find(|mount| mount.kind == "cgroup2" && visible(mount));
        match found {
            Some(mount) => Ok(Self {
                mount_point: mount.mount_point,
                root: mount.root,
                _mount: None,
            }),
            None => Self::mount(),
        }
    }

    fn mount() -> io::Result<Self> {
        let context = fsopen("cgroup2", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_create(&context)?;
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
        let path = format!("/proc/self/fd/{}", mount.as_raw_fd());
        Ok(Self {
            mount_point: path.into(),
            root: "/".into(),
            _mount: Some(mount),
        })
    }

    /// The directory of a cgroup below the mount.
    #[must_use]
    pub fn directory_below(&self, path: &Path) -> PathBuf {
        self.mount_point.join(path)
    }

    /// The name that proc_pid_cgroup(5) has for a cgroup below the mount.
    #[must_use]
    pub fn name_below(&self, path: &Path) -> String {
        self.root.join(path).to_string_lossy().into_owned()
    }

    /// The directory of the cgroup that proc_pid_cgroup(5) calls `name`; `None` if it
    /// cannot be reached through this mount.
    #[must_use]
    pub fn directory_of(&self, name: &str) -> Option<PathBuf> {
        let below = Path::new(name).strip_prefix(&self.root).ok()?;
        let plain = below
            .components()
            .all(|part| matches!(part, std::path::Component::Normal(_)));
        (plain && below.components().next().is_some()).then(|| self.mount_point.join(below))
    }

    /// Opens the cgroup that proc_pid_cgroup(5) calls `name`.
    ///
    /// # Errors
    /// There is none.
    pub fn open(&self, name: &str) -> io::Result<Group> {
        let directory = self.directory_of(name).ok_or(io::ErrorKind::NotFound)?;
        Group::open(&directory)
    }
}

impl Group {
    /// Opens the cgroup whose directory this is.
    ///
    /// # Errors
    /// As open(2).
    pub fn open(directory: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            directory: openat(CWD, directory, flags, Mode::empty())?,
        })
    }

    /// What tells it from every other cgroup of this boot.
    ///
    /// # Errors
    /// As fstat(2).
    pub fn id(&self) -> io::Result<u64> {
        Ok(rustix::fs::fstat(&self.directory)?.st_ino)
    }

    /// Kills every process in it and below (cgroup.kill), which none of them can ward
    /// off. Does not wait for their end.
    ///
    /// # Errors
    /// It cannot be written to; that it is gone is no error.
    pub fn kill(&self) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        match openat(&self.directory, "cgroup.kill", flags, Mode::empty()) {
            Ok(file) => fs::File::from(file).write_all(b"1"),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NODEV) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens one of its files for reading.
    ///
    /// # Errors
    /// As open(2).
    pub fn file(&self, name: &str) -> io::Result<OwnedFd> {
        Ok(openat(
            &self.directory,
            name,
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )?)
    }
}

impl AsFd for Group {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

/// Removes a cgroup and those below it. That it is gone is no error.
///
/// # Errors
/// A process is still in one of them.
pub fn remove_tree(directory: &Path) -> io::Result<()> {
    match rmdir(directory) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => return Ok(()),
        Err(_) => {}
    }
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    match rmdir(directory) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_never_leads_out_of_the_hierarchy() {
        let hierarchy = Hierarchy {
            mount_point: "/mnt".into(),
            root: "/part".into(),
            _mount: None,
        };
        let directory = hierarchy.directory_of("/part/machine.slice/machine-web.scope");
        assert_eq!(
            directory,
            Some("/mnt/machine.slice/machine-web.scope".into())
        );
        for name in [
            "",
            "/",
            "/part",
            "/part/",
            "/other/x",
            "part/x",
            "/part/../x",
            "/part/x/../../y",
        ] {
            assert_eq!(hierarchy.directory_of(name), None, "{name:?}");
        }
        assert_eq!(hierarchy.name_below(Path::new("a/b")), "/part/a/b");
    }
}
