//! Counting how often something of a link was put back, and saying what and who took it.

use std::time::Duration;

use tokio::time::Instant;

use super::super::Daemon;
use crate::plan::Action;
use crate::rtnl::{Author, Event, Link};
use crate::subnets::Owner;
use crate::sysctl::Corrected;

/// How often a link is healed at once in [`HEALS_IN`]. Who takes away faster than this
/// does it on purpose, and netd does not wrestle with it for all of the processor.
const HEALS: u32 = 8;
/// Within this it counts as once.
const AT_ONE_TIME: Duration = Duration::from_millis(200);
/// The span of time for [`HEALS`].
const HEALS_IN: Duration = Duration::from_secs(10);

/// How often a link was healed lately.
#[derive(Debug, Default)]
pub(in crate::daemon) struct Heals {
    since: Option<Instant>,
    count: u32,
    last: Option<Instant>,
    /// The last line that was said at that time.
    said: Option<String>,
    lines: u32,
    /// Whether it was said that it is too often.
    told: bool,
    /// Who took something of it last.
    taken_by: Option<String>,
}

impl Heals {
    /// Counts that something was put back.
    fn note(&mut self, now: Instant) {
        if self.since.is_none_or(|since| now - since > HEALS_IN) {
            (self.since, self.count, self.told, self.lines) = (Some(now), 0, false, 0);
        }
        // One program takes several things at once, and one of them twice.
        if self.last.is_none_or(|last| now - last > AT_ONE_TIME) {
            self.last = Some(now);
            self.said = None;
            self.count = self.count.saturating_add(1);
        }
    }

    /// Whether a line is worth saying: not the same at one time, and not too many.
    fn may_say(&mut self, text: &str) -> bool {
        self.lines = self.lines.saturating_add(1);
        let new = self.said.as_deref() != Some(text) && self.lines <= 2 * HEALS;
        self.said = Some(text.to_owned());
        new
    }

    /// Whether something may be put back at once.
    fn may(&self, now: Instant) -> bool {
        self.count < HEALS || self.since.is_none_or(|since| now - since > HEALS_IN)
    }

    /// Who took something of it, as the end of a phrase.
    fn take_author(&mut self) -> String {
        by_whom(self.taken_by.take().as_deref())
    }

    /// The link has all that it is to have.
    pub(in crate::daemon) fn nothing_taken(&mut self) {
        self.taken_by = None;
    }
}

impl Daemon {
    /// Notes who takes something of a link that has all it is to have.
    pub(in crate::daemon) fn note_taken(&mut self, event: &Event, author: Author) {
        let index = match event {
            Event::AddressGone(address) if address.ours => address.index,
            Event::RouteGone(route) => route.link.unwrap_or(0),
            Event::Link(link)
                if self.world.link(link.index).is_some_and(|before| {
                    (before.up && !link.up)
                        || (before.controller.is_some() && link.controller != before.controller)
                }) =>
            {
                link.index
            }
            _ => return,
        };
        let own = self.links.get_mut(&index).filter(|own| own.confirmed);
        let port = self.healing.ports.get_mut(&index);
        let port = port.filter(|port| port.whole).map(|port| &mut port.heals);
        if let Some(heals) = own.map(|own| &mut own.heals).or(port)
            && heals.taken_by.is_none()
        {
            // At once: it may be gone a moment later.
            heals.taken_by = author.describe();
        }
    }

    /// How often something of a link was put back.
    fn heals_of(&mut self, index: u32) -> Option<&mut Heals> {
        let port = self.healing.ports.get_mut(&index);
        let port = port.map(|port| &mut port.heals);
        let own = self.links.get_mut(&index).map(|own| &mut own.heals);
        own.or(port)
    }

    /// Whether something that was taken from a link may be put back now.
    pub(in crate::daemon) fn may_heal(&mut self, link: &Link) -> bool {
        let heals = self.heals_of(link.index);
        heals.is_none_or(|heals| heals.may(Instant::now()))
    }

    /// Counts that something was put back. Whether the line about it is to be said.
    fn note_heal(&mut self, link: &Link, line: &str) -> bool {
        let Some(heals) = self.heals_of(link.index) else {
            return true;
        };
        heals.note(Instant::now());
        if heals.count == HEALS && !std::mem::replace(&mut heals.told, true) {
            tracing::warn!(
                link = %link.name,
                "what netd sets is taken away again and again{}: it is put back at a slower pace \
                 from now on",
                by_whom(heals.taken_by.as_deref())
            );
        }
        heals.may_say(line)
    }

    /// Says what was put back.
    pub(in crate::daemon) fn tell_healed<'a>(
        &mut self,
        link: &Link,
        owner: &Owner,
        actions: impl Iterator<Item = &'a Action>,
    ) {
        let mut done: Vec<String> = Vec::new();
        for action in actions {
            match action {
                Action::AddAddress(address) => done.push(format!("address {address}")),
                Action::SetUp => done.push("the link set up".into()),
                Action::SetMtu(mtu) => done.push(format!("MTU {mtu}")),
                Action::AddRoute(address) => {
                    let network = address.network();
                    done.push(format!("route {network}/{}", address.prefix()));
                }
                Action::Join(bridge) => {
                    let bridge = self.world.link(*bridge);
                    let name = bridge.map_or("its bridge", |bridge| &bridge.name);
                    done.push(format!("port of {name}"));
                }
                Action::Guard | Action::RemoveAddress(_) => {}
            }
        }
        let done = done.join(", ");
        if done.is_empty() || !self.note_heal(link, &done) {
            return;
        }
        let by = self.heals_of(link.index).map(Heals::take_author);
        tracing::warn!(
            of = %owner,
            link = %link.name,
            "restored: {done}, taken away{}",
            by.unwrap_or_default()
        );
    }

    /// Says which kernel parameters were put back. The kernel does not tell by whom they
    /// were changed.
    pub(in crate::daemon) fn tell_corrected(
        &mut self,
        owner: &Owner,
        link: &Link,
        corrected: &[Corrected],
    ) {
        if corrected.is_empty() {
            return;
        }
        let each = corrected.iter().map(|parameter| {
            format!(
                "{} was {}, is {} again",
                parameter.path.display(),
                parameter.former,
                parameter.value
            )
        });
        let line = each.collect::<Vec<String>>().join("; ");
        if self.note_heal(link, &line) {
            tracing::warn!(of = %owner, link = %link.name, "restored: {line}");
        }
    }
}

fn by_whom(who: Option<&str>) -> String {
    match who {
        Some(who) => format!(" by {who}"),
        None => " (the kernel does not tell by whom)".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_not_wrestled_for() {
        let mut heals = Heals::default();
        let start = Instant::now();
        for n in 0..HEALS {
            let now = start + AT_ONE_TIME * 2 * n;
            assert!(heals.may(now));
            heals.note(now);
            assert!(heals.may_say("a"));
            heals.note(now + AT_ONE_TIME);
            assert!(!heals.may_say("a"));
        }
        assert!(!heals.may(start + HEALS_IN));
        assert!(heals.may(start + HEALS_IN + Duration::from_millis(1)));
    }
}
