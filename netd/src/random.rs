//! Random waits of the protocols, from a seed: the same seed gives the same ones, so
//! that what happened can be played again.

use std::time::Duration;

/// A sequence of numbers that looks random (SplitMix64, by Steele, Lea and Flood,
/// 2014). Not for secrets.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence of `seed`; sequences of neighbouring seeds have nothing in common.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A time from `low` to `high`, each as likely as the other; `low` if it is not
    /// below `high`.
    pub fn between(&mut self, low: Duration, high: Duration) -> Duration {
        let span = high.saturating_sub(low).as_nanos();
        let part = u128::from(self.next()).saturating_mul(span) >> 64;
        // No longer than `span`, and so no longer than what came in.
        low + Duration::from_nanos(u64::try_from(part).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_spread_over_the_whole_range() {
        let (low, high) = (Duration::from_secs(1), Duration::from_secs(2));
        let mut random = Random::new(7);
        let mut tenths = [0_u32; 10];
        for _ in 0..10_000 {
            let time = random.between(low, high);
            assert!((low..high).contains(&time));
            tenths[usize::try_from((time - low).as_millis() / 100).unwrap()] += 1;
        }
        assert!(
            tenths.iter().all(|count| (800..1200).contains(count)),
            "{tenths:?}"
        );
    }

    #[test]
    fn a_seed_is_a_sequence() {
        let take = |seed| {
            let mut random = Random::new(seed);
            [random.next(), random.next(), random.next()]
        };
        assert_eq!(take(1), take(1));
        assert!(take(1).iter().all(|number| !take(2).contains(number)));
    }

    #[test]
    fn an_empty_range_is_its_beginning() {
        let second = Duration::from_secs(1);
        assert_eq!(Random::new(3).between(second, second), second);
        assert_eq!(Random::new(3).between(second, Duration::ZERO), second);
    }
}
