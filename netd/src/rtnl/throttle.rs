//! How often the kernel's events are read while they come thick and fast.

use std::time::Duration;

use tokio::time::Instant;

/// How many messages may come at once and be read as they come: more than come of some
/// tens of links that appear together.
const BURST: u32 = 512;
/// How many more, for each millisecond.
const MESSAGES_PER_MS: u32 = 4;
/// How long they are let wait once there were more.
const PAUSE: Duration = Duration::from_millis(5);

/// Who has links change thousands of times a second (each container can, with its end of
/// its own) would keep netd busy with reading. Events that wait together cost less: of
/// those about a link only the last is looked at.
#[derive(Debug)]
pub(super) struct Throttle {
    /// Messages that were read beyond what their time allowed.
    level: u32,
    /// Up to when that time was counted.
    counted: Instant,
    emptied_at: Option<Instant>,
}

impl Throttle {
    pub fn new(now: Instant) -> Self {
        Self {
            level: 0,
            counted: now,
            emptied_at: Some(now),
        }
    }

    /// So many messages were read, and whether more wait: a queue that fills faster than it
    /// is emptied is read at once.
    pub fn note(&mut self, messages: usize, more: bool, now: Instant) {
        let passed = now.saturating_duration_since(self.counted).as_millis();
        let passed = u32::try_from(passed).unwrap_or(u32::MAX);
        self.counted += Duration::from_millis(passed.into());
        self.level = self
            .level
            .saturating_sub(passed.saturating_mul(MESSAGES_PER_MS))
            .saturating_add(u32::try_from(messages).unwrap_or(u32::MAX))
            .min(2 * BURST);
        self.emptied_at = (!more).then_some(now);
    }

    /// Until when nothing is to be read, if not at once.
    pub fn pause(&self, now: Instant) -> Option<Instant> {
        let until = self.emptied_at? + PAUSE;
        (self.level > BURST && now < until).then_some(until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_read_as_it_comes_and_a_flood_in_rounds() {
        let now = Instant::now();
        let mut throttle = Throttle::new(now);
        throttle.note(BURST as usize, false, now);
        assert_eq!(throttle.pause(now), None);
        throttle.note(1, false, now);
        assert_eq!(throttle.pause(now), Some(now + PAUSE));
        let next = now + PAUSE;
        assert_eq!(throttle.pause(next), None, "read at least so often");
        throttle.note(1000, false, next);
        assert_eq!(throttle.pause(next), Some(next + PAUSE));
        throttle.note(1000, true, next);
        assert_eq!(throttle.pause(next), None, "more waits");
    }

    #[test]
    fn after_a_flood_it_is_soon_as_before() {
        let mut now = Instant::now();
        let mut throttle = Throttle::new(now);
        for _ in 0..100 {
            throttle.note(100_000, false, now);
        }
        now += Duration::from_millis(200);
        throttle.note(1, false, now);
        assert_eq!(throttle.pause(now), None);
    }

    #[test]
    fn what_comes_one_by_one_all_the_time_counts_too() {
        let mut now = Instant::now();
        let mut throttle = Throttle::new(now);
        for _ in 0..1000 {
            now += Duration::from_micros(300);
            throttle.note(1, false, now);
        }
        assert_eq!(throttle.pause(now), None, "no faster than allowed");
        for _ in 0..1000 {
            now += Duration::from_micros(100);
            throttle.note(1, false, now);
        }
        assert!(throttle.pause(now).is_some());
    }
}
