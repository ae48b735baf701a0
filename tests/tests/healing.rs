//! What somebody takes away of netd's is put back within a second, and the log says what
//! and, where the kernel tells, who took it.

use std::time::{Duration, Instant};

use netns_fixtures::{Host, Running, wait_until};
use rspawn_tests::{Container, SOON, Start, host, record, with_netd};

const WITHIN: Duration = Duration::from_secs(1);
/// A machine that is busy with other things may take longer once.
const ATTEMPTS: u32 = 3;

fn sleeping<'a>(host: &'a Host, name: &str) -> Container<'a> {
    let tree = host.busybox_tree();
    Start::new(host, name, &tree)
        .args(["-a", "/bin/sleep", "1000"])
        .start()
}

/// Breaks something and waits until `whole` gives again what it gave before.
#[track_caller]
fn heals(host: &Host, breaking: &str, whole: &str) {
    let before = host.run(whole);
    for attempt in 1.. {
        host.run(breaking);
        let began = Instant::now();
        let healed = wait_until(SOON, || host.sh(whole).stdout.trim() == before.trim());
        assert!(
            healed,
            "{breaking}\nbefore:\n{before}\nnow:\n{}",
            host.sh(whole).stdout
        );
        if began.elapsed() <= WITHIN {
            return;
        }
        assert!(
            attempt < ATTEMPTS,
            "{breaking}: healed after {:?}",
            began.elapsed()
        );
    }
}

#[track_caller]
fn logged(netd: &Running<'_>, texts: &[&str]) {
    let said = |log: &str| {
        log.lines()
            .any(|line| texts.iter().all(|text| line.contains(text)))
    };
    assert!(
        wait_until(SOON, || said(&netd.stderr())),
        "{texts:?} not in:\n{}",
        netd.stderr()
    );
}

#[test]
fn addresses_and_links() {
    with_netd(|host, netd| {
        let web = sleeping(host, "web");
        let ipv4 = host.run("ip -4 -o address show ve-web | awk '{print $4}'");
        let addresses = "ip -o address show ve-web scope global | awk '{print $3, $4}' | sort";
        heals(
            host,
            &format!("ip address del {} dev ve-web", ipv4.trim()),
            addresses,
        );
        logged(
            netd,
            &["web", "restored: address", ipv4.trim(), "taken away by"],
        );
        heals(
            host,
            "ip -6 address flush dev ve-web scope global",
            addresses,
        );
        heals(host, "ip address flush dev ve-web", addresses);
        let up =
            "ip -o link show ve-web up | wc -l; ip -o address show ve-web scope global | wc -l";
        heals(host, "ip link set ve-web down", up);
        logged(netd, &["web", "the link set up"]);
        host.run(&format!("ping -c1 -W5 {}", web.ipv4()));
    });
}

#[test]
fn routes() {
    with_netd(|host, netd| {
        let web = sleeping(host, "web");
        let routes = "ip -4 route show dev ve-web; ip -6 route show dev ve-web";
        assert!(wait_until(SOON, || host.run(routes).contains("fe80::/64")));
        let ipv4 = host.run("ip -4 route show dev ve-web | awk '{print $1}'");
        let ipv4 = ipv4.trim();
        heals(host, &format!("ip route del {ipv4} dev ve-web"), routes);
        logged(netd, &["web", "restored: route", ipv4, "taken away by"]);
        host.run(&format!("ping -c1 -W5 {}", web.ipv4()));
        heals(host, "ip route flush dev ve-web", routes);
        heals(host, "ip -6 route flush dev ve-web", routes);
        logged(netd, &["web", "restored: route fd", "route fe80::/64"]);
        host.run("ping -c1 -W5 web");
        // With the entry by which the host knows the address for its own.
        let all = "ip -4 route show table all dev ve-web";
        heals(host, "ip -4 route flush table all dev ve-web", all);
        // Another's route in its place is its business, but not the place.
        heals(
            host,
            &format!("ip route replace {ipv4} dev lo; sleep 0.1; ip route del {ipv4} dev lo"),
            routes,
        );
        host.run("ping -c1 -W5 web");
        // What the kernel makes with an address, it goes with it.
        heals(host, "ip address flush dev ve-web scope global", routes);
        heals(
            host,
            "ip link set ve-web down",
            "ip -4 route show dev ve-web",
        );
    });
}

