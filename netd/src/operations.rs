//! Counting what netd asks of the kernel and of the disk.
//!
//! How much work a step is, is a number of operations: unlike a time it is the same on
//! every machine and can be tested. The counts are those of the calling thread.

use std::cell::Cell;

/// What was done since the thread began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operations {
    /// Requests that change links or addresses.
    pub link_changes: Cell<usize>,
    /// Listings of links, addresses or routes.
    pub dumps: Cell<usize>,
    /// Bytes of netlink messages that were read.
    pub netlink_received: Cell<usize>,
    /// Links, addresses and routes that were looked at one after the other.
    pub scanned: Cell<usize>,
    /// Kernel parameters that were read.
    pub sysctl_reads: Cell<usize>,
    /// Kernel parameters that were written.
    pub sysctl_writes: Cell<usize>,
    /// Records and links of the registry that were written or removed.
    pub registry_writes: Cell<usize>,
    /// Files of kept subnets that were written.
    pub subnet_writes: Cell<usize>,
    /// Transactions of the firewall.
    pub firewall_writes: Cell<usize>,
}

thread_local! {
    static DONE: Operations = Operations::default();
}

/// Counts `many` operations of a kind.
pub fn count(kind: impl FnOnce(&Operations) -> &Cell<usize>, many: usize) {
    DONE.with(|done| {
        let counter = kind(done);
        counter.set(counter.get().wrapping_add(many));
    });
}

/// What was done until now.
#[must_use]
pub fn done() -> Operations {
    DONE.with(Clone::clone)
}

impl Operations {
    /// Everything that changes something: requests, parameters, files, transactions.
    #[must_use]
    pub fn writes(&self) -> usize {
        [
            &self.link_changes,
            &self.sysctl_writes,
            &self.registry_writes,
            &self.subnet_writes,
            &self.firewall_writes,
        ]
        .map(Cell::get)
        .iter()
        .sum()
    }

    /// What was done since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let difference =
            |now: &Cell<usize>, then: &Cell<usize>| Cell::new(now.get().wrapping_sub(then.get()));
        Self {
            link_changes: difference(&self.link_changes, &before.link_changes),
            dumps: difference(&self.dumps, &before.dumps),
            netlink_received: difference(&self.netlink_received, &before.netlink_received),
            scanned: difference(&self.scanned, &before.scanned),
            sysctl_reads: difference(&self.sysctl_reads, &before.sysctl_reads),
            sysctl_writes: difference(&self.sysctl_writes, &before.sysctl_writes),
            registry_writes: difference(&self.registry_writes, &before.registry_writes),
            subnet_writes: difference(&self.subnet_writes, &before.subnet_writes),
            firewall_writes: difference(&self.firewall_writes, &before.firewall_writes),
        }
    }
}
