//! Keeping the links of machines on bridges up, and ports of their bridges.

use registry::ifname::LinkKind;
use registry::{IfName, MachineName};

use super::super::Daemon;
use super::super::actions::Outcome;
use super::super::healing::Heals;
use crate::machines::Attachment;
use crate::plan;
use crate::rtnl::{Link, LinkType};

/// What netd knows of a port beyond what the kernel tells.
#[derive(Debug, Default)]
pub(in crate::daemon) struct OwnPort {
    /// The name of its bridge, once that was seen.
    bridge: Option<String>,
    /// Whether it was ever seen with all that it is to have.
    pub whole: bool,
    /// Whether its bridge is gone, of which was told.
    orphaned: bool,
    /// How often something was put back that somebody took.
    pub heals: Heals,
}

impl Daemon {
    /// Gives a port of a bridge what it lacks.
    pub(in crate::daemon) fn reconcile_port(&mut self, index: u32) -> Outcome {
        let Some(link) = self.world.link(index).cloned() else {
            return Outcome::Done;
        };
        let Some((machine, bridge)) = self.bridged_by(&link) else {
            self.healing.ports.remove(&index);
            return Outcome::Done;
        };
        let name = self.world.link(bridge).map(|bridge| bridge.name.clone());
        let port = self.healing.ports.entry(index).or_default();
        let bridge = name.as_ref().map(|_| bridge);
        if name.is_some() {
            (port.bridge, port.orphaned) = (name, false);
        }
        let was_whole = port.whole;
        let actions = plan::port(&link, bridge);
        if actions.is_empty() {
            port.heals.nothing_taken();
            port.whole |= link.controller.is_some();
            self.tell_of_lost_bridge(&link, &machine);
            return Outcome::Done;
        }
        if was_whole && !self.may_heal(&link) {
            return Outcome::Later;
        }
        let owner = machine.into();
        let performed = self.perform_all(&link, &owner, &actions);
        if was_whole {
            let done = actions.iter();
            let done = done.filter(|action| !performed.failed.contains(action));
            self.tell_healed(&link, &owner, done);
        }
        Outcome::of(!performed.again)
    }

    /// The machine that runs and whose link is this port, and the bridge that it is to be on.
    fn bridged_by(&self, link: &Link) -> Option<(MachineName, u32)> {
        let (name, entry) = self.attached_by(link.index)?;
        let (_, bridge) = entry.machine.attachment.on_bridge()?;
        // Who puts it out of the way gives it another name.
        let (own, _) = IfName::of_machine(LinkKind::BridgePort, &name);
        let serves = entry.runs() && !self.retired.contains(&link.index);
        (serves && link.name == own.as_str()).then_some((name, bridge))
    }

    fn tell_of_lost_bridge(&mut self, link: &Link, machine: &MachineName) {
        let Some(port) = self.healing.ports.get_mut(&link.index) else {
            return;
        };
        if link.controller.is_some() || std::mem::replace(&mut port.orphaned, true) {
            return;
        }
        let bridge = port.bridge.as_deref().unwrap_or("that it was started on");
        tracing::warn!(
            %machine,
            link = %link.name,
            "its bridge {bridge} was deleted: it is cut off until there is a bridge of that \
             name again"
        );
    }

    /// Has the ports join a bridge whose bridge of this name was deleted.
    pub(in crate::daemon) fn gather_orphans(&mut self, index: u32) {
        let Some(bridge) = self.world.link(index) else {
            return;
        };
        if bridge.kind != LinkType::Bridge {
            return;
        }
        let ports = self.healing.ports.iter();
        let orphans = ports.filter(|(_, port)| {
            port.orphaned && port.bridge.as_deref() == Some(bridge.name.as_str())
        });
        let orphans: Vec<u32> = orphans.map(|(port, _)| *port).collect();
        for port in orphans {
            let Some((name, _)) = self.attached_by(port) else {
                continue;
            };
            if let Some(entry) = self.machines.get_mut(&name) {
                entry.machine.attachment = entry.machine.attachment.moved_to(index);
            }
            // Its record names the bridge.
            self.publish(&name);
            self.to_publish.insert(name);
            self.dirty.insert(port);
            if let Some(entry) = self.machines.get(&name)
                && matches!(entry.machine.attachment, Attachment::Zone { .. })
            {
                self.join_zone(name, index);
            }
        }
    }
}
