//! Router advertisements: what configures itself gets what rspawn would have set.

use std::net::IpAddr;

use netns_fixtures::{Host, wait_until};
use rspawn_tests::{Container, SOON, Start, cpu_ms, host, outside, with_netd};

const SLEEP: [&str; 3] = ["-a", "/bin/sleep", "1000"];

fn start<'a>(host: &'a Host, name: &str, network: &str) -> Container<'a> {
    let container = Start::without_network(host, name, &host.busybox_tree())
        .args([network])
        .args(SLEEP)
        .start();
    let is_named = || !container.addresses().is_empty();
    assert!(wait_until(SOON, is_named), "{:?}", container.record());
    container
}

/// The address that is assigned in IPv6.
fn ipv6(container: &Container<'_>) -> IpAddr {
    let addresses = container.addresses();
    let found = addresses.iter().find(|address| address.is_ipv6());
    *found.unwrap_or_else(|| panic!("{:?}", container.record()))
}

/// What a host hears that asks for a router.
fn asked(container: &Container<'_>) -> String {
    let answer = || container.run_in_network("rdisc6 -1 -r 5 -w 2000 host0 || true");
    let mut heard = String::new();
    wait_until(SOON, || {
        heard = answer();
        heard.contains("Prefix")
    });
    heard
}

#[test]
fn who_configures_itself_gets_the_address_that_was_assigned() {
    with_netd(|host, _netd| {
        host.write(
            "/etc/resolv.conf",
            "search example.org\nnameserver 192.0.2.53\nnameserver 2001:db8::53\n",
        );
        for (name, network) in [("a", "-n"), ("b", "--network-zone=lab")] {
            let container = start(host, name, network);
            let assigned = ipv6(&container);
            // As if nobody had set anything: the kernel asks and takes what it hears.
            container.run_in_network(
                "ip link set host0 down; ip -6 address flush dev host0; ip -6 route flush dev host0
                 ip link set host0 up",
            );
            let addresses =
                || container.run_in_network("ip -6 address show dev host0 scope global");
            let has = format!("inet6 {assigned}/64");
            assert!(
                wait_until(SOON, || addresses().contains(&has)),
                "{}",
                addresses()
            );
            assert!(addresses().contains("dynamic") || addresses().contains("mngtmpaddr"));
            let routes = || container.run_in_network("ip -6 route show default");
            assert!(
                wait_until(SOON, || routes().contains("proto ra")),
                "{}",
                routes()
            );
            host.run(&format!("ping -6 -c1 -W5 {name}"));
            let heard = asked(&container);
            for wanted in [
                "Router lifetime           :        65535",
                "Recursive DNS server     : 2001:db8::53",
                "DNS search list          : example.org",
                "Stateful address conf.    :           No",
            ] {
                assert!(heard.contains(wanted), "{wanted}\n{heard}");
            }
            let mtu = container.run("cat /sys/class/net/host0/mtu");
            assert!(
                heard.contains(&format!("MTU                      :         {mtu}")),
                "{heard}"
            );
        }
    });
}

#[test]
fn an_advertisement_changes_nothing_of_what_was_set() {
    with_netd(|host, _netd| {
        let container = start(host, "a", "-n");
        let assigned = ipv6(&container);
        let routes = || container.run_in_network("ip -6 route show default");
        // The kernel has heard one as soon as it has the router's route beside the one set.
        assert!(
            wait_until(SOON, || routes().contains("proto ra")),
            "{}",
            routes()
        );
        let addresses = container.run_in_network("ip -6 address show dev host0 scope global");
        assert_eq!(addresses.matches("inet6").count(), 1, "{addresses}");
        assert!(
            addresses.contains(&format!("inet6 {assigned}/64")),
            "{addresses}"
        );
        assert!(
            addresses.contains("valid_lft forever preferred_lft forever"),
            "{addresses}"
        );
        assert_eq!(routes().matches("default").count(), 2, "{}", routes());
        host.run("ping -6 -c1 -W5 a");
    });
}

