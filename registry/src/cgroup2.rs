//! The unified cgroup hierarchy (cgroups(7)), as far as containers are put into it
//! and ended by it.

use std::ffi::CString;
use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, rmdir, unlinkat};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use crate::mountinfo;

/// The slice that holds the cgroups of machines, below the hierarchy's root.
pub const MACHINE_SLICE: &str = "machine.slice";
/// Extended attributes that say that a cgroup is of rspawn's making: the first on every
/// kernel, but only for the host's root with all its capabilities; the second from Linux
/// 5.7 on, for whoever owns the cgroup.
pub const MARKS: [&str; 2] = ["trusted.rspawn", "user.rspawn"];

/// The file that tells whether a process lives in a cgroup or below.
pub const EVENTS: &str = "cgroup.events";

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);
/// The most cgroups that are removed at once.
const REMOVALS_MAX: u32 = 1_000_000;

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
        match self.write("cgroup.kill", "1") {
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) => {
                Ok(())
            }
            other => other,
        }
    }

    /// Whether a process lives in it or below (cgroup.events).
    ///
    /// # Errors
    /// It cannot be read, as when the cgroup is gone.
    pub fn is_populated(&self) -> io::Result<bool> {
        says_populated(&self.file(EVENTS)?)
    }

    /// Writes to one of its files.
    ///
    /// # Errors
    /// As open(2) and write(2).
    pub fn write(&self, name: &str, text: &str) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let file = openat(&self.directory, name, flags, Mode::empty())?;
        fs::File::from(file).write_all(text.as_bytes())
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

/// What an open `cgroup.events` says at this moment.
///
/// # Errors
/// As [`Group::is_populated`].
pub fn says_populated(events: &OwnedFd) -> io::Result<bool> {
    let mut buffer = [0; 256];
    let read = rustix::io::pread(events, &mut buffer, 0)?;
    let text = String::from_utf8_lossy(buffer.get(..read).unwrap_or(&[])).into_owned();
    Ok(!text.lines().any(|line| line == "populated 0"))
}

/// Whether a cgroup is of rspawn's making.
#[must_use]
pub fn is_marked(group: &Group) -> bool {
    mark_of(group).is_some()
}

/// What rspawn's mark of a cgroup says: its supervisor, as [`crate::LeaderId`] is written. Nothing
/// where there is no mark.
#[must_use]
pub fn mark_of(group: &Group) -> Option<String> {
    use std::os::fd::AsRawFd;
    // The descriptor is one that attributes cannot be read of by itself.
    let path = format!("/proc/self/fd/{}", group.directory.as_raw_fd());
    MARKS.iter().find_map(|mark| {
        let mut value = [0_u8; 80];
        let length = rustix::fs::getxattr(&path, *mark, &mut value).ok()?;
        let text = std::str::from_utf8(value.get(..length)?).ok()?;
        Some(text.to_owned())
    })
}

/// Removes a cgroup and those below it. That it is gone is no error. What is below is
/// named by whoever was in it: the depth and the length of a path are not bounded.
///
/// # Errors
/// A process is still in one of them, or there are more than a million.
pub fn remove_tree(directory: &Path) -> io::Result<()> {
    match rmdir(directory) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(_) => {}
    }
    let top = match openat(CWD, directory, DIRECTORY, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        other => other?,
    };
    empty(top)?;
    gone_is_fine(rmdir(directory))
}

/// Removes every directory below `top`, one at a time, holding one descriptor.
fn empty(top: OwnedFd) -> io::Result<()> {
    let mut removals = 0;
    // The way down from `top`: each directory's name and what is left to do in it.
    let mut above: Vec<(CString, Vec<CString>)> = vec![];
    let mut left = directories_in(&top)?;
    let mut at = top;
    loop {
        while let Some(name) = left.pop() {
            removals += 1;
            if removals > REMOVALS_MAX {
                return Err(io::Error::other("there are too many cgroups in it"));
            }
            match unlinkat(&at, &name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => continue,
                Err(_) => {}
            }
            match openat(&at, &name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
                Ok(below) => {
                    above.push((name, std::mem::replace(&mut left, directories_in(&below)?)));
                    at = below;
                }
            }
        }
        let Some((name, rest)) = above.pop() else {
            return Ok(());
        };
        at = openat(&at, "..", DIRECTORY, Mode::empty())?;
        gone_is_fine(unlinkat(&at, &name, AtFlags::REMOVEDIR))?;
        left = rest;
    }
}

fn directories_in(directory: &OwnedFd) -> io::Result<Vec<CString>> {
    let mut names = vec![];
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type() == FileType::Directory && name != c"." && name != c".." {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

fn gone_is_fine(result: rustix::io::Result<()>) -> io::Result<()> {
    match result {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
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

    #[test]
    fn depth_and_names_stop_no_removal() {
        use rustix::fs::mkdirat;
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("web");
        let mode = Mode::from_raw_mode(0o755);
        std::fs::create_dir(&top).unwrap();
        let name = "x".repeat(250);
        let mut at = openat(CWD, &top, DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..200 {
            mkdirat(&at, "beside", mode).unwrap();
            mkdirat(&at, name.as_str(), mode).unwrap();
            at = openat(&at, name.as_str(), DIRECTORY, Mode::empty()).unwrap();
        }
        remove_tree(&top).unwrap();
        assert!(!top.exists());
        remove_tree(&top).unwrap();
    }

    #[test]
    fn what_is_not_empty_stays_and_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("web");
        std::fs::create_dir_all(top.join("a/b")).unwrap();
        std::fs::write(top.join("a/b/process"), "").unwrap();
        assert!(remove_tree(&top).is_err());
        assert!(top.join("a/b").exists());
    }
}
