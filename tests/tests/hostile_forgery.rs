//! What a container says that it is or has, and nobody believes.

mod hostile_support;

use std::net::UdpSocket;
use std::time::Duration;

use hostile_support::stage::{Stage, address, after, on_stage};
use netns_fixtures::wait_until;
use rspawn_tests::{SOON, capture_source};

/// Where `hostile-peer` sends its datagrams.
const PORT: u16 = 4700;
/// How long to wait for what must not come, behind something that has come.
const NEVER: Duration = Duration::from_millis(100);

/// How many packets the host's table has dropped by the rules of this comment.
fn dropped(stage: &Stage<'_>, comment: &str) -> u64 {
    let rules = stage.host.run("nft list table inet rspawn");
    let rules = rules.lines().filter(|line| line.contains(comment));
    rules
        .map(|line| after(line, "packets").parse::<u64>().unwrap())
        .sum()
}

/// Strikes, and waits until the rules of this comment have dropped that.
fn strike_in_vain(stage: &Stage<'_>, kind: &str, comment: &str) {
    let before = dropped(stage, comment);
    stage.strike(kind);
    let gone = wait_until(SOON, || dropped(stage, comment) > before);
    assert!(gone, "{kind} was not dropped as '{comment}'");
}

#[test]
fn datagrams_with_the_source_of_another_machine_do_not_arrive() {
    on_stage(|stage| {
        let listener = stage.host.enter(|| UdpSocket::bind(("::", PORT)).unwrap());
        for (forged, own) in [
            ("udp4-as-other", "udp4-from-own"),
            ("udp6-as-other", "udp6-from-own"),
        ] {
            strike_in_vain(stage, forged, "forged source address");
            stage.strike(own);
            let (_, text) = capture_source(&listener, SOON).expect("the true one");
            assert_eq!(text, own, "the first that was heard");
            assert!(capture_source(&listener, NEVER).is_none());
        }
    });
}

#[test]
fn datagrams_to_the_hosts_loopback_do_not_arrive() {
    on_stage(|stage| {
        // Even where a host lets 127/8 in by all its links.
        stage
            .host
            .run("sysctl -qw net.ipv4.conf.all.route_localnet=1");
        let listener = stage.host.enter(|| UdpSocket::bind(("::", PORT)).unwrap());
        strike_in_vain(stage, "udp4-to-loopback", "loopback of the host");
        stage.strike("udp6-to-loopback");
        stage.strike("udp4-from-own");
        let (_, text) = capture_source(&listener, SOON).expect("the honest one");
        assert_eq!(text, "udp4-from-own", "the first that was heard");
        assert!(capture_source(&listener, NEVER).is_none());
    });
}

/// All that the host knows of ways, addresses and neighbours, without what changes by
/// itself.
fn world(stage: &Stage<'_>) -> String {
    stage.host.run(
        "ip -o address show | sed 's/valid_lft.*//'
         ip -4 route show table all; ip -6 route show table all | sed 's/ expires.*//'
         sysctl -a --pattern '^net.ipv6.conf.ve-hostile.(accept_ra|forwarding|mtu|hop_limit)$' 2>/dev/null",
    )
}

#[test]
fn a_container_is_not_the_hosts_router_and_redirects_nothing() {
    on_stage(|stage| {
        // A host that would believe it on any link that is not guarded.
        stage.host.run(
            "for kind in all default; do
                 sysctl -qw net.ipv6.conf.$kind.accept_ra=2 net.ipv6.conf.$kind.accept_redirects=1
                 sysctl -qw net.ipv4.conf.$kind.accept_redirects=1
             done",
        );
        // Addresses that are new to the host bring routes of their own once they are tried.
        let settled = || !stage.host.run("ip -6 address").contains("tentative");
        assert!(wait_until(SOON, settled));
        let before = world(stage);
        let comment = "router advertisement or redirect from a container";
        strike_in_vain(stage, "advertise-router", comment);
        strike_in_vain(stage, "redirect6", comment);
        strike_in_vain(stage, "redirect4", "redirect from a container");
        assert_eq!(world(stage), before);
    });
}

