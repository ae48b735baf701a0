//! Members of zones.

use std::net::Ipv4Addr;

use netns_fixtures::{Host, wait_until};

use crate::{Container, SOON, Start, record};

/// Starts a member of a zone, and waits until it has its address.
///
/// # Panics
/// When it gets none.
#[must_use]
pub fn start_in_zone<'a>(host: &'a Host, zone: &str, name: &str) -> Container<'a> {
    let zone = format!("--network-zone={zone}");
    let container = Start::without_network(host, name, &host.busybox_tree())
        .args([zone.as_str(), "-a", "/bin/sleep", "1000"])
        .start();
    let is_named = || record(host, name).is_some_and(|record| record.contains_key("ADDRESS"));
    assert!(wait_until(SOON, is_named), "{:?}", container.record());
    container
}

/// The host's IPv4 address on a link, with the length of its subnet's prefix; empty if it
/// has none.
#[must_use]
pub fn host_address(host: &Host, link: &str) -> String {
    let shown = host.run(&format!("ip -4 -o address show dev {link}"));
    shown.split_whitespace().nth(3).unwrap_or("").to_owned()
}

/// Has a client with this Ethernet address ask from a member's place. Its address.
///
/// # Panics
/// When it gets none.
#[must_use]
pub fn ask_as(member: &Container<'_>, mac: &str) -> Ipv4Addr {
    member.run(&format!(
        "ip link set host0 down; ip link set host0 address {mac}; ip link set host0 up
         udhcpc -i host0 -f -n -q -t 20 -s /bin/true >/dhcp 2>&1"
    ));
    let told = member.run("cat /dhcp");
    let lease = told.split("lease of ").nth(1);
    let address = lease.and_then(|lease| lease.split(' ').next()?.parse().ok());
    address.unwrap_or_else(|| panic!("no lease: {told}"))
}