#[test]
fn the_kernel_is_not_forestalled() {
    with_netd(|host, netd| {
        let _all: Vec<Container<'_>> = ["web", "db", "mail"]
            .iter()
            .map(|name| sleeping(host, name))
            .collect();
        let up = "ip -o link show up | grep -c ve-; ip -4 route | grep -c ve-";
        heals(
            host,
            "for n in web db mail; do ip link set ve-$n down; done",
            up,
        );
        host.run("for n in 1 2 3; do ip link set ve-web down; ip link set ve-web up; done");
        assert!(!netd.stderr().contains("route"), "{}", netd.stderr());
    });
}

#[test]
fn ipv6_that_was_off() {
    with_netd(|host, netd| {
        let _web = sleeping(host, "web");
        let whole = "ip -6 -o address show dev ve-web scope global | awk '{print $4}'; \
                     cd /proc/sys/net/ipv6/conf/ve-web && head -n1 accept_ra autoconf \
                     accept_redirects proxy_ndp; ip -6 route show dev ve-web | sort; \
                     getent ahostsv6 web";
        let off_and_on = |off: &str, on: &str| {
            let noticed = "while grep -q ADDRESS=fd /run/rspawn/machines/web; do sleep 0.02; done";
            format!("{off}; timeout 10 sh -c '{noticed}'; {on}")
        };
        let disable = |value| format!("sysctl -qw net.ipv6.conf.ve-web.disable_ipv6={value}");
        let mtu = |value| format!("ip link set ve-web mtu {value}");
        assert!(wait_until(SOON, || host
            .sh(whole)
            .stdout
            .contains("fe80::/64")));
        heals(host, &off_and_on(&disable(1), &disable(0)), whole);
        logged(netd, &["web", "no IPv6 address"]);
        logged(netd, &["web", "restored: address fd"]);
        heals(host, &off_and_on(&mtu(1000), &mtu(1500)), whole);
        logged(netd, &["web", "restored: ", "ve-web/accept_ra was 1, is 0"]);
        // Also where it is on again before netd has looked.
        heals(host, &format!("{}; {}", mtu(1000), mtu(1500)), whole);
        heals(host, &format!("{}; {}", disable(1), disable(0)), whole);
        // What the kernel has made anew is watched as well.
        heals(host, "sysctl -qw net.ipv6.conf.ve-web.accept_ra=2", whole);
        let v6 = host.run("getent ahostsv6 web | awk '{print $1; exit}'");
        host.run(&format!("ping -c1 -w5 -i0.2 {v6}"));
        // Said once each time.
        let log = netd.stderr();
        let most = 4 * ATTEMPTS as usize;
        assert!(log.matches("no IPv6 address").count() <= most, "{log}");
    });
}

const BRIDGE: &str =
    "ip link add br0 type bridge; ip address add 10.77.0.1/24 dev br0; ip link set br0 up";

fn on_bridge<'a>(host: &'a Host, name: &str) -> Container<'a> {
    let tree = host.busybox_tree();
    let container = Start::without_network(host, name, &tree)
        .args(["--network-bridge=br0", "-a", "/bin/sleep", "1000"])
        .start();
    // It is registered once its link is there, and then that is set up inside.
    let is_up = || container.sh("ip link show up").stdout.contains("host0");
    assert!(wait_until(SOON, is_up), "{name}");
    container
}

