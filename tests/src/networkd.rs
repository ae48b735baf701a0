//! systemd's daemons as neighbours in a host.

use std::os::unix::net::{UnixDatagram, UnixStream};

use netns_fixtures::{Host, Running, wait_until};

use crate::SOON;

/// Starts a system bus in a host.
///
/// # Panics
/// When it does not start.
pub fn start_dbus(host: &Host) -> Running<'_> {
    host.run("mkdir -p /run/dbus");
    let bus = host
        .command("dbus-daemon")
        .args(["--system", "--nofork", "--nopidfile", "--nosyslog"])
        .cgroup("dbus.service")
        .spawn("dbus");
    let socket = "/run/dbus/system_bus_socket";
    let up = wait_until(SOON, || host.enter(|| UnixStream::connect(socket).is_ok()));
    assert!(up, "the bus does not start: {}", bus.stderr());
    bus
}

/// Starts systemd-udevd in a host: what it says of links is what networkd obeys.
///
/// # Panics
/// When it does not start.
pub fn start_udevd(host: &Host) -> Running<'_> {
    let udevd = host
        .command("/lib/systemd/systemd-udevd")
        .env("SYSTEMD_LOG_TARGET", "console")
        .cgroup("systemd-udevd.service")
        .spawn("udevd");
    assert!(
        wait_until(SOON, || host.exists("/run/udev/control")),
        "{}",
        udevd.stderr()
    );
    // Links that were there before it (and no other device of the machine).
    host.run("udevadm trigger --action=add --subsystem-match=net; udevadm settle --timeout=10");
    udevd
}

/// Starts systemd-networkd in a host and waits until it knows the links. Before
/// that, the bus and udevd if they are to be there.
///
/// # Panics
/// When it does not start.
pub fn start_networkd(host: &Host) -> Running<'_> {
    host.run(
        "mkdir -p /run/systemd/netif/links /run/systemd/netif/leases /run/systemd/netif/lldp
         chown -R systemd-network: /run/systemd/netif",
    );
    // Readiness as a service manager is told it.
    let ready = host.enter(|| UnixDatagram::bind("/run/networkd-ready").unwrap());
    ready.set_read_timeout(Some(SOON)).unwrap();
    host.run("chmod 666 /run/networkd-ready");
    let networkd = host
        .command("/lib/systemd/systemd-networkd")
        .env("SYSTEMD_LOG_LEVEL", "info")
        .env("SYSTEMD_LOG_TARGET", "console")
        .env("NOTIFY_SOCKET", "/run/networkd-ready")
        .cgroup("systemd-networkd.service")
        .spawn("networkd");
    let mut told = [0; 4096];
    let up = std::iter::from_fn(|| {
        ready
            .recv(&mut told)
            .ok()
            .map(|length| told[..length].to_vec())
    })
    .take(50)
    .any(|message| String::from_utf8_lossy(&message).contains("READY=1"));
    assert!(up, "networkd does not start: {}", networkd.stderr());
    networkd
}

/// What networkd does with a link: the column SETUP of networkctl, or nothing.
/// Needs the bus.
#[must_use]
pub fn networkd_setup(host: &Host, link: &str) -> String {
    let listed = host
        .sh(&format!("networkctl --no-legend --no-pager list {link}"))
        .stdout;
    listed
        .split_whitespace()
        .nth(4)
        .unwrap_or_default()
        .to_owned()
}
