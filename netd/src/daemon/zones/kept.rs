//! The addresses that members of a zone have had, on disk: a member that comes back gets its
//! own.
//!
//! A file for each zone below `/var/lib/rspawn/members`, with a line for each member: its name,
//! its address, and when it was used last, in seconds since 1970.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use registry::MachineName;

use crate::log::{self, Pace};
use crate::worker::Queue;

/// For how long the address of a member that does not come back is kept, in seconds.
const KEPT_FOR: u64 = 90 * 24 * 60 * 60;
/// When a member that was used last then is used again, that need not be written.
const USED_LATELY: u64 = 24 * 60 * 60;
/// The largest file that is read, in bytes.
const FILE_MAX: u64 = 16 << 20;
/// What is put behind the name of a damaged file; not part of any zone's name.
const ASIDE: &str = "~corrupt";

/// Lines about addresses that cannot be written.
static UNWRITTEN: Pace = Pace::new();

/// An address and when it was used last, in seconds since 1970.
type Used = (Ipv4Addr, u64);

/// The addresses that members of a zone have had.
#[derive(Debug)]
pub struct KeptAddresses {
    by_address: HashMap<Ipv4Addr, MachineName>,
    file: Arc<Mutex<File>>,
}

/// What the file is to say.
#[derive(Debug)]
struct File {
    path: PathBuf,
    lines: BTreeMap<MachineName, Used>,
    /// Whether the worker has been asked to write it and has not begun.
    is_queued: bool,
}

impl KeptAddresses {
    /// Reads what the file at `path` says. One that is damaged is set aside and reported; what
    /// is whole in it counts.
    pub fn open(path: &Path) -> Self {
        let mut lines = BTreeMap::new();
        let mut damaged = false;
        match read(path) {
            Ok(text) => {
                for line in text.lines() {
                    match parse(line) {
                        Some((name, used)) => drop(lines.insert(name, used)),
                        None => damaged = true,
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!("cannot read {}: {error}", path.display());
                damaged = true;
            }
        }
        if damaged {
            set_aside(path);
        }
        let now = seconds(SystemTime::now());
        lines.retain(|_, (_, used)| now.saturating_sub(*used) < KEPT_FOR);
        let file = File {
            path: path.to_owned(),
            lines,
            is_queued: false,
        };
        Self {
            by_address: file
                .lines
                .iter()
                .map(|(name, (ip, _))| (*ip, *name))
                .collect(),
            file: Arc::new(Mutex::new(file)),
        }
    }

    /// The address that a member had last.
    pub fn of(&self, name: &MachineName) -> Option<Ipv4Addr> {
        let (address, _) = lock(&self.file).lines.get(name).copied()?;
        (self.by_address.get(&address) == Some(name)).then_some(address)
    }

    /// Whether an address was that of another than `name`, who may come back.
    pub fn is_anothers(&self, ip: Ipv4Addr, name: &MachineName) -> bool {
        self.by_address.get(&ip).is_some_and(|other| other != name)
    }

    /// Notes that a member has this address now, and has it written by `worker`.
    pub fn keep(&mut self, name: MachineName, address: Ipv4Addr, worker: &Queue) {
        let now = seconds(SystemTime::now());
        let mut file = lock(&self.file);
        let before = file.lines.insert(name, (address, now));
        if let Some((former, used)) = before {
            if former == address && now.saturating_sub(used) < USED_LATELY && file.path.exists() {
                file.lines.insert(name, (former, used));
                return;
            }
            if self.by_address.get(&former) == Some(&name) {
                self.by_address.remove(&former);
            }
        }
        if let Some(other) = self
            .by_address
            .insert(address, name)
            .filter(|other| *other != name)
        {
            file.lines.remove(&other);
        }
        // What comes until the worker gets round to it is written together.
        if !std::mem::replace(&mut file.is_queued, true) {
            let file = self.file.clone();
            worker.add(move || write(&file));
        }
    }
}

fn write(file: &Mutex<File>) {
    let (path, text) = {
        let mut file = lock(file);
        file.is_queued = false;
        (file.path.clone(), file.text())
    };
    if let Err(error) = crate::subnets::write(&path, &text) {
        UNWRITTEN.say(|more| {
            tracing::error!(
                "{}: members may get other addresses{more}",
                log::chain(&error)
            );
        });
    }
}

impl File {
    fn text(&self) -> String {
        let mut text = String::new();
        for (name, (address, used)) in &self.lines {
            // Writing into a String does not fail.
            let _ = writeln!(text, "{name} {address} {used}");
        }
        text
    }
}

/// Whoever panicked with the lock had not begun to change anything.
fn lock(file: &Mutex<File>) -> MutexGuard<'_, File> {
    file.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read(path: &Path) -> io::Result<String> {
    let found = fs::symlink_metadata(path)?;
    if !found.is_file() || found.len() > FILE_MAX {
        return Err(io::Error::other("it is no file of this kind"));
    }
    fs::read_to_string(path)
}

fn parse(line: &str) -> Option<(MachineName, Used)> {
    let mut words = line.split(' ');
    let name = words.next()?.parse().ok()?;
    let used = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    words.next().is_none().then_some((name, used))
}

fn set_aside(path: &Path) {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(ASIDE);
    let aside = path.with_file_name(name);
    tracing::warn!(
        "{} is damaged: set aside as {}; members whose lines are lost may get other addresses",
        path.display(),
        aside.display()
    );
    if let Err(error) = fs::rename(path, &aside) {
        tracing::warn!("cannot set {} aside: {error}", path.display());
    }
}

fn seconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH);
    since.unwrap_or(Duration::ZERO).as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::Worker;

    fn name(text: &str) -> MachineName {
        text.parse().unwrap()
    }

    fn ip(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, last)
    }

    #[test]
    fn what_was_kept_is_there_for_the_next_and_a_new_holder_takes_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("members/lab");
        let worker = Worker::start().unwrap();
        let mut kept = KeptAddresses::open(&path);
        kept.keep(name("a"), ip(7), &worker.queue());
        kept.keep(name("b"), ip(8), &worker.queue());
        kept.keep(name("a"), ip(9), &worker.queue());
        kept.keep(name("c"), ip(8), &worker.queue());
        drop(worker);
        let kept = KeptAddresses::open(&path);
        assert_eq!(kept.of(&name("a")), Some(ip(9)));
        assert_eq!(kept.of(&name("b")), None);
        assert!(!kept.is_anothers(ip(7), &name("x")));
        assert!(kept.is_anothers(ip(8), &name("b")) && !kept.is_anothers(ip(8), &name("c")));
    }

    #[test]
    fn a_damaged_file_is_set_aside_and_old_lines_lapse() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lab");
        let now = seconds(SystemTime::now());
        let text = format!(
            "a 10.0.0.7 {now}\nold 10.0.0.8 {}\nb 10.0.\n",
            now - KEPT_FOR
        );
        fs::write(&path, &text).unwrap();
        let kept = KeptAddresses::open(&path);
        assert_eq!(kept.of(&name("a")), Some(ip(7)));
        assert_eq!(kept.of(&name("old")), None);
        assert_eq!(
            fs::read_to_string(dir.path().join("lab~corrupt")).unwrap(),
            text
        );
        assert!(!path.exists());
    }
}
