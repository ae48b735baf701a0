//! The clocks of one moment.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// What all clocks say at one moment.
///
/// A lease's end is written down by two of them: within one boot the time since boot tells
/// it, which nobody sets; after another boot the time of day has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// As the state machines count.
    pub now: Instant,
    /// Time of day, since 1970.
    pub wall: Duration,
    /// Since the host's start, sleep included.
    pub since_boot: Duration,
}

impl Clocks {
    /// Reads them.
    #[must_use]
    pub fn read() -> Self {
        let boot = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(boot.tv_sec).unwrap_or_default();
        let nanoseconds = u32::try_from(boot.tv_nsec).unwrap_or_default();
        Self {
            now: Instant::now(),
            wall: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
            since_boot: Duration::new(seconds, nanoseconds),
        }
    }
}
