//! Leases that outlast netd: one file a link.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::dhcp::client::SavedLease;
use crate::worker::Queue;

/// No lease is a longer text.
const FILE_MAX: u64 = 64 * 1024;

/// Where leases are kept.
#[derive(Debug)]
pub(super) struct Store {
    directory: PathBuf,
    queue: Queue,
}

impl Store {
    pub fn new(directory: PathBuf, queue: Queue) -> Self {
        Self { directory, queue }
    }

    fn path(&self, link: &str) -> PathBuf {
        self.directory.join(link)
    }

    /// The lease that a link had. A file that is damaged is set aside and reported.
    pub fn load(&self, link: &str) -> Option<SavedLease> {
        let path = self.path(link);
        let text = match read(&path) {
            Ok(text) => text?,
            Err(error) => {
                set_aside(&path, &error.to_string());
                return None;
            }
        };
        SavedLease::from_text(&text, SystemTime::now())
            .map_err(|error| set_aside(&path, &error.to_string()))
            .ok()
    }

    /// Keeps a lease; written later.
    pub fn keep(&self, link: &str, lease: &SavedLease) {
        let (path, text) = (self.path(link), lease.to_text(SystemTime::now()));
        self.queue.add(move || {
            if let Err(error) = crate::subnets::write(&path, &text) {
                tracing::warn!("{}", crate::log::chain(&error));
            }
        });
    }

    /// Forgets a link's lease, behind what is still to be written.
    pub fn forget(&self, link: &str) {
        let path = self.path(link);
        self.queue.add(move || drop(fs::remove_file(path)));
    }
}

fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
        Ok(found) if !found.is_file() || found.len() > FILE_MAX => {
            return Err(io::Error::other("it is no file that netd has written"));
        }
        Ok(_) => {}
    }
    fs::read_to_string(path).map(Some)
}

fn set_aside(path: &Path, why: &str) {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push("~corrupt");
    let aside = path.with_file_name(name);
    let outcome = match fs::rename(path, &aside) {
        Ok(()) => format!("set aside as {}", aside.display()),
        Err(error) => format!("it cannot be set aside: {error}"),
    };
    tracing::error!(
        "{}: {why}; {outcome}, and a new lease is asked for",
        path.display()
    );
}