#[test]
fn ports_of_bridges() {
    let host = host();
    let mut netd = host.start_netd();
    let host = &host;
    host.run(BRIDGE);
    let db = on_bridge(host, "db");
    db.run("ip address add 10.77.0.7/24 dev host0");
    let port = "ip -o link show up master br0 | awk '{print $2}'";
    assert!(wait_until(SOON, || host.run(port).contains("vb-db")));
    let quiet = netd.stderr();
    assert!(!quiet.contains("restored"), "{quiet}");
    heals(host, "ip link set vb-db down", port);
    logged(&netd, &["db", "restored: the link set up"]);
    heals(host, "ip link set vb-db nomaster", port);
    logged(&netd, &["db", "restored: port of br0"]);
    heals(
        host,
        "ip link set vb-db nomaster; ip link set vb-db down",
        port,
    );
    host.run("ping -c1 -W5 10.77.0.7");
    // Also by a netd that has come later.
    netd.signal(libc::SIGKILL);
    netd.wait(SOON);
    netd = host.start_netd();
    heals(host, "ip link set vb-db nomaster", port);
    logged(&netd, &["db", "restored: port of br0"]);
}

#[test]
fn a_bridge_that_is_deleted_and_made_anew() {
    with_netd(|host, netd| {
        host.run(BRIDGE);
        let db = on_bridge(host, "db");
        let mail = on_bridge(host, "mail");
        db.run("ip address add 10.77.0.7/24 dev host0");
        mail.run("ip address add 10.77.0.8/24 dev host0");
        let found = "getent hosts db mail | wc -l";
        assert!(wait_until(SOON, || host.run(found).trim() == "2"));
        host.run("ip link del br0");
        logged(netd, &["db", "br0", "was deleted"]);
        logged(netd, &["mail", "br0", "was deleted"]);
        // Who moves it elsewhere had a reason.
        host.run("ip link add br1 type bridge; ip link set vb-mail master br1");
        let ports = "ip -o link show up master br0 | grep -c vb-db; \
                     ip -o link show up master br1 | grep -c vb-mail";
        host.run(BRIDGE);
        assert!(
            wait_until(WITHIN * 3, || host
                .sh(ports)
                .stdout
                .split_whitespace()
                .eq(["1", "1"])),
            "{}\n{}",
            host.run("ip link"),
            netd.stderr()
        );
        host.run("ping -c1 -W5 db");
        let index = host.run("cat /sys/class/net/br0/ifindex");
        let values = |key: &str| record(host, "db").unwrap_or_default().remove(key);
        assert!(wait_until(SOON, || values("NETIF")
            == Some(vec![index.trim().to_owned()])));
        let log = netd.stderr();
        assert_eq!(log.matches("was deleted").count(), 2, "{log}");
        assert!(!log.contains("ERROR"), "{log}");
    });
}

#[test]
fn the_log_names_the_program() {
    with_netd(|host, netd| {
        let _web = sleeping(host, "web");
        // One that is still there when netd looks.
        host.run(
            "{ echo address flush dev ve-web; yes link show lo | head -n 20000; } | ip -batch - >/dev/null &
             sleep 1; kill $! || true",
        );
        logged(
            netd,
            &["restored: address", "taken away by process", ", ip"],
        );
    });
}

#[test]
fn a_program_that_takes_away_for_ever_is_not_wrestled_with() {
    with_netd(|host, netd| {
        let _web = sleeping(host, "web");
        host.run("timeout 4 sh -c 'while :; do ip link set ve-web down; done' || true");
        logged(netd, &["ve-web", "again and again"]);
        let lines = netd.stderr().matches("restored").count();
        assert!(lines < 30, "{lines} lines:\n{}", netd.stderr());
        // It is put back all the same.
        assert!(wait_until(SOON * 2, || host
            .sh("ip -o link show ve-web up")
            .stdout
            .contains("ve-web")));
    });
}

