//! Zones of another size than the usual one, and with many members.

use std::fmt::Write;
use std::net::Ipv4Addr;

use netns_fixtures::{Host, wait_until};
use rspawn_tests::{Container, SOON, Start, host, record, with_netd};

const SLEEP: [&str; 3] = ["-a", "/bin/sleep", "1000"];

fn start<'a>(host: &'a Host, zone: &str, name: &str) -> Container<'a> {
    let zone = format!("--network-zone={zone}");
    let container = Start::without_network(host, name, &host.busybox_tree())
        .args([zone.as_str()])
        .args(SLEEP)
        .start();
    let is_named = || record(host, name).is_some_and(|record| record.contains_key("ADDRESS"));
    assert!(wait_until(SOON, is_named), "{:?}", container.record());
    container
}

/// The host's IPv4 address on a link, with the length of its subnet's prefix.
fn host_address(host: &Host, link: &str) -> String {
    let shown = host.run(&format!("ip -4 -o address show dev {link}"));
    shown.split_whitespace().nth(3).unwrap_or("").to_owned()
}

/// How many packets a rule of the host's table has dropped.
fn dropped(host: &Host, comment: &str) -> u64 {
    let rules = host.run("nft list chain inet rspawn prerouting");
    let rules = rules.lines().filter(|line| line.contains(comment));
    let count = |line: &str| -> Option<u64> {
        let rest = line.split("packets ").nth(1)?;
        rest.split(' ').next()?.parse().ok()
    };
    rules.filter_map(count).sum()
}

#[test]
fn the_first_packet_of_each_of_many_members_arrives() {
    with_netd(|host, _netd| {
        let members: Vec<_> = (0..60)
            .map(|number| start(host, "lab", &format!("m{number}")))
            .collect();
        let gateway = host_address(host, "vz-lab").replace("/24", "");
        let mut script = String::new();
        for member in &members {
            let leader = member.leader();
            let ping = format!("nsenter -t {leader} -n ping -c1 -W20 {gateway} >/dev/null");
            writeln!(script, "({ping} && echo arrived) &").unwrap();
        }
        let arrived = host.run(&format!("{script} wait"));
        assert_eq!(arrived.matches("arrived").count(), 60, "of 60 first pings");
        // Who looks for all of them at once finds them.
        let (first, rest) = members.split_first().unwrap();
        let mut script = String::new();
        for member in rest {
            let ping = format!("ping -c1 -W20 {} >/dev/null", member.ipv4());
            writeln!(script, "({ping} && echo arrived) &").unwrap();
        }
        let arrived = host.run(&format!(
            "nsenter -t {} -n sh -ec '{script} wait'",
            first.leader()
        ));
        assert_eq!(arrived.matches("arrived").count(), 59, "of 59 members");
        // It is not so for addresses that one of them invents.
        assert_eq!(dropped(host, "too many new sources"), 0);
        let net = gateway.strip_suffix(".1").unwrap();
        let invented = (2..250).map(|last| format!("{net}.{last}"));
        let mut script = String::new();
        for address in invented {
            writeln!(
                script,
                "ip address add {address}/24 dev host0 2>/dev/null || true"
            )
            .unwrap();
            writeln!(script, "ping -c1 -W1 -I {address} {gateway} >/dev/null &").unwrap();
        }
        host.run(&format!(
            "nsenter -t {} -n sh -c '{script} wait'",
            first.leader()
        ));
        assert!(dropped(host, "too many new sources") > 50);
        members[1].run(&format!("ping -c1 -W5 {gateway}"));
    });
}

/// The table of members is as it should be after netd was started anew, and while it was away.
#[test]
fn members_are_known_to_a_netd_that_is_started_anew() {
    let host = host();
    let netd = host.start_netd();
    let (a, b) = (start(&host, "lab", "a"), start(&host, "lab", "b"));
    let known = || {
        let text = host
            .run("nft list set inet rspawn ipv4_members; nft list set bridge rspawn taken_ipv4");
        let is_there = |ip: String| text.matches(&ip).count();
        [
            is_there(a.ipv4().to_string()),
            is_there(b.ipv4().to_string()),
        ]
    };
    assert_eq!(known(), [2, 2]);
    drop(netd);
    host.wait_for_no_netd();
    assert_eq!(known(), [2, 2]);
    let _netd = host.start_netd();
    assert!(wait_until(SOON, || host.netd_serves()));
    assert_eq!(known(), [2, 2]);
    let of_b = b.ipv4().to_string();
    drop(b);
    let is_gone = || {
        let text = host
            .run("nft list set inet rspawn ipv4_members; nft list set bridge rspawn taken_ipv4");
        !text.contains(&of_b)
    };
    assert!(wait_until(SOON, is_gone));
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
fn a_zone_is_as_wide_as_a_file_says() {
    let host = host();
    host.write(
        "/etc/netd/50-lab.network",
        "[Match]\nName=vz-lab\n\n[Network]\nAddress=10.50.0.1/16\n",
    );
    host.write(
        "/etc/netd/50-small.network",
        "[Match]\nName=vz-small\n\n[Network]\nAddress=0.0.0.0/28\n",
    );
    let _netd = host.start_netd();
    let (a, b) = (start(&host, "lab", "a"), start(&host, "lab", "b"));
    assert_eq!(host_address(&host, "vz-lab"), "10.50.0.1/16");
    host.run("ping -c1 -W5 a && ping -c1 -W5 b");
    a.run(&format!("ping -c1 -W5 {}", b.ipv4()));
    assert!(
        a.run("ip address show dev host0")
            .contains(&format!("{}/16", a.ipv4()))
    );
    let leased = ask_as(&b, "02:00:00:00:00:77");
    assert_eq!(leased.octets()[..2], [10, 50]);
    assert!(leased.octets()[2] >= 192, "{leased}");
    let small = start(&host, "small", "c");
    assert!(host_address(&host, "vz-small").ends_with("/28"));
    host.run("ping -c1 -W5 c");
    assert!(
        small
            .run("ip address show dev host0")
            .contains(&format!("{}/28", small.ipv4()))
    );
}

/// Another machine took its place by the hash meanwhile; it comes back with its own all the
/// same, also where netd was started anew and the zone had ended.
#[test]
fn a_member_comes_back_with_its_address() {
    let host = host();
    // So few addresses that names meet.
    host.write(
        "/etc/netd/50-lab.network",
        "[Match]\nName=vz-lab\n\n[Network]\nAddress=10.50.0.1/28\n",
    );
    let netd = host.start_netd();
    let names = ["a", "b", "c", "d", "e", "f"];
    let members = names.map(|name| start(&host, "lab", name));
    let had: Vec<_> = members.iter().map(Container::ipv4).collect();
    drop(members);
    drop(netd);
    host.wait_for_no_netd();
    let _netd = host.start_netd();
    // Backwards: who came last came first now.
    let mut again: Vec<_> = names
        .iter()
        .rev()
        .map(|name| start(&host, "lab", name))
        .collect();
    again.reverse();
    let has: Vec<_> = again.iter().map(Container::ipv4).collect();
    assert_eq!(has, had);
    let kept = host.read("/var/lib/rspawn/members/lab").unwrap_or_default();
    assert_eq!(kept.lines().count(), 6, "{kept}");
}
