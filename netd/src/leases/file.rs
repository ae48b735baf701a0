//! A lease file on disk.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::clock::Clocks;
use super::record::{Change, Kept, RecordError, parse_line};

/// The largest file that is read, in bytes: some 400,000 lines.
const FILE_MAX: u64 = 64 << 20;
/// How many lines there may be for each lease before the file is written anew.
const LINES_A_LEASE: usize = 4;
/// How many lines any file may have.
const LINES_MIN: usize = 1024;
/// About the length of a line, in bytes.
const LINE_USUAL: usize = 96;
/// How often it is looked at most whether the path leads to the file.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What is put behind the name of a damaged file.
const ASIDE: &str = "~corrupt";

/// A lease file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot keep leases in {}: is it writable, and is there room?", .path.display())]
pub struct LeaseFileError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// The leases of one server, on disk.
#[derive(Debug)]
pub struct LeaseFile {
    path: PathBuf,
    file: File,
    boot_id: String,
    /// What is leased, by the file.
    live: BTreeMap<Ipv4Addr, Kept>,
    lines: usize,
    /// When it was looked last whether the path leads to the file.
    looked: Option<Instant>,
    /// Whether the last change may be there in part only: what came behind that would not be
    /// a line of its own, and what was not synced then is not by the next time either.
    is_torn: bool,
}

impl LeaseFile {
    /// Reads the file, or makes it, with the directories that lead to it, and gives what
    /// is leased still. One that is damaged is set aside, reported, and written anew with
    /// all that could be read.
    ///
    /// # Errors
    /// [`LeaseFileError`].
    pub fn open(
        path: &Path,
        boot_id: &str,
        clocks: &Clocks,
    ) -> Result<(Self, Vec<Kept>), LeaseFileError> {
        let failed = failed(path);
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(&failed)?;
        }
        let mut read = Read::default();
        let bytes = read_bounded(path).map_err(&failed)?;
        read.take(&bytes, boot_id, clocks);
        if let Some((number, error)) = read.damaged {
            let aside = set_aside(path);
            tracing::error!(
                "{}:{number}: {error}: the file is set aside as {}; {} leases in it could be read",
                path.display(),
                aside.display(),
                read.live.len()
            );
        }
        read.forget_ended(clocks);
        let leases = read.live.values().cloned().collect();
        let file = write_anew(path, boot_id, &read.live).map_err(&failed)?;
        let lines = read.live.len() + 1;
        let file = Self {
            path: path.to_owned(),
            file,
            boot_id: boot_id.to_owned(),
            live: read.live,
            lines,
            looked: None,
            is_torn: false,
        };
        Ok((file, leases))
    }

    /// Writes changes; when this returns, they outlast a power failure.
    ///
    /// # Errors
    /// [`LeaseFileError`]; then none, some or all of them may count until the next time that
    /// there is none, when all do.
    pub fn append(&mut self, changes: &[Change]) -> Result<(), LeaseFileError> {
        let failed = failed(&self.path);
        let mut text = String::with_capacity(changes.len().saturating_mul(LINE_USUAL));
        for change in changes {
            match change {
                Change::Leased(kept) => drop(self.live.insert(kept.address, kept.clone())),
                Change::Freed(address) => drop(self.live.remove(address)),
                Change::Boot(_) => {}
            }
            change.add_to(&mut text);
        }
        self.lines += changes.len();
        let most = LINES_MIN.max(self.live.len().saturating_mul(LINES_A_LEASE));
        if self.is_torn || self.lines > most || self.is_replaced() {
            self.file = write_anew(&self.path, &self.boot_id, &self.live).map_err(failed)?;
            self.lines = self.live.len() + 1;
            self.is_torn = false;
            return Ok(());
        }
        let written = self.file.write_all(text.as_bytes());
        let written = written.and_then(|()| self.file.sync_data());
        self.is_torn = written.is_err();
        written.map_err(failed)
    }

    /// Whether somebody has removed or replaced the file; where it was moved away, that is
    /// found within a second.
    fn is_replaced(&mut self) -> bool {
        let Ok(own) = self.file.metadata() else {
            return true;
        };
        if own.nlink() == 0 {
            return true;
        }
        if self.looked.is_some_and(|at| at.elapsed() < LOOK_EVERY) {
            return false;
        }
        self.looked = Some(Instant::now());
        let found = fs::symlink_metadata(&self.path);
        !found.is_ok_and(|found| (found.dev(), found.ino()) == (own.dev(), own.ino()))
    }
}

