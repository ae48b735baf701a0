//! Directories and files to mount something on, made where they are missing.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, fstat, mkdirat, openat, readlink};

use crate::error::{Doing, StepError};
use crate::mounts::ops;
use crate::tree::open_in;

/// What a mount needs to be put on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A file of any kind but a directory.
    File,
}

/// Finds and makes the places to mount on, below the container's root.
pub struct Targets<'a> {
    root: OwnedFd,
    device: u64,
    making: &'a dyn Fn(&Path) -> io::Result<()>,
}

impl<'a> Targets<'a> {
    /// Takes the root directory of this process. `making` is told of what is about
    /// to be made in the tree itself, by its path below the tree, without symbolic
    /// links.
    ///
    /// # Errors
    /// The root cannot be opened.
    pub fn new(making: &'a dyn Fn(&Path) -> io::Result<()>) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, "/", flags, Mode::empty())?;
        Ok(Self {
            device: fstat(&root)?.st_dev,
            root,
            making,
        })
    }

    /// The root directory.
    #[must_use]
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Opens the place at `path`; makes it, and the directories above, where it is
    /// missing.
    ///
    /// # Errors
    /// It cannot be made, or a symbolic link leads nowhere.
    pub fn get(&self, path: &Path, kind: Kind) -> io::Result<OwnedFd> {
        match open_in(self.root(), path, OFlags::PATH) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        let mut parent = open_in(self.root(), "/", OFlags::PATH)?;
        let mut at = PathBuf::from("/");
        let names: Vec<_> = path
            .components()
            .filter_map(|part| match part {
                Component::Normal(name) => Some(name),
                _ => None,
            })
            .collect();
        for (number, name) in names.iter().enumerate() {
            at.push(name);
            let last = number + 1 == names.len();
            parent = match open_in(self.root(), &at, OFlags::PATH) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.tell(&parent, Path::new(name))?;
                    if last && kind == Kind::File {
                        make_file(&parent, Path::new(name))?;
                    } else {
                        mkdirat(&parent, *name, Mode::from_raw_mode(0o755))?;
                    }
                    open_in(self.root(), &at, OFlags::PATH)?
                }
                other => other?,
            };
        }
        Ok(parent)
    }

    /// Puts `mount` at `path`.
    ///
    /// # Errors
    /// The place cannot be made, or be mounted on.
    pub fn attach(&self, mount: impl AsFd, path: &str, kind: Kind) -> Result<(), StepError> {
        self.get(Path::new(path), kind)
            .and_then(|target| ops::attach(mount, target))
            .doing(|| format!("mount on {path} in the container"))
    }

    fn tell(&self, parent: &OwnedFd, name: &Path) -> io::Result<()> {
        let stat = fstat(parent)?;
        if stat.st_dev != self.device {
            return Ok(());
        }
        let root = fstat(&self.root)?;
        let path = if stat.st_ino == root.st_ino {
            name.to_owned()
        } else {
            let link = format!("/proc/self/fd/{}", parent.as_raw_fd());
            let link = readlink(link, vec![])?
                .into_string()
                .map_err(io::Error::other)?;
            Path::new(&link)
                .strip_prefix("/")
                .unwrap_or(Path::new(&link))
                .join(name)
        };
        (self.making)(&path)
    }
}

fn make_file(parent: &OwnedFd, name: &Path) -> io::Result<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::from_raw_mode(0o644))?;
    Ok(())
}
