//! What `.network` files say, for the links that there are.

use std::sync::Arc;

use ipnetwork::IpNetwork;
use registry::LINK_GROUP;

use super::Daemon;
use super::links::describe;
use crate::network_file::Severity;
use crate::profiles::{Directories, HostFacts, LinkFacts, Profile, Profiles};
use crate::rtnl::{Link, LinkType};
use crate::subnets::{Owner, Subnets};

/// Reads the files, and logs what is to be said of them.
#[must_use]
pub fn load() -> Profiles {
    read().0
}

/// The same, and what was said, a line each.
pub(super) fn read() -> (Profiles, Vec<String>) {
    let (profiles, messages) = Profiles::load(&Directories::default(), HostFacts::read());
    for message in &messages {
        match message.severity {
            Severity::Warning => tracing::warn!("{message}"),
            Severity::Error => tracing::error!("{message}"),
        }
    }
    let said = messages.iter().map(ToString::to_string);
    (profiles, said.collect())
}

impl Daemon {
    /// What is to be of a link.
    pub(super) fn profile_of(&self, link: &Link) -> Arc<Profile> {
        self.profiles.for_link(&facts(link))
    }

    /// What is to be of the link with this index.
    pub(super) fn profile_of_index(&self, index: u32) -> Arc<Profile> {
        self.world
            .link(index)
            .map_or_else(Arc::default, |link| self.profile_of(link))
    }

    /// Says why somebody has not the subnet that a file names for it.
    pub(super) fn tell_not_as_configured(
        &self,
        owner: &Owner,
        profile: &Profile,
        wanted: IpNetwork,
        has: &Subnets,
    ) {
        let (file, has) = (&profile.name, describe(has));
        let in_the_way = self.world.clash(wanted, LINK_GROUP);
        let why = match (in_the_way, self.store.clash(wanted, owner)) {
            (Some((prefix, _)), _) => format!("{prefix} of the host overlaps it"),
            (None, Some(other)) => match other {
                Owner::Machine(name) => format!("machine {name} has what overlaps it"),
                Owner::Zone(_) => format!("{other} has what overlaps it"),
            },
            (None, None) => "it was not so when the container was started".to_owned(),
        };
        tracing::error!(of = %owner, "{file} asks for {wanted}, but {why}; it has {has}");
    }
}

/// What a file can tell a link by.
pub(crate) fn facts(link: &Link) -> LinkFacts {
    let kind = match link.kind {
        LinkType::Veth => "veth",
        LinkType::Bridge => "bridge",
        LinkType::Loopback | LinkType::Other => "",
    };
    LinkFacts {
        names: [&link.name]
            .into_iter()
            .chain(&link.altnames)
            .cloned()
            .collect(),
        kind: kind.to_owned(),
        link_type: if link.mac.is_some() { "ether" } else { "" }.to_owned(),
    }
}
