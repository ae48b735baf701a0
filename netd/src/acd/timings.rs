//! How long everything takes (RFC 5227, section 1.1).

use std::time::Duration;

/// How often is asked whether somebody has the address.
pub const PROBE_NUM: u8 = 3;
/// How often is said that it is ours.
pub const ANNOUNCE_NUM: u8 = 2;
/// The time between two announcements.
pub const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(2);
/// After so many conflicts addresses are tried at a limited rate.
pub const MAX_CONFLICTS: u32 = 10;
/// The time from one address to the next, then.
pub const RATE_LIMIT_INTERVAL: Duration = Duration::from_secs(60);
/// The least time between two defences.
pub const DEFEND_INTERVAL: Duration = Duration::from_secs(10);

/// The times of the RFC add up to so many seconds at most: one before the first probe,
/// twice two between probes, two after the last.
const PARTS: u32 = 7;

/// How long is asked and listened before an address counts as free.
///
/// It is one number, by which the RFC's times are scaled: where all hosts are on one
/// machine, nothing takes seconds to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timings {
    unit: Duration,
}

impl Timings {
    /// The times of RFC 5227: 4 to 7 seconds.
    #[must_use]
    pub const fn rfc() -> Self {
        Self {
            unit: Duration::from_secs(1),
        }
    }

    /// The same, scaled so that they take `total` at most, and four sevenths of it at
    /// least. With zero, an address counts as free at once.
    #[must_use]
    pub fn fast(total: Duration) -> Self {
        Self {
            unit: total / PARTS,
        }
    }

    /// What links between a host and its containers use: 200 ms.
    #[must_use]
    pub fn container() -> Self {
        Self::fast(Duration::from_millis(200))
    }

    /// The longest time that it takes.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.unit * PARTS
    }

    /// Whether nothing is asked at all.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.unit.is_zero()
    }

    /// PROBE_WAIT: the longest time before the first probe.
    pub(super) fn probe_wait(&self) -> Duration {
        self.unit
    }

    /// PROBE_MIN and PROBE_MAX: the time between two probes.
    pub(super) fn between_probes(&self) -> (Duration, Duration) {
        (self.unit, self.unit * 2)
    }

    /// ANNOUNCE_WAIT: the time after the last probe.
    pub(super) fn announce_wait(&self) -> Duration {
        self.unit * 2
    }
}
