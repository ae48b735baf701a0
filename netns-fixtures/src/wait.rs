//! Waiting for an event that gives no notice of itself.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// Asks `condition` until it holds, for as long as `patience`; tells whether it did.
pub fn wait_until(patience: Duration, mut condition: impl FnMut() -> bool) -> bool {
    eventually(patience, || condition().then_some(())).is_some()
}

/// Asks `probe` until it gives a value, for as long as `patience`.
pub fn eventually<T>(patience: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + patience;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(value) = probe() {
            return Some(value);
        }
        if Instant::now() >= deadline {
            return None;
        }
        sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}
