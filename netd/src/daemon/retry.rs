//! What failed and is tried again.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

/// The first pause; each further one is twice as long.
const FIRST: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(64);

/// The links on which something failed, by their interface index.
#[derive(Debug, Default)]
pub(super) struct Retries(HashMap<u32, Retry>);

#[derive(Debug)]
struct Retry {
    failures: u32,
    /// None while it is being tried.
    at: Option<Instant>,
}

impl Retries {
    /// Has a link tried again, later each time. Gives how often it has failed.
    pub fn failed(&mut self, index: u32, now: Instant) -> u32 {
        let retry = self.0.entry(index).or_insert(Retry {
            failures: 0,
            at: None,
        });
        let pause = FIRST
            .saturating_mul(1 << retry.failures.min(16))
            .min(LONGEST);
        retry.failures = retry.failures.saturating_add(1);
        retry.at = Some(now + pause);
        retry.failures
    }

    /// Has a link looked at again after the shortest pause; it has not failed.
    pub fn put_off(&mut self, index: u32, now: Instant) {
        let retry = self.0.entry(index).or_insert(Retry {
            failures: 0,
            at: None,
        });
        retry.at = Some(now + FIRST);
    }

    /// How often a link has failed.
    pub fn failures(&self, index: u32) -> u32 {
        self.0.get(&index).map_or(0, |retry| retry.failures)
    }

    /// All is well with a link, or it is gone.
    pub fn forget(&mut self, index: u32) {
        self.0.remove(&index);
    }

    /// When the next is to be tried.
    pub fn next(&self) -> Option<Instant> {
        self.0.values().filter_map(|retry| retry.at).min()
    }

    /// The links that are to be tried now.
    pub fn take_due(&mut self, now: Instant) -> Vec<u32> {
        let due = self
            .0
            .iter_mut()
            .filter(|(_, retry)| retry.at.is_some_and(|at| at <= now));
        due.map(|(index, retry)| {
            retry.at = None;
            *index
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pauses_grow_until_all_is_well() {
        let mut retries = Retries::default();
        let now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..9 {
            retries.failed(7, now);
            let at = retries.next().unwrap();
            pauses.push((at - now).as_secs());
            assert!(retries.take_due(at - Duration::from_millis(1)).is_empty());
            assert_eq!(retries.take_due(at), [7]);
            assert_eq!(retries.next(), None);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 64, 64]);
        retries.forget(7);
        assert_eq!(retries.failures(7), 0);
    }
}
