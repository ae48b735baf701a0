//! Files that were changed while netd runs.

use super::Daemon;
use super::links::describe;
use super::profile::{facts, read};
use crate::profiles::{Profile, Profiles};
use crate::rtnl::{Link, LinkType};

impl Daemon {
    /// Reads what administrators say of links anew, and does what is said otherwise now.
    /// What is said as before is not touched, and what runs keeps its subnets. Gives what
    /// there is to be said of it, a line each; it is in the log as well.
    pub(super) fn reload(&mut self) -> Vec<String> {
        let (profiles, mut said) = read();
        let before = std::mem::replace(&mut self.profiles, profiles);
        let indices: Vec<u32> = self.links.keys().copied().collect();
        let mut changed = self.reload_relays(&before);
        for index in indices {
            let Some(link) = self.world.link(index) else {
                continue;
            };
            let (was, is) = (before.for_link(&facts(link)), self.profile_of(link));
            if !is.says_as(&was) {
                changed += 1;
                said.extend(self.tell_kept(index, &was, &is));
                self.take_profile(index, &was, &is);
            }
        }
        changed += self.clients.reload(&self.world, &self.profiles);
        tracing::info!(changed, "configuration read anew");
        said
    }

    /// Relays are on bridges that may be nobody's of netd's.
    fn reload_relays(&mut self, before: &Profiles) -> usize {
        let relays = |profile: &Profile| profile.relay.is_some();
        if !before.any(relays) && !self.profiles.any(relays) {
            return 0;
        }
        let bridges = self
            .world
            .links()
            .filter(|link| link.kind == LinkType::Bridge);
        let is_other =
            |link: &&Link| before.for_link(&facts(link)).relay != self.profile_of(link).relay;
        let others: Vec<u32> = bridges.filter(is_other).map(|link| link.index).collect();
        for bridge in &others {
            self.stop_relay(*bridge);
            self.relay_on(*bridge);
        }
        others.len()
    }

    fn take_profile(&mut self, index: u32, was: &Profile, is: &Profile) {
        let is_begun_anew = was.dhcp.bind_to_interface != is.dhcp.bind_to_interface
            || was.relay.is_some() != is.relay.is_some()
            || was.dhcp.persist != is.dhcp.persist;
        if (was.dhcp_server && !is.dhcp_server) || is_begun_anew {
            self.stop_dhcp(index);
        } else if was.dhcp != is.dhcp {
            self.refresh_dhcp_of(index);
        }
        if was.router != is.router {
            self.refresh_advertisements_of(index);
        }
        // What is to be begun, and the link's MTU.
        if let Some(own) = self.links.get_mut(&index) {
            own.reloaded = true;
        }
        self.dirty.insert(index);
    }

    /// Subnets are changed between two starts alone: whoever has an address goes on.
    fn tell_kept(&self, index: u32, was: &Profile, is: &Profile) -> Option<String> {
        let own = self.links.get(&index)?;
        let (owner, subnets) = (own.owner?, own.subnets?);
        if (was.v4, was.v6) == (is.v4, is.v6)
            || is.fitting(subnets, owner.usual_prefix()) == subnets
        {
            return None;
        }
        let has = describe(&subnets);
        let text = format!("{}: {owner} keeps {has} until it is started anew", is.name);
        tracing::warn!("{text}");
        Some(text)
    }
}
