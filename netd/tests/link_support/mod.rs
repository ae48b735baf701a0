//! A host with one container's link that has no addresses.
#![allow(dead_code)]

use std::time::Duration;

use netns_fixtures::{Host, Peer};
use registry::Mac;
use tokio::runtime::{Builder, Runtime};

/// The host's end, `ve-box`.
pub const VE: Mac = Mac([2, 0, 0, 0, 0, 0x10]);
/// The container's end, `host0`.
pub const HOST0: Mac = Mac([2, 0, 0, 0, 0, 1]);
/// Longer than any of this takes on a machine that is busy with other things.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// A container's network, joined to the host by `ve-box` and `host0`, both up.
pub fn joined(host: &Host) -> Peer<'_> {
    let peer = host.peer("box");
    host.run(
        "ip link add ve-box address 02:00:00:00:00:10 type veth \
             peer name host0 address 02:00:00:00:00:01 netns box
         ip link set ve-box up
         ip -n box link set host0 up",
    );
    peer
}

/// A runtime that a thread of the test drives.
pub fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// The index of the link that `ip -o link show` has shown.
pub fn ifindex(shown: &str) -> u32 {
    shown.split(':').next().unwrap().trim().parse().unwrap()
}
