//! The subnets that machines and zones keep, on disk: one file for each below
//! `/var/lib/rspawn/subnets`.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Owner, Subnets, is_for_hosts};
use crate::prefix_map::PrefixMap;
use ipnetwork::IpNetwork;

/// For how long an unused subnet is kept.
const KEPT_FOR: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// The largest file that is read, in bytes.
const FILE_MAX: u64 = 1024;
/// What is put behind the name of a damaged file; not part of any machine name.
const ASIDE: &str = "~corrupt";

/// The subnets that machines and zones keep.
#[derive(Debug)]
pub struct SubnetStore {
    directory: PathBuf,
    kept: HashMap<Owner, Subnets>,
    taken: PrefixMap<Owner>,
    /// When they were used last, as far as the files say so.
    used: HashMap<Owner, SystemTime>,
}

/// A subnet could not be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The directory or a file in it.
    #[error("cannot keep subnets in {path}: is it writable?")]
    Io {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl SubnetStore {
    /// Reads what is kept below `directory`, which is made if it is not there.
    /// A file that cannot be understood is set aside as `NAME~corrupt` and
    /// reported; what has not been used for 90 days is dropped, and so is what was being
    /// written when netd was killed.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn open(directory: &Path, now: SystemTime) -> Result<Self, StoreError> {
        let failed = |source| StoreError::Io {
            path: directory.to_owned(),
            source,
        };
        fs::create_dir_all(directory).map_err(failed)?;
        let mut store = Self {
            directory: directory.to_owned(),
            kept: HashMap::new(),
            taken: PrefixMap::default(),
            used: HashMap::new(),
        };
        for entry in fs::read_dir(directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let file_name = entry.file_name();
            let Some(file_name) = file_name.to_str() else {
                continue;
            };
            if is_draft(file_name) {
                // Of a netd that was killed while it wrote.
                let _ = fs::remove_file(entry.path());
            } else if let Ok(name) = file_name.parse() {
                store.load(name, &entry.path(), now);
            }
        }
        Ok(store)
    }

    fn load(&mut self, name: Owner, path: &Path, now: SystemTime) {
        match read(path) {
            Ok(Some(file)) if expired(file.used, now) => {
                tracing::info!(of = %name, "its subnet was not used for 90 days: it is free again");
                let _ = fs::remove_file(path);
            }
            Ok(Some(file)) => {
                self.take(name, file.subnets);
                self.used.insert(name, file.used);
            }
            Ok(None) => {
                let aside = path.with_file_name(format!("{}{ASIDE}", name.file_name()));
                tracing::warn!(
                    of = %name,
                    "{} is damaged: set aside as {}; it gets a new subnet",
                    path.display(),
                    aside.display()
                );
                let _ = fs::rename(path, aside);
            }
            Err(error) => tracing::warn!("cannot read {}: {error}", path.display()),
        }
    }

    /// The subnets that a machine or zone keeps.
    #[must_use]
    pub fn kept(&self, name: &Owner) -> Option<Subnets> {
        self.kept.get(name).copied()
    }

    /// Who other than `name` keeps what overlaps `prefix`.
    #[must_use]
    pub fn clash(&self, prefix: IpNetwork, name: &Owner) -> Option<Owner> {
        self.taken
            .overlapping(prefix, |owner| owner != name)
            .map(|(_, owner)| *owner)
    }

    /// Who keeps what overlaps `prefix`.
    #[must_use]
    pub fn overlapping(&self, prefix: IpNetwork) -> Option<Owner> {
        self.taken
            .overlapping(prefix, |_| true)
            .map(|(_, owner)| *owner)
    }

    /// Gives its owner the subnets, in memory; [`SubnetStore::file`] is what makes
    /// it last.
    pub fn take(&mut self, name: Owner, subnets: Subnets) {
        self.release(&name);
        for prefix in subnets.prefixes() {
            self.taken.insert(prefix, name);
        }
        self.kept.insert(name, subnets);
    }

    /// Gives back, in memory, what has not been used for 90 days, unless it is `in_use`
    /// now. Gives the files that are to be removed.
    pub fn lapse(&mut self, now: SystemTime, in_use: &BTreeSet<Owner>) -> Vec<PathBuf> {
        let lapsed: Vec<Owner> = self
            .used
            .iter()
            .filter(|(name, used)| expired(**used, now) && !in_use.contains(*name))
            .map(|(name, _)| *name)
            .collect();
        for name in &lapsed {
            tracing::info!(of = %name, "its subnet was not used for 90 days: it is free again");
            self.release(name);
        }
        lapsed
            .iter()
            .map(|name| self.directory.join(name.file_name()))
            .collect()
    }

    /// Takes the subnets back, in memory.
    pub fn release(&mut self, name: &Owner) {
        self.used.remove(name);
        if let Some(subnets) = self.kept.remove(name) {
            for prefix in subnets.prefixes() {
                self.taken.remove(prefix, name);
            }
        }
    }

    /// The file of one that is in use: its path and what is to stand in it.
    #[must_use]
    pub fn file(&mut self, name: &Owner, now: SystemTime) -> Option<(PathBuf, String)> {
        let subnets = self.kept.get(name)?;
        self.used.insert(*name, now);
        let mut text = String::from("VERSION=1\n");
        if let Some(v4) = subnets.v4 {
            text.push_str(&format!("IPV4={v4}\n"));
        }
        if let Some(v6) = subnets.v6 {
            text.push_str(&format!("IPV6={v6}\n"));
        }
        let used = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        text.push_str(&format!("USED={used}\nEND=1\n"));
        Some((self.directory.join(name.file_name()), text))
    }

    /// All that keep a subnet.
    #[must_use]
    pub fn owners(&self) -> BTreeSet<Owner> {
        self.kept.keys().copied().collect()
    }
}

