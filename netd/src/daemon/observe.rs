//! What the kernel tells: taken in, and read anew after losses.

use ipnetwork::IpNetwork;
use tokio::time::Instant;

use super::{Broken, Daemon, RESYNCHRONIZE_AFTER};
use crate::log::Pace;
use crate::rtnl::{Author, Event};
use crate::world::Touched;

/// How many events are taken in at most that were told already: more than the links of one
/// turn bring about.
const WAITING_MAX: usize = 1024;
/// How many events are taken in before the marked links are reconciled.
const BATCH: usize = 256;
/// Of netd's time, reading all anew takes one part in so many at the most.
const RESYNCHRONIZE_SHARE: u32 = 4;
/// Lines about lost events.
static OVERRUN: Pace = Pace::new();

impl Daemon {
    pub(super) fn take_kernel_events(&mut self, first: (Event, Author)) -> Result<(), Broken> {
        self.take_kernel_event(first);
        for _ in 1..BATCH {
            match self.monitor.try_next()? {
                Some(told) => self.take_kernel_event(told),
                None => break,
            }
        }
        Ok(())
    }

    /// Takes in what the kernel has told already, much of it of netd's own doing: what is
    /// not read in time is lost.
    pub(super) fn take_waiting_events(&mut self) -> Result<(), Broken> {
        for _ in 0..WAITING_MAX {
            match self.monitor.try_next()? {
                Some(told) => self.take_kernel_event(told),
                None => break,
            }
        }
        Ok(())
    }

    fn take_kernel_event(&mut self, (event, author): (Event, Author)) {
        if event != Event::Overrun {
            self.apply(event, author);
            return;
        }
        OVERRUN.say(|more| {
            tracing::info!(
                "the kernel's events came faster than they were read: reading all anew{more}"
            );
        });
        let after = Instant::now() + self.resynchronize_pause;
        // Not put off again and again by those that are lost meanwhile.
        self.resynchronize_at.get_or_insert(after);
    }

    pub(super) fn apply(&mut self, event: Event, author: Author) {
        self.clients.take(&event, &self.profiles);
        self.note_taken(&event, author);
        self.note_ipv6(&event);
        let new_prefix = match &event {
            Event::Address(address) => Some((address.address, address.index)),
            Event::Route(route) | Event::RouteReplaced(route) if !route.is_default() => {
                Some((route.destination, route.link.unwrap_or(0)))
            }
            _ => None,
        };
        let touched = self.world.apply(event);
        self.take_touched(touched, new_prefix);
    }

    pub(super) fn take_touched(
        &mut self,
        touched: Vec<Touched>,
        new_prefix: Option<(IpNetwork, u32)>,
    ) {
        for touched in touched {
            match touched {
                Touched::HostAddress(ip) => self.host_address_changed(ip),
                Touched::Link(index) => {
                    self.dirty.insert(index);
                }
                Touched::Uplinks => self.uplinks_dirty = true,
                Touched::Prefixes => {
                    if let Some((prefix, link)) = new_prefix {
                        self.notice_clash(prefix, link);
                    }
                }
            }
        }
    }

    /// Reads all that is there, and marks every link.
    pub(super) async fn resynchronize(&mut self) -> Result<(), crate::rtnl::RtnlError> {
        let began = Instant::now();
        // After a loss the kernel tells nothing more until what it had queued was read.
        self.monitor.discard()?;
        let snapshot = self.monitor.snapshot().await?;
        self.resynchronize_pause = RESYNCHRONIZE_AFTER.max(began.elapsed() * RESYNCHRONIZE_SHARE);
        self.world.reset(snapshot);
        self.clients.take_all(&self.world, &self.profiles);
        for own in self.links.values_mut() {
            // What was told now is newer.
            own.guarded = false;
        }
        self.dirty.extend(self.world.links().map(|link| link.index));
        self.dirty.extend(self.links.keys());
        self.dirty.extend(&self.retired);
        self.look_for_ipv6();
        self.uplinks_dirty = true;
        self.host_addresses_changed();
        Ok(())
    }
}
