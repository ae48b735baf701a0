//! Files of `/etc/netd` that are changed while netd runs, and what DHCP clients have.

use std::path::Path;

use netns_fixtures::{Host, wait_until};
use rspawn_tests::{Container, SOON, Start, record, with_netd};
use serde_json::Value;

fn start<'a>(host: &'a Host, name: &str, tree: &Path) -> Container<'a> {
    Start::new(host, name, tree)
        .args(["-a", "/bin/sleep", "1000"])
        .start()
}

/// What DHCP tells the container, as the variables of a shell; nothing without a lease.
fn lease(machine: &Container<'_>) -> String {
    ask(machine, 20)
}

/// The same, asking so many times, once a second.
fn ask(machine: &Container<'_>, times: u32) -> String {
    machine.run(&format!(
        "printf '#!/bin/sh\\n[ $1 = bound ] || exit 0\\nset | grep ^[a-z]' >/tmp/told; chmod +x /tmp/told; \
         busybox udhcpc -i host0 -f -n -q -t {times} -T 1 -x hostname:called-so -O search -O ntpsrv \
         -O staticroutes -O 114 -O 224 -O tzdbstr -O 101 -s /tmp/told 2>/dev/null || true"
    ))
}

#[test]
fn what_is_said_anew_holds_and_what_is_said_as_before_is_not_touched() {
    with_netd(|host, netd| {
        let tree = host.busybox_tree();
        let web = start(host, "web", &tree);
        let other = start(host, "other", &host.overlay(&tree, "other"));
        assert!(lease(&web).contains("lease='3600'"));
        let before = (host.run("ip address show dev ve-other"), lease(&other));
        let events = host
            .command("ip")
            .args(["monitor", "link", "address", "route"])
            .spawn("events");
        host.write(
            "/etc/netd/50-web.network",
            "[Match]\nName=ve-web\n[Link]\nMTUBytes=1400\n[DHCPServer]\nDefaultLeaseTimeSec=20min\n\
             NTP=192.0.2.1\nDomain=example.org\nSearchDomains=a.example b.example\n\
             Route=10.8.0.0/16 192.0.2.9\nCaptivePortal=https://log.in\nTimezone=Europe/Berlin\n\
             SendOption=224:string:anything\nNoKey=1\n",
        );
        let told = host.sh("rspawnctl reload").expect_success().stderr;
        assert!(
            told.contains("/etc/netd/50-web.network:14: NoKey= is not known"),
            "{told}"
        );
        let has = lease(&web);
        for told in [
            "lease='1200'",
            "ntpsrv='192.0.2.1'",
            "domain='example.org'",
            "search='a.example b.example'",
            "10.8.0.0/16 192.0.2.9",
            "opt114='68747470733a2f2f6c6f672e696e'",
            "opt224='616e797468696e67'",
            "Europe/Berlin",
        ] {
            assert!(has.contains(told), "{told} is missing in: {has}");
        }
        assert!(wait_until(SOON, || host
            .run("ip link show dev ve-web")
            .contains("mtu 1400")));
        assert_eq!(
            (host.run("ip address show dev ve-other"), lease(&other)),
            before
        );
        host.run("ping -c1 -W5 web; ping -c1 -W5 other");
        let seen = events.stdout();
        assert!(
            !seen.contains("ve-other") && !seen.contains("Deleted"),
            "{seen}"
        );
        assert!(!netd.stderr().contains("restored"), "{}", netd.stderr());
        // Taken away again, as by `systemctl reload`.
        host.run("rm /etc/netd/50-web.network");
        netd.signal(libc::SIGHUP);
        assert!(wait_until(SOON, || lease(&web).contains("lease='3600'")));
    });
}

#[test]
fn a_subnet_is_another_from_the_next_start_on() {
    with_netd(|host, _netd| {
        let tree = host.busybox_tree();
        let mut web = start(host, "web", &tree);
        let address = web.ipv4();
        host.write(
            "/etc/netd/50-web.network",
            "[Match]\nName=ve-web\n[Network]\nAddress=10.50.0.1/24\n",
        );
        let told = host.sh("rspawnctl reload").expect_success().stderr;
        assert!(
            told.contains("50-web.network: web keeps") && told.contains("until it is started anew"),
            "{told}"
        );
        host.run("ping -c1 -W5 web");
        assert_eq!(web.ipv4(), address);
        web.end(libc::SIGTERM);
        assert!(wait_until(SOON, || record(host, "web").is_none()));
        let web = start(host, "web", &tree);
        assert_eq!(web.ipv4().to_string(), "10.50.0.2");
        host.run("ping -c1 -W5 web");
    });
}

#[test]
fn dhcp_is_switched_off_and_on() {
    with_netd(|host, _netd| {
        let tree = host.busybox_tree();
        let web = start(host, "web", &tree);
        let member = Start::without_network(host, "a", &host.overlay(&tree, "a"))
            .args(["--network-zone=lab", "-a", "/bin/sleep", "1000"])
            .start();
        // Long enough for who is late, and not as long where nobody answers.
        for (word, serves, times) in [("no", false, 3), ("yes", true, 20)] {
            host.write(
                "/etc/netd/50-all.network",
                format!("[Match]\nName=ve-* vz-*\n[Network]\nDHCPServer={word}\n"),
            );
            host.run("rspawnctl reload");
            assert_eq!(ask(&web, times).contains("lease="), serves);
            assert_eq!(ask(&member, times).contains("lease="), serves);
            host.run("ping -c1 -W5 web; ping -c1 -W5 a");
        }
    });
}

#[test]
fn leases_are_told_to_root() {
    with_netd(|host, _netd| {
        assert_eq!(host.run("rspawnctl leases"), "No leases.");
        let tree = host.busybox_tree();
        let web = start(host, "web", &tree);
        let member = Start::without_network(host, "a", &host.overlay(&tree, "a"))
            .args(["--network-zone=lab", "-a", "/bin/sleep", "1000"])
            .start();
        assert!(lease(&web).contains("lease=") && lease(&member).contains("lease="));
        let json: Value = serde_json::from_str(&host.run("rspawnctl leases --json=short")).unwrap();
        let all = json.as_array().unwrap();
        assert_eq!(all.len(), 2, "{json}");
        let of = |name: &str| all.iter().find(|one| one["machine"] == name).unwrap();
        assert_eq!(of("web")["address"], web.ipv4().to_string());
        assert_eq!(of("web")["link"], "ve-web");
        assert_eq!(of("a")["zone"], "lab");
        assert_eq!(of("a")["hostname"], "called-so");
        assert!(
            of("a")["expires_in"]
                .as_u64()
                .is_some_and(|s| (3500..=3600).contains(&s))
        );
        let table = host.run("rspawnctl leases web");
        for word in [
            "web",
            "ve-web",
            "called-so",
            &web.ipv4().to_string(),
            "1 leases",
        ] {
            assert!(table.contains(word), "{word}: {table}");
        }
        assert!(!table.contains("vz-lab"), "{table}");
        let unknown = host.sh("rspawnctl leases nobody").expect_failure();
        assert!(
            unknown.stderr.contains("no machine nobody runs"),
            "{unknown}"
        );
        for command in ["leases", "leases --received", "reload"] {
            let user = host
                .sh(&format!(
                    "setpriv --reuid=65534 --clear-groups rspawnctl {command}"
                ))
                .expect_failure();
            assert!(user.stderr.contains("only root may"), "{user}");
        }
    });
}
