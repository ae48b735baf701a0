//! What the end-to-end tests share: a host with rspawn installed, containers in
//! it, and the networks next to it.
//!
//! The tests see the programs from outside alone: command lines, exit codes, what
//! getent, ping, ssh and busctl say, and the files whose format is documented.

mod capture;
mod container;
mod footprint;
mod kill_points;
mod network;
mod networkd;
mod zone;

use std::time::Duration;

use netns_fixtures::{Host, Running};

pub use capture::Capture;
pub use container::{Container, Start, record};
pub use footprint::Footprint;
pub use kill_points::{KillPoint, Who, hit, points_of, sample, shard_of, traced};
pub use network::{
    FIND_UNICAST, LOSE_UNICAST, UPLINK, capture_source, outside, serve_peer_name, start_dnsmasq,
};
pub use networkd::{networkd_setup, start_dbus, start_networkd, start_udevd};
pub use zone::{ask_as, host_address, start_in_zone};

/// Long enough for anything but a boot, on a loaded machine.
pub const SOON: Duration = Duration::from_secs(40);
/// Long enough for a boot or a clean end of a Debian tree on a loaded machine.
pub const BOOT: Duration = Duration::from_secs(90);

/// A host with rspawn installed.
#[must_use]
pub fn host() -> Host {
    let host = Host::new();
    host.install();
    host
}

/// A host with rspawn installed whose netd runs for as long as the test.
///
/// netd is a value of its own wherever a test stops it.
pub fn with_netd<T>(test: impl FnOnce(&Host, &mut Running<'_>) -> T) -> T {
    let host = host();
    let mut netd = host.start_netd();
    let result = test(&host, &mut netd);
    let ended = netd.ended();
    assert!(
        ended.is_none(),
        "netd has ended: {ended:?}\n{}",
        netd.stderr()
    );
    result
}

/// The processor time that a process has had, in milliseconds.
///
/// # Panics
/// When there is no such process.
#[must_use]
pub fn cpu_ms(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    ticks * 10
}