#[test]
fn networkd_inside_takes_what_is_advertised() {
    for suite in ["bookworm", "trixie"] {
        with_netd(|host, _netd| {
            host.write("/etc/resolv.conf", "nameserver 2001:db8::53\n");
            let tree = host.tree(suite);
            let file = tree.join("etc/systemd/network/10-host0.network");
            host.run(&format!("mkdir -p {}", file.parent().unwrap().display()));
            host.write(
                &file,
                "[Match]\nName=host0\n[Network]\nDHCP=no\nIPv6AcceptRA=yes\n[IPv6AcceptRA]\nUseDNS=yes\n",
            );
            let container = Start::new(host, "web", &tree).boot();
            container.run("systemctl start systemd-networkd");
            let assigned = ipv6(&container);
            let status = || container.run("networkctl status host0 --no-pager || true");
            assert!(
                wait_until(SOON, || status().contains("2001:db8::53")),
                "{suite}: {}",
                status()
            );
            let addresses =
                || container.run_in_network("ip -6 address show dev host0 scope global");
            let has = format!("inet6 {assigned}/64");
            assert!(
                wait_until(SOON, || addresses().contains(&has)),
                "{suite}: {}",
                addresses()
            );
            let routes = container.run_in_network("ip -6 route show default");
            assert!(routes.contains("via fe80::"), "{suite}: {routes}");
            host.run("ping -6 -c1 -W5 web");
        });
    }
}

#[test]
fn a_file_says_what_is_advertised_or_that_nothing_is() {
    let host = host();
    host.write(
        "/etc/netd/10-a.network",
        "[Match]\nName=ve-a\n[IPv6SendRA]\nManaged=yes\nOtherInformation=yes\nRouterLifetimeSec=0\n\
         HopLimit=12\nRetransmitSec=2\nReachableTimeSec=30\nRouterPreference=high\n\
         DNS=2001:db8::1\nDomains=lab.example\nDNSLifetimeSec=1h\n\
         [IPv6Prefix]\nPrefix=2001:db8:1::/64\nPreferredLifetimeSec=1h\nValidLifetimeSec=2h\n\
         [IPv6RoutePrefix]\nRoute=2001:db8:2::/48\nLifetimeSec=1h\n",
    );
    host.write(
        "/etc/netd/10-b.network",
        "[Match]\nName=ve-b\n[Network]\nIPv6SendRA=no\n",
    );
    let netd = host.start_netd();
    assert!(!netd.stderr().contains("/etc/netd"), "{}", netd.stderr());
    let a = start(&host, "a", "-n");
    let heard = asked(&a);
    for wanted in [
        "Hop limit                 :           12",
        "Stateful address conf.    :          Yes",
        "Stateful other conf.      :          Yes",
        "Router lifetime           :            0",
        "Reachable time            :        30000",
        "Retransmit time           :         2000",
        "2001:db8:1::/64",
        "Valid time              :         7200",
        "Pref. time              :         3600",
        "2001:db8:2::/48",
        "Recursive DNS server     : 2001:db8::1",
        "DNS search list          : lab.example",
    ] {
        assert!(heard.contains(wanted), "{wanted}\n{heard}");
    }
    // No default router by its own word, nor by rspawn's.
    let routes = a.run_in_network("ip -6 route show default");
    assert_eq!(routes, "");
    let b = start(&host, "b", "-n");
    let silent = b.run_in_network("rdisc6 -1 -r 2 -w 1000 host0 2>&1 || true");
    assert!(silent.contains("No response"), "{silent}");
}