/// Writes a file in one step: whoever reads it finds the old text or the new.
///
/// # Errors
/// [`StoreError::Io`].
pub fn write(path: &Path, text: &str) -> Result<(), StoreError> {
    let failed = |source| StoreError::Io {
        path: path.to_owned(),
        source,
    };
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let draft = path.with_file_name(draft_of(name));
    if let Some(directory) = path.parent() {
        // Somebody may have removed it meanwhile.
        fs::create_dir_all(directory).map_err(failed)?;
    }
    fs::write(&draft, text).map_err(failed)?;
    fs::File::open(&draft)
        .and_then(|file| file.sync_all())
        .map_err(failed)?;
    fs::rename(&draft, path).map_err(failed)
}

/// The name of a file while it is being written.
fn draft_of(file_name: &str) -> String {
    format!(".{file_name}.new")
}

fn is_draft(file_name: &str) -> bool {
    let written = file_name
        .strip_prefix('.')
        .and_then(|rest| rest.strip_suffix(".new"));
    written.is_some_and(|name| name.parse::<Owner>().is_ok())
}

struct Kept {
    subnets: Subnets,
    used: SystemTime,
}

fn read(path: &Path) -> io::Result<Option<Kept>> {
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_file() || metadata.len() > FILE_MAX {
        return Ok(None);
    }
    let bytes = fs::read(path)?;
    Ok(std::str::from_utf8(&bytes).ok().and_then(parse))
}

/// The subnets that the text of a kept file names; `None` if it is damaged.
#[must_use]
pub fn parse_file(text: &str) -> Option<Subnets> {
    parse(text).map(|kept| kept.subnets)
}

fn parse(text: &str) -> Option<Kept> {
    let body = text.strip_suffix("END=1\n")?.strip_prefix("VERSION=1\n")?;
    let mut kept = Kept {
        subnets: Subnets { v4: None, v6: None },
        used: UNIX_EPOCH,
    };
    for line in body.lines() {
        match line.split_once('=')? {
            ("IPV4", value) => {
                let subnet: ipnetwork::Ipv4Network = value.parse().ok()?;
                let sound = subnet.ip() == subnet.network()
                    && is_for_hosts(subnet.ip())
                    && (8..=30).contains(&subnet.prefix());
                kept.subnets.v4 = Some(sound.then_some(subnet)?);
            }
            ("IPV6", value) => {
                let subnet: ipnetwork::Ipv6Network = value.parse().ok()?;
                let sound =
                    subnet.ip() == subnet.network() && (16..=120).contains(&subnet.prefix());
                kept.subnets.v6 = Some(sound.then_some(subnet)?);
            }
            ("USED", value) => {
                kept.used = UNIX_EPOCH.checked_add(Duration::from_secs(value.parse().ok()?))?;
            }
            _ => {}
        }
    }
    (kept.subnets.v4.is_some() || kept.subnets.v6.is_some()).then_some(kept)
}

