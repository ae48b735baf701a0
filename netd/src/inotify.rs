//! Watching files and directories (inotify(7)).

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Room for a good deal of changes at once, in bytes.
const BUFFER: usize = 4096;

/// A set of watched files and directories.
#[derive(Debug)]
pub struct Inotify(AsyncFd<Arc<OwnedFd>>);

/// Something that happened to what is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// By this number [`Inotify::add`] named the watch; negative where changes were lost.
    pub watch: i32,
    /// The name in the directory, where it is about something in one.
    pub name: Option<String>,
    /// Whether what is watched is itself gone.
    pub gone: bool,
}

/// Watches that end when this is dropped.
#[derive(Debug)]
pub struct Ending {
    inotify: Arc<OwnedFd>,
    watches: Vec<i32>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        for watch in &self.watches {
            // One that has ended by itself is as good.
            let _ = inotify::remove_watch(&*self.inotify, *watch);
        }
    }
}

impl Inotify {
    /// Watches nothing yet. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The system has no room for another one (`max_user_instances`).
    pub fn new() -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let inotify = crate::async_fd::watch(Arc::new(inotify), Interest::READABLE)?;
        Ok(Self(inotify))
    }

    /// Watches a file or directory. What is watched already keeps its number.
    ///
    /// # Errors
    /// It is not there, or the user may not watch more (`max_user_watches`).
    pub fn add(&self, path: &Path, flags: WatchFlags) -> io::Result<i32> {
        Ok(inotify::add_watch(self.0.get_ref(), path, flags)?)
    }

    /// What ends watches when it is dropped. That takes the kernel 10 to 20 ms: not a
    /// thing for an event loop to do.
    #[must_use]
    pub fn ending(&self, watches: Vec<i32>) -> Ending {
        Ending {
            inotify: self.0.get_ref().clone(),
            watches,
        }
    }

    /// Waits for changes. Nothing is lost if the future is dropped.
    ///
    /// # Errors
    /// None that is known of.
    pub async fn next(&self) -> io::Result<Vec<Change>> {
        loop {
            let mut ready = self.0.readable().await?;
            match ready.try_io(|inotify| read(inotify.get_ref())) {
                Ok(changes) => return changes,
                Err(_) => continue,
            }
        }
    }
}

fn read(inotify: &OwnedFd) -> io::Result<Vec<Change>> {
    let mut buffer = [MaybeUninit::uninit(); BUFFER];
    let mut reader = Reader::new(inotify, &mut buffer);
    let mut changes = Vec::new();
    while changes.is_empty() || !reader.is_buffer_empty() {
        let event = match reader.next() {
            Err(rustix::io::Errno::AGAIN) if !changes.is_empty() => break,
            event => event?,
        };
        let gone = ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::IGNORED;
        changes.push(Change {
            watch: event.wd(),
            name: event
                .file_name()
                .map(|name| name.to_string_lossy().into_owned()),
            gone: event.events().intersects(gone),
        });
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_happens_in_a_directory_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let inotify = Inotify::new().unwrap();
        let flags = WatchFlags::DELETE | WatchFlags::DELETE_SELF;
        let watch = inotify.add(directory.path(), flags).unwrap();
        assert_eq!(inotify.add(directory.path(), flags).unwrap(), watch);
        let path = directory.path().join("web");
        std::fs::write(&path, "").unwrap();
        std::fs::remove_file(&path).unwrap();
        let change = Change {
            watch,
            name: Some("web".into()),
            gone: false,
        };
        assert_eq!(inotify.next().await.unwrap(), [change]);
        directory.close().unwrap();
        assert!(
            inotify
                .next()
                .await
                .unwrap()
                .iter()
                .all(|change| change.gone)
        );
    }
}