#[test]
fn the_kernel_is_told_to_believe_nothing_of_a_link() {
    // Beside the table: where rules are gone for a moment, these hold.
    on_stage(|stage| {
        let read = |key: &str| stage.host.run(&format!("sysctl -n net.{key}"));
        for (key, value) in [
            ("ipv4.conf.ve-hostile.accept_redirects", "0"),
            ("ipv4.conf.ve-hostile.accept_source_route", "0"),
            ("ipv4.conf.ve-hostile.accept_local", "0"),
            ("ipv4.conf.ve-hostile.arp_accept", "0"),
            ("ipv4.conf.ve-hostile.proxy_arp", "0"),
            ("ipv4.conf.ve-hostile.route_localnet", "0"),
            ("ipv4.conf.ve-hostile.rp_filter", "1"),
            ("ipv4.conf.ve-hostile.arp_filter", "1"),
            ("ipv6.conf.ve-hostile.accept_ra", "0"),
            ("ipv6.conf.ve-hostile.autoconf", "0"),
            ("ipv6.conf.ve-hostile.accept_redirects", "0"),
            ("ipv6.conf.ve-hostile.accept_source_route", "0"),
            ("ipv6.conf.ve-hostile.proxy_ndp", "0"),
            // IPv6 is on where it has an address, and nowhere else.
            ("ipv6.conf.ve-hostile.disable_ipv6", "0"),
            ("ipv4.conf.all.route_localnet", "0"),
        ] {
            assert_eq!(read(key), value, "{key}");
        }
    });
}

/// What the host has as the link address of a neighbour.
fn neighbour(stage: &Stage<'_>, link: &str, ip: &str) -> String {
    stage.host.run(&format!("ip neigh show {ip} dev {link}"))
}

#[test]
fn nobody_takes_over_the_address_of_another_machine_or_of_the_host() {
    on_stage(|stage| {
        let web = [stage.web.ipv4(), address(&stage.web, true)].map(|ip| ip.to_string());
        let link = stage.web.run_in_network("ip -o link show host0");
        let mac = after(&link, "link/ether");
        for ip in &web {
            stage.host.run(&format!("ping -c1 -W5 {ip}"));
        }
        let own = stage
            .host
            .run("ip -o address show dev ve-hostile | sed 's/valid_lft.*//'");
        for kind in ["arp-as-other", "na-as-other", "arp-as-host", "na-as-host"] {
            stage.strike(kind);
        }
        // What came after it has been seen to: then so has it.
        stage
            .hostile
            .run_in_network("ping -c1 -W5 $(ip -4 route show default | cut -d' ' -f3)");
        for ip in &web {
            let known = neighbour(stage, "ve-web", ip);
            assert!(known.contains(&mac), "{known}");
            assert_eq!(neighbour(stage, "ve-hostile", ip), "", "{ip}");
            stage.host.run(&format!("ping -c1 -W5 {ip}"));
        }
        let addresses = stage
            .host
            .run("ip -o address show dev ve-hostile | sed 's/valid_lft.*//'");
        assert_eq!(addresses, own, "talked out of its own address");
        // Nor does the host answer for others (proxy ARP).
        let asked = stage.hostile.run_in_network(&format!(
            "ip route add {}/32 dev host0; ping -c1 -W1 {} || true",
            web[0], web[0]
        ));
        assert!(asked.contains("100% packet loss"), "{asked}");
    });
}

