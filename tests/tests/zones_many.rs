//! Zones of another size than the usual one, and with many members.

use std::fmt::Write;

use netns_fixtures::{Host, wait_until};
use rspawn_tests::{
    Container, SOON, ask_as, host, host_address, start_in_zone as start, with_netd,
};

/// How many packets a rule of the host's table has dropped.
fn dropped(host: &Host, comment: &str) -> u64 {
    let rules = host.run("nft list chain inet rspawn prerouting");
    let rules = rules.lines().filter(|line| line.contains(comment));
    let count = |line: &str| -> Option<u64> {
        let rest = line.split("counter packets ").nth(1)?;
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
        host.write_program(
            "/usr/bin/hostile-peer",
            std::fs::read(env!("CARGO_BIN_EXE_hostile-peer")).unwrap(),
        );
        let own = first.ipv4();
        let link = host.run("cat /sys/class/net/vz-lab/address");
        let link = link.trim();
        host.command_in_network(first.network(), "hostile-peer")
            .args(["udp4-from-many", "host0", "1"])
            .args([
                format!("to_mac={link}"),
                format!("own4={own}"),
                format!("host4={gateway}"),
            ])
            .output()
            .expect_success();
        assert!(dropped(host, "too many new sources") > 100);
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
