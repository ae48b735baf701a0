//! netd while it serves: what it may still do, and that it is enough.

use std::fs;

use netns_fixtures::{Host, Running, wait_until};
use rspawn_tests::{SOON, Start, host, with_netd};

/// CAP_NET_BIND_SERVICE, CAP_NET_ADMIN and CAP_NET_RAW, as proc_pid_status(5) has them.
const KEPT: &str = "0000000000003400";
const NONE: &str = "0000000000000000";

/// The status of each thread of netd's.
fn threads(netd: &Running<'_>) -> Vec<String> {
    fs::read_dir(format!("/proc/{}/task", netd.pid()))
        .unwrap()
        .filter_map(|thread| fs::read_to_string(thread.unwrap().path().join("status")).ok())
        .collect()
}

/// Whether netd has given up in all its threads what it does not need.
#[track_caller]
fn assert_confined(netd: &Running<'_>) {
    let threads = threads(netd);
    assert!(threads.len() >= 2, "netd has a worker: {threads:?}");
    for status in threads {
        for (key, value) in [
            ("CapInh", NONE),
            ("CapPrm", KEPT),
            ("CapEff", KEPT),
            ("CapBnd", KEPT),
            ("CapAmb", NONE),
            ("NoNewPrivs", "1"),
            ("Seccomp", "2"),
        ] {
            assert!(
                status.contains(&format!("\n{key}:\t{value}\n")),
                "{key}: {status}"
            );
        }
        assert!(status.contains("\nUid:\t0\t0\t0\t0\n"), "{status}");
    }
}

/// netd once it serves on both its sockets, which it does after giving up.
fn wait_for_bus(host: &Host) {
    assert!(wait_until(SOON, || host.exists("/run/rspawn/bus.sock")));
}

/// Uses all that netd has to do for containers.
fn serves_containers(host: &Host) {
    host.run("ip link set lo up");
    let tree = host.busybox_tree();
    let mut web = Start::new(host, "web", &tree)
        .args(["-a", "/bin/sleep", "1000"])
        .start();
    host.run("ping -c1 -W5 web; rspawnctl status web; getent hosts web");
    web.run("udhcpc -i host0 -n -q -f -t 5 -T 1");
    host.run("setpriv --reuid=65534 --regid=65534 --clear-groups rspawnctl list");
    host.run("ip address flush dev ve-web");
    assert!(wait_until(SOON, || host.sh("ping -c1 -W1 web").success()));
    host.run("nft flush ruleset");
    assert!(wait_until(SOON, || host
        .sh("nft list table inet rspawn | grep -q masquerade")
        .success()));
    // Its supervisor crashes: netd ends what is left, cgroup and all.
    web.supervisor().signal(libc::SIGKILL);
    let cgroup = "/sys/fs/cgroup/machine.slice/machine-web.scope";
    assert!(wait_until(SOON, || !host.exists(cgroup)
        && !host.exists("/run/rspawn/machines/web")));
    assert!(
        wait_until(SOON, || !host.exists(tree.join("proc"))),
        "what was made in the tree is left"
    );
}

#[test]
fn netd_serves_with_what_it_has_kept() {
    with_netd(|host, netd| {
        wait_for_bus(host);
        assert_confined(netd);
        serves_containers(host);
        // Threads that came meanwhile have no more.
        assert_confined(netd);
        assert!(!netd.stderr().contains("ERROR"), "{}", netd.stderr());
    });
}

#[test]
fn netd_serves_when_it_is_given_no_more() {
    let host = host();
    let bounds = "--bounding-set=-all,+net_admin,+net_raw,+net_bind_service";
    let mut netd = host
        .command("setpriv")
        .args([bounds, "--no-new-privs", netns_fixtures::NETD])
        .cgroup("netd.service")
        .spawn("netd");
    wait_for_bus(&host);
    assert_confined(&netd);
    serves_containers(&host);
    assert!(netd.ended().is_none());
    assert!(!netd.stderr().contains("bounding set"), "{}", netd.stderr());
}

#[test]
fn a_bounding_set_that_cannot_be_limited_is_told_and_nothing_else_is_left() {
    let host = host();
    let netd = host
        .command("setpriv")
        .args(["--bounding-set=-setpcap", netns_fixtures::NETD])
        .cgroup("netd.service")
        .spawn("netd");
    wait_for_bus(&host);
    assert_eq!(
        netd.stderr().matches("bounding set").count(),
        1,
        "{}",
        netd.stderr()
    );
    for status in threads(&netd) {
        assert!(status.contains(&format!("\nCapPrm:\t{KEPT}\n")), "{status}");
    }
}

#[test]
fn without_the_sandbox_all_is_kept_and_undoing_works_either_way() {
    let host = host();
    for arguments in [&["--no-sandbox"][..], &[]] {
        let mut netd = host.start_netd_with(arguments);
        wait_for_bus(&host);
        let unconfined = threads(&netd)
            .iter()
            .all(|status| status.contains("\nSeccomp:\t0\n"));
        assert_eq!(unconfined, !arguments.is_empty());
        netd.signal(libc::SIGTERM);
        assert!(netd.wait(SOON).success());
        host.run("nft list table inet rspawn");
        host.run("/usr/lib/rspawn/netd --undo; ! nft list table inet rspawn");
        host.run("rm /run/rspawn/bus.sock");
    }
}

#[test]
fn what_netd_writes_is_for_all_to_read_whatever_the_umask_is() {
    let host = host();
    let _netd = host
        .command("sh")
        .args(["-c", "umask 077; exec /usr/lib/rspawn/netd"])
        .cgroup("netd.service")
        .spawn("netd");
    wait_for_bus(&host);
    let tree = host.busybox_tree();
    let _web = Start::new(&host, "web", &tree)
        .args(["-a", "/bin/sleep", "1000"])
        .start();
    host.run("setpriv --reuid=65534 --regid=65534 --clear-groups getent hosts web");
}

#[test]
fn a_proc_that_hides_processes_hides_none_from_netd() {
    let host = host();
    host.run("mount -o remount,hidepid=invisible /proc");
    let _netd = host.start_netd();
    let nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups";
    assert!(!host.sh(&format!("{nobody} test -e /proc/1")).success());
    let tree = host.busybox_tree();
    let _web = Start::new(&host, "web", &tree)
        .args(["-a", "/bin/sleep", "1000"])
        .start();
    host.run("ip link set lo up; ping -c1 -W5 web");
}
