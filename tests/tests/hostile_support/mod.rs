//! What the tests with a hostile container share: the stage, the attack, and what the
//! others notice of it.

// Each test file uses its own part of it.
#![allow(dead_code)]

pub mod attack;
pub mod netd;
pub mod stage;
pub mod usual;

use std::sync::{Mutex, MutexGuard};

/// One flood at a time: two at once would measure each other. Between processes it is
/// `.config/nextest.toml` that sees to it.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}
