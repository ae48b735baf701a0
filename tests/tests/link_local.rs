//! IPv4 link-local addresses of containers: where they use them, the host reaches each.

use std::path::PathBuf;

use netns_fixtures::{Host, NETD as PROGRAM, Running, program, wait_until};
use rspawn_tests::{Container, SOON, Start, cpu_ms, host, with_netd};

const SLEEP: [&str; 3] = ["-a", "/bin/sleep", "1000"];
/// Leaves no IPv4 subnet for anybody.
const NO_SUBNETS: &str = "[Subnets]\nExclude=192.168.0.0/16 172.16.0.0/12 10.0.0.0/8\n";

/// A Debian tree with netd in it.
fn tree(host: &Host) -> PathBuf {
    let tree = host.tree("bookworm");
    let netd = std::fs::read(program("netd")).unwrap();
    host.write_program(tree.join(PROGRAM.strip_prefix('/').unwrap()), netd);
    tree
}

fn start<'a>(host: &'a Host, name: &str) -> Container<'a> {
    Start::new(host, name, &host.busybox_tree())
        .args(SLEEP)
        .start()
}

/// avahi-autoipd in a container's network, where it finds nothing that was set.
fn autoipd<'a>(host: &'a Host, container: &Container<'_>, first: &str) -> Running<'a> {
    container.run_in_network("ip -4 address flush dev host0");
    // Its file with its process id is named after the link alone.
    let script = format!(
        "mount -t tmpfs none /run
         exec avahi-autoipd --no-drop-root --no-chroot host0 --start={first}"
    );
    host.command_in_network(container.network(), "unshare")
        .args(["-m", "sh", "-euc", &script])
        .spawn("avahi-autoipd")
}

/// The link-local address of a container, once it has one.
#[track_caller]
fn address(container: &Container<'_>) -> String {
    let show = "ip -4 -o address show dev host0 | grep -o '169[.]254[.][0-9.]*' | head -n 1";
    let mut found = String::new();
    wait_until(SOON, || {
        found = container.run_in_network(show);
        !found.is_empty()
    });
    assert!(
        !found.is_empty(),
        "no link-local address in {}",
        container.name()
    );
    found
}

/// The host's link-local address on a link.
fn of_host(host: &Host, link: &str) -> String {
    host.run(&format!(
        "ip -4 -o address show dev {link} | grep -o '169[.]254[.][0-9.]*' | head -n 1"
    ))
}

#[track_caller]
fn wait_for_ping(host: &Host, to: &str) {
    let reached = wait_until(SOON, || host.sh(&format!("ping -4 -c1 -W1 {to}")).success());
    assert!(reached, "{to}\n{}", host.run("ip -4 address; ip -4 route"));
}

#[test]
fn containers_with_nothing_else_are_reached_and_have_names() {
    let host = host();
    host.write("/etc/netd/netd.conf", NO_SUBNETS);
    let netd = host.start_netd();
    let ours = Start::new(&host, "ours", &tree(&host)).args(SLEEP).start();
    let theirs = start(&host, "theirs");
    let _inside = ours.command(PROGRAM).arg("-vv").spawn("inside");
    let _autoipd = autoipd(&host, &theirs, "169.254.7.7");
    for container in [&ours, &theirs] {
        let (name, own) = (container.name(), address(container));
        wait_for_ping(&host, &own);
        // By its name, and the name by it.
        wait_for_ping(&host, name);
        let found = host.run(&format!("getent ahostsv4 {name}"));
        assert!(found.starts_with(&own), "{found}");
        let found = host.run(&format!("getent hosts {own}"));
        assert_eq!(found.split_whitespace().nth(1), Some(name), "{found}");
        // And back: the host has an address there of its own.
        let link = format!("ve-{name}");
        let host_side = of_host(&host, &link);
        assert!(!host_side.is_empty() && host_side != own, "{host_side}");
        container.run_in_network(&format!("ping -c1 -W5 {host_side}"));
        let route = host.run(&format!("ip -4 route show {own}"));
        assert!(route.contains(&format!("dev {link}")), "{route}");
        assert!(
            route.contains("scope link") && route.contains(&host_side),
            "{route}"
        );
    }
    let prefixes = host.run("ip -4 route show 169.254.0.0/16");
    assert_eq!(prefixes, "", "a route for all of them leads to one of them");
    assert!(!netd.stderr().contains("WARN cannot"), "{}", netd.stderr());
}

#[test]
fn two_containers_that_want_one_address_get_two() {
    let host = host();
    host.write("/etc/netd/netd.conf", NO_SUBNETS);
    let _netd = host.start_netd();
    let (a, b) = (start(&host, "a"), start(&host, "b"));
    let _first = autoipd(&host, &a, "169.254.7.7");
    assert_eq!(address(&a), "169.254.7.7");
    wait_for_ping(&host, "169.254.7.7");
    let _second = autoipd(&host, &b, "169.254.7.7");
    let other = address(&b);
    assert_ne!(other, "169.254.7.7");
    wait_for_ping(&host, "b");
    wait_for_ping(&host, "a");
    assert!(host.run("ip -4 route get 169.254.7.7").contains("dev ve-a"));
}

