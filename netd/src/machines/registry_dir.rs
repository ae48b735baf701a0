//! Writing the registry: `/run/rspawn/machines` and `/run/rspawn/addresses`.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};

use registry::record::RECORD_MAX;
use registry::{MachineName, Record};

/// The registry's directories. netd alone writes there.
#[derive(Debug)]
pub struct RegistryDir {
    machines: PathBuf,
    addresses: PathBuf,
}

/// The registry could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {path}")]
pub struct RegistryDirError {
    what: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RegistryDirError {
    move |source| RegistryDirError {
        what,
        path: path.to_owned(),
        source,
    }
}

impl RegistryDir {
    /// Opens the registry below `runtime` (`/run/rspawn`), making its directories
    /// where they are missing.
    ///
    /// # Errors
    /// They cannot be made.
    pub fn open(runtime: &Path) -> Result<Self, RegistryDirError> {
        let dir = Self {
            machines: runtime.join("machines"),
            addresses: runtime.join("addresses"),
        };
        dir.make_directories()?;
        Ok(dir)
    }

    /// Makes the registry's directories where they are missing.
    ///
    /// # Errors
    /// They cannot be made.
    pub fn make_directories(&self) -> Result<(), RegistryDirError> {
        for path in [&self.machines, &self.addresses] {
            let made = fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(path);
            made.map_err(failed("make directory", path))?;
        }
        Ok(())
    }

    /// Writes a machine's record in one step, and makes the links for reverse
    /// look-ups of `now` out of those of `before`. A record that stands there
    /// already is left alone.
    ///
    /// # Errors
    /// The first step that failed.
    pub fn publish(
        &self,
        name: &MachineName,
        text: &str,
        before: &BTreeSet<IpAddr>,
        now: &BTreeSet<IpAddr>,
    ) -> Result<(), RegistryDirError> {
        let path = self.machines.join(name.as_str());
        if fs::read_to_string(&path).is_ok_and(|there| there == text) {
            return self.link_all(name, now);
        }
        crate::operations::count(|done| &done.registry_writes, 1);
        // No machine's name begins with a dot.
        let draft = self.machines.join(format!(".{name}"));
        fs::write(&draft, text).map_err(failed("write", &draft))?;
        fs::rename(&draft, &path).map_err(failed("write", &path))?;
        for ip in before.difference(now) {
            self.unlink(*ip, name);
        }
        self.link_all(name, now)
    }

