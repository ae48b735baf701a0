//! Debian boots, and its network just works: an address before its init runs, a
//! name, a way out.

use std::net::{IpAddr, TcpListener};

use netns_fixtures::{Host, Running, wait_until};
use rspawn_tests::{
    BOOT, Container, SOON, Start, UPLINK, outside, record, serve_peer_name, with_netd,
};

#[test]
fn debian_12_boots_and_is_reached_by_its_name() {
    boots_and_is_reached("bookworm");
}

#[test]
fn debian_13_boots_and_is_reached_by_its_name() {
    boots_and_is_reached("trixie");
}

fn boots_and_is_reached(suite: &str) {
    with_netd(|host, _netd| {
        let outside = outside(host);
        let tree = host.tree(suite);
        let mut web = Start::new(host, "web", &tree)
            .args(["-b", "--console=read-only"])
            .start();
        // From before init has started networkd.
        let mut monitor = address_monitor(host, &web);
        let address = web.ipv4();
        web.wait_for_boot();
        assert!(wait_until(BOOT, || web
            .sh("systemctl is-system-running")
            .stdout
            != "starting\n"));
        let failed = failed_units(&web);

        is_found_by_name_and_address(host, &web, address);
        host.run("ping -c1 -W5 web");
        reached_by_ssh(host);
        keeps_its_address(host, &web, address, &mut monitor);
        drop(monitor);
        reaches_the_outside(&web, &outside);

        let _ = web.sh("systemctl poweroff");
        assert_eq!(web.wait().code(), Some(0), "poweroff ends with 0");
        nothing_is_left(host, "web");
        not_worse_than_nspawn(host, &tree, &failed);
    });
}

/// Watches the addresses inside from the host, until dropped.
fn address_monitor<'a>(host: &'a Host, container: &Container<'_>) -> Running<'a> {
    let monitor = host
        .command_in_network(container.network(), "ip")
        .args(["-o", "monitor", "address"])
        .spawn("addresses");
    // It listens as soon as it has its socket, which netlink's own list shows.
    let listens = wait_until(SOON, || {
        let sockets = container.run_in_network("cat /proc/self/net/netlink");
        // Groups 5 and 9 of family 0 (NETLINK_ROUTE), RTNLGRP_IPV4_IFADDR and
        // RTNLGRP_IPV6_IFADDR, are bits 0x10 and 0x100.
        sockets.lines().skip(1).any(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            fields[1] == "0"
                && u32::from_str_radix(fields[3], 16).is_ok_and(|groups| groups & 0x110 == 0x110)
        })
    });
    assert!(listens, "{}", monitor.stderr());
    monitor
}

fn is_found_by_name_and_address(host: &Host, web: &Container<'_>, address: IpAddr) {
    // In which order is getaddrinfo's business (RFC 6724), not the module's.
    let found = host.run("getent ahosts web");
    assert!(found.contains(&address.to_string()), "{found}");
    for other in web.addresses() {
        assert!(
            found.contains(&other.to_string()),
            "{other} is missing: {found}"
        );
        let reverse = host.run(&format!("getent hosts {other}"));
        assert!(
            reverse.split_whitespace().any(|word| word == "web"),
            "{reverse}"
        );
    }
    assert!(
        !found.contains("fe80:"),
        "link-local beside routable ones: {found}"
    );
    assert!(
        web.addresses().iter().any(IpAddr::is_ipv6),
        "no ULA: {:?}",
        web.addresses()
    );
    host.run("ping -6 -c1 -W5 web");
}

fn reached_by_ssh(host: &Host) {
    let reached = wait_until(BOOT, || host.sh("ssh web true").success());
    assert!(reached, "{}", host.sh("ssh -v web true"));
    assert_eq!(host.run("ssh web hostname"), "web");
}

