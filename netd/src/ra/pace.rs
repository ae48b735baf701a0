//! When advertisements go out (RFC 4861, sections 6.2.4 and 6.2.6).

use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use crate::random::Random;

/// The longest wait before a solicitation is answered.
pub const MAX_RA_DELAY_TIME: Duration = Duration::from_millis(500);
/// The least time between two advertisements to all hosts.
pub const MIN_DELAY_BETWEEN_RAS: Duration = Duration::from_secs(3);
/// So many advertisements come soon after each other at first, and after each change.
pub const MAX_INITIAL_RTR_ADVERTISEMENTS: u8 = 3;
/// The longest time between those.
pub const MAX_INITIAL_RTR_ADVERT_INTERVAL: Duration = Duration::from_secs(16);
/// So many hosts are answered by themselves in a second; more of them are answered all at
/// once, and no more than once in [`MIN_DELAY_BETWEEN_RAS`].
pub const UNICAST_PER_SECOND: u32 = 50;

const SECOND: Duration = Duration::from_secs(1);

/// To whom something is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// To all hosts.
    All,
    /// To one that asked.
    One(Ipv6Addr),
}

/// The times of one link.
#[derive(Clone, Debug)]
pub struct Pace {
    random: Random,
    interval: (Duration, Duration),
    solicited_delay: Duration,
    /// How many come soon after each other at first.
    first: u8,
    /// How many of these are still to come.
    initial: u8,
    next: Instant,
    last: Option<Instant>,
    /// Hosts to be answered by themselves, [`UNICAST_PER_SECOND`] at most.
    asked: Vec<(Instant, Ipv6Addr)>,
    /// Since when answers are counted, and how many there were.
    counted: (Instant, u32),
}

impl Pace {
    /// The first advertisement is due at once.
    pub fn new(now: Instant, random: Random) -> Self {
        Self {
            random,
            interval: (SECOND, SECOND),
            solicited_delay: MAX_RA_DELAY_TIME,
            first: MAX_INITIAL_RTR_ADVERTISEMENTS,
            initial: MAX_INITIAL_RTR_ADVERTISEMENTS,
            next: now,
            last: None,
            asked: Vec::new(),
            counted: (now, 0),
        }
    }

    /// Uses these times from the next advertisement on.
    pub fn set_times(&mut self, interval: (Duration, Duration), solicited_delay: Duration) {
        self.interval = interval;
        self.solicited_delay = solicited_delay;
    }

    /// Has no more than so many come soon after each other at first.
    pub fn set_first(&mut self, first: u8) {
        self.first = first.min(MAX_INITIAL_RTR_ADVERTISEMENTS);
        self.initial = self.initial.min(self.first);
    }

    /// There is something new to say: "the router MAY transmit up to
    /// MAX_INITIAL_RTR_ADVERTISEMENTS unsolicited advertisements, using the same rules as
    /// when an interface becomes an advertising interface" (RFC 4861, section 6.2.4).
    pub fn restart(&mut self, now: Instant) {
        self.initial = self.first;
        self.hasten(now, Duration::ZERO);
    }

    /// A host asked; one without an address can only be answered together with all.
    pub fn solicited(&mut self, now: Instant, source: Option<Ipv6Addr>) {
        let delay = self.random.between(Duration::ZERO, self.solicited_delay);
        let at = now + delay;
        let Some(source) = source else {
            return self.hasten(now, delay);
        };
        let is_known = self.asked.iter().any(|(_, asker)| *asker == source);
        if is_known || self.next <= at {
            return;
        }
        if self.may_answer_one(now) {
            self.asked.push((at, source));
        } else {
            self.hasten(now, delay);
        }
    }

    fn may_answer_one(&mut self, now: Instant) -> bool {
        let (since, count) = self.counted;
        let count = if now.saturating_duration_since(since) >= SECOND {
            self.counted = (now, 0);
            0
        } else {
            count
        };
        let has_room = self.asked.len() < UNICAST_PER_SECOND as usize;
        let may = count < UNICAST_PER_SECOND && has_room;
        self.counted.1 = count + u32::from(may);
        may
    }

    /// Has the next advertisement to all come after `delay`, or, "if the router sent a
    /// multicast Router Advertisement (solicited or unsolicited) within the last
    /// MIN_DELAY_BETWEEN_RAS seconds, [...] at a time corresponding to
    /// MIN_DELAY_BETWEEN_RAS plus the random value after the previous advertisement was
    /// sent" (RFC 4861, section 6.2.6).
    fn hasten(&mut self, now: Instant, delay: Duration) {
        let earliest = self.last.map_or(now, |last| last + MIN_DELAY_BETWEEN_RAS);
        self.next = self.next.min(earliest.max(now) + delay);
    }

    /// When something is due next.
    pub fn deadline(&self) -> Instant {
        let asked = self.asked.iter().map(|(at, _)| *at);
        asked.fold(self.next, Instant::min)
    }

    /// What is due at `now`, one after the other until there is nothing.
    pub fn take_due(&mut self, now: Instant) -> Option<Due> {
        if self.next <= now {
            // Who asked hears this as well.
            self.asked.clear();
            self.sent_to_all(now);
            return Some(Due::All);
        }
        let at = self.asked.iter().position(|(at, _)| *at <= now)?;
        let (_, host) = self.asked.swap_remove(at);
        Some(Due::One(host))
    }

    fn sent_to_all(&mut self, now: Instant) {
        self.last = Some(now);
        self.initial = self.initial.saturating_sub(1);
        let (min, max) = self.interval;
        let interval = self.random.between(min, max);
        self.next = now
            + if self.initial > 0 {
                interval.min(MAX_INITIAL_RTR_ADVERT_INTERVAL)
            } else {
                interval
            };
    }
}
