//! When the things that end by themselves end.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// How long an offered address is kept for the client it was offered to.
pub const OFFER_HOLD: Duration = Duration::from_secs(30);

/// How long an address that a client found in use rests, unless there is no other.
pub const DECLINE_REST: Duration = Duration::from_secs(24 * 3600);

/// How long an address counts as free after a probe.
pub const PROBE_HOLDS: Duration = Duration::from_secs(300);

/// How long a probe may take, before the server does without.
pub const PROBE_PATIENCE: Duration = Duration::from_secs(10);

/// By what offers of that time the stock of probed addresses is measured.
pub const DEMAND_WINDOW: Duration = Duration::from_secs(4);

/// T1, when a client starts to renew: half the lease (RFC 2131, section 4.4.5).
pub fn renewal_time(lease: Duration) -> Duration {
    lease / 2
}

/// T2, when a client starts to ask any server: seven eighths of the lease (RFC
/// 2131, section 4.4.5).
pub fn rebinding_time(lease: Duration) -> Duration {
    lease * 7 / 8
}

/// The ends of all leases, offers and rests, in order.
#[derive(Clone, Debug, Default)]
pub struct Expiries(BTreeSet<(Instant, Ipv4Addr)>);

impl Expiries {
    /// Notes that what is known of `address` ends at `when`.
    pub fn insert(&mut self, when: Instant, address: Ipv4Addr) {
        self.0.insert((when, address));
    }

    /// Forgets an end.
    pub fn remove(&mut self, when: Instant, address: Ipv4Addr) {
        self.0.remove(&(when, address));
    }

    /// The next end.
    pub fn next(&self) -> Option<Instant> {
        self.0.first().map(|(when, _)| *when)
    }

    /// An address whose end has come by `now`, the earliest first.
    pub fn due(&self, now: Instant) -> Option<Ipv4Addr> {
        self.0
            .first()
            .filter(|(when, _)| *when <= now)
            .map(|(_, address)| *address)
    }

    /// The address that ends first.
    pub fn first(&self) -> Option<Ipv4Addr> {
        self.0.first().map(|(_, address)| *address)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}