fn keeps_its_address(host: &Host, web: &Container<'_>, address: IpAddr, monitor: &mut Running<'_>) {
    // networkd has a lease of the very address.
    let lease = || web.sh("cat /run/systemd/netif/leases/*").stdout;
    let leased = wait_until(BOOT, || lease().contains(&format!("ADDRESS={address}\n")));
    assert!(
        leased,
        "no lease of {address}: {}\n{}",
        lease(),
        web.sh("networkctl status host0; journalctl -u systemd-networkd")
            .stdout
    );
    let events = |monitor: &Running<'_>| monitor.stdout().lines().count();
    let before = events(monitor);
    web.run("networkctl renew host0");
    // The kernel tells of the new lifetime.
    assert!(
        wait_until(SOON, || events(monitor) > before),
        "no renewal: {}",
        monitor.stdout()
    );
    let assigned: Vec<_> = web.addresses().iter().map(|ip| format!(" {ip}/")).collect();
    let lost: Vec<_> = monitor
        .stdout()
        .lines()
        .filter(|line| line.contains("Deleted"))
        .filter(|line| assigned.iter().any(|address| line.contains(address)))
        .map(str::to_owned)
        .collect();
    assert!(lost.is_empty(), "the address was lost: {lost:?}");
    assert_eq!(web.ipv4(), address);
    let held = web.run("ip -4 -o address show dev host0 scope global");
    assert_eq!(held.lines().count(), 1, "one address and no other: {held}");
    assert!(held.contains(&address.to_string()), "{held}");
    host.run("ping -c1 -W5 web");
}

fn reaches_the_outside(web: &Container<'_>, outside: &netns_fixtures::Peer<'_>) {
    let listener = outside
        .enter(|| TcpListener::bind("198.51.100.2:80"))
        .unwrap();
    let client = web
        .command("/bin/bash")
        .args(["-c", "exec 3<>/dev/tcp/198.51.100.2/80; cat <&3"])
        .spawn("client");
    assert_eq!(
        serve_peer_name(&listener).to_string(),
        UPLINK.1,
        "the outside sees the host"
    );
    drop(client);
    let listener = outside
        .enter(|| TcpListener::bind("[2001:db8::2]:80"))
        .unwrap();
    let client = web
        .command("/bin/bash")
        .args(["-c", "exec 3<>/dev/tcp/2001:db8::2/80; cat <&3"])
        .spawn("client");
    assert_eq!(serve_peer_name(&listener).to_string(), "2001:db8::1");
    drop(client);
}

fn failed_units(container: &Container<'_>) -> Vec<String> {
    let listed = container.run("systemctl list-units --failed --no-legend --plain");
    listed
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

fn nothing_is_left(host: &Host, name: &str) {
    assert!(
        wait_until(SOON, || record(host, name).is_none()),
        "the record is left"
    );
    let links = || host.run("ip -o link show");
    assert!(
        wait_until(SOON, || !links().contains(&format!("ve-{name}"))),
        "{}",
        links()
    );
    let left = || host.processes_in(&format!("{name}.service"));
    assert!(
        wait_until(SOON, || left().is_empty()),
        "processes are left: {:?}",
        left()
    );
    assert!(!host.sh(&format!("getent -s rspawn hosts {name}")).success());
}

/// What fails under rspawn fails under the reference as well.
fn not_worse_than_nspawn(host: &Host, tree: &std::path::Path, failed: &[String]) {
    let mut reference = Start::under_nspawn(host, "reference", tree).boot();
    let running = || reference.sh("systemctl is-system-running").stdout;
    assert!(wait_until(BOOT, || running() != "starting\n"));
    let known = failed_units(&reference);
    let worse: Vec<_> = failed.iter().filter(|unit| !known.contains(unit)).collect();
    assert!(
        worse.is_empty(),
        "these units fail only under rspawn: {worse:?}"
    );
    let _ = reference.sh("systemctl poweroff");
    reference.wait();
}

#[test]
fn a_tree_with_systemd_but_no_dhcp_client_is_reached_by_its_name() {
    with_netd(|host, _netd| {
        let outside = outside(host);
        let tree = host.tree("bookworm");
        host.run(&format!("rm {0}/etc/systemd/system/multi-user.target.wants/systemd-networkd.service; ln -s /dev/null {0}/etc/systemd/system/systemd-networkd.service", tree.display()));
        let web = Start::new(host, "web", &tree).boot();
        assert_ne!(
            web.sh("systemctl is-active systemd-networkd").stdout,
            "active\n"
        );
        is_found_by_name_and_address(host, &web, web.ipv4());
        host.run("ping -c1 -W5 web");
        reached_by_ssh(host);
        reaches_the_outside(&web, &outside);
    });
}
