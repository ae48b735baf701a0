//! The files by which machine names are taken, as others see them than the one that
//! takes a name.
//!
//! A supervisor holds a lock on its name's file for as long as it lives, and removes
//! the file before it lets go. So a file that nobody has locked is one that a
//! supervisor has left which was killed: the proof that what else bears the name is
//! nobody's either. No file proves nothing, since the directory may have been emptied.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock, fstat, openat, stat, unlink};
use rustix::io::Errno;

use crate::{MachineName, NAMES_DIR};

/// The longest path that is read from a name's file.
const PATH_MAX: u64 = 4096;

/// What a name's file says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameState {
    /// There is no file: the name is free, or the directory was emptied.
    Free,
    /// A supervisor lives that has the name.
    Held,
    /// The supervisor that had the name was killed, and nobody has taken it since.
    Left,
}

/// Whether a container runs by that name.
#[must_use]
pub fn is_held(name: &MachineName) -> bool {
    matches!(state_in(Path::new(NAMES_DIR), name), Ok(NameState::Held))
}

/// What the file of a name in `dir` says.
///
/// # Errors
/// It cannot be looked at.
pub fn state_in(dir: &Path, name: &MachineName) -> io::Result<NameState> {
    let Some(file) = open(&dir.join(name.as_str()))? else {
        return Ok(NameState::Free);
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(NameState::Left),
        Err(Errno::WOULDBLOCK) => Ok(NameState::Held),
        Err(error) => Err(error.into()),
    }
}

/// Removes the file of a name that was left, and before that what its supervisor has
/// made in its tree. Does nothing if somebody has taken the name.
///
/// # Errors
/// The file cannot be looked at.
pub fn clear_left_in(runtime: &Path, dir: &Path, name: &MachineName) -> io::Result<()> {
    let path = dir.join(name.as_str());
    let Some(file) = open(&path)? else {
        return Ok(());
    };
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(());
    }
    let (ours, found) = (fstat(&file)?, stat(&path)?);
    if (ours.st_dev, ours.st_ino) != (found.st_dev, found.st_ino) {
        return Ok(());
    }
    clear_tree(runtime, &file);
    // While the lock is held, so that nobody has taken the name.
    unlink(&path)?;
    Ok(())
}

/// Removes what the supervisor that wrote a name's file has made in its tree.
pub fn clear_tree(runtime: &Path, file: &File) {
    if let Some(tree) = tree_of(file) {
        crate::mount_points::clear_left(runtime, &tree);
    }
}

fn tree_of(file: &File) -> Option<PathBuf> {
    let mut path = Vec::new();
    file.take(PATH_MAX).read_to_end(&mut path).ok()?;
    (!path.is_empty()).then(|| PathBuf::from(OsStr::from_bytes(&path)))
}

/// Only for reading: whoever watches for names that are let go is told of files alone
/// that were open for writing.
fn open(path: &Path) -> io::Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    match openat(CWD, path, flags, Mode::empty()) {
        Ok(file) => Ok(Some(file.into())),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_left_when_its_file_is_there_and_nobody_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let web: MachineName = "web".parse().unwrap();
        let state = || state_in(dir.path(), &web).unwrap();
        assert_eq!(state(), NameState::Free);
        let held = File::create(dir.path().join("web")).unwrap();
        flock(&held, FlockOperation::NonBlockingLockExclusive).unwrap();
        assert_eq!(state(), NameState::Held);
        clear_left_in(dir.path(), dir.path(), &web).unwrap();
        assert_eq!(state(), NameState::Held);
        drop(held);
        assert_eq!(state(), NameState::Left);
        clear_left_in(dir.path(), dir.path(), &web).unwrap();
        assert_eq!(state(), NameState::Free);
    }
}
