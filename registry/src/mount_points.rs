//! What was made in a tree to mount something on, so that it goes again: also after a
//! crash, and whatever name the tree's next container has.
//!
//! One file a tree, named after its device and inode, says what. It is written before
//! anything is made. It goes with the host's runtime directory: numbers of devices are
//! others after the host was started again, and what stays in a tree then is empty.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use rustix::fs::{
    AtFlags, CWD, FileType, FlockOperation, Mode, OFlags, flock, fstat, mkdirat, openat, statat,
    unlinkat,
};
use rustix::io::Errno;

const DIRECTORY: &str = "mount-points";
/// The longest list that is read, in bytes.
const LIST_MAX: u64 = 1024 * 1024;

/// Where it is written what was made in one tree. Made before the container's root is
/// entered, and of use after that.
#[derive(Debug)]
pub struct MountPoints {
    runtime: OwnedFd,
    name: String,
}

impl MountPoints {
    /// Those of the tree whose directory `tree` is. Nothing is written yet.
    ///
    /// # Errors
    /// The runtime directory is not there.
    pub fn of(tree: impl AsFd) -> io::Result<Self> {
        Self::of_in(Path::new(crate::RUNTIME_DIR), tree)
    }

    fn of_in(runtime: &Path, tree: impl AsFd) -> io::Result<Self> {
        let stat = fstat(tree)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            runtime: openat(CWD, runtime, flags, Mode::empty())?,
            name: format!("{DIRECTORY}/{}-{}", stat.st_dev, stat.st_ino),
        })
    }

    /// Writes down that `path` is about to be made: below the tree, without symbolic
    /// links.
    ///
    /// # Errors
    /// The runtime directory cannot be written.
    pub fn add(&self, path: &Path) -> io::Result<()> {
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::APPEND | OFlags::NOFOLLOW;
        let open = || {
            let mode = Mode::from_raw_mode(0o600);
            openat(&self.runtime, &self.name, flags | OFlags::CLOEXEC, mode)
        };
        let file = match open() {
            Err(Errno::NOENT) => {
                match mkdirat(&self.runtime, DIRECTORY, Mode::from_raw_mode(0o700)) {
                    Ok(()) | Err(Errno::EXIST) => open()?,
                    Err(error) => return Err(error.into()),
                }
            }
            other => other?,
        };
        let line = [path.as_os_str().as_bytes(), b"\0"].concat();
        std::fs::File::from(file).write_all(&line)
    }

    /// Removes from the tree what was made in it, as far as it is still empty. The
    /// caller has the tree for itself. Where the tree cannot be written, what is to be
    /// removed stays written down.
    pub fn clear(&self, tree: impl AsFd) {
        let Ok(text) = self.read() else {
            return;
        };
        let paths = text.split(|byte| *byte == 0).rev();
        let paths = paths.filter(|path| !path.is_empty());
        let mut all = true;
        for path in paths {
            all &= remove(tree.as_fd(), Path::new(OsStr::from_bytes(path))).is_ok();
        }
        if all {
            unlinkat(&self.runtime, &self.name, AtFlags::empty()).ok();
        }
    }

    fn read(&self) -> io::Result<Vec<u8>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.runtime, &self.name, flags, Mode::empty())?;
        let mut text = Vec::new();
        std::fs::File::from(file)
            .take(LIST_MAX)
            .read_to_end(&mut text)?;
        Ok(text)
    }
}

/// Removes what a supervisor that was killed has left in the tree at `path`, unless
/// somebody runs the tree by now, or another tree stands there.
pub fn clear_left(runtime: &Path, path: &Path) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(tree) = openat(CWD, path, flags, Mode::empty()) else {
        return;
    };
    if flock(&tree, FlockOperation::NonBlockingLockExclusive).is_ok()
        && let Ok(points) = MountPoints::of_in(runtime, &tree)
    {
        points.clear(&tree);
    }
}

