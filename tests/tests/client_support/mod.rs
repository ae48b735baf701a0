//! A host that is a client: `host0` leads to a network of others, where somebody serves.
// Each test program uses some of it.
#![allow(dead_code)]

pub mod servers;

use std::ops::Deref;

use netns_fixtures::{Host, Peer, Running, eventually, wait_until};
use rspawn_tests::{Capture, SOON};

/// The client's link.
pub const LINK: &str = "host0";
/// The server's address.
pub const SERVER: &str = "10.77.0.1/24";

/// The network at the other end of `host0`, where all that goes over the link is kept, and
/// looked at in the end.
pub struct Lan<'a> {
    peer: Peer<'a>,
    pub capture: Capture<'a>,
}

impl<'a> Deref for Lan<'a> {
    type Target = Peer<'a>;

    fn deref(&self) -> &Peer<'a> {
        &self.peer
    }
}

/// The network at the other end of `host0`, with this address there, where servers can be
/// started before the host's link is up. The host has no `/etc/resolv.conf`.
pub fn lan<'a>(host: &'a Host, server: &str) -> Lan<'a> {
    let lan = host.peer("lan");
    host.run(&format!(
        "ip link add {LINK} type veth peer name p0 netns lan
         ip -n lan link add eth0 type bridge
         ip -n lan address add {server} dev eth0
         ip -n lan link set eth0 up
         ip -n lan link set p0 master eth0 up
         ip -n lan link add other type veth peer name other-end
         ip -n lan link set other master eth0 up
         ip -n lan link set other-end up
         rm -f /etc/resolv.conf"
    ));
    let capture = Capture::start(host, lan.command("tcpdump"), "eth0");
    Lan { peer: lan, capture }
}

/// dnsmasq in a network, with this range of addresses and further arguments.
pub fn dnsmasq<'a>(lan: &Peer<'a>, range: &str, more: &[&str]) -> Running<'a> {
    let mut dnsmasq = lan
        .command("dnsmasq")
        .args(["-k", "-C", "/dev/null", "-p0", "-i", "eth0", "-u", "root"])
        .args(["-F", range, "--dhcp-leasefile=/tmp/dnsmasq.leases"])
        .args(["--no-ping", "--dhcp-authoritative"])
        .args(["--log-dhcp", "--log-facility=-"])
        .args(more)
        .spawn("dnsmasq");
    dnsmasq.wait_for_output("DHCP, IP range", SOON);
    dnsmasq
}

/// busybox's server in a network, with these lines of configuration.
pub fn udhcpd<'a>(host: &'a Host, lan: &Peer<'a>, lines: &str) -> Running<'a> {
    host.write(
        "/tmp/udhcpd.conf",
        format!("interface eth0\nlease_file /tmp/udhcpd.leases\npidfile /tmp/udhcpd.pid\n{lines}"),
    );
    host.run("touch /tmp/udhcpd.leases");
    let mut server = lan
        .command("busybox")
        .args(["udhcpd", "-f", "/tmp/udhcpd.conf"])
        .spawn("udhcpd");
    server.wait_for_output("started", SOON);
    server
}

/// netd with all that it says, in a host.
pub fn netd(host: &Host) -> Running<'_> {
    host.start_netd_with(&["-vv"])
}

/// Ends a netd, and waits until its lock is free.
pub fn end(mut netd: Running<'_>) {
    netd.signal(libc::SIGTERM);
    assert!(netd.wait(SOON).success(), "{}", netd.stderr());
}

/// The lines about IPv4 of `ip address show host0`.
pub fn addresses(host: &Host) -> String {
    host.run(&format!("ip -4 address show dev {LINK}"))
}

/// Waits until the link has an address that begins so, by a lease.
#[track_caller]
pub fn wait_for_lease(host: &Host, address: &str) {
    let found = eventually(SOON, || {
        let text = addresses(host);
        let has = |line: &str| line.contains(address) && line.contains(" dynamic ");
        text.lines().any(has).then_some(())
    });
    assert!(found.is_some(), "no {address}: {}", addresses(host));
}

/// Waits until a text is, or is not, among the link's addresses.
#[track_caller]
pub fn wait_for_address(host: &Host, text: &str, there: bool) {
    let so = wait_until(SOON, || addresses(host).contains(text) == there);
    assert!(so, "{text} there: {}; {}", !there, addresses(host));
}

/// What becomes of addresses from now on, one change a line.
pub fn monitor(host: &Host) -> Running<'_> {
    let mut monitor = host
        .command("stdbuf")
        .args(["-oL", "ip", "-o", "monitor", "address"])
        .spawn("monitor");
    // It listens once it tells of this one.
    let hears = wait_until(SOON, || {
        host.run("ip address replace 192.0.2.254/32 dev lo");
        monitor.stdout().contains("192.0.2.254")
    });
    assert!(hears && monitor.ended().is_none());
    monitor
}

/// Kea in a network, with leases of so many seconds.
pub fn kea<'a>(host: &'a Host, lan: &Peer<'a>, seconds: u32) -> Running<'a> {
    kea_of(host, lan, "10.77.0", seconds)
}

/// Kea with the last ten of the first sixty addresses of a /24.
pub fn kea_of<'a>(host: &'a Host, lan: &Peer<'a>, net: &str, seconds: u32) -> Running<'a> {
    let (renew, rebind) = (seconds / 2, seconds * 7 / 8);
    let pool = format!(r#"{{"pool": "{net}.50 - {net}.59"}}"#);
    // Another subnet is another one to Kea by its number.
    let id = net.rsplit('.').next().and_then(|part| part.parse().ok());
    let id = id.unwrap_or(0_u32) + 1;
    let router = format!(r#"{{"name": "routers", "data": "{net}.1"}}"#);
    host.write(
        "/tmp/kea.json",
        format!(
            r#"{{"Dhcp4": {{
                "interfaces-config": {{"interfaces": ["eth0"]}},
                "lease-database": {{"type": "memfile", "name": "/tmp/kea.csv"}},
                "valid-lifetime": {seconds}, "renew-timer": {renew}, "rebind-timer": {rebind},
                "authoritative": true,
                "subnet4": [{{"id": {id}, "subnet": "{net}.0/24", "pools": [{pool}],
                              "option-data": [{router}]}}]
            }}}}"#
        ),
    );
    let mut kea = lan
        .command("kea-dhcp4")
        .args(["-d", "-c", "/tmp/kea.json"])
        .env("KEA_LOCKFILE_DIR", "/tmp")
        .env("KEA_PIDFILE_DIR", "/tmp")
        .spawn("kea");
    kea.wait_for_output("DHCP4_STARTED", SOON);
    kea
}