    /// Removes a machine's record and its links.
    ///
    /// # Errors
    /// The record cannot be removed.
    pub fn withdraw(
        &self,
        name: &MachineName,
        addresses: &BTreeSet<IpAddr>,
    ) -> Result<(), RegistryDirError> {
        for ip in addresses {
            self.unlink(*ip, name);
        }
        crate::operations::count(|done| &done.registry_writes, 1);
        let path = self.machines.join(name.as_str());
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Reads all records. What is no record, left-over drafts and links that lead to no
    /// record of their address are removed.
    ///
    /// # Errors
    /// A directory cannot be listed.
    pub fn load(&self) -> Result<Vec<(MachineName, String)>, RegistryDirError> {
        let list = fs::read_dir(&self.machines).map_err(failed("list", &self.machines))?;
        let mut records = Vec::new();
        for entry in list.flatten() {
            let path = entry.path();
            match read_record(&path) {
                Some(record) => records.push(record),
                None => {
                    if !entry.file_name().as_encoded_bytes().starts_with(b".") {
                        tracing::warn!("{} is no record of a machine: removed", path.display());
                    }
                    let _ = fs::remove_file(&path);
                }
            }
        }
        let recorded: HashMap<PathBuf, BTreeSet<IpAddr>> = records
            .iter()
            .map(|(name, text)| (target_of(name), addresses_in(text)))
            .collect();
        let list = fs::read_dir(&self.addresses).map_err(failed("list", &self.addresses))?;
        for entry in list.flatten() {
            let ip = entry.file_name().to_str().and_then(|ip| ip.parse().ok());
            let target = fs::read_link(entry.path()).ok();
            let addresses = target.and_then(|target| recorded.get(&target));
            if !matches!((ip, addresses), (Some(ip), Some(those)) if those.contains(&ip)) {
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(records)
    }

    fn link_all(
        &self,
        name: &MachineName,
        addresses: &BTreeSet<IpAddr>,
    ) -> Result<(), RegistryDirError> {
        for ip in addresses {
            self.link(*ip, name)?;
        }
        Ok(())
    }

    fn link(&self, ip: IpAddr, name: &MachineName) -> Result<(), RegistryDirError> {
        let path = self.addresses.join(ip.to_string());
        let target = target_of(name);
        if fs::read_link(&path).is_ok_and(|there| there == target) {
            return Ok(());
        }
        crate::operations::count(|done| &done.registry_writes, 1);
        let draft = self.addresses.join(format!(".{ip}"));
        let _ = fs::remove_file(&draft);
        symlink(&target, &draft).map_err(failed("make", &draft))?;
        fs::rename(&draft, &path).map_err(failed("make", &path))
    }

    /// Removes the link of an address, unless it has become another machine's.
    fn unlink(&self, ip: IpAddr, name: &MachineName) {
        let path = self.addresses.join(ip.to_string());
        if fs::read_link(&path).is_ok_and(|there| there == target_of(name)) {
            let _ = fs::remove_file(&path);
        }
    }
}

fn addresses_in(text: &str) -> BTreeSet<IpAddr> {
    let record = Record::parse(text.as_bytes());
    record.map_or_else(
        |_| BTreeSet::new(),
        |record| record.addresses().map(|address| address.ip).collect(),
    )
}

fn target_of(name: &MachineName) -> PathBuf {
    Path::new("../machines").join(name.as_str())
}

fn read_record(path: &Path) -> Option<(MachineName, String)> {
    let metadata = fs::symlink_metadata(path).ok()?;
    if !metadata.is_file() || metadata.len() > RECORD_MAX as u64 {
        return None;
    }
    let text = fs::read_to_string(path).ok()?;
    let name = Record::parse(text.as_bytes()).ok()?.name();
    (path.file_name()?.to_str()? == name.as_str()).then_some((name, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use registry::{Address, RecordText};
    use std::os::unix::fs::MetadataExt;

    fn record(name: &MachineName, addresses: &BTreeSet<IpAddr>) -> String {
        let mut text = RecordText::new(name);
        for ip in addresses {
            text.put_address(&Address { ip: *ip, scope: 0 });
        }
        text.finish()
    }

    #[test]
    fn records_and_links_come_change_and_go() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = RegistryDir::open(tmp.path()).unwrap();
        let web: MachineName = "web".parse().unwrap();
        let one = BTreeSet::from(["192.0.2.2".parse().unwrap(), "fd00::2".parse().unwrap()]);
        let two = BTreeSet::from(["192.0.2.3".parse().unwrap(), "fd00::2".parse().unwrap()]);
        let none = BTreeSet::new();
        dir.publish(&web, &record(&web, &one), &none, &one).unwrap();
        let link = |ip: &str| fs::read_link(tmp.path().join("addresses").join(ip)).ok();
        assert_eq!(link("192.0.2.2").unwrap().to_str(), Some("../machines/web"));
        dir.publish(&web, &record(&web, &two), &one, &two).unwrap();
        assert_eq!(link("192.0.2.2"), None);
        assert!(link("192.0.2.3").is_some() && link("fd00::2").is_some());
        assert_eq!(dir.load().unwrap().len(), 1);
        dir.withdraw(&web, &two).unwrap();
        assert_eq!(dir.load().unwrap().len(), 0);
        assert_eq!(
            fs::read_dir(tmp.path().join("addresses")).unwrap().count(),
            0
        );
    }

    #[test]
    fn the_same_record_is_not_written_again() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = RegistryDir::open(tmp.path()).unwrap();
        let web: MachineName = "web".parse().unwrap();
        let one = BTreeSet::from(["192.0.2.2".parse().unwrap()]);
        let inode = || fs::metadata(tmp.path().join("machines/web")).unwrap().ino();
        dir.publish(&web, &record(&web, &one), &BTreeSet::new(), &one)
            .unwrap();
        let before = inode();
        dir.publish(&web, &record(&web, &one), &one, &one).unwrap();
        assert_eq!(inode(), before);
    }

    #[test]
    fn what_is_no_record_does_not_stay() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = RegistryDir::open(tmp.path()).unwrap();
        let web: MachineName = "web".parse().unwrap();
        let machines = tmp.path().join("machines");
        fs::write(machines.join("web"), record(&web, &BTreeSet::new())).unwrap();
        fs::write(machines.join("db"), record(&web, &BTreeSet::new())).unwrap();
        fs::write(machines.join(".draft"), "VERS").unwrap();
        fs::write(machines.join("half"), "VERSION=1\nNAME=half\n").unwrap();
        let addresses = tmp.path().join("addresses");
        symlink("../machines/nobody", addresses.join("192.0.2.9")).unwrap();
        // As a netd leaves them that is killed while it writes a record.
        symlink("../machines/web", addresses.join(".192.0.2.7")).unwrap();
        symlink("../machines/web", addresses.join("192.0.2.8")).unwrap();
        let names: Vec<_> = dir
            .load()
            .unwrap()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(names, [web]);
        assert_eq!(fs::read_dir(machines).unwrap().count(), 1);
        assert_eq!(
            fs::read_dir(tmp.path().join("addresses")).unwrap().count(),
            0
        );
    }
}
