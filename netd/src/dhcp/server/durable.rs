//! Leases on disk before they are acknowledged.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::leases::{ClientKey, Lease};
use super::{Change, Transmit};
use crate::leases::{self, Clocks, Commits, Kept};
use crate::log::{self, Pace};

/// How many acknowledgements wait for the disk at most; further ones are lost, and the clients
/// ask again.
const HELD_MAX: usize = 1 << 14;
/// Lines about leases that could not be kept.
static LOST: Pace = Pace::new();

/// Acknowledgements that wait for the disk.
#[derive(Debug)]
pub struct Durable {
    commits: Option<Commits>,
    /// With the number of the change that each waits for, in order.
    held: VecDeque<(u64, Transmit)>,
    /// The last change that was given to the disk, and the last that the disk has.
    added: u64,
    done: u64,
}

impl Durable {
    /// By way of `commits`; without it, nothing is kept and nothing waits.
    pub fn new(commits: Option<Commits>) -> Self {
        Self {
            commits,
            held: VecDeque::new(),
            added: 0,
            done: 0,
        }
    }

    /// Has a change kept.
    pub fn keep(&mut self, change: Change) {
        if let Some(commits) = &mut self.commits {
            self.added = commits.add(to_disk(change));
        }
    }

    /// Gives back what can be sent at once, and keeps what must wait.
    ///
    /// # Errors
    /// If too many wait.
    pub fn hold(&mut self, transmit: Transmit) -> Result<Option<Transmit>, Full> {
        if self.added <= self.done {
            return Ok(Some(transmit));
        }
        if self.held.len() >= HELD_MAX {
            return Err(Full);
        }
        self.held.push_back((self.added, transmit));
        Ok(None)
    }

    /// Has the disk begin with what there is. To be called when no more comes for the moment.
    pub fn start(&mut self) {
        if let Some(commits) = &mut self.commits {
            commits.start();
        }
    }

    /// Waits until the disk has more. Nothing is lost if the future is dropped.
    pub async fn next(&mut self) {
        let Some(commits) = &mut self.commits else {
            return std::future::pending().await;
        };
        let (until, result) = commits.next().await;
        if let Err(error) = result {
            // Containers without a network would be worse.
            LOST.say(|more| {
                tracing::error!(
                    "{}: leases are acknowledged all the same{more}",
                    log::chain(&error)
                );
            });
        }
        self.done = self.done.max(until);
    }

    /// The next acknowledgement that need not wait any more.
    pub fn release(&mut self) -> Option<Transmit> {
        let done = self.done;
        let (_, transmit) = self
            .held
            .pop_front_if(|(waits_for, _)| *waits_for <= done)?;
        Some(transmit)
    }
}

/// More acknowledgements wait for the disk than there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

fn to_disk(change: Change) -> leases::Change {
    match change {
        Change::Leased(lease) => leases::Change::Leased(to_kept(lease, &Clocks::read())),
        Change::Freed(address) => leases::Change::Freed(address),
    }
}

/// A lease as it is kept, at a moment.
pub(crate) fn to_kept(lease: Lease, clocks: &Clocks) -> Kept {
    let left = lease.until.saturating_duration_since(clocks.now);
    Kept {
        address: lease.address,
        mac: lease.mac,
        client: match lease.client {
            ClientKey::Id(id) => id,
            // The MAC address says it.
            ClientKey::Reserved(_) => Vec::new(),
        },
        hostname: lease.hostname,
        until_wall: whole_seconds(clocks.wall.saturating_add(left)),
        until_boot: whole_seconds(clocks.since_boot.saturating_add(left)),
    }
}

/// What is written down has no fractions: it ends no earlier than what was promised.
fn whole_seconds(time: Duration) -> Duration {
    let fraction = u64::from(time.subsec_nanos() > 0);
    Duration::from_secs(time.as_secs().saturating_add(fraction))
}

