//! What administrators say of links: files in the format of systemd.network(5) in
//! `/etc/netd`, `/run/netd` and `/usr/lib/netd`, and `netd.conf` there.
//!
//! A wrong file never keeps netd from its work: what is wrong is told with file and line
//! and has no effect, the rest has.

mod client;
mod criteria;
mod dhcp_server;
mod discovery;
mod glob;
mod keys;
mod netd_conf;
mod profile;
mod relay;
mod router;
#[cfg(test)]
mod tests;

pub use client::{ClientProfile, Identity, Keep};
pub use criteria::{HostFacts, LinkFacts};
pub use dhcp_server::{DhcpProfile, StaticLease};
pub use discovery::Directories;
pub use netd_conf::pools_of;
pub use profile::{Profile, Subnet4};
pub use relay::RelayProfile;
pub use router::{PrefixProfile, RouteProfile, RouterProfile};

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use criteria::Criteria;
use keys::{Draft, KEYS};

use crate::network_file::{Message, Severity, apply};
use crate::subnets::Pools;
use discovery::{Part, Unit};

/// What holds without any file; a file of the same name takes its place, and drop-ins add
/// to it.
const BUILT_IN: &[(&str, &str)] = &[
    (
        "80-container-host0.network",
        "[Match]\nKind=veth\nName=host0\n\n[Network]\nDHCP=ipv4\nLinkLocalAddressing=yes\n",
    ),
    (
        "80-container-ve.network",
        "[Match]\nKind=veth\nName=ve-*\n\n[Network]\nAddress=0.0.0.0/28\nLinkLocalAddressing=yes\nDHCPServer=yes\nIPv6SendRA=yes\n",
    ),
    (
        "80-container-vz.network",
        "[Match]\nKind=bridge\nName=vz-*\n\n[Network]\nAddress=0.0.0.0/24\nDHCPServer=yes\nIPv6SendRA=yes\n",
    ),
];

/// All that configuration says.
#[derive(Debug)]
pub struct Profiles {
    files: Vec<(Criteria, Arc<Profile>)>,
    host: HostFacts,
    pools: Pools,
}

impl Default for Profiles {
    /// What holds without any file.
    fn default() -> Self {
        Self::load(&Directories(Vec::new()), HostFacts::default()).0
    }
}

impl Profiles {
    /// Reads all files, and gives what is to be said of them.
    #[must_use]
    pub fn load(directories: &Directories, host: HostFacts) -> (Self, Vec<Message>) {
        let mut messages = Vec::new();
        let units = directories.units(".network", BUILT_IN, &mut messages);
        let files = units
            .iter()
            .filter_map(|unit| read(unit, &mut messages))
            .collect();
        let pools = netd_conf::load(directories, &mut messages);
        (Self { files, host, pools }, messages)
    }

    /// What one file alone says, by its name and its bytes.
    #[must_use]
    pub fn of_file(name: &str, bytes: &[u8], host: HostFacts) -> (Self, Vec<Message>) {
        let mut messages = Vec::new();
        let unit = Unit {
            name: name.to_owned(),
            parts: vec![Part {
                path: PathBuf::from(name),
                bytes: bytes.to_vec(),
            }],
        };
        let profiles = Self {
            files: read(&unit, &mut messages).into_iter().collect(),
            host,
            pools: Pools::default(),
        };
        (profiles, messages)
    }

    /// What is to be of a link: what the first file says, by name, that is for it.
    #[must_use]
    pub fn for_link(&self, link: &LinkFacts) -> Arc<Profile> {
        let mut files = self.files.iter();
        let found = files.find(|(criteria, _)| criteria.fit(link, &self.host));
        found.map_or_else(Arc::default, |(_, profile)| profile.clone())
    }

    /// Whether any file says so.
    pub fn any(&self, says: impl Fn(&Profile) -> bool) -> bool {
        self.files.iter().any(|(_, profile)| says(profile))
    }

    /// Where subnets are taken from.
    #[must_use]
    pub fn pools(&self) -> &Pools {
        &self.pools
    }
}

/// What a file with its drop-ins says; `None` if it is not known for which links.
fn read(unit: &Unit, messages: &mut Vec<Message>) -> Option<(Criteria, Arc<Profile>)> {
    let mut draft = Draft::default();
    let mut failed = BTreeSet::new();
    for part in &unit.parts {
        failed.append(&mut apply(
            KEYS,
            &mut draft,
            &part.path,
            &part.bytes,
            messages,
        ));
    }
    let path = unit.parts.first()?.path.clone();
    let mut pass_over = |text: &str| {
        messages.push(Message {
            severity: Severity::Error,
            path: path.clone(),
            line: None,
            text: text.to_owned(),
        });
    };
    if draft.criteria.is_empty() {
        pass_over("the file is for no link: write, for all links, [Match] and Name=*");
        return None;
    }
    // Without a criterion that was asked for it would be for links that are not meant.
    if failed.contains("Match") {
        pass_over("the file is passed over: its [Match] says something that netd does not know");
        return None;
    }
    let criteria = std::mem::take(&mut draft.criteria);
    Some((criteria, Arc::new(draft.profile(&unit.name))))
}
