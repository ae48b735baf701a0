//! The tree that becomes the container's root, and what is read from it before the
//! container exists. Everything is opened below its root: its content is hostile.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{
    CWD, FileType, FlockOperation, Mode, OFlags, ResolveFlags, flock, fstat, openat, openat2,
};

/// How long a tree may be held on when its supervisor was killed: by its first process,
/// which has the supervisor's descriptors at first, and by netd while it clears away what
/// was made in it.
const DYING: Duration = Duration::from_millis(150);
const PAUSE: Duration = Duration::from_millis(3);
/// How often an open is tried again when something was renamed meanwhile.
const RETRIES: u32 = 16;
/// The longest file that is read from a tree, in bytes.
const READ_MAX: u64 = 1024 * 1024;
/// Where init is looked for, in order.
const INIT: [&str; 4] = [
    "/usr/lib/systemd/systemd",
    "/lib/systemd/systemd",
    "/sbin/init",
    "/init",
];

/// A tree cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// It cannot be opened.
    #[error("cannot open the directory {path}: give the root of an operating-system tree with -D")]
    Open {
        /// The tree.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is the host's own root.
    #[error("{0} is the root of this host: give another tree with -D")]
    HostRoot(PathBuf),
    /// Another container runs from it.
    #[error(
        "the tree {0} is in use by another container: stop that one, or use --read-only for both"
    )]
    InUse(PathBuf),
    /// It has no os-release file.
    #[error(
        "{0} does not hold an operating system to boot (no etc/os-release, no usr/lib/os-release): give the root of one with -D, or a program to run instead of -b"
    )]
    NoOs(PathBuf),
    /// It has no init.
    #[error(
        "{0} has no init to boot (none of usr/lib/systemd/systemd, lib/systemd/systemd, sbin/init, init): install one in it, or give a program to run instead of -b"
    )]
    NoInit(PathBuf),
}

/// A tree that is open and locked.
#[derive(Debug)]
pub struct Tree {
    path: PathBuf,
    root: OwnedFd,
}

impl Tree {
    /// Opens the directory at `path` and locks it: for itself alone, or together
    /// with others that don't write either.
    ///
    /// # Errors
    /// See [`TreeError`].
    pub fn open(path: &Path, read_only: bool) -> Result<Self, TreeError> {
        let failed = |source| TreeError::Open {
            path: path.to_owned(),
            source,
        };
        let path = path.canonicalize().map_err(failed)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, &path, flags, Mode::empty()).map_err(|e| failed(e.into()))?;
        let tree = Self { path, root };
        if tree.is_host_root() && !read_only {
            return Err(TreeError::HostRoot(tree.path));
        }
        let operation = if read_only {
            FlockOperation::NonBlockingLockShared
        } else {
            FlockOperation::NonBlockingLockExclusive
        };
        let deadline = Instant::now() + DYING;
        loop {
            match flock(&tree.root, operation) {
                Ok(()) => return Ok(tree),
                Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => {
                    std::thread::sleep(PAUSE);
                }
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(TreeError::InUse(tree.path)),
                Err(error) => return Err(failed(error.into())),
            }
        }
    }

    /// The tree's path on the host, absolute and without symbolic links.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Checks that there is something to boot.
    ///
    /// # Errors
    /// There is no os-release file, or no init.
    pub fn check_bootable(&self) -> Result<(), TreeError> {
        let has_os = ["/etc/os-release", "/usr/lib/os-release"]
            .iter()
            .any(|path| self.is_file(path));
        if !has_os {
            return Err(TreeError::NoOs(self.path.clone()));
        }
        if inits().any(|path| self.is_file(path)) {
            Ok(())
        } else {
            Err(TreeError::NoInit(self.path.clone()))
        }
    }

    /// The machine id that the tree holds, 32 hexadecimal digits, if it is set up.
    #[must_use]
    pub fn machine_id(&self) -> Option<String> {
        let text = read_in(self.root.as_fd(), "/etc/machine-id").ok()?;
        let id = String::from_utf8(text).ok()?.trim_end().to_owned();
        let plain = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        (plain && id.bytes().any(|byte| byte != b'0')).then(|| id.to_ascii_lowercase())
    }

    fn is_file(&self, path: &str) -> bool {
        open_in(self.root.as_fd(), path, OFlags::PATH)
            .and_then(|file| Ok(fstat(file)?))
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
    }

    fn is_host_root(&self) -> bool {
        let host = rustix::fs::stat("/").map(|stat| (stat.st_dev, stat.st_ino));
        let own = fstat(&self.root).map(|stat| (stat.st_dev, stat.st_ino));
        matches!((host, own), (Ok(host), Ok(own)) if host == own)
    }
}

