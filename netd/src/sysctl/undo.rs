//! The record of what was changed outside our own links, and the way back.
//!
//! A text file, one line a parameter: its path, its value before the first change, and
//! the value that it has since, separated by a space. It is written before the change.
//! What somebody else changed since then is left alone when undone.
//!
//! Lines are undone from the first to the last. Writing `conf/all/forwarding` writes the
//! value of each link as well, so its line stands before theirs.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::{NET, Sysctl, SysctlError};

/// The file of changed parameters, which need not exist.
#[derive(Debug, Clone)]
pub struct UndoRecord {
    path: PathBuf,
    /// What was written last, in case that the file is lost.
    last: RefCell<Vec<Entry>>,
}

/// One changed parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub parameter: Sysctl,
    pub former: String,
    pub since: String,
}

/// What undoing did.
#[derive(Debug, Default)]
pub struct Undone {
    /// Parameters that have their former value again.
    pub restored: Vec<PathBuf>,
    /// Parameters that somebody else changed since, or whose link is gone.
    pub left: Vec<PathBuf>,
    /// What could not be restored; it stays in the record.
    pub failed: Vec<SysctlError>,
}

impl UndoRecord {
    /// The record in this file (`/var/lib/rspawn/sysctl-undo`).
    pub fn at(path: impl Into<PathBuf>) -> UndoRecord {
        UndoRecord {
            path: path.into(),
            last: RefCell::default(),
        }
    }

    /// Gives the recorded parameters their former values and removes the record. Goes on
    /// where one fails.
    ///
    /// # Errors
    /// [`SysctlError::Record`] or [`SysctlError::BadRecord`] if the file cannot be read or
    /// removed; nothing is undone from a file that cannot be read.
    pub fn undo(&self) -> Result<Undone, SysctlError> {
        let mut undone = Undone::default();
        let mut due = Vec::new();
        // What is due is found before anything is written, as one line's change can
        // change the parameter of another.
        for entry in self.read()? {
            match entry.parameter.read() {
                Ok(now) if now == entry.since => due.push(entry),
                Ok(_) | Err(SysctlError::Missing { .. }) => {
                    undone.left.push(entry.parameter.path);
                }
                Err(error) => {
                    undone.failed.push(error);
                    due.push(entry);
                }
            }
        }
        let mut kept = Vec::new();
        for entry in due {
            match entry.parameter.ensure_if_present(&entry.former) {
                Ok(Some(_)) => undone.restored.push(entry.parameter.path),
                Ok(None) => undone.left.push(entry.parameter.path),
                Err(error) => {
                    undone.failed.push(error);
                    kept.push(entry);
                }
            }
        }
        self.write(&kept)?;
        Ok(undone)
    }

    /// Writes the file anew if it is lost. Whether it was.
    ///
    /// # Errors
    /// [`SysctlError::Record`].
    pub fn restore(&self) -> Result<bool, SysctlError> {
        let mut last = self.last.borrow_mut();
        if last.is_empty() {
            *last = self.read()?;
        }
        if last.is_empty() || self.path.exists() {
            return Ok(false);
        }
        self.write(&last).map(|()| true)
    }

    /// Adds what is about to be changed. Of a parameter that is recorded already, the
    /// first former value stays.
    ///
    /// That it cannot be kept is no reason to leave containers without their way out: it
    /// is said, and uninstalling then cannot undo it.
    pub(super) fn add(&self, new: Vec<Entry>) {
        let before = match self.read() {
            Ok(entries) => entries,
            Err(error) => {
                self.set_aside(&error);
                Vec::new()
            }
        };
        let mut entries = before.clone();
        for entry in new {
            match entries
                .iter_mut()
                .find(|old| old.parameter == entry.parameter)
            {
                Some(old) => old.since = entry.since,
                None => entries.push(entry),
            }
        }
        self.last.borrow_mut().clone_from(&entries);
        if entries != before
            && let Err(error) = self.write(&entries)
        {
            tracing::warn!(
                "uninstalling cannot undo what is changed now: {}",
                crate::log::chain(&error)
            );
        }
    }

    fn set_aside(&self, error: &SysctlError) {
        let mut aside = self.path.clone().into_os_string();
        aside.push("~corrupt");
        let aside = PathBuf::from(aside);
        tracing::warn!(
            "{}; it is set aside as {}",
            crate::log::chain(error),
            aside.display()
        );
        let _ = fs::rename(&self.path, aside);
    }

    fn read(&self) -> Result<Vec<Entry>, SysctlError> {
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(self.failed(source)),
        };
        text.lines()
            .enumerate()
            .map(|(index, line)| {
                Entry::parse(line).ok_or_else(|| SysctlError::BadRecord {
                    path: self.path.clone(),
                    line: index + 1,
                    text: line.to_owned(),
                })
            })
            .collect()
    }

    /// Replaces the file as a whole, and lastingly, as it must outlive what follows it.
    fn write(&self, entries: &[Entry]) -> Result<(), SysctlError> {
        if entries.is_empty() {
            return match fs::remove_file(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.failed(error)),
                _ => Ok(()),
            };
        }
        let text: String = entries.iter().map(Entry::line).collect();
        self.replace(&text).map_err(|source| self.failed(source))
    }

    fn replace(&self, text: &str) -> io::Result<()> {
        if let Some(directory) = self.path.parent() {
            fs::create_dir_all(directory)?;
        }
        let new = self.path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &self.path)
    }

    fn failed(&self, source: io::Error) -> SysctlError {
        SysctlError::Record {
            path: self.path.clone(),
            source,
        }
    }
}

impl Entry {
    fn line(&self) -> String {
        format!(
            "{} {} {}\n",
            self.parameter.path.display(),
            self.former,
            self.since
        )
    }

    /// `None`: no line of ours, or of a file that is no network parameter.
    fn parse(line: &str) -> Option<Entry> {
        let mut words = line.split(' ');
        let (path, former, since) = (words.next()?, words.next()?, words.next()?);
        let below = Path::new(path).strip_prefix(NET).ok()?;
        let plain = below
            .components()
            .all(|c| matches!(c, std::path::Component::Normal(_)));
        (words.next().is_none() && plain).then(|| Entry {
            parameter: Sysctl { path: path.into() },
            former: former.to_owned(),
            since: since.to_owned(),
        })
    }
}
