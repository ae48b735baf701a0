//! What others remove from a link although it is leased, or held as a link-local address:
//! it is set again, at once the first time, and then at most once a second, so that two
//! programs that disagree do not use up a processor.

use std::time::{Duration, Instant};

use super::link::ClientLink;
use crate::dhcp::client::Client;
use crate::log::Pace;

/// The time from one restoring to the next.
const PAUSE: Duration = Duration::from_secs(1);

static RESTORED: Pace = Pace::new();

/// When something was restored, and is to be.
#[derive(Debug, Default)]
pub(super) struct Restoring {
    last: Option<Instant>,
    due: Option<Instant>,
}

impl Restoring {
    pub fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// Something is missing.
    fn want(&mut self, now: Instant) {
        let earliest = self.last.map_or(now, |last| last + PAUSE);
        self.due.get_or_insert(earliest.max(now));
    }

    /// Whether it is time to restore.
    pub fn take_due(&mut self, now: Instant) -> bool {
        let is_due = self.due.take_if(|due| *due <= now).is_some();
        if is_due {
            self.last = Some(now);
        }
        is_due
    }
}

impl ClientLink {
    /// Addresses of the link are gone.
    pub(super) fn miss(&mut self) {
        if self.misses_lease() || self.misses_link_local() {
            let now = Instant::now();
            self.restoring.want(now);
            if self.restoring.take_due(now) {
                self.restore();
            }
        }
    }

    fn misses_lease(&self) -> bool {
        // The kernel itself removes an address at the end of its lease.
        let lease = self.client.as_ref().and_then(Client::lease);
        let lease = lease.filter(|lease| !lease.has_ended(Instant::now()));
        let applied = self.applied.as_ref().map(|applied| applied.address);
        lease.is_some_and(|lease| applied == Some(lease.address) && !self.has(lease.address.ip()))
    }

    fn misses_link_local(&self) -> bool {
        self.ipv4ll
            .address()
            .is_some_and(|address| !self.has(address))
    }

    /// Sets again what is missing still.
    pub(super) fn restore(&mut self) {
        let link = self.link.name.clone();
        if self.misses_lease()
            && let Some(lease) = self.applied.clone()
        {
            let address = lease.address;
            self.apply(lease);
            RESTORED.say(|held_back| {
                tracing::warn!(%link, %address, "restored: somebody removed the address of the lease{held_back}");
            });
        }
        if let Some(address) = self.ipv4ll.address().filter(|_| self.misses_link_local()) {
            self.set_link_local(address);
            RESTORED.say(|held_back| {
                tracing::warn!(%link, %address, "restored: somebody removed the link-local address{held_back}");
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_restored_at_once_and_then_one_a_second() {
        let mut restoring = Restoring::default();
        let now = Instant::now();
        assert!(!restoring.take_due(now));
        restoring.want(now);
        assert!(restoring.take_due(now));
        restoring.want(now);
        assert_eq!(restoring.deadline(), Some(now + PAUSE));
        restoring.want(now + PAUSE / 2);
        assert!(!restoring.take_due(now + PAUSE / 2));
        assert!(restoring.take_due(now + PAUSE));
        assert_eq!(restoring.deadline(), None);
    }
}
