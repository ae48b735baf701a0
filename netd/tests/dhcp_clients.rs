//! The DHCP server against the clients that containers run, over a real link,
//! behind a firewall that lets nothing through.

// A test that cannot go on has failed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod dhcp_support;

use std::net::Ipv4Addr;
use std::time::Duration;

use dhcp_support::{HOST0, HOST0_ADDRESS, PATIENCE, Running, config, container};
use netd::dhcp::server::{Ending, Event, ServerConfig};
use netns_fixtures::{Host, Peer, wait_until};

fn is_bound(event: &Event) -> bool {
    matches!(event, Event::Bound(lease) if lease.mac == HOST0 && lease.address == HOST0_ADDRESS)
}

fn is_renewed(event: &Event) -> bool {
    matches!(event, Event::Renewed(lease) if lease.address == HOST0_ADDRESS)
}

fn is_released(event: &Event) -> bool {
    matches!(event, Event::Ended(lease, Ending::Released) if lease.address == HOST0_ADDRESS)
}

#[track_caller]
fn expect_in_container(container: &Peer<'_>, script: &str, text: &str) {
    let found = wait_until(PATIENCE, || container.sh(script).stdout.contains(text));
    assert!(found, "no {text:?} in: {}", container.sh(script));
}

/// Does what udhcpc tells it, and tells what that was.
const UDHCPC_SCRIPT: &str = r#"#!/bin/sh
echo "$1: $ip/$mask router=$router dns=$dns domain=$domain mtu=$mtu lease=$lease server=$serverid"
case $1 in
deconfig) ip address flush dev "$interface" ;;
bound|renew)
    ip address replace "$ip/$mask" dev "$interface"
    ip route replace default via "$router" ;;
esac
"#;

#[test]
fn udhcpc_leases_renews_and_releases() {
    let host = Host::new();
    let container = container(&host);
    host.write_program("/tmp/script", UDHCPC_SCRIPT);
    let mut server = Running::start(&host, config());
    let mut client = container
        .command("udhcpc")
        .args([
            "-f",
            "-i",
            "host0",
            "-s",
            "/tmp/script",
            "-O",
            "mtu",
            "-T",
            "1",
        ])
        .spawn("udhcpc");
    server.expect("the lease", is_bound);
    client.wait_for_output(
        "bound: 192.168.7.2/28 router=192.168.7.1 dns=9.9.9.9 domain=example.org mtu=1400 \
         lease=3600 server=192.168.7.1",
        PATIENCE,
    );
    assert_eq!(server.leases().len(), 1);

    let mut changed = config();
    changed.dns = vec![Ipv4Addr::new(1, 1, 1, 1), Ipv4Addr::new(8, 8, 8, 8)];
    server.configure(changed);
    client.signal(libc::SIGUSR1);
    server.expect("the renewal", is_renewed);
    client.wait_for_output("renew: 192.168.7.2/28", PATIENCE);
    client.wait_for_output("dns=1.1.1.1 8.8.8.8", PATIENCE);

    client.signal(libc::SIGUSR2);
    server.expect("the release", is_released);
    assert!(server.leases().is_empty());
}

#[test]
fn udhcpc_changes_its_address_when_the_subnet_has_moved() {
    let host = Host::new();
    let container = container(&host);
    host.write_program("/tmp/script", UDHCPC_SCRIPT);
    let mut server = Running::start(&host, config());
    let mut client = container
        .command("udhcpc")
        .args(["-f", "-i", "host0", "-s", "/tmp/script", "-T", "1"])
        .spawn("udhcpc");
    client.wait_for_output("bound: 192.168.7.2/28", PATIENCE);

    let mut moved = ServerConfig::new("172.20.0.1/28".parse().unwrap()).unwrap();
    let second = Ipv4Addr::new(172, 20, 0, 2);
    moved.reserve(HOST0, second).unwrap();
    host.run("ip address add 172.20.0.1/28 dev ve-box");
    server.configure(moved);
    client.signal(libc::SIGUSR1);
    client.wait_for_output("nak:", PATIENCE);
    server.expect(
        "the new lease",
        |event| matches!(event, Event::Bound(lease) if lease.address == second),
    );
    client.wait_for_output("bound: 172.20.0.2/28 router=172.20.0.1", PATIENCE);
}

#[test]
fn dhclient_leases_renews_and_releases() {
    let host = Host::new();
    let container = container(&host);
    host.run("rm -f /etc/resolv.conf; : >/etc/resolv.conf; mkdir -p /var/lib/dhcp");
    let mut short = config();
    // It renews by itself only.
    short.lease_time = Duration::from_secs(6);
    let mut server = Running::start(&host, short);
    let client = container
        .command("dhclient")
        .args(["-d", "-4", "-v", "host0"])
        .spawn("dhclient");
    server.expect("the lease", is_bound);
    expect_in_container(&container, "ip -4 address show dev host0", "192.168.7.2/28");
    expect_in_container(&container, "ip route", "default via 192.168.7.1");
    expect_in_container(&container, "cat /etc/resolv.conf", "nameserver 9.9.9.9");
    expect_in_container(&container, "cat /sys/class/net/host0/mtu", "1400");
    server.expect("the renewal", is_renewed);
    drop(client);
    container.run("timeout 20 dhclient -4 -r host0");
    server.expect("the release", is_released);
}

#[test]
fn dhcpcd_leases_and_renews() {
    let host = Host::new();
    let container = container(&host);
    host.run("rm -f /etc/resolv.conf; : >/etc/resolv.conf; mkdir -p /var/lib/dhcpcd");
    let mut short = config();
    // It renews by itself: this version dies of signals while a hook of it runs.
    short.lease_time = Duration::from_secs(6);
    let mut server = Running::start(&host, short);
    let mut client = container
        .command("dhcpcd")
        // No probe of five seconds for whether somebody has the address.
        .args(["-B", "-4", "-d", "--noarp", "host0"])
        .spawn("dhcpcd");
    server.expect("the lease", is_bound);
    expect_in_container(&container, "ip -4 address show dev host0", "192.168.7.2/28");
    expect_in_container(&container, "ip route", "default via 192.168.7.1");
    client.wait_for_output("renew in 3 seconds, rebind in 5 seconds", PATIENCE);
    server.expect("the renewal", is_renewed);
}

#[test]
fn a_machine_behind_the_container_gets_another_address() {
    let host = Host::new();
    let container = container(&host);
    host.write_program("/tmp/script", UDHCPC_SCRIPT);
    let mut server = Running::start(&host, config());
    container.run(
        "ip link add br0 type bridge
         ip link add inner type veth peer name inner0 address 02:00:00:00:01:07
         ip link set host0 master br0
         ip link set inner master br0
         ip link set br0 up; ip link set inner up; ip link set inner0 up",
    );
    let _client = container
        .command("udhcpc")
        .args(["-f", "-i", "inner0", "-s", "/tmp/script", "-T", "1"])
        .spawn("udhcpc");
    let event = server.expect("the lease", |event| matches!(event, Event::Bound(_)));
    let Event::Bound(lease) = event else {
        unreachable!()
    };
    assert_eq!(lease.mac.0, [2, 0, 0, 0, 1, 7]);
    assert_ne!(lease.address, HOST0_ADDRESS);
}
