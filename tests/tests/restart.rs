//! netd ends and comes back; the containers' network stays as it is.

use netns_fixtures::{Host, NETD_CGROUP, wait_until};
use rspawn_tests::{Container, SOON, Start, host, outside, record};

fn sleeping<'a>(host: &'a Host, name: &str) -> Container<'a> {
    let tree = host.busybox_tree();
    Start::new(host, name, &tree)
        .args(["-a", "/bin/sleep", "1000"])
        .start()
}

#[test]
fn the_network_stays_and_machines_are_adopted() {
    let host = host();
    let _outside = outside(&host);
    let mut netd = host.start_netd();
    let mut web = sleeping(&host, "web");
    let address = web.ipv4();
    let state = || {
        host.run(
            "ip -o address show ve-web; ip route; nft -s -t list ruleset; sysctl net.ipv4.ip_forward",
        )
    };
    let before = state();
    for signal in [libc::SIGTERM, libc::SIGKILL] {
        netd.signal(signal);
        netd.wait(SOON);
        assert!(web.supervisor().ended().is_none());
        host.run("ping -c1 -W5 web");
        web.run("ping -c1 -W5 198.51.100.2");
        netd = host.start_netd();
        assert!(
            wait_until(SOON, || record(&host, "web").is_some() && state() == before),
            "before:\n{before}\nafter:\n{}",
            state()
        );
        assert_eq!(web.ipv4(), address);
        web.run("ping -c1 -W5 198.51.100.2");
    }
    // The adopted one's end is seen, and a new one takes its name.
    web.end(libc::SIGTERM);
    assert!(wait_until(SOON, || record(&host, "web").is_none()));
    let again = sleeping(&host, "web");
    assert_eq!(again.ipv4(), address);
}

#[test]
fn a_machine_that_ended_meanwhile_is_forgotten() {
    let host = host();
    let netd = host.start_netd();
    let mut web = sleeping(&host, "web");
    let mut db = sleeping(&host, "db");
    drop(netd);
    host.wait_for_no_netd();
    web.end(libc::SIGTERM);
    // One whose supervisor was killed as well: what is left of it ends when netd is back.
    db.supervisor().signal(libc::SIGKILL);
    db.wait();
    let _netd = host.start_netd();
    assert!(wait_until(SOON, || record(&host, "web").is_none()
        && record(&host, "db").is_none()));
    assert!(wait_until(SOON, || host
        .run("pgrep -f '[s]leep 1000' || true")
        .is_empty()));
}

#[test]
fn a_second_pass_over_an_unchanged_world_writes_nothing() {
    let host = host();
    let netd = host.start_netd();
    let _web = sleeping(&host, "web");
    host.run("ping -c1 -W5 web");
    let sockets = host.run("ip -o link show ve-web");
    let mut changes = host
        .command("sh")
        .args(["-c", "ip monitor link address route & nft monitor & wait"])
        .cgroup("monitor")
        .spawn("changes");
    assert!(wait_until(SOON, || host
        .run("pgrep -c -x 'ip|nft' || true")
        == "2"));
    drop(netd);
    host.wait_for_no_netd();
    let _netd = host.start_netd();
    // Something that netd sees and does nothing about marks the end.
    host.run("ip link add marker type bridge; ip link set marker up");
    changes.wait_for_output("marker", SOON);
    assert!(wait_until(SOON, || host
        .sh("rspawnctl list")
        .stdout
        .contains("web")));
    let seen: Vec<String> = changes
        .stdout()
        .lines()
        .filter(|line| line.contains("ve-web") || line.contains("rspawn"))
        // It says that the table is its own now; the one that ended owned it.
        .filter(|line| *line != "add table inet rspawn")
        .map(str::to_owned)
        .collect();
    assert!(seen.is_empty(), "{seen:?}");
    assert_eq!(host.run("ip -o link show ve-web"), sockets);
    host.kill_cgroup("monitor");
    assert!(!host.processes_in(NETD_CGROUP).is_empty());
}
