//! The fixtures, and what the tests share, against the reference programs: what holds
//! for them here may be asked of ours in the other tests.

use std::net::TcpListener;

use netns_fixtures::{Host, wait_until};
use rspawn_tests::{
    BOOT, SOON, Start, networkd_setup, outside, serve_peer_name, start_dbus, start_dnsmasq,
    start_networkd, start_udevd,
};

#[test]
fn nspawn_boots_a_tree_and_ends_by_poweroff() {
    let host = Host::new();
    let tree = host.tree("bookworm");
    let mut container = Start::under_nspawn(&host, "web", &tree).boot();
    assert_eq!(container.run("systemctl --failed --no-legend --plain"), "");
    assert_eq!(container.run("cat /proc/1/comm"), "systemd");
    assert_eq!(
        container.run_in_network("ip -o link show host0 | wc -l"),
        "1"
    );
    let _ = container.sh("systemctl poweroff");
    assert!(container.supervisor().wait(BOOT).success());
}

#[test]
fn dnsmasq_leases_an_address_over_a_bridge_and_the_outside_sees_the_host() {
    let host = Host::new();
    let outside = outside(&host);
    host.run("ip link add br0 type bridge; ip address add 10.77.0.1/24 dev br0; ip link set br0 up; sysctl -qw net.ipv4.ip_forward=1");
    let inner = host.peer("inner");
    host.run("ip link add vb type veth peer name host0 netns inner; ip link set vb master br0 up; ip -n inner link set host0 up");
    let _dnsmasq = start_dnsmasq(&host);
    let script = host.busybox_tree().join("etc/udhcpc/default.script");
    inner.run(&format!(
        "busybox udhcpc -i host0 -f -q -n -s {}",
        script.display()
    ));
    let lease = host.read("/lease").expect("a lease");
    assert!(lease.contains("ip='10.77.0.5"), "{lease}");
    host.run("nft add table ip t; nft 'add chain ip t p { type nat hook postrouting priority 100; }'; nft add rule ip t p oifname up0 masquerade");
    let listener = outside
        .enter(|| TcpListener::bind("198.51.100.2:80"))
        .unwrap();
    let client = inner
        .command("nc")
        .args(["-dN", "198.51.100.2", "80"])
        .spawn("client");
    assert_eq!(serve_peer_name(&listener).to_string(), "198.51.100.1");
    drop(client);
}

#[test]
fn networkd_runs_in_a_host_and_manages_what_it_is_told_to() {
    let host = Host::new();
    host.write(
        "/etc/systemd/network/10-mine.network",
        "[Match]\nName=mine\n[Network]\nAddress=192.0.2.1/24\nConfigureWithoutCarrier=yes\n",
    );
    let _bus = start_dbus(&host);
    let _udevd = start_udevd(&host);
    let _networkd = start_networkd(&host);
    host.run("ip link add mine type bridge; ip link add other type bridge");
    assert!(wait_until(SOON, || networkd_setup(&host, "mine").contains("config")));
    assert!(wait_until(SOON, || host
        .run("ip -br address show mine")
        .contains("192.0.2.1/24")));
    assert!(wait_until(SOON, || networkd_setup(&host, "other") == "unmanaged"));
}
