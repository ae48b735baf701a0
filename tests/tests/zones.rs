//! Zones: containers that share a bridge, which netd gives addresses.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use netns_fixtures::{Host, wait_until};
use rspawn_tests::{
    Container, SOON, Start, host, host_address, record, start_in_zone as start, with_netd,
};

const SLEEP: [&str; 3] = ["-a", "/bin/sleep", "1000"];

fn member<'a>(host: &'a Host, zone: &str, name: &str) -> Start<'a> {
    let zone = format!("--network-zone={zone}");
    Start::without_network(host, name, &host.busybox_tree()).args([zone.as_str()])
}

fn is_there(host: &Host, link: &str) -> bool {
    host.sh(&format!("ip link show {link}")).success()
}

#[track_caller]
fn wait_for_no(host: &Host, link: &str) {
    let gone = || !is_there(host, link);
    assert!(wait_until(SOON, gone), "{}", host.run("ip link"));
}

#[test]
fn members_have_addresses_before_they_run_and_names() {
    with_netd(|host, _netd| {
        // What it runs finds the network complete.
        let tree = host.busybox_tree();
        let first = Start::without_network(host, "a", &tree)
            .args(["--network-zone=lab", "-a", "/bin/sh", "-c"])
            .args(["ip address show dev host0 >/at-first; ip route >>/at-first; exec sleep 1000"])
            .start();
        let second = start(host, "lab", "b");
        host.run("ping -c1 -W5 a && ping -c1 -W5 b && ping -6 -c1 -W5 a");
        let (a, b) = (first.ipv4(), second.ipv4());
        assert_ne!(a, b);
        first.run(&format!("ping -c1 -W5 {b}"));
        second.run(&format!("ping -c1 -W5 {a}"));
        let at_first = first.run("cat /at-first");
        assert!(at_first.contains(&format!("inet {a}/24")), "{at_first}");
        let gateway = host_address(host, "vz-lab");
        let gateway = gateway.strip_suffix("/24").expect("a /24");
        assert!(
            at_first.contains(&format!("default via {gateway}")),
            "{at_first}"
        );
        first.run(&format!("ping -c1 -W5 {gateway}"));
        assert_eq!(
            host.run(&format!("getent hosts {a}"))
                .split_whitespace()
                .nth(1),
            Some("a")
        );
    });
}

#[test]
fn a_client_inside_is_given_what_the_member_has() {
    with_netd(|host, _netd| {
        let member = start(host, "lab", "a");
        let before = member.ipv4();
        member
            .run("ip address flush dev host0 && udhcpc -i host0 -f -n -q -s /bin/true >/dhcp 2>&1");
        let told = member.run("cat /dhcp");
        assert!(
            told.contains(&format!("lease of {before} obtained")),
            "{told}"
        );
        // Another MAC address behind the same port gets another address, from the rest.
        member.run(
            "ip link set host0 down; ip link set host0 address 02:00:00:00:00:77; ip link set host0 up
             udhcpc -i host0 -f -n -q -t 20 -s /bin/true >/dhcp 2>&1",
        );
        let told = member.run("cat /dhcp");
        let other = told.split("lease of ").nth(1).expect("a lease");
        let other: Ipv4Addr = other.split(' ').next().unwrap().parse().unwrap();
        assert_ne!(IpAddr::from(other), before);
        assert!(other.octets()[3] >= 192, "{told}");
        let kept = host.read("/var/lib/rspawn/leases/lab").unwrap_or_default();
        assert!(
            kept.contains(&format!("lease {other} 02:00:00:00:00:77")),
            "{kept}"
        );
    });
}

#[test]
fn a_client_inside_renews_by_unicast() {
    with_netd(|host, _netd| {
        let member = start(host, "lab", "a");
        let before = member.ipv4();
        // What it sends to the server alone has the bridge's Ethernet address, which is not
        // that of the port.
        member.run("udhcpc -i host0 -f -s /bin/true >/dhcp 2>&1 & echo $! >/client");
        let told = || member.run("cat /dhcp");
        let obtained = format!("lease of {before} obtained");
        assert!(
            wait_until(SOON, || told().contains(&obtained)),
            "{}",
            told()
        );
        let gateway = host_address(host, "vz-lab").replace("/24", "");
        let renewal = format!("sending renew to server {gateway}");
        // An answer that comes before udhcpc has closed the socket by which it asked goes
        // to that one and is lost: it asks everybody then.
        let by_unicast = (2..12).any(|times| {
            let asked_all = told().matches("broadcasting renew").count();
            member.run("kill -USR1 $(cat /client)");
            let renewed = || told().matches(&obtained).count() == times;
            assert!(wait_until(SOON, renewed), "{}", told());
            assert!(told().contains(&renewal), "{}", told());
            told().matches("broadcasting renew").count() == asked_all
        });
        assert!(by_unicast, "{}", told());
        member.run("kill $(cat /client)");
    });
}