/// What a file with these bytes says is leased at a moment. Never panics, whatever they are.
#[must_use]
pub fn leases_in(bytes: &[u8], boot_id: &str, clocks: &Clocks) -> Vec<Kept> {
    let mut read = Read::default();
    read.take(bytes, boot_id, clocks);
    read.forget_ended(clocks);
    read.live.into_values().collect()
}

fn failed(path: &Path) -> impl Fn(io::Error) -> LeaseFileError + use<> {
    let path = path.to_owned();
    move |source| LeaseFileError {
        path: path.clone(),
        source,
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
        // Something else than what was written here: reported as damaged.
        Ok(found) if !found.is_file() || found.len() > FILE_MAX => Ok(b"\n".to_vec()),
        Ok(_) => fs::read(path),
    }
}

fn set_aside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(ASIDE);
    let aside = path.with_file_name(name);
    // What was set aside before that.
    let _ = fs::remove_file(&aside);
    if let Err(error) = fs::rename(path, &aside) {
        tracing::warn!("cannot set {} aside: {error}", path.display());
    }
    aside
}

/// Writes a whole file in one step: whoever reads it, also after a power failure, finds the
/// old one or the new.
fn write_anew(path: &Path, boot_id: &str, live: &BTreeMap<Ipv4Addr, Kept>) -> io::Result<File> {
    let mut text = Change::Boot(boot_id.to_owned()).line();
    for kept in live.values() {
        Change::Leased(kept.clone()).add_to(&mut text);
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let draft = path.with_file_name(format!(".{name}.new"));
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    // What a crash has left.
    let _ = fs::remove_file(&draft);
    let mut file = OpenOptions::new()
        .append(true)
        .create_new(true)
        .mode(0o644)
        .open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    if let Some(directory) = path.parent() {
        File::open(directory)?.sync_all()?;
    }
    Ok(file)
}

/// What was read of a file.
#[derive(Debug, Default)]
struct Read {
    live: BTreeMap<Ipv4Addr, Kept>,
    /// The first line that is damaged, by its number, and what is wrong with it.
    damaged: Option<(usize, RecordError)>,
}

impl Read {
    fn forget_ended(&mut self, clocks: &Clocks) {
        self.live
            .retain(|_, kept| kept.until_boot > clocks.since_boot);
    }

    fn take(&mut self, bytes: &[u8], boot_id: &str, clocks: &Clocks) {
        let mut is_this_boot = false;
        // What is behind the last line's end was being written when the power failed; nobody
        // was told of it.
        let Some(whole) = bytes.iter().rposition(|byte| *byte == b'\n') else {
            return;
        };
        let lines = bytes
            .get(..whole)
            .unwrap_or_default()
            .split(|byte| *byte == b'\n');
        for (line, number) in lines.zip(1..) {
            match parse_line(line) {
                Ok(Change::Boot(id)) => is_this_boot = id == boot_id,
                Ok(Change::Leased(mut kept)) => {
                    if is_this_boot {
                        // The clock may have been set since: the next boot believes this.
                        let left = kept.until_boot.saturating_sub(clocks.since_boot);
                        kept.until_wall = clocks.wall.saturating_add(left);
                    } else {
                        kept.until_boot = of_this_boot(&kept, clocks);
                    }
                    self.live.insert(kept.address, kept);
                }
                Ok(Change::Freed(address)) => drop(self.live.remove(&address)),
                // A later version's; what it would say is not ours to guess.
                Err(RecordError::Unknown) => {}
                Err(error) => self.damaged = self.damaged.or(Some((number, error))),
            }
        }
    }
}

/// The end of a lease of an earlier boot, since the start of this one.
fn of_this_boot(kept: &Kept, clocks: &Clocks) -> Duration {
    let left = kept.until_wall.saturating_sub(clocks.wall);
    match left {
        Duration::ZERO => Duration::ZERO,
        left => clocks.since_boot.saturating_add(left),
    }
}

#[cfg(test)]
mod tests {
    use registry::Mac;

    use super::*;

    fn clocks(wall: u64, since_boot: u64) -> Clocks {
        Clocks {
            now: Instant::now(),
            wall: Duration::from_secs(wall),
            since_boot: Duration::from_secs(since_boot),
        }
    }

    fn kept(last: u8, wall: u64, boot: u64) -> Kept {
        Kept {
            address: Ipv4Addr::new(10, 0, 0, last),
            mac: Mac([2, 0, 0, 0, 0, last]),
            client: vec![1, last],
            hostname: Some("a name".into()),
            until_wall: Duration::from_secs(wall),
            until_boot: Duration::from_secs(boot),
        }
    }

    fn open(path: &Path, boot: &str, clocks: &Clocks) -> (LeaseFile, Vec<u8>) {
        let (file, leases) = LeaseFile::open(path, boot, clocks).unwrap();
        (
            file,
            leases.iter().map(|kept| kept.address.octets()[3]).collect(),
        )
    }

    #[test]
    fn what_was_leased_is_leased_after_a_crash() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("leases/blue");
        let early = clocks(1_000_000, 100);
        let (mut file, none) = open(&path, "one", &early);
        assert!(none.is_empty());
        let changes = [1, 2, 3].map(|last| Change::Leased(kept(last, 1_000_500, 600)));
        file.append(&changes).unwrap();
        file.append(&[Change::Freed(Ipv4Addr::new(10, 0, 0, 2))])
            .unwrap();
        // Nothing is closed in order.
        std::mem::forget(file);
        let (_, left) = open(&path, "one", &clocks(1_000_100, 200));
        assert_eq!(left, [1, 3]);
    }

    #[test]
    fn within_a_boot_the_time_of_day_may_be_set() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("blue");
        let (mut file, _) = open(&path, "one", &clocks(1_000_000, 100));
        file.append(&[Change::Leased(kept(1, 1_000_500, 600))])
            .unwrap();
        for wall in [0, 1_000_100, 9_000_000] {
            assert_eq!(open(&path, "one", &clocks(wall, 599)).1, [1], "{wall}");
        }
        assert_eq!(open(&path, "one", &clocks(0, 600)).1, [0_u8; 0]);
    }

    /// A clock that was wrong when a lease was given, and was set right before netd was
    /// started anew.
    #[test]
    fn a_clock_that_was_set_in_the_boot_before_costs_no_lease() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("blue");
        let (mut file, _) = open(&path, "one", &clocks(1_000, 100));
        file.append(&[Change::Leased(kept(1, 1_500, 600))]).unwrap();
        assert_eq!(open(&path, "one", &clocks(9_000_000, 200)).1, [1]);
        let (_, leases) = LeaseFile::open(&path, "two", &clocks(9_000_100, 20)).unwrap();
        assert_eq!(leases[0].until_boot, Duration::from_secs(20 + 300));
    }

    #[test]
    fn after_a_boot_the_time_of_day_tells() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("blue");
        let (mut file, _) = open(&path, "one", &clocks(1_000_000, 100));
        file.append(&[Change::Leased(kept(1, 1_000_500, 600))])
            .unwrap();
        let (_, leases) = LeaseFile::open(&path, "two", &clocks(1_000_400, 20)).unwrap();
        assert_eq!(leases[0].until_boot, Duration::from_secs(120));
        // It is of this boot now.
        assert_eq!(open(&path, "two", &clocks(5_000_000, 119)).1, [1]);
        assert_eq!(open(&path, "three", &clocks(5_000_001, 5)).1, [0_u8; 0]);
    }

    /// A file is cut off at any byte: what was acknowledged before the last line is there.
    #[test]
    fn a_torn_end_costs_nothing_that_was_acknowledged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("blue");
        let now = clocks(1_000_000, 100);
        let (mut file, _) = open(&path, "one", &now);
        let changes = [1, 2, 3].map(|last| Change::Leased(kept(last, 1_000_500, 600)));
        file.append(&changes).unwrap();
        let whole = fs::read(&path).unwrap();
        let ends: Vec<usize> = whole
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'\n')
            .map(|(at, _)| at + 1)
            .collect();
        for cut in 0..=whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let lines = ends.iter().filter(|end| **end <= cut).count();
            let expected: Vec<u8> = (1..lines.max(1) as u8).collect();
            assert_eq!(open(&path, "one", &now).1, expected, "{cut} bytes");
            assert!(!dir.path().join("blue~corrupt").exists(), "{cut} bytes");
        }
    }

    /// A disk that is full in the middle of a line, and has room again.
    #[test]
    fn what_comes_behind_a_line_that_was_not_written_whole_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("blue");
        let now = clocks(1_000_000, 100);
        let leased = |last| [Change::Leased(kept(last, 1_000_500, 600))];
        let (mut file, _) = open(&path, "one", &now);
        file.append(&leased(1)).unwrap();
        let mut whole = std::mem::replace(&mut file.file, File::open(&path).unwrap());
        let [second] = leased(2);
        whole.write_all(&second.line().as_bytes()[..20]).unwrap();
        file.append(&[second]).unwrap_err();
        file.file = whole;
        file.append(&leased(3)).unwrap();
        file.append(&leased(4)).unwrap();
        assert_eq!(open(&path, "one", &now).1, [1, 2, 3, 4]);
        assert!(!dir.path().join("blue~corrupt").exists());
    }

    #[test]
    fn a_damaged_file_is_set_aside_and_what_is_whole_in_it_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("blue");
        let now = clocks(1_000_000, 100);
        let (mut file, _) = open(&path, "one", &now);
        let changes = [1, 2, 3].map(|last| Change::Leased(kept(last, 1_000_500, 600)));
        file.append(&changes).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let damaged = text.replace("10.0.0.2", "10.0.0.9");
        fs::write(&path, &damaged).unwrap();
        assert_eq!(open(&path, "one", &now).1, [1, 3]);
        let aside = fs::read_to_string(dir.path().join("blue~corrupt")).unwrap();
        assert_eq!(aside, damaged);
        // And once it is written anew, all is well.
        assert_eq!(open(&path, "one", &now).1, [1, 3]);
        // What is no file at all.
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(open(&path, "one", &now).1, [0_u8; 0]);
    }

    #[test]
    fn a_file_stays_small_and_comes_back_when_it_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/blue");
        let now = clocks(1_000_000, 100);
        let (mut file, _) = open(&path, "one", &now);
        for round in 0..3000_u64 {
            let until = 1_000_500 + round;
            file.append(&[Change::Leased(kept((round % 7) as u8, until, 600 + round))])
                .unwrap();
        }
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= LINES_MIN + 1, "{lines} lines");
        fs::remove_dir_all(dir.path().join("deep")).unwrap();
        file.append(&[Change::Freed(Ipv4Addr::new(10, 0, 0, 3))])
            .unwrap();
        assert_eq!(open(&path, "one", &now).1, [0, 1, 2, 4, 5, 6]);
    }

    #[test]
    fn a_file_that_is_moved_away_is_missed_within_a_second() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("blue");
        let now = clocks(1_000_000, 100);
        let (mut file, _) = open(&path, "one", &now);
        let add = |file: &mut LeaseFile, last| {
            let lease = kept(last, 1_000_500, 600);
            file.append(&[Change::Leased(lease)]).unwrap();
        };
        add(&mut file, 1);
        fs::rename(&path, dir.path().join("elsewhere")).unwrap();
        file.looked = Instant::now().checked_sub(LOOK_EVERY);
        add(&mut file, 2);
        assert_eq!(open(&path, "one", &now).1, [1, 2]);
    }
}