fn expired(used: SystemTime, now: SystemTime) -> bool {
    now.duration_since(used).is_ok_and(|age| age > KEPT_FOR)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn web() -> Owner {
        "web".parse().unwrap()
    }

    fn subnets() -> Subnets {
        Subnets {
            v4: Some("192.168.7.16/28".parse().unwrap()),
            v6: Some("fd12:3456:789a:1::/64".parse().unwrap()),
        }
    }

    fn day(n: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(n * 24 * 60 * 60)
    }

    #[test]
    fn what_nobody_uses_lapses_while_netd_runs() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = SubnetStore::open(dir.path(), day(100)).unwrap();
        store.take(web(), subnets());
        let (path, _) = store.file(&web(), day(100)).unwrap();
        let none = BTreeSet::new();
        assert!(store.lapse(day(189), &none).is_empty());
        assert!(store.lapse(day(191), &BTreeSet::from([web()])).is_empty());
        assert_eq!(store.kept(&web()), Some(subnets()));
        assert_eq!(store.lapse(day(191), &none), [path]);
        assert_eq!(store.kept(&web()), None);
        let freed = "192.168.7.16/28".parse().unwrap();
        assert_eq!(store.overlapping(freed), None);
    }

    #[test]
    fn what_is_kept_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = SubnetStore::open(dir.path(), day(100)).unwrap();
        store.take(web(), subnets());
        let (path, text) = store.file(&web(), day(100)).unwrap();
        write(&path, &text).unwrap();
        let store = SubnetStore::open(dir.path(), day(101)).unwrap();
        assert_eq!(store.kept(&web()), Some(subnets()));
        let other: Owner = "db".parse().unwrap();
        let inside: IpNetwork = "192.168.7.0/24".parse().unwrap();
        assert_eq!(store.clash(inside, &other), Some(web()));
        assert_eq!(store.clash(inside, &web()), None);
    }

    #[test]
    fn what_nobody_used_for_90_days_is_free_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = SubnetStore::open(dir.path(), day(100)).unwrap();
        store.take(web(), subnets());
        let (path, text) = store.file(&web(), day(100)).unwrap();
        write(&path, &text).unwrap();
        assert!(
            SubnetStore::open(dir.path(), day(190))
                .unwrap()
                .kept(&web())
                .is_some()
        );
        assert!(
            SubnetStore::open(dir.path(), day(191))
                .unwrap()
                .kept(&web())
                .is_none()
        );
        assert!(!path.exists());
    }

    #[test]
    fn a_damaged_file_is_set_aside() {
        for text in [
            "",
            "VERSION=1\nIPV4=192.168.7.16/28\n",
            "VERSION=1\nIPV4=x\nEND=1\n",
            "\0",
        ] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("web"), text).unwrap();
            let store = SubnetStore::open(dir.path(), day(100)).unwrap();
            assert_eq!(store.kept(&web()), None, "{text:?}");
            assert_eq!(
                fs::read_to_string(dir.path().join("web~corrupt")).unwrap(),
                text
            );
            // And again: what was set aside is not taken for a machine's file.
            SubnetStore::open(dir.path(), day(100)).unwrap();
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn what_was_being_written_at_the_crash_is_no_more() {
        let dir = tempfile::tempdir().unwrap();
        for name in [".web.new", ".@lab.new", ".other", "notes"] {
            fs::write(dir.path().join(name), "VERSION=1\n").unwrap();
        }
        SubnetStore::open(dir.path(), day(100)).unwrap();
        assert!(!dir.path().join(".web.new").exists());
        assert!(!dir.path().join(".@lab.new").exists());
        assert!(dir.path().join(".other").exists());
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "(?s)(VERSION=1\n)?.{0,200}(END=1\n)?") {
            let _ = parse(&text);
        }
    }
}
