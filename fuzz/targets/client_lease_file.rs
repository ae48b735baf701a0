//! The lease that a client keeps: what is read of any text is what is written of it, and a
//! client that starts with it asks for nothing else.
#![no_main]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use libfuzzer_sys::fuzz_target;
use netd::dhcp::client::{Client, ClientConfig, Output, SavedLease};
use registry::Mac;

fuzz_target!(|text: &str| {
    let wall = UNIX_EPOCH + Duration::from_millis(1_795_359_600_250);
    if let Some(saved) = read(text, wall) {
        starts(saved);
        return;
    }
    // Most of what fails, fails at the form: here it is whole.
    let whole = format!(
        "MAC=02:00:00:00:00:01\nCLIENT_ID=01020000000001\nADDRESS=192.168.7.2/28\n\
         SERVER=192.168.7.1\nACQUIRED=1795359600.250\nLIFETIME=3600.000\n\
         RENEWAL=1800.000\nREBINDING=3150.000\n{text}\nEND\n"
    );
    if let Some(saved) = read(&whole, wall) {
        starts(saved);
    }
});

fn read(text: &str, wall: SystemTime) -> Option<SavedLease> {
    let saved = SavedLease::from_text(text, wall).ok()?;
    let written = saved.to_text(wall);
    let again = SavedLease::from_text(&written, wall).expect("what is written is read");
    assert!(written.ends_with("\nEND\n"));
    assert_eq!(again.to_text(wall), written);
    assert_eq!(again.address, saved.address);
    assert_eq!(again.settings, saved.settings);
    Some(saved)
}

/// The first message is for the address of the file, or for any.
fn starts(saved: SavedLease) {
    let now = Instant::now();
    let mut client = Client::new(ClientConfig::new(Mac([2, 0, 0, 0, 0, 1])), 1);
    let address = saved.address.ip();
    client.start(now, Some(saved));
    let mut sent = 0;
    while let Some(output) = client.poll_output() {
        if let Output::Send(transmit) = output {
            assert!((300..=1472).contains(&transmit.payload.len()));
            sent += 1;
        }
    }
    assert!(sent <= 1);
    assert!(
        client
            .lease()
            .is_none_or(|lease| lease.address.ip() == address)
    );
    assert!(client.deadline().is_none_or(|at| at > now));
}
