//! IPv6 that was off on a link and is on again.
//!
//! Who switches it off, or gives the link an MTU that is too small for it, takes the link's
//! address for good: that is his to decide, and the machine does without. Once it can be had
//! again, it is put back as what else was taken.

use super::super::Daemon;
use crate::rtnl::Event;
use crate::sysctl::Sysctl;

impl Daemon {
    /// Notes that a link has IPv6.
    pub(in crate::daemon) fn note_ipv6(&mut self, event: &Event) {
        match event {
            Event::Ipv6Begun(index) => self.ipv6_begun(*index),
            // The kernel's own: without IPv6 there is none.
            Event::Address(address) if !address.ours && address.address.is_ipv6() => {
                self.ipv6_is_on(address.index);
            }
            _ => {}
        }
    }

    /// Looks which links have IPv6 of which no event told.
    pub(in crate::daemon) fn look_for_ipv6(&mut self) {
        let links: Vec<u32> = self.links.keys().copied().collect();
        for index in links {
            let mut addresses = self.world.addresses(index).iter();
            if addresses.any(|address| address.address.is_ipv6()) {
                self.ipv6_is_on(index);
            }
        }
    }

    /// Somebody has written to one of a link's parameters.
    pub(super) fn look_whether_ipv6_is_on(&mut self, index: u32) {
        let own = self.links.get(&index);
        if !own.is_some_and(super::super::links::OwnLink::lacks_ipv6) {
            return;
        }
        let link = self.world.link(index);
        let switch = link.and_then(|link| Sysctl::ipv6_conf(&link.name, "disable_ipv6").ok());
        if switch.is_some_and(|switch| switch.read().is_ok_and(|value| value.trim() == "0")) {
            self.ipv6_is_on(index);
        }
    }

    /// A link's IPv6 is another than before, and so are the files of its parameters.
    fn ipv6_begun(&mut self, index: u32) {
        let Some(own) = self.links.get_mut(&index) else {
            return;
        };
        own.regains |= own.confirmed;
        own.confirmed = false;
        own.has_ipv6();
        self.unwatch_parameters(index);
        self.suspect(index);
    }

    /// Puts IPv6 back on a link, if that does without it.
    fn ipv6_is_on(&mut self, index: u32) {
        let Some(own) = self.links.get_mut(&index) else {
            return;
        };
        if own.has_ipv6() {
            own.regains |= own.confirmed;
            own.confirmed = false;
            self.suspect(index);
        }
    }
}