#[test]
fn a_link_that_floods_is_answered_at_a_bounded_rate() {
    with_netd(|host, netd| {
        let container = start(host, "a", "-n");
        let before = cpu_ms(netd.pid());
        // Each from another invented address, without a pause; then the answers are counted.
        container.run_in_network(
            "tcpdump -q -n -i host0 -Q in -w /tmp/heard 'icmp6 and ip6[40] == 134' 2>/tmp/told &
             capture=$!
             until grep -q listening /tmp/told; do :; done
             timeout 5 python3 -c '
import socket, struct, time
ours = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
def checksum(data):
    total = sum(struct.unpack(\"!%dH\" % (len(data) // 2), data))
    while total >> 16: total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff
end = time.time() + 3
count = 0
dest = bytes.fromhex(\"ff020000000000000000000000000002\")
while time.time() < end:
    count += 1
    source = bytes.fromhex(\"fe80000000000000\") + struct.pack(\"!Q\", count)
    pseudo = source + dest + struct.pack(\"!II\", 8, 58)
    body = b\"\\x85\\0\\0\\0\\0\\0\\0\\0\"
    body = b\"\\x85\\0\" + struct.pack(\"!H\", checksum(pseudo + body)) + b\"\\0\\0\\0\\0\"
    head = struct.pack(\"!IHBB\", 6 << 28, 8, 58, 255)
    ours.sendto(head + source + dest + body, (\"host0\", 0x86dd, 0, 0, bytes.fromhex(\"333300000002\")))
print(count)' >/tmp/sent
             kill -INT $capture; wait $capture || true",
        );
        let count = |script: &str| -> u32 { host.run(script).trim().parse().unwrap() };
        let sent = count("cat /tmp/sent");
        let answers = count("tcpdump -n -r /tmp/heard 2>/dev/null | wc -l");
        let spent = cpu_ms(netd.pid()) - before;
        assert!(sent > 2000, "{sent}");
        // 50 a second for each host by itself, and one to all in 3 s; the capture has but
        // a moment more than the flood.
        assert!((10..=260).contains(&answers), "{answers} answers to {sent}");
        assert!(spent < 1500, "{spent} ms of processor time for {sent}");
        assert!(!netd.stderr().contains("ERROR"), "{}", netd.stderr());
    });
}

#[test]
fn what_changes_is_advertised_at_once() {
    with_netd(|host, _netd| {
        host.write("/etc/resolv.conf", "nameserver 2001:db8::53\n");
        let container = start(host, "a", "-n");
        assert!(asked(&container).contains("2001:db8::53"));
        let mut heard = host
            .command_in_network(container.network(), "tcpdump")
            .args(["-l", "-vvn", "-i", "host0", "icmp6 and ip6[40] == 134"])
            .spawn("tcpdump");
        let listening = || heard.stderr().contains("listening");
        assert!(wait_until(SOON, listening));
        host.write("/etc/resolv.conf.new", "nameserver 2001:db8::54\n");
        host.run("mv /etc/resolv.conf.new /etc/resolv.conf");
        // Not asked for: to all, with the old one taken back.
        heard.wait_for_output("addr: 2001:db8::54", SOON);
        heard.wait_for_output("lifetime 0s, addr: 2001:db8::53", SOON);
    });
}

#[test]
fn the_hosts_own_route_by_advertisement_survives() {
    let host = host();
    let peer = outside(&host);
    // The host has its way out by a router's word alone.
    host.run("ip -6 route del default; ip -6 address flush dev up0 scope global; sysctl -qw net.ipv6.conf.up0.accept_ra=1");
    host.write(
        "/etc/radvd.conf",
        "interface eth0 { AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4;
         AdvDefaultLifetime 9; prefix 2001:db8::/64 { AdvOnLink on; AdvAutonomous on; }; };",
    );
    peer.run("sysctl -qw net.ipv6.conf.all.forwarding=1");
    let _radvd = peer
        .command("radvd")
        .args([
            "-n",
            "-m",
            "stderr",
            "-C",
            "/etc/radvd.conf",
            "-p",
            "/run/radvd.pid",
        ])
        .spawn("radvd");
    let routes = || host.run("ip -6 route show default");
    assert!(
        wait_until(SOON, || routes().contains("proto ra")),
        "{}",
        routes()
    );
    let _netd = host.start_netd();
    let container = start(&host, "a", "-n");
    assert!(asked(&container).contains("Router lifetime"));
    // It is prolonged by advertisements that come after it: its time would be over.
    let began = std::time::Instant::now();
    let mut seen = true;
    wait_until(SOON, || {
        seen &= routes().contains("proto ra");
        !seen || began.elapsed().as_secs() > 12
    });
    assert!(seen, "the default route is lost: {}", routes());
    container.run_in_network("ping -6 -c1 -W5 2001:db8::2");
}