#[test]
fn systemd_in_a_zone_keeps_what_it_was_given() {
    with_netd(|host, _netd| {
        let tree = host.tree("bookworm");
        let web = Start::without_network(host, "web", &tree)
            .args(["--network-zone=lab"])
            .boot();
        let busybox = start(host, "lab", "a");
        host.run("ping -c1 -W5 web");
        web.run(&format!("ping -c1 -W5 {}", busybox.ipv4()));
        busybox.run(&format!("ping -c1 -W5 {}", web.ipv4()));
        let address = format!("inet {}/24", web.ipv4());
        assert!(
            web.run_in_network("ip -4 address show dev host0")
                .contains(&address)
        );
    });
}

#[test]
fn two_zones_are_apart_and_nothing_stays_of_them() {
    with_netd(|host, _netd| {
        let mut one = start(host, "one", "a");
        let mut two = start(host, "two", "b");
        let also = start(host, "two", "c");
        let subnets = [host_address(host, "vz-one"), host_address(host, "vz-two")];
        assert_ne!(subnets[0], subnets[1]);
        host.run("ping -c1 -W5 a && ping -c1 -W5 b && ping -c1 -W5 c");
        // From zone to zone the host is the way.
        one.run(&format!("ping -c1 -W5 {}", also.ipv4()));
        one.end(libc::SIGTERM);
        wait_for_no(host, "vz-one");
        assert!(is_there(host, "vz-two"));
        two.end(libc::SIGTERM);
        assert!(is_there(host, "vz-two"), "one member is left");
        drop(also);
        wait_for_no(host, "vz-two");
        // The next one of the name has the same subnet.
        let again = start(host, "one", "d");
        assert_eq!(host_address(host, "vz-one"), subnets[0]);
        host.run("ping -c1 -W5 d");
        drop(again);
    });
}

#[test]
fn a_killed_supervisor_leaves_no_bridge() {
    with_netd(|host, _netd| {
        let mut member = start(host, "lab", "a");
        member.supervisor().signal(libc::SIGKILL);
        wait_for_no(host, "vz-lab");
        assert!(wait_until(SOON, || record(host, "a").is_none()));
    });
    // Nor while netd was away.
    let host = host();
    let netd = host.start_netd();
    let mut member = start(&host, "lab", "a");
    drop(netd);
    host.wait_for_no_netd();
    member.supervisor().signal(libc::SIGKILL);
    member.wait();
    let _netd = host.start_netd();
    wait_for_no(&host, "vz-lab");
}

#[test]
fn a_bridge_that_nobody_joins_goes_and_one_that_somebody_joins_stays() {
    with_netd(|host, _netd| {
        // As whoever joins a zone holds it.
        let mut joining = host
            .command("flock")
            .args([
                "-s",
                "-o",
                "/run/rspawn/zones.lock",
                "-c",
                "echo held; exec sleep 1000",
            ])
            .spawn("joining");
        joining.wait_for_output("held", SOON);
        // As a supervisor makes it that is killed at this point.
        host.run("ip link add vz-lab group 29299 type bridge");
        assert!(wait_until(SOON, || !host_address(host, "vz-lab").is_empty()));
        // netd tries again each second.
        let goes = || !is_there(host, "vz-lab");
        assert!(!wait_until(Duration::from_millis(2500), goes));
        drop(joining);
        wait_for_no(host, "vz-lab");
        // One of somebody else's is left alone, whatever it is called.
        host.run("ip link add vz-mine type bridge; ip link set vz-mine up");
        drop(start(host, "lab", "a"));
        wait_for_no(host, "vz-lab");
        assert!(is_there(host, "vz-mine"));
        assert_eq!(host_address(host, "vz-mine"), "");
    });
}

#[test]
fn what_is_taken_from_a_zones_bridge_is_put_back() {
    with_netd(|host, netd| {
        let _member = start(host, "lab", "a");
        let address = host_address(host, "vz-lab");
        host.run("ip address flush dev vz-lab; ip link set vz-lab down");
        assert!(wait_until(SOON, || host_address(host, "vz-lab") == address));
        let reaches = || host.sh("ping -c1 -W1 a").success();
        assert!(wait_until(SOON, reaches), "{}", host.run("ip a; ip route"));
        netd.wait_for_output("restored: ", SOON);
        host.run("rm /var/lib/rspawn/subnets/@lab");
        assert!(wait_until(SOON, || host.exists("/var/lib/rspawn/subnets/@lab")));
    });
}

