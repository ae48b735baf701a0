//! What nf_tables tells of transactions, as raw netlink bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use netd::nft::{Event, events_of};

fuzz_target!(|bytes: &[u8]| {
    for event in events_of(bytes) {
        if let Event::Table { by, .. } = event {
            assert!(by.name.is_none_or(|name| name.len() <= 3 * bytes.len()));
        }
    }
});
