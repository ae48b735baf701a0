//! What a host holds that a container or its supervisor could have left there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use netns_fixtures::{Host, eventually};

/// Directories in which rspawn and netd keep something.
const KEPT_IN: [&str; 3] = ["/run/rspawn", "/var/lib/rspawn", "/run/systemd/network"];
/// What a container may leave: the subnets that it keeps.
const MAY_STAY: &str = "/var/lib/rspawn/subnets/";

/// Processes, mounts, links, cgroups, files and firewall rules of a host, one a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footprint(BTreeSet<String>);

impl Footprint {
    /// Takes it. `trees` are directories of the host whose content counts, too.
    #[must_use]
    pub fn of(host: &Host, trees: &[&Path]) -> Self {
        let mut lines = BTreeSet::new();
        cgroups(host.cgroup(), host.cgroup(), &mut lines);
        let mounts = read(&format!("/proc/{}/mountinfo", host.init()));
        lines.extend(mounts.lines().filter_map(|line| {
            let place = line.split(' ').nth(4)?;
            Some(format!("mount {place}"))
        }));
        let links = read(&format!("/proc/{}/net/dev", host.init()));
        lines.extend(links.lines().filter_map(|line| {
            let (link, _) = line.split_once(':')?;
            Some(format!("link {}", link.trim()))
        }));
        for directory in KEPT_IN.iter().map(Path::new).chain(trees.iter().copied()) {
            files(host, directory, &mut lines);
        }
        lines.retain(|line| {
            let kept = line
                .strip_prefix("file ")
                .and_then(|path| path.strip_prefix(MAY_STAY));
            kept.is_none_or(|name| name.starts_with('.'))
        });
        Self(lines)
    }

    /// The same with the rules of the firewall, whoever owns them.
    #[must_use]
    pub fn with_rules(mut self, host: &Host) -> Self {
        let rules = host.run(
            "nft -s list ruleset | sed 's/ # progname .*//; /flags *\\(owner.*\\|persist\\|\\)$/d'",
        );
        self.0
            .extend(rules.lines().map(|line| format!("nft {}", line.trim())));
        self
    }

    /// Waits until the host has this footprint again.
    ///
    /// # Panics
    /// When it does not within `patience`, with what differs.
    #[track_caller]
    pub fn wait_for(&self, host: &Host, trees: &[&Path], patience: Duration, after: &str) {
        let mut last = self.clone();
        let same = eventually(patience, || {
            last = Self::of(host, trees);
            (last == *self).then_some(())
        });
        assert!(
            same.is_some(),
            "after {after}\nthere is more: {:#?}\nthere is less: {:#?}",
            last.0.difference(&self.0).collect::<Vec<_>>(),
            self.0.difference(&last.0).collect::<Vec<_>>()
        );
    }
}

/// The cgroups and the processes in them, but for the host's own and netd's.
fn cgroups(root: &Path, at: &Path, lines: &mut BTreeSet<String>) {
    let name = at.strip_prefix(root).unwrap().display().to_string();
    lines.insert(format!("cgroup {name}"));
    if !["init.scope", netns_fixtures::NETD_CGROUP].contains(&name.as_str()) {
        let processes = read(at.join("cgroup.procs").to_str().unwrap());
        for pid in processes.lines() {
            let program = read(&format!("/proc/{pid}/comm"));
            lines.insert(format!("process {pid} {} in {name}", program.trim()));
        }
    }
    for entry in fs::read_dir(at).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            cgroups(root, &entry.path(), lines);
        }
    }
}

fn files(host: &Host, at: &Path, lines: &mut BTreeSet<String>) {
    let mut waiting: Vec<PathBuf> = vec![at.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(host.path(&directory))
            .into_iter()
            .flatten()
            .flatten()
        {
            let path = directory.join(entry.file_name());
            lines.insert(format!("file {}", path.display()));
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                waiting.push(path);
            }
        }
    }
}

fn read(path: &str) -> String {
    fs::read(path).map_or_else(
        |_| String::new(),
        |text| String::from_utf8_lossy(&text).into_owned(),
    )
}