#[test]
fn questions_of_invented_stations_are_no_neighbours() {
    // Also where a host takes sources from anywhere: of rp_filter the greater value counts.
    on_stage(|stage| {
        let all_ask_for_each_other = || {
            stage.host.run("ip neigh flush all");
            let web = stage.web.ipv4();
            for (container, other) in [(&stage.hostile, web), (&stage.web, stage.hostile.ipv4())] {
                stage
                    .host
                    .run(&format!("ping -c1 -W5 {}", container.ipv4()));
                container.run_in_network(&format!(
                    "ip neigh flush all
                     ping -c1 -W5 $(ip -4 route show default | cut -d' ' -f3)
                     ping -c1 -W5 {other}"
                ));
            }
        };
        for loose in ["0", "1", "2"] {
            stage
                .host
                .run(&format!("sysctl -qw net.ipv4.conf.all.rp_filter={loose}"));
            stage.strike("arp-as-anybody");
            all_ask_for_each_other();
            stage.strike("arp-as-anybody");
            // What came after it has been seen to: then so has it.
            stage
                .hostile
                .run_in_network("ping -c1 -W5 $(ip -4 route show default | cut -d' ' -f3)");
            let known = stage.host.run("ip -4 neigh show dev ve-hostile");
            assert!(!known.contains("203.0.113."), "{loose}: {known}");
        }
        // Nor does who asks depend on where the host itself finds strangers.
        stage.host.run("ip route del default");
        all_ask_for_each_other();
        stage
            .host
            .run("ip route add default dev ve-hostile; ip neigh flush all");
        all_ask_for_each_other();
    });
}

#[test]
fn a_container_is_nobodys_dhcp_server() {
    on_stage(|stage| {
        // Nor by way of the host, which would forward it to the other's address.
        strike_in_vain(stage, "serve-dhcp", "no container serves DHCP");
        // The other container hears its own server alone, and keeps its address.
        let script = "busybox udhcpc -i host0 -f -q -n -t 5 -T 1 -s /bin/true 2>&1";
        let web = stage.web.ipv4().to_string();
        assert!(stage.web.run_in_network(script).contains(&web));
        let own = stage.hostile.ipv4().to_string();
        assert!(stage.hostile.run_in_network(script).contains(&own));
    });
}

#[test]
fn a_name_is_not_claimed_by_dhcp() {
    // Options 12 and 81 (RFC 2132, RFC 4702) are what a client calls itself.
    on_stage(|stage| {
        let before = stage.host.run("getent ahosts web; ls /run/rspawn/machines");
        let script = "busybox udhcpc -i host0 -f -q -n -t 5 -T 1 -s /bin/true \
                      -x hostname:web -F web -x 0x0c:746f70 2>&1";
        stage.hostile.run_in_network(script);
        assert_eq!(
            stage.host.run("getent ahosts web; ls /run/rspawn/machines"),
            before
        );
        let ip = stage.hostile.ipv4();
        assert!(
            stage
                .host
                .run(&format!("getent hosts {ip}"))
                .ends_with("hostile")
        );
        for name in ["top", "hostile.web", "www.web", "web.example"] {
            let found = stage.host.sh(&format!("getent hosts {name}"));
            assert!(!found.success(), "{name}: {found}");
        }
    });
}

#[test]
fn the_pool_of_a_link_is_its_own() {
    // One client has them all; neither it nor another link is without an address.
    on_stage(|stage| {
        println!("{}", stage.strike("dhcp"));
        let script = "busybox udhcpc -i host0 -f -q -n -t 5 -T 1 -s /bin/true 2>&1";
        for container in [&stage.hostile, &stage.web] {
            let leased = container.run_in_network(script);
            assert!(leased.contains(&container.ipv4().to_string()), "{leased}");
        }
        // Those of whom it has heard are counted, and no more than the link has addresses.
        let status = stage.host.run("rspawnctl status hostile");
        let net = stage.hostile.ipv4().to_string();
        let net = net.rsplit_once('.').unwrap().0;
        let leases = status.lines().filter(|line| line.contains(net)).count();
        assert!((1..=16).contains(&leases), "{status}");
    });
}