/// Removes an empty file or directory. `path` has no symbolic link in it; what is not
/// empty or not there is left alone.
///
/// # Errors
/// The tree cannot be written by the caller.
fn remove(tree: impl AsFd, path: &Path) -> io::Result<()> {
    let Some(name) = path.file_name() else {
        return Ok(());
    };
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let parent = match directory_below(tree, parent) {
        // What stands there by now is somebody else's.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => return Ok(()),
        other => other?,
    };
    match unlinkat(&parent, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOTDIR) => {}
        other => return unless_refused(other),
    }
    let empty = statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| {
        FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_size == 0
    });
    if empty {
        unless_refused(unlinkat(&parent, name, AtFlags::empty()))?;
    }
    Ok(())
}

/// Opens a directory below the tree, following no symbolic link. By one step at a time:
/// openat2(2) is not there for a service with `RestrictSUIDSGID=` (systemd.exec(5)).
fn directory_below(tree: impl AsFd, path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at = openat(tree, ".", flags, Mode::empty())?;
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::Normal(name) => at = openat(&at, name, flags, Mode::empty())?,
            _ => return Err(Errno::XDEV),
        }
    }
    Ok(at)
}

fn unless_refused(result: rustix::io::Result<()>) -> io::Result<()> {
    match result {
        Err(error @ (Errno::ROFS | Errno::ACCESS | Errno::PERM | Errno::IO)) => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> std::fs::File {
        std::fs::File::open(path).unwrap()
    }

    #[test]
    fn what_is_written_down_is_removed_once() {
        let dir = tempfile::tempdir().unwrap();
        let (runtime, root) = (dir.path().join("run"), dir.path().join("tree"));
        for made in [&runtime, &root.join("srv/a b")] {
            std::fs::create_dir_all(made).unwrap();
        }
        std::fs::write(root.join("full"), "x").unwrap();
        let tree = open(&root);
        let points = MountPoints::of_in(&runtime, &tree).unwrap();
        points.clear(&tree);
        for path in ["srv", "srv/a b", "full", "never-made"] {
            points.add(Path::new(path)).unwrap();
        }
        // As the next start of the tree sees it.
        let points = MountPoints::of_in(&runtime, &tree).unwrap();
        points.clear(&tree);
        assert!(!root.join("srv").exists());
        assert!(root.join("full").exists());
        std::fs::create_dir(root.join("srv")).unwrap();
        points.clear(&tree);
        assert!(root.join("srv").exists());
    }

    #[test]
    fn only_what_is_empty_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        for made in ["proc", "etc"] {
            std::fs::create_dir(dir.path().join(made)).unwrap();
        }
        std::fs::write(dir.path().join("etc/empty"), "").unwrap();
        std::fs::write(dir.path().join("etc/full"), "x").unwrap();
        let tree = open(dir.path());
        for path in ["proc", "etc/empty", "etc/full", "etc", "none"] {
            remove(&tree, Path::new(path)).unwrap();
        }
        assert!(!dir.path().join("proc").exists());
        assert!(!dir.path().join("etc/empty").exists());
        assert!(dir.path().join("etc/full").exists());
    }

    #[test]
    fn a_tree_that_somebody_runs_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (runtime, root) = (dir.path().join("run"), dir.path().join("tree"));
        for made in [&runtime, &root.join("proc")] {
            std::fs::create_dir_all(made).unwrap();
        }
        let runs = open(&root);
        let points = MountPoints::of_in(&runtime, &runs).unwrap();
        points.add(Path::new("proc")).unwrap();
        flock(&runs, FlockOperation::NonBlockingLockExclusive).unwrap();
        clear_left(&runtime, &root);
        assert!(root.join("proc").exists());
        drop(runs);
        clear_left(&runtime, &root);
        assert!(!root.join("proc").exists());
        assert_eq!(
            std::fs::read_dir(runtime.join(DIRECTORY)).unwrap().count(),
            0
        );
    }
}