/// Has a client with this Ethernet address ask from a member's place. Its address.
fn ask_as(member: &Container<'_>, mac: &str) -> Ipv4Addr {
    member.run(&format!(
        "ip link set host0 down; ip link set host0 address {mac}; ip link set host0 up
         udhcpc -i host0 -f -n -q -t 20 -s /bin/true >/dhcp 2>&1"
    ));
    let told = member.run("cat /dhcp");
    let lease = told.split("lease of ").nth(1);
    let address = lease.and_then(|lease| lease.split(' ').next()?.parse().ok());
    address.unwrap_or_else(|| panic!("no lease: {told}"))
}

#[test]
fn leases_outlast_netd_and_the_zone() {
    let host = host();
    let netd = host.start_netd();
    let member = start(&host, "lab", "a");
    let macs = [
        "02:00:00:00:00:71",
        "02:00:00:00:00:72",
        "02:00:00:00:00:73",
    ];
    let leased = macs.map(|mac| ask_as(&member, mac));
    drop(netd);
    host.wait_for_no_netd();
    let _netd = host.start_netd();
    // Backwards, and a new one first: who has nothing kept would get another one's.
    let new = ask_as(&member, "02:00:00:00:00:74");
    assert!(!leased.contains(&new), "{new} of {leased:?}");
    for (mac, address) in macs.iter().zip(leased).rev() {
        assert_eq!(ask_as(&member, mac), address);
    }
    drop(member);
    wait_for_no(&host, "vz-lab");
    let again = start(&host, "lab", "a");
    assert_eq!(ask_as(&again, macs[1]), leased[1]);
}

#[test]
fn netd_that_is_started_anew_changes_nothing() {
    let host = host();
    let netd = host.start_netd();
    let (a, b) = (start(&host, "lab", "a"), start(&host, "lab", "b"));
    let addresses = [a.addresses(), b.addresses()];
    let of_host = host_address(&host, "vz-lab");
    let record_of_b = b.record();
    drop(netd);
    host.wait_for_no_netd();
    let _netd = host.start_netd();
    assert!(wait_until(SOON, || host.netd_serves()));
    host.run("ping -c1 -W5 a && ping -c1 -W5 b");
    // A third one is served: netd has taken up the zone by then.
    let c = start(&host, "lab", "c");
    assert!(!addresses.concat().contains(&c.ipv4()));
    assert_eq!([a.addresses(), b.addresses()], addresses);
    assert_eq!(b.record(), record_of_b);
    assert_eq!(host_address(&host, "vz-lab"), of_host);
    a.run("udhcpc -i host0 -f -n -q -s /bin/true >/dhcp 2>&1");
    let told = a.run("cat /dhcp");
    assert!(
        told.contains(&format!("lease of {} obtained", a.ipv4())),
        "{told}"
    );
}

#[test]
fn a_member_that_was_there_before_netd_gets_its_network() {
    let host = host();
    let member = member(&host, "lab", "a").unregistered().args(SLEEP).start();
    assert!(is_there(&host, "vz-lab"));
    let _netd = host.start_netd();
    let is_named = || !member.addresses().is_empty();
    assert!(wait_until(SOON, is_named), "{:?}", member.record());
    host.run("ping -c1 -W5 a");
}

#[test]
fn what_a_member_says_it_has_is_nobody_elses() {
    with_netd(|host, _netd| {
        let (a, hostile) = (start(host, "lab", "a"), start(host, "lab", "hostile"));
        let of_a = a.ipv4();
        let own = hostile.ipv4();
        hostile.run(&format!(
            "ip address add {of_a}/24 dev host0; ip address add 9.9.9.9/32 dev host0
             ip address add 10.0.0.99/32 dev host0"
        ));
        // Something that it may say is seen, and so the rest was.
        let IpAddr::V4(ip) = own else { panic!("{own}") };
        let [x, y, z, _] = ip.octets();
        let free = Ipv4Addr::new(x, y, z, 250);
        hostile.run(&format!("ip address add {free}/24 dev host0"));
        assert!(wait_until(SOON, || hostile
            .addresses()
            .contains(&free.into())));
        let said = hostile.addresses();
        assert_eq!(said[0], own, "what netd assigned comes first");
        let wrong = [
            of_a,
            "9.9.9.9".parse().unwrap(),
            "10.0.0.99".parse().unwrap(),
        ];
        assert!(wrong.iter().all(|ip| !said.contains(ip)), "{said:?}");
        assert_eq!(a.ipv4(), of_a);
    });
}