impl Lease {
    /// A lease that was kept on disk, for [`super::Server::restore`].
    #[must_use]
    pub fn from_kept(kept: Kept, clocks: &Clocks) -> Self {
        let left = kept.until_boot.saturating_sub(clocks.since_boot);
        let until: Option<Instant> = clocks.now.checked_add(left);
        Self {
            address: kept.address,
            client: match kept.client {
                id if id.is_empty() => ClientKey::Reserved(kept.mac),
                id => ClientKey::Id(id),
            },
            mac: kept.mac,
            hostname: kept.hostname,
            until: until.unwrap_or(clocks.now),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddrV4};
    use std::time::Duration;

    use registry::Mac;

    use super::*;
    use crate::leases::LeaseFile;
    use crate::worker::Worker;

    fn lease(last: u8, client: ClientKey) -> Lease {
        Lease {
            address: Ipv4Addr::new(10, 0, 0, last),
            client,
            mac: Mac([2, 0, 0, 0, 0, last]),
            hostname: Some("web".to_owned()),
            until: Instant::now() + Duration::from_secs(600),
        }
    }

    fn transmit(last: u8) -> Transmit {
        let address = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, last), 68);
        Transmit {
            port: 1,
            destination_mac: Mac([2, 0, 0, 0, 0, last]),
            source: address,
            destination: address,
            payload: vec![last],
        }
    }

    #[test]
    fn an_acknowledgement_waits_for_the_disk_and_the_disk_knows_the_lease() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("blue");
        let clocks = Clocks::read();
        let (file, _) = LeaseFile::open(&path, "boot", &clocks).unwrap();
        let worker = Worker::start().unwrap();
        let mut durable = Durable::new(Some(Commits::new(file, worker.queue())));
        assert_eq!(
            durable.hold(transmit(1)),
            Ok(Some(transmit(1))),
            "nothing is kept"
        );
        let leases = [
            lease(2, ClientKey::Id(vec![1, 2, 3])),
            lease(3, ClientKey::Reserved(Mac([2, 0, 0, 0, 0, 3]))),
        ];
        for lease in &leases {
            durable.keep(Change::Leased(lease.clone()));
            assert_eq!(durable.hold(transmit(lease.address.octets()[3])), Ok(None));
        }
        assert_eq!(durable.release(), None);
        durable.start();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(durable.next());
        assert_eq!(durable.release(), Some(transmit(2)));
        assert_eq!(durable.release(), Some(transmit(3)));
        assert_eq!(durable.release(), None);
        assert_eq!(
            durable.hold(transmit(4)),
            Ok(Some(transmit(4))),
            "all is kept"
        );

        let (_, kept) = LeaseFile::open(&path, "boot", &clocks).unwrap();
        let known = kept.into_iter().map(|kept| Lease::from_kept(kept, &clocks));
        for (known, lease) in known.zip(leases) {
            let seconds = lease.until.saturating_duration_since(known.until);
            assert!(seconds < Duration::from_secs(2), "whole seconds are kept");
            assert_eq!(
                Lease {
                    until: lease.until,
                    ..known
                },
                lease
            );
        }
    }

    #[test]
    fn a_disk_that_refuses_keeps_nobody_from_the_network() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("leases/blue");
        let (file, _) = LeaseFile::open(&path, "boot", &Clocks::read()).unwrap();
        let worker = Worker::start().unwrap();
        let mut durable = Durable::new(Some(Commits::new(file, worker.queue())));
        // A file in the place of the directory.
        std::fs::remove_dir_all(dir.path().join("leases")).unwrap();
        std::fs::write(dir.path().join("leases"), "").unwrap();
        durable.keep(Change::Leased(lease(2, ClientKey::Id(vec![1]))));
        assert_eq!(durable.hold(transmit(2)), Ok(None));
        durable.start();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(durable.next());
        assert_eq!(durable.release(), Some(transmit(2)));
    }
}
