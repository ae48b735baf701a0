//! Zones: bridges that containers share, made with the first of them and removed with
//! the last.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;
use std::str::FromStr;

use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock, openat};
use rustix::io::Errno;

use crate::IfName;

/// What the names of zones' bridges begin with.
pub(crate) const PREFIX: &str = "vz-";
/// In the runtime directory, the file that is locked while a bridge is joined or removed.
const LOCK_FILE: &str = "zones.lock";
/// The longest name of a zone, in bytes.
const NAME_MAX: usize = crate::ifname::IFNAME_MAX - PREFIX.len();

/// The name of a zone: such that `vz-NAME` is the name of a network interface, whole, and
/// NAME that of a file. It has letters, digits, `.`, `_` and `-`, a letter or digit first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ZoneName {
    bytes: [u8; NAME_MAX],
    len: usize,
}

/// A text is not the name of a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a zone's name has 1 to 12 letters, digits, hyphens, dots and underscores, and begins with a letter or digit"
)]
pub struct ZoneNameError;

impl ZoneName {
    /// The zone whose bridge has this name, if it is one.
    #[must_use]
    pub fn of_bridge(name: &str) -> Option<Self> {
        name.strip_prefix(PREFIX)?.parse().ok()
    }

    /// The name of its bridge.
    #[must_use]
    pub fn bridge(&self) -> IfName {
        IfName::of_zone(self)
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..self.len).unwrap_or_default();
        // It was made of text.
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

impl FromStr for ZoneName {
    type Err = ZoneNameError;

    fn from_str(text: &str) -> Result<Self, ZoneNameError> {
        let named = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let begins = text
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric());
        let mut bytes = [0; NAME_MAX];
        match bytes.get_mut(..text.len()) {
            Some(place) if begins && text.bytes().all(named) => {
                place.copy_from_slice(text.as_bytes());
            }
            _ => return Err(ZoneNameError),
        }
        let len = text.len();
        Ok(Self { bytes, len })
    }
}

impl fmt::Display for ZoneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for ZoneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// Held by whoever joins a zone: until it is dropped, no zone's bridge is removed for
/// having no members.
#[derive(Debug)]
pub struct Joining {
    _lock: File,
}

/// Held by whoever removes a zone's bridge: until it is dropped, nobody joins a zone.
#[derive(Debug)]
pub struct Removing {
    _lock: File,
}

/// Waits until no bridge is being removed.
///
/// # Errors
/// The file cannot be made or locked.
pub fn join(runtime: &Path) -> io::Result<Joining> {
    let lock = open(runtime)?;
    flock(&lock, FlockOperation::LockShared)?;
    Ok(Joining { _lock: lock })
}

/// Nothing while somebody joins a zone.
///
/// # Errors
/// The file cannot be made or locked.
pub fn try_remove(runtime: &Path) -> io::Result<Option<Removing>> {
    let lock = open(runtime)?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(Removing { _lock: lock })),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn open(runtime: &Path) -> io::Result<File> {
    std::fs::create_dir_all(runtime)?;
    let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let path = runtime.join(LOCK_FILE);
    Ok(openat(CWD, path, flags, Mode::RUSR | Mode::WUSR)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zones_bridge_has_its_whole_name() {
        let zone: ZoneName = "twelve-bytes".parse().unwrap();
        assert_eq!(zone.bridge().as_str(), "vz-twelve-bytes");
        assert_eq!(zone.to_string(), "twelve-bytes");
        assert_eq!(ZoneName::of_bridge("vz-twelve-bytes"), Some(zone));
        for wrong in [
            "",
            "thirteen-byte",
            "a/b",
            "a b",
            "a:b",
            ".",
            "..",
            ".a",
            "-a",
            "a~",
            "\u{e9}",
        ] {
            assert!(wrong.parse::<ZoneName>().is_err(), "{wrong:?}");
        }
        for other in ["vz-", "ve-web", "br0", "vz"] {
            assert_eq!(ZoneName::of_bridge(other), None, "{other}");
        }
    }

    #[test]
    fn none_is_removed_while_somebody_joins() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = dir.path().join("rspawn");
        let (one, other) = (join(&runtime).unwrap(), join(&runtime).unwrap());
        assert!(try_remove(&runtime).unwrap().is_none());
        drop(one);
        assert!(try_remove(&runtime).unwrap().is_none());
        drop(other);
        assert!(try_remove(&runtime).unwrap().is_some());
    }
}
