//! How a container ends, and how it comes back.

use std::os::unix::process::ExitStatusExt;

use netns_fixtures::wait_until;
use rspawn_tests::{SOON, Start, host, record, with_netd};

#[test]
fn a_reboot_restarts_the_container_and_a_signal_ends_it_in_order() {
    with_netd(|host, _netd| {
        let tree = host.tree("bookworm");
        let mut web = Start::new(host, "web", &tree).boot();
        let address = web.ipv4();
        let boot_id = web.run("cat /proc/sys/kernel/random/boot_id");
        web.run("touch /run/before");

        let _ = web.sh("systemctl reboot");
        web.wait_for_restart();
        web.wait_for_boot();
        assert_eq!(web.ipv4(), address, "it keeps its address");
        assert!(!web.sh("test -e /run/before").success(), "/run is new");
        assert_ne!(web.run("cat /proc/sys/kernel/random/boot_id"), boot_id);
        host.run("ping -c1 -W5 web");

        // A clean stop: what the tree does at its end is done.
        web.run(
            "printf '[Service]\\nType=oneshot\\nRemainAfterExit=yes\\nExecStop=/bin/touch /stopped\\n' >/run/systemd/system/mark.service
             systemctl daemon-reload; systemctl start mark",
        );
        assert_eq!(web.end(libc::SIGTERM).code(), Some(0));
        assert!(
            host.exists(tree.join("stopped")),
            "init was not stopped in order"
        );
        assert!(wait_until(SOON, || record(host, "web").is_none()));
    });
}

#[test]
fn the_second_signal_kills() {
    let host = host();
    let tree = host.busybox_tree();
    let script = "trap 'echo asked' USR1; echo ready; while :; do sleep 0.1; done";
    let mut web = Start::without_network(&host, "web", &tree)
        .args([
            "--private-network",
            "--kill-signal=SIGUSR1",
            "/bin/sh",
            "-c",
            script,
        ])
        .start();
    web.supervisor().wait_for_output("ready", SOON);
    web.supervisor().signal(libc::SIGTERM);
    web.supervisor().wait_for_output("asked", SOON);
    assert!(web.supervisor().ended().is_none(), "once is a request");
    let ended = web.end(libc::SIGTERM);
    assert!(!ended.success(), "killed: {ended:?}");
    assert!(host.processes_in("web.service").is_empty());
}

#[test]
fn sigint_is_as_sigterm() {
    let host = host();
    let tree = host.busybox_tree();
    let script = "trap 'exit 9' USR1; echo ready; while :; do sleep 0.1; done";
    let mut web = Start::without_network(&host, "web", &tree)
        .args(["--kill-signal=SIGUSR1", "/bin/sh", "-c", script])
        .start();
    web.supervisor().wait_for_output("ready", SOON);
    assert_eq!(web.end(libc::SIGINT).code(), Some(9));
}

#[test]
fn nothing_outlives_a_supervisor_that_is_killed() {
    with_netd(|host, _netd| {
        let tree = host.busybox_tree();
        // The payload clears the signal that it would get at its parent's end, as
        // any program does that changes its user.
        let mut web = Start::new(host, "web", &tree)
            .args(["-a", "/bin/sh", "-c", "setsid sleep 4242 & exec sleep 4243"])
            .start();
        host.run("ping -c1 -W5 web");
        web.supervisor().signal(libc::SIGKILL);
        assert_eq!(web.wait().signal(), Some(libc::SIGKILL));
        let payloads = || host.run("pgrep -f '[s]leep 424' || true");
        assert!(
            wait_until(SOON, || payloads().is_empty()),
            "left: {}",
            payloads()
        );
        assert!(
            wait_until(SOON, || record(host, "web").is_none()),
            "the record is left"
        );
        assert!(!host.sh("getent -s rspawn hosts web").success());
        // And the name is free at once.
        let mut again = Start::new(host, "web", &tree)
            .args(["-a", "/bin/sleep", "100"])
            .start();
        host.run("ping -c1 -W5 web");
        again.end(libc::SIGTERM);
    });
}

/// The kernel frees a container's link with its network namespace, whoever holds that.
#[test]
fn a_link_that_outlives_its_container_leads_nowhere() {
    with_netd(|host, _netd| {
        let tree = host.busybox_tree();
        let sleeping = || {
            let start = Start::new(host, "web", &tree);
            start.args(["-a", "/bin/sleep", "100"]).start()
        };
        for end in [libc::SIGTERM, libc::SIGKILL] {
            let mut web = sleeping();
            let holder = web.hold_network();
            let gateway = web.addresses().into_iter().find(std::net::IpAddr::is_ipv6);
            host.run(&format!(
                "ip -6 route add fd99::/64 via {}",
                gateway.unwrap()
            ));
            web.supervisor().signal(end);
            web.wait();
            assert!(wait_until(SOON, || record(host, "web").is_none()));

            let mut again = sleeping();
            for family in ["-4", "-6"] {
                host.run(&format!("ping {family} -c1 -W5 web"));
            }
            let dead =
                host.run("ip -o link show | sed -n 's/.*: \\(x[0-9]*\\)@.*/\\1/p' | tail -n1");
            let routes = host.run(&format!(
                "ip route show dev {dead}; ip -6 route show dev {dead}"
            ));
            assert!(
                routes.lines().all(|route| route.starts_with("fe80::")),
                "{routes}"
            );
            again.end(libc::SIGTERM);
            let state = || host.run(&format!("ip -o link show {dead}"));
            let down = wait_until(SOON, || !state().contains(",UP"));
            assert!(down, "up for ever: {}", state());
            drop(holder);
        }
    });
}

/// Who has been there is nothing that the firewall remembers.
#[test]
fn nothing_of_an_ended_container_is_left_in_the_firewall() {
    with_netd(|host, _netd| {
        let tree = host.busybox_tree();
        let mut web = Start::new(host, "web", &tree)
            .args(["-a", "/bin/sleep", "100"])
            .start();
        let known = || {
            host.run(
                "nft list set inet rspawn ipv4_hosts; nft list set inet rspawn new_ipv4_sources",
            )
        };
        host.run("ping -c1 -W5 -4 web");
        assert!(known().contains(&web.ipv4().to_string()), "{}", known());
        web.end(libc::SIGTERM);
        let forgotten = wait_until(SOON, || !known().contains("elements"));
        assert!(forgotten, "left: {}", known());
    });
}

#[test]
fn a_name_can_be_taken_again_and_again() {
    with_netd(|host, _netd| {
        let tree = host.busybox_tree();
        let mut addresses = std::collections::BTreeSet::new();
        for round in 0..20 {
            let output = Start::new(host, "web", &tree)
                .args([
                    "-a",
                    "/bin/sh",
                    "-c",
                    "ip -o address show dev host0 scope global",
                ])
                .output();
            assert!(output.success(), "round {round}: {output}");
            let words = output.stdout.split_whitespace().map(str::to_owned);
            addresses.extend(words.filter(|word| word.contains("/28") || word.contains("/64")));
        }
        assert_eq!(addresses.len(), 2, "always the same two: {addresses:?}");
        let links = || host.run("ip -o link show");
        assert!(
            wait_until(SOON, || links().lines().count() == 1),
            "links are left: {}",
            links()
        );
        assert!(host.run("ls /run/rspawn/machines").is_empty());
    });
}
