//! How long a client waits, and for what.

use std::time::{Duration, Instant};

use crate::random::Random;

/// How long a client rests after it found its address in use (RFC 2131, section 3.1, item 5:
/// "The client SHOULD wait a minimum of ten seconds before restarting the configuration
/// process").
pub const DECLINE_WAIT: Duration = Duration::from_secs(10);
/// How long it rests once that has happened [`MAX_CONFLICTS`] times (RFC 5227, section 2.1.1).
const RATE_LIMIT_WAIT: Duration = Duration::from_secs(60);
const MAX_CONFLICTS: u32 = 10;
/// The first rest after a server refused more than once.
const REFUSAL_WAIT: Duration = Duration::from_secs(1);
/// No wait is longer than this, and no shorter than [`SHORTEST`].
const LONGEST: Duration = Duration::from_secs(64);
const SHORTEST: Duration = Duration::from_millis(10);
/// How far a wait is from what it should be, at most (RFC 2131, section 4.1).
const JITTER: Duration = Duration::from_secs(1);
/// The lease time that means "for ever" (RFC 2131, section 3.3).
const FOREVER: u32 = u32::MAX;

/// How long a client waits for answers.
///
/// The first wait is `first`, each further one twice as long, up to 64 s, and each at random
/// up to a quarter and up to a second longer or shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timings {
    /// The longest time before the first message; it comes at a random point of it.
    pub startup: Duration,
    /// The first wait; not below 10 ms.
    pub first: Duration,
    /// How many REQUESTs for an offered address are sent before it is given up.
    pub request_tries: u32,
    /// How many REQUESTs to confirm an address are sent, after a start or when the link has
    /// come back.
    pub reboot_tries: u32,
    /// The shortest time between two attempts to renew a lease.
    pub renewal: Duration,
}

impl Timings {
    /// Those of RFC 2131, sections 4.1, 4.4.1 and 4.4.5, for links of any kind.
    pub const RFC: Self = Self {
        startup: Duration::from_secs(10),
        first: Duration::from_secs(4),
        request_tries: 4,
        reboot_tries: 3,
        renewal: Duration::from_secs(60),
    };

    /// Those for a link inside of one host, where an answer takes no millisecond.
    pub const FAST: Self = Self {
        startup: Duration::ZERO,
        first: Duration::from_millis(200),
        request_tries: 4,
        reboot_tries: 3,
        renewal: Duration::from_secs(10),
    };

    /// When the first message is sent.
    pub(super) fn start(&self, now: Instant, random: &mut Random) -> Instant {
        // "The client SHOULD wait a random time between one and ten seconds".
        let shortest = Duration::from_secs(1).min(self.startup);
        now + random.between(shortest, self.startup)
    }

    /// How long an answer is waited for that was asked for `tries` times.
    pub(super) fn back_off(&self, tries: u32, random: &mut Random) -> Duration {
        let factor = 1_u32 << tries.saturating_sub(1).min(16);
        let wait = self.first.max(SHORTEST).saturating_mul(factor).min(LONGEST);
        let jitter = (wait / 4).min(JITTER);
        random.between(wait - jitter, wait + jitter)
    }

    /// How long the answer to an attempt to renew is waited for, if what is asked for must
    /// be had by `until` (RFC 2131, section 4.4.5: "one-half of the remaining time [...] down
    /// to a minimum of 60 seconds").
    pub(super) fn renewal(&self, now: Instant, until: Option<Instant>) -> Duration {
        let left = until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        (left / 2).max(self.renewal).max(SHORTEST)
    }
}

/// How long a client rests that was refused so often without success. Once is at once: an
/// address from before is void.
pub fn refusal_wait(refusals: u32) -> Duration {
    match refusals {
        0 | 1 => Duration::ZERO,
        more => REFUSAL_WAIT
            .saturating_mul(1 << (more - 2).min(16))
            .min(LONGEST),
    }
}

/// How long a client rests that has declined so many addresses.
pub fn decline_wait(declines: u32) -> Duration {
    if declines < MAX_CONFLICTS {
        DECLINE_WAIT
    } else {
        RATE_LIMIT_WAIT
    }
}

/// For how long a lease is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// For ever: it need not be renewed.
    Forever,
    /// For a time.
    Limited(Limits),
}

/// When what happens to a lease, all counted from its beginning and in whole milliseconds:
/// `renewal` before `rebinding` before `lifetime`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// T1, when its server is asked for more time.
    pub renewal: Duration,
    /// T2, when any server is asked.
    pub rebinding: Duration,
    /// When it ends.
    pub lifetime: Duration,
}

impl Limits {
    /// These times, if they are in order.
    pub(super) fn new(renewal: Duration, rebinding: Duration, lifetime: Duration) -> Option<Self> {
        let limits = Self {
            renewal,
            rebinding,
            lifetime,
        };
        (!renewal.is_zero() && renewal < rebinding && rebinding < lifetime).then_some(limits)
    }

    /// RFC 2131, section 4.4.5: "T1 defaults to (0.5 * duration_of_lease). T2 defaults to
    /// (0.875 * duration_of_lease). Times T1 and T2 SHOULD be chosen with some random
    /// 'fuzz'".
    fn usual(lifetime: Duration, random: &mut Random) -> Self {
        let mut near = |part: Duration| {
            let fuzz = lifetime / 64;
            whole_millis(random.between(part - fuzz, part + fuzz))
        };
        Self {
            renewal: near(lifetime / 2),
            rebinding: near(lifetime * 7 / 8),
            lifetime,
        }
    }
}

impl Times {
    /// Those of a lease of so many seconds, more than 0, by what the server says of T1 and
    /// T2. If it says nothing, or nothing that makes sense, they are the usual ones.
    pub(super) fn new(
        seconds: u32,
        renewal: Option<u32>,
        rebinding: Option<u32>,
        random: &mut Random,
    ) -> Self {
        if seconds == FOREVER {
            return Self::Forever;
        }
        let time = |seconds: u32| Duration::from_secs(seconds.into());
        let usual = Limits::usual(time(seconds), random);
        let asked = Limits::new(
            renewal.map_or(usual.renewal, time),
            rebinding.map_or(usual.rebinding, time),
            usual.lifetime,
        );
        Self::Limited(asked.unwrap_or(usual))
    }

    pub(super) fn lifetime(&self) -> Option<Duration> {
        match self {
            Self::Forever => None,
            Self::Limited(limits) => Some(limits.lifetime),
        }
    }
}

fn whole_millis(time: Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}