impl AsFd for Tree {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

/// Where init is looked for in a tree, in order.
pub fn inits() -> impl Iterator<Item = &'static str> {
    INIT.into_iter()
}

/// Opens a path as it is seen with `root` as the root directory; never leaves it,
/// never waits. The descriptor is close-on-exec.
///
/// # Errors
/// As openat2(2).
pub fn open_in(root: BorrowedFd<'_>, path: impl AsRef<Path>, flags: OFlags) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = flags | OFlags::CLOEXEC;
    let mut tries = 0;
    loop {
        match openat2(root, path.as_ref(), flags, Mode::empty(), resolve) {
            Err(rustix::io::Errno::AGAIN) if tries < RETRIES => tries += 1,
            other => return Ok(other?),
        }
    }
}

/// Reads a regular file below `root`, at most 1 MiB of it.
///
/// # Errors
/// As openat2(2) and read(2), or it is no regular file.
pub fn read_in(root: BorrowedFd<'_>, path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = std::fs::File::from(open_in(root, path, flags)?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        ));
    }
    let mut bytes = Vec::new();
    file.take(READ_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("etc")).unwrap();
        dir
    }

    #[test]
    fn a_tree_is_for_one_writer_or_many_readers() {
        let dir = tree();
        let one = Tree::open(dir.path(), false).unwrap();
        assert!(matches!(
            Tree::open(dir.path(), false),
            Err(TreeError::InUse(_))
        ));
        assert!(matches!(
            Tree::open(dir.path(), true),
            Err(TreeError::InUse(_))
        ));
        drop(one);
        let _reader = Tree::open(dir.path(), true).unwrap();
        let _reader = Tree::open(dir.path(), true).unwrap();
        assert!(Tree::open(dir.path(), false).is_err());
    }

    #[test]
    fn links_lead_nowhere_out_of_the_tree() {
        let dir = tree();
        let outside = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(outside.path(), "0123456789abcdef0123456789abcdef\n").unwrap();
        symlink(outside.path(), dir.path().join("etc/machine-id")).unwrap();
        assert_eq!(Tree::open(dir.path(), false).unwrap().machine_id(), None);
    }

    #[test]
    fn a_machine_id_is_read_where_it_is_set_up() {
        let dir = tree();
        let id = dir.path().join("etc/machine-id");
        let tree = Tree::open(dir.path(), false).unwrap();
        for text in ["", "uninitialized\n", "00000000000000000000000000000000\n"] {
            std::fs::write(&id, text).unwrap();
            assert_eq!(tree.machine_id(), None, "{text:?}");
        }
        std::fs::write(&id, "0123456789ABCDEF0123456789abcdef\n").unwrap();
        assert_eq!(
            tree.machine_id().as_deref(),
            Some("0123456789abcdef0123456789abcdef")
        );
    }

    #[test]
    fn a_tree_boots_with_os_release_and_init_alone() {
        let dir = tree();
        let tree = Tree::open(dir.path(), false).unwrap();
        assert!(matches!(tree.check_bootable(), Err(TreeError::NoOs(_))));
        std::fs::write(dir.path().join("etc/os-release"), "ID=x\n").unwrap();
        assert!(matches!(tree.check_bootable(), Err(TreeError::NoInit(_))));
        std::fs::create_dir(dir.path().join("sbin")).unwrap();
        symlink("/bin/busybox", dir.path().join("sbin/init")).unwrap();
        assert!(tree.check_bootable().is_err());
        std::fs::create_dir(dir.path().join("bin")).unwrap();
        std::fs::write(dir.path().join("bin/busybox"), "").unwrap();
        tree.check_bootable().unwrap();
    }
}