#[test]
fn it_goes_on_when_netd_is_started_anew_and_ends_with_the_container() {
    let host = host();
    host.write("/etc/netd/netd.conf", NO_SUBNETS);
    let netd = host.start_netd();
    let mut a = start(&host, "a");
    let _autoipd = autoipd(&host, &a, "169.254.7.7");
    wait_for_ping(&host, "a");
    let before = of_host(&host, "ve-a");
    let mut monitor = host
        .command("stdbuf")
        .args(["-oL", "ip", "-o", "monitor", "address", "route"])
        .spawn("monitor");
    let hears = wait_until(SOON, || {
        host.run("ip address replace 192.0.2.254/32 dev lo");
        monitor.stdout().contains("192.0.2.254")
    });
    assert!(hears && monitor.ended().is_none());
    drop(netd);
    host.wait_for_no_netd();
    let _netd = host.start_netd();
    wait_for_ping(&host, "169.254.7.7");
    assert_eq!(of_host(&host, "ve-a"), before);
    // It is put back when somebody takes it.
    assert!(
        !monitor.stdout().contains("Deleted"),
        "{}",
        monitor.stdout()
    );
    host.run(&format!("ip address del {before}/32 dev ve-a"));
    let is_back = || of_host(&host, "ve-a") == before;
    assert!(wait_until(SOON, is_back));
    wait_for_ping(&host, "169.254.7.7");
    a.end(libc::SIGTERM);
    let gone = || host.run("ip -4 route show 169.254.7.7").is_empty();
    assert!(wait_until(SOON, gone));
}

#[test]
fn links_that_use_none_have_none_and_those_that_may_not() {
    let host = host();
    host.write(
        "/etc/netd/10-no.network",
        "[Match]\nName=ve-no\n[Network]\nLinkLocalAddressing=no\n",
    );
    let _netd = host.start_netd();
    let (usual, no) = (start(&host, "usual"), start(&host, "no"));
    host.run("ping -c1 -W5 usual");
    let _autoipd = autoipd(&host, &no, "169.254.7.7");
    address(&no);
    // What came after it by the same socket was heard, so that was as well.
    let third = start(&host, "third");
    let _third = autoipd(&host, &third, "169.254.8.8");
    wait_for_ping(&host, &address(&third));
    assert_eq!(of_host(&host, "ve-usual"), "");
    assert_eq!(of_host(&host, "ve-no"), "");
    assert_eq!(host.run("ip -4 route show 169.254.7.7"), "");
    // A name stands for what was assigned.
    assert!(
        !third.ipv4().to_string().starts_with("169.254."),
        "{:?}",
        third.record()
    );
    drop(usual);
}

#[test]
fn nobody_takes_the_hosts_ways_nor_drowns_the_others() {
    with_netd(|host, netd| {
        // A way of the host's own, and where clouds answer.
        host.run(
            "ip link add lan0 type veth peer name lan1; ip address add 169.254.50.1/24 dev lan0
             ip link set lan0 up; ip link set lan1 up",
        );
        let evil = start(host, "evil");
        let announce = "import socket, struct, sys, time
s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
mac = bytes.fromhex(open('/sys/class/net/host0/address').read().strip().replace(':', ''))
def say(ip):
    ip = socket.inet_aton(ip)
    s.sendto(struct.pack('!HHBBH', 1, 0x800, 6, 4, 1) + mac + ip + bytes(6) + ip,
             ('host0', 0x806, 0, 0, b'\\xff' * 6))
mac = bytes.fromhex(sys.argv[1].replace(':', ''))
if sys.argv[2] == 'flood':
    end = time.time() + 6
    n = 0
    while time.time() < end:
        n += 1
        say('169.254.%d.%d' % (1 + n // 256 % 200, n % 256))
else:
    for ip in sys.argv[2:]: say(ip)
";
        host.write("/tmp/announce.py", announce.replace(
            "mac = bytes.fromhex(open('/sys/class/net/host0/address').read().strip().replace(':', ''))\n",
            "",
        ));
        let mac = evil.run("cat /sys/class/net/host0/address");
        evil.run_in_network(&format!(
            "python3 /tmp/announce.py {mac} 169.254.169.254 169.254.50.7 169.254.50.1 169.254.9.9"
        ));
        let last = || host.run("ip -4 route show 169.254.9.9").contains("ve-evil");
        assert!(wait_until(SOON, last), "{}", host.run("ip -4 route"));
        for ip in ["169.254.169.254", "169.254.50.7", "169.254.50.1"] {
            let way = host.sh(&format!("ip -4 route get {ip}")).stdout;
            assert!(!way.contains("ve-evil"), "{way}");
        }
        // A flood, beside which another container's is heard.
        let before = cpu_ms(netd.pid());
        let mut flood = host
            .command_in_network(evil.network(), "python3")
            .args(["/tmp/announce.py", &mac, "flood"])
            .spawn("flood");
        let good = start(host, "good");
        let _autoipd = autoipd(host, &good, "169.254.220.7");
        wait_for_ping(host, &address(&good));
        flood.wait(SOON);
        let spent = cpu_ms(netd.pid()) - before;
        assert!(spent < 2500, "{spent} ms");
        let routes = host.run("ip -4 route | grep -c '^169.254.*ve-evil'");
        assert!(routes.trim().parse::<u32>().unwrap() <= 4, "{routes}");
    });
}
