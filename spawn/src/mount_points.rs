//! What was made in a tree to mount something on, so that it goes again: also after a
//! crash, and whatever name the tree's next container has.
//!
//! One file a tree, named after its device and inode, says what. It is written before
//! anything is made. It goes with the host's runtime directory: numbers of devices are
//! others after the host was started again, and what stays in a tree then is empty.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use registry::RUNTIME_DIR;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, fstat, mkdirat, openat, unlinkat};
use rustix::io::Errno;

use crate::tree::{Tree, read_in};

const DIRECTORY: &str = "mount-points";

/// Where it is written what was made in one tree. Made before the container's root is
/// entered, and of use after that.
#[derive(Debug)]
pub struct MountPoints {
    runtime: OwnedFd,
    name: String,
}

impl MountPoints {
    /// Those of a tree. Nothing is written yet.
    ///
    /// # Errors
    /// The runtime directory is not there.
    pub fn of(tree: &Tree) -> io::Result<Self> {
        Self::of_in(Path::new(RUNTIME_DIR), tree)
    }

    fn of_in(runtime: &Path, tree: &Tree) -> io::Result<Self> {
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
    /// caller has the tree for itself.
    pub fn clear(&self, tree: &Tree) {
        let Ok(text) = read_in(self.runtime.as_fd(), &self.name) else {
            return;
        };
        let paths = text.split(|byte| *byte == 0).rev();
        for path in paths.filter(|path| !path.is_empty()) {
            tree.remove_mount_point(Path::new(OsStr::from_bytes(path)));
        }
        unlinkat(&self.runtime, &self.name, AtFlags::empty()).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_down_is_removed_once() {
        let dir = tempfile::tempdir().unwrap();
        let (runtime, root) = (dir.path().join("run"), dir.path().join("tree"));
        for made in [&runtime, &root.join("srv/a b")] {
            std::fs::create_dir_all(made).unwrap();
        }
        std::fs::write(root.join("full"), "x").unwrap();
        let tree = Tree::open(&root, false).unwrap();
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
}