#[test]
fn kernel_parameters() {
    with_netd(|host, netd| {
        let _web = sleeping(host, "web");
        let link = "cd /proc/sys/net; head ipv6/conf/ve-web/accept_ra \
                    ipv6/conf/ve-web/accept_redirects ipv4/conf/ve-web/rp_filter \
                    ipv4/conf/ve-web/route_localnet";
        for (parameter, value) in [
            ("net.ipv6.conf.ve-web.accept_ra", "2"),
            ("net.ipv6.conf.ve-web.accept_redirects", "1"),
            ("net.ipv4.conf.ve-web.rp_filter", "0"),
            ("net.ipv4.conf.ve-web.route_localnet", "1"),
        ] {
            heals(host, &format!("sysctl -qw {parameter}={value}"), link);
            let path = format!("/proc/sys/{}", parameter.replace('.', "/"));
            logged(netd, &["web", "restored", &path, &format!("was {value}")]);
        }
        let forwarding =
            "cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf/ve-web/forwarding";
        heals(host, "sysctl -qw net.ipv4.ip_forward=0", forwarding);
        logged(
            netd,
            &["restored", "/proc/sys/net/ipv4/conf/all/forwarding"],
        );
        // Who writes what is there already takes nothing away.
        host.run("for i in $(seq 12); do sysctl -qw net.ipv4.ip_forward=1; sleep 0.05; done");
        assert!(
            !netd.stderr().contains("again and again"),
            "{}",
            netd.stderr()
        );
        // Also after the kernel was short of memory and has forgotten what nobody uses.
        host.run("echo 2 >/proc/sys/vm/drop_caches || true");
        heals(host, "sysctl -qw net.ipv6.conf.ve-web.accept_ra=1", link);
    });
}

#[test]
fn files() {
    with_netd(|host, netd| {
        let web = sleeping(host, "web");
        let record_file = "cat /run/rspawn/machines/web";
        heals(host, "rm /run/rspawn/machines/web", record_file);
        logged(netd, &["removed files", "restored"]);
        heals(host, "mv /run/rspawn/machines/web /tmp/web", record_file);
        let names =
            "getent hosts web; getent hosts $(getent ahostsv4 web | awk '{print $1; exit}')";
        heals(host, "rm -r /run/rspawn/addresses", names);
        // The lock of the name, which web's own rspawn holds, is nothing that netd can make anew.
        let all =
            "cd /run/rspawn && ls -d machines machines/* addresses addresses/* *.sock netd.lock";
        heals(host, "rm -r /run/rspawn/*", all);
        logged(
            netd,
            &["restored", "supervisor.sock", "bus.sock", "netd.lock"],
        );
        assert!(wait_until(SOON, || host
            .sh("rspawnctl list")
            .stdout
            .contains("web")));
        heals(host, "rm -r /run/rspawn", all);
        let subnets = "ls /var/lib/rspawn/subnets; grep -h ^IPV /var/lib/rspawn/subnets/*";
        heals(host, "rm -r /var/lib/rspawn/*", subnets);
        heals(host, "rm /var/lib/rspawn/subnets/*", subnets);
        // All of it serves: a second netd is refused, another container comes and is found.
        assert!(!host.sh("/usr/lib/rspawn/netd").success());
        let db = sleeping(host, "db");
        host.run("ping -c1 -W5 db; ping -c1 -W5 web");
        // Who ends is who was meant, though each came by a socket of its own.
        let (mut web, mut db) = (web, db);
        web.end(libc::SIGTERM);
        assert!(wait_until(SOON, || record(host, "web").is_none()));
        host.run("ping -c1 -W5 db");
        db.end(libc::SIGTERM);
        assert!(wait_until(SOON, || record(host, "db").is_none()));
        let listed = host.run("rspawnctl list");
        assert!(
            !listed.contains("web") && !listed.contains("db"),
            "{listed}"
        );
    });
}

#[test]
fn a_link_that_is_deleted_is_nobodys_address() {
    with_netd(|host, netd| {
        let _web = sleeping(host, "web");
        host.run("getent hosts web; ip link del ve-web");
        assert!(wait_until(SOON, || !host.sh("getent hosts web").success()));
        logged(netd, &["web", "its link was deleted"]);
    });
}

#[test]
fn a_name_whose_file_was_removed_is_not_taken_from_who_runs() {
    with_netd(|host, _netd| {
        let mut web = sleeping(host, "web");
        host.run("rm /run/rspawn/names/web");
        let tree = host.busybox_tree();
        let second = Start::new(host, "web", &tree)
            .args(["-a", "/bin/true"])
            .output();
        assert!(!second.success(), "{second}");
        assert!(second.stderr.contains("runs"), "{second}");
        host.run("ping -c1 -W5 web");
        assert!(web.supervisor().ended().is_none());
    });
}
