//! A machine's name is taken by a lock on a file that is named after it.

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use registry::names::clear_tree;
use registry::{MachineName, NAMES_DIR, RUNTIME_DIR};
use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock, fstat, openat, stat, unlink};

/// How long a container whose supervisor was killed may hold its name on: until its
/// first process, which has the supervisor's descriptors at first, is gone as well.
const DYING: Duration = Duration::from_millis(150);
const PAUSE: Duration = Duration::from_millis(3);

/// A name that this process holds until the value is dropped.
#[derive(Debug)]
pub struct NameLock {
    path: PathBuf,
    /// Has the lock.
    file: File,
}

/// A name could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum NameLockError {
    /// Another container has it.
    #[error("a machine called {0} is running: stop it, or choose another name with -M")]
    InUse(MachineName),
    /// The lock file cannot be made.
    #[error("cannot take the machine's name by the file {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl NameLock {
    /// Takes the name of a machine.
    ///
    /// # Errors
    /// Another container has it, or /run is not writable.
    pub fn take(name: &MachineName) -> Result<Self, NameLockError> {
        Self::take_in(Path::new(NAMES_DIR), name)
    }

    fn take_in(dir: &Path, name: &MachineName) -> Result<Self, NameLockError> {
        let path = dir.join(name.as_str());
        let failed = |source: io::Error| NameLockError::Io {
            path: path.clone(),
            source,
        };
        let deadline = Instant::now() + DYING;
        loop {
            let file = match open(&path) {
                Err(rustix::io::Errno::NOENT) => {
                    make_directories(dir).map_err(failed)?;
                    open(&path)
                }
                other => other,
            }
            .map_err(|error| failed(error.into()))?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => {
                    std::thread::sleep(PAUSE);
                    continue;
                }
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(NameLockError::InUse(*name)),
                Err(error) => return Err(failed(error.into())),
            }
            // Whoever held it may have removed the file since it was opened: then
            // the lock is one on a file that nobody else will find.
            let ours = fstat(&file).map_err(|error| failed(error.into()))?;
            match stat(&path) {
                Ok(found) if (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino) => {
                    if ours.st_size > 0 {
                        clear_left(&file).map_err(failed)?;
                    }
                    return Ok(Self { path, file });
                }
                _ => {}
            }
        }
    }
}

impl NameLock {
    /// Writes down the tree that is run by this name, for whoever clears away behind
    /// this process if it is killed.
    ///
    /// # Errors
    /// /run is full.
    pub fn note_tree(&self, tree: &Path) -> io::Result<()> {
        self.file.write_all_at(tree.as_os_str().as_bytes(), 0)
    }
}

impl Drop for NameLock {
    fn drop(&mut self) {
        // While the lock is held, so that nobody removes what another has taken.
        unlink(&self.path).ok();
        flock(&self.file, FlockOperation::Unlock).ok();
    }
}

/// The one that had the name before was killed, and its tree may be another.
fn clear_left(file: &File) -> io::Result<()> {
    clear_tree(Path::new(RUNTIME_DIR), file);
    file.set_len(0)
}

fn open(path: &Path) -> rustix::io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(openat(CWD, path, flags, Mode::from_raw_mode(0o600))?.into())
}

fn make_directories(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o755);
    builder.create(RUNTIME_DIR)?;
    builder.create(dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use registry::names::{NameState, state_in};

    #[test]
    fn a_name_is_taken_once_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let web: MachineName = "web".parse().unwrap();
        let held = NameLock::take_in(dir.path(), &web).unwrap();
        assert!(matches!(
            NameLock::take_in(dir.path(), &web),
            Err(NameLockError::InUse(_))
        ));
        let state = |name| state_in(dir.path(), name).unwrap();
        assert_eq!(state(&web), NameState::Held);
        let db: MachineName = "db".parse().unwrap();
        NameLock::take_in(dir.path(), &db).unwrap();
        drop(held);
        assert_eq!(state(&web), NameState::Free);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        NameLock::take_in(dir.path(), &web).unwrap();
    }
}
