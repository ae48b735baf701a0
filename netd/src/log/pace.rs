//! Bounds on lines whose pace others set.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many lines of one kind there may be at once.
const BURST: u32 = 10;
/// After how long there may be one more.
const REFILL: Duration = Duration::from_secs(5);

/// The pace of one kind of line: ten at once, then one in five seconds. Those that are
/// held back are counted, and the next one that is let through says how many they were.
///
/// ```
/// use netd::log::Pace;
///
/// static REFUSED: Pace = Pace::new();
/// REFUSED.say(|held_back| tracing::warn!("registration refused: {}{held_back}", "why"));
/// ```
#[derive(Debug)]
pub struct Pace(Mutex<State>);

#[derive(Debug)]
struct State {
    left: u32,
    held_back: u64,
    refilled: Option<Instant>,
}

/// How many lines were held back before one; nothing, when written, if there were none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldBack(u64);

impl fmt::Display for HeldBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            held_back => write!(f, " ({held_back} more of this kind were not told)"),
        }
    }
}

impl Pace {
    /// A pace that begins with all its lines.
    #[must_use]
    pub const fn new() -> Self {
        Self(Mutex::new(State {
            left: BURST,
            held_back: 0,
            refilled: None,
        }))
    }

    /// Writes a line by `write`, if there may be one now.
    pub fn say(&self, write: impl FnOnce(HeldBack)) {
        if let Some(held_back) = self.allow(Instant::now()) {
            write(held_back);
        }
    }

    fn allow(&self, now: Instant) -> Option<HeldBack> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = *state.refilled.get_or_insert(now);
        let intervals = now.saturating_duration_since(since).as_nanos() / REFILL.as_nanos();
        let refill = u32::try_from(intervals).unwrap_or(u32::MAX);
        if refill > 0 {
            state.left = state.left.saturating_add(refill).min(BURST);
            // What is over of an interval counts towards the next one.
            state.refilled = Some(if refill < BURST {
                since + REFILL * refill
            } else {
                now
            });
        }
        if state.left == 0 {
            state.held_back = state.held_back.saturating_add(1);
            return None;
        }
        state.left -= 1;
        Some(HeldBack(std::mem::take(&mut state.held_back)))
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_becomes_a_few_lines_that_tell_of_the_others() {
        let pace = Pace::new();
        let start = Instant::now();
        let told = (0..1000).filter_map(|_| pace.allow(start)).count();
        assert_eq!(told, BURST as usize);
        assert_eq!(pace.allow(start + REFILL / 2), None);
        let next = pace.allow(start + REFILL).unwrap();
        assert_eq!(next.to_string(), " (991 more of this kind were not told)");
        assert_eq!(pace.allow(start + REFILL), None);
        let later = start + REFILL * 1000;
        assert_eq!((0..1000).filter_map(|_| pace.allow(later)).count(), 10);
    }

    #[test]
    fn what_is_rare_is_all_told() {
        let pace = Pace::new();
        let start = Instant::now();
        for n in 0..100 {
            assert_eq!(pace.allow(start + REFILL * n), Some(HeldBack(0)));
        }
        assert_eq!(HeldBack(0).to_string(), "");
    }

    #[test]
    fn parts_of_intervals_are_not_lost() {
        let pace = Pace::new();
        let start = Instant::now();
        while pace.allow(start).is_some() {}
        let told = (1..=100).filter_map(|n| pace.allow(start + REFILL * n * 3 / 4));
        assert_eq!(told.count(), 75);
    }
}
