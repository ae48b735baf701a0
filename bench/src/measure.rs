//! Samples, and how they are shown.

use std::time::Duration;

/// Durations of the same thing, in ascending order.
#[derive(Clone, Debug)]
pub struct Samples(Vec<Duration>);

impl Samples {
    /// Takes durations in any order.
    pub fn new(mut durations: Vec<Duration>) -> Self {
        assert!(!durations.is_empty(), "something was measured");
        durations.sort_unstable();
        Self(durations)
    }

    /// Measures `what` as often as `count`; it gives the duration itself.
    pub fn of(count: usize, mut what: impl FnMut() -> Duration) -> Self {
        // The first one reads from disk what the others find in memory.
        let _ = what();
        Self::new((0..count).map(|_| what()).collect())
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The shortest.
    pub fn min(&self) -> Duration {
        self.0[0]
    }

    /// The one in the middle.
    pub fn median(&self) -> Duration {
        self.0[self.0.len() / 2]
    }

    /// The longest.
    pub fn max(&self) -> Duration {
        self.0[self.0.len() - 1]
    }

    /// How many are longer than that.
    pub fn longer_than(&self, limit: Duration) -> usize {
        self.0.iter().filter(|one| **one > limit).count()
    }

    /// Shortest, middle and longest.
    pub fn shown(&self) -> String {
        let [min, median, max] = [self.min(), self.median(), self.max()].map(shown);
        if self.count() == 1 {
            median
        } else {
            format!("{min} / {median} / {max}")
        }
    }
}

/// A duration for people.
pub fn shown(duration: Duration) -> String {
    let micros = duration.as_secs_f64() * 1e6;
    match micros {
        ..1e3 => format!("{micros:.1} µs"),
        1e3..1e6 => format!("{:.1} ms", micros / 1e3),
        _ => format!("{:.2} s", micros / 1e6),
    }
}

/// How many times the peer's duration ours is.
pub fn ratio(ours: Duration, peer: Duration) -> String {
    let ratio = ours.as_secs_f64() / peer.as_secs_f64();
    if ratio < 1.0 {
        format!("1/{:.1}", 1.0 / ratio)
    } else {
        format!("{ratio:.1}")
    }
}
