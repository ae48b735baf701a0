//! netd as a DHCP client, with servers of others.

mod client_support;

use client_support::{
    LINK, SERVER, addresses, dnsmasq, end, kea, lan, monitor, netd, udhcpd, wait_for_address,
    wait_for_lease,
};
use netns_fixtures::{NETD, Running, wait_until};
use rspawn_tests::{SOON, host};

const RANGE: &str = "10.77.0.50,10.77.0.59,1h";

/// The monitor of addresses tells of the lease's once more, and of none that went.
#[track_caller]
fn is_set_again_without_a_break(monitor: &Running<'_>) {
    let again = || monitor.stdout().contains("10.77.0.5");
    assert!(wait_until(SOON, again), "{}", monitor.stdout());
    assert!(
        !monitor.stdout().contains("Deleted"),
        "{}",
        monitor.stdout()
    );
}

#[test]
fn a_lease_is_set_with_all_that_it_brings() {
    let host = host();
    let lan = lan(&host, SERVER);
    let server = dnsmasq(
        &lan,
        RANGE,
        &[
            "-O",
            "option:mtu,1400",
            "-O",
            "option:dns-server,10.77.0.7,10.77.0.8",
            "-O",
            "option:domain-search,a.test,b.test",
            // RFC 3442: "If the DHCP server returns both a Classless Static Routes option
            // and a Router option, the DHCP client MUST ignore the Router option."
            "-O",
            "option:router,10.77.0.99",
            "-O",
            "121,0.0.0.0/0,10.77.0.1,10.99.0.0/16,10.77.0.9,10.98.0.0/16,0.0.0.0",
        ],
    );
    let _netd = netd(&host);
    wait_for_lease(&host, "10.77.0.5");
    assert!(
        addresses(&host).contains("brd 10.77.0.255"),
        "{}",
        addresses(&host)
    );
    let routes = || host.run("ip -4 route");
    assert!(
        wait_until(SOON, || routes().contains("10.98.0.0/16")),
        "{}",
        routes()
    );
    for route in [
        format!("default via 10.77.0.1 dev {LINK} proto dhcp src 10.77.0.5"),
        format!("10.99.0.0/16 via 10.77.0.9 dev {LINK} proto dhcp src 10.77.0.5"),
        format!("10.98.0.0/16 dev {LINK} proto dhcp scope link src 10.77.0.5"),
    ] {
        let found = routes();
        let line = found.lines().find(|line| line.starts_with(&route));
        assert!(
            line.is_some_and(|line| line.contains("metric 1024")),
            "{route} of {found}"
        );
    }
    assert!(!routes().contains("10.77.0.99"), "{}", routes());
    assert!(
        host.run(&format!("ip link show {LINK}"))
            .contains("mtu 1400")
    );
    let resolv = || host.read("/run/netd/resolv.conf").unwrap_or_default();
    assert!(
        wait_until(SOON, || resolv().contains("nameserver 10.77.0.8")),
        "{}",
        resolv()
    );
    assert!(
        resolv().contains("\nsearch a.test b.test\nnameserver 10.77.0.7\n"),
        "{}",
        resolv()
    );
    assert!(wait_until(SOON, || host
        .sh("test -L /etc/resolv.conf")
        .success()));
    assert_eq!(host.run("cat /etc/resolv.conf"), resolv().trim_end());
    // RFC 4361: type 255, IAID, DUID-EN of the enterprise 43793; and our name.
    let leases = || host.read("/tmp/dnsmasq.leases").unwrap_or_default();
    let is_ours = |line: &str| line.contains(" ff:") && line.contains(":00:02:00:00:ab:11:");
    assert!(
        wait_until(SOON, || leases().lines().any(is_ours)),
        "{}",
        leases()
    );
    let said = server.stdout() + &server.stderr();
    let name = host.run("uname -n");
    assert!(
        said.contains(&format!("client provides name: {name}")),
        "{said}"
    );
}

#[test]
fn somebody_elses_resolv_conf_is_left_alone() {
    let host = host();
    let lan = lan(&host, SERVER);
    host.write("/etc/resolv.conf", "nameserver 192.0.2.53\n");
    let _server = dnsmasq(&lan, RANGE, &["-O", "option:dns-server,10.77.0.7"]);
    let _netd = netd(&host);
    wait_for_lease(&host, "10.77.0.5");
    assert!(wait_until(SOON, || host
        .read("/run/netd/resolv.conf")
        .is_some()));
    let stays = host.read("/etc/resolv.conf").unwrap();
    assert_eq!(stays, "nameserver 192.0.2.53\n");
}

/// RFC 2131, section 4.4.5: "At time T1 the client moves to RENEWING state and sends (via
/// unicast) a DHCPREQUEST message to the server to extend its lease."
#[test]
fn a_short_lease_is_renewed_and_never_gone() {
    let host = host();
    let lan = lan(&host, SERVER);
    let mut capture = lan
        .command("tcpdump")
        .args(["-l", "-n", "-i", "eth0", "udp port 67"])
        .spawn("tcpdump");
    capture.wait_for_output("listening on", SOON);
    let _server = udhcpd(
        &host,
        &lan,
        "start 10.77.0.50\nend 10.77.0.59\noption subnet 255.255.255.0\noption lease 4\n\
         min_lease 1\n",
    );
    let _netd = netd(&host);
    wait_for_lease(&host, "10.77.0.5");
    let monitor = monitor(&host);
    let renewals = || {
        let heard = monitor.stdout();
        heard
            .lines()
            .filter(|line| line.contains("10.77.0.5"))
            .count()
    };
    assert!(wait_until(SOON, || renewals() >= 3), "{}", monitor.stdout());
    assert!(
        !monitor.stdout().contains("Deleted"),
        "{}",
        monitor.stdout()
    );
    let unicast = || {
        let heard = capture.stdout();
        heard
            .lines()
            .filter(|line| line.contains("> 10.77.0.1.67"))
            .count()
    };
    assert!(wait_until(SOON, || unicast() >= 3), "{}", capture.stdout());
}

/// RFC 2131, section 4.4.5: "At time T2 the client moves to REBINDING state and sends (via
/// broadcast) a DHCPREQUEST message to extend its lease."
#[test]
fn a_lease_is_rebound_where_its_server_is_another_now() {
    let host = host();
    let lan = lan(&host, SERVER);
    let times = ["-O", "option:T1,3", "-O", "option:T2,15"];
    let first = dnsmasq(&lan, RANGE, &times);
    let _netd = netd(&host);
    wait_for_lease(&host, "10.77.0.5");
    drop(first);
    let monitor = monitor(&host);
    lan.run("ip address del 10.77.0.1/24 dev eth0; ip address add 10.77.0.2/24 dev eth0");
    let mut second = dnsmasq(&lan, RANGE, &["-O", "option:T1,600"]);
    second.wait_for_output("DHCPACK(eth0) 10.77.0.5", SOON);
    let said = second.stdout() + &second.stderr();
    assert!(!said.contains("DHCPDISCOVER"), "{said}");
    is_set_again_without_a_break(&monitor);
}

#[test]
fn a_lease_outlasts_netd_and_is_confirmed_by_its_next_start() {
    let host = host();
    let lan = lan(&host, SERVER);
    let first = dnsmasq(&lan, RANGE, &[]);
    let before = netd(&host);
    wait_for_lease(&host, "10.77.0.5");
    let saved = || host.read(format!("/var/lib/rspawn/client/{LINK}"));
    assert!(wait_until(SOON, || saved().is_some_and(|text| text.ends_with("END\n"))));
    let monitor = monitor(&host);
    drop(first);
    end(before);
    assert!(
        addresses(&host).contains("10.77.0.5"),
        "it stays while netd is away"
    );
    let mut second = dnsmasq(&lan, RANGE, &[]);
    let _after = netd(&host);
    second.wait_for_output("DHCPACK(eth0) 10.77.0.5", SOON);
    let said = second.stdout() + &second.stderr();
    assert!(
        !said.contains("DHCPDISCOVER") && !said.contains("DHCPRELEASE"),
        "{said}"
    );
    is_set_again_without_a_break(&monitor);
}

#[test]
fn a_damaged_lease_file_is_set_aside_and_another_lease_had() {
    let host = host();
    let lan = lan(&host, SERVER);
    let _server = dnsmasq(&lan, RANGE, &[]);
    let path = format!("/var/lib/rspawn/client/{LINK}");
    host.write(&path, "MAC=what\n");
    let mut netd = netd(&host);
    wait_for_lease(&host, "10.77.0.5");
    netd.wait_for_output("set aside as", SOON);
    assert_eq!(host.read(format!("{path}~corrupt")).unwrap(), "MAC=what\n");
}

/// RFC 2131, section 3.2, item 2: "If the client's request is invalid (e.g., the client has
/// moved to a new subnet), servers SHOULD respond with a DHCPNAK message to the client."
#[test]
fn an_address_of_another_subnet_is_given_up_at_once() {
    let host = host();
    let lan = lan(&host, SERVER);
    let first = dnsmasq(&lan, RANGE, &["-O", "option:router,10.77.0.1"]);
    let before = netd(&host);
    wait_for_lease(&host, "10.77.0.5");
    let saved = || host.read(format!("/var/lib/rspawn/client/{LINK}"));
    assert!(wait_until(SOON, || saved().is_some()));
    end(before);
    drop(first);
    lan.run("ip address add 10.78.0.1/24 dev eth0; ip address del 10.77.0.1/24 dev eth0");
    let mut second = dnsmasq(
        &lan,
        "10.78.0.50,10.78.0.59,1h",
        &["-O", "option:router,10.78.0.1"],
    );
    let _after = netd(&host);
    second.wait_for_output("DHCPNAK", SOON);
    wait_for_lease(&host, "10.78.0.5");
    wait_for_address(&host, "10.77.0.5", false);
    let routes = || host.run("ip -4 route show default");
    assert!(
        wait_until(SOON, || routes().contains("10.78.0.1")),
        "{}",
        routes()
    );
    assert!(!routes().contains("10.77.0.1"), "{}", routes());
}

#[test]
fn a_client_that_keeps_nothing_gives_its_address_back() {
    let host = host();
    let lan = lan(&host, SERVER);
    host.write(
        "/etc/netd/80-container-host0.network.d/keep.conf",
        "[Network]\nKeepConfiguration=no\n",
    );
    let mut server = dnsmasq(&lan, RANGE, &[]);
    let netd = netd(&host);
    wait_for_lease(&host, "10.77.0.5");
    end(netd);
    server.wait_for_output("DHCPRELEASE(eth0) 10.77.0.5", SOON);
    wait_for_address(&host, "10.77.0.5", false);
    assert_eq!(host.read(format!("/var/lib/rspawn/client/{LINK}")), None);
}

#[test]
fn a_link_without_a_server_has_a_link_local_address_until_one_answers() {
    let host = host();
    let lan = lan(&host, SERVER);
    let before = netd(&host);
    wait_for_address(&host, "inet 169.254.", true);
    assert!(
        addresses(&host).contains("scope link"),
        "{}",
        addresses(&host)
    );
    // It is the same, and without a gap, when netd is started anew.
    let heard = monitor(&host);
    end(before);
    let mut after = netd(&host);
    after.wait_for_output("no DHCP server gives an address", SOON);
    assert!(!heard.stdout().contains("Deleted"), "{}", heard.stdout());
    let _server = dnsmasq(&lan, RANGE, &[]);
    wait_for_lease(&host, "10.77.0.5");
    wait_for_address(&host, "169.254.", false);
}

/// RFC 2131, section 3.1, item 5: "If the client detects that the address is already in use
/// [...], the client MUST send a DHCPDECLINE message to the server".
#[test]
fn an_address_that_another_host_has_is_declined() {
    let host = host();
    let lan = lan(&host, SERVER);
    let other = host.peer("other");
    other.run(
        "ip link add eth0 type veth peer name p1 netns lan
         ip address add 10.77.0.50/24 dev eth0; ip link set eth0 up",
    );
    lan.run("ip link set p1 master eth0 up");
    let mut server = dnsmasq(&lan, "10.77.0.50,10.77.0.50,1h", &[]);
    let mut netd = netd(&host);
    server.wait_for_output("DHCPDECLINE(eth0) 10.77.0.50", SOON);
    netd.wait_for_output("another host has the address", SOON);
    assert!(
        !addresses(&host).contains("10.77.0.50"),
        "{}",
        addresses(&host)
    );
}

#[test]
fn a_file_says_what_is_taken_over() {
    let host = host();
    let lan = lan(&host, SERVER);
    host.write(
        "/etc/netd/10-lan.network",
        "[Match]\nName=host0\n[Network]\nDHCP=ipv4\n[DHCPv4]\nClientIdentifier=mac\n\
         Hostname=other\nVendorClassIdentifier=thing\nUseDNS=no\nUseMTU=no\nUseGateway=no\n\
         RouteMetric=77\nNotAKey=1\n",
    );
    let options = ["-O", "option:mtu,1400", "-O", "option:dns-server,10.77.0.7"];
    let routes = ["-O", "121,0.0.0.0/0,10.77.0.1,10.99.0.0/16,10.77.0.9"];
    let server = dnsmasq(
        &lan,
        RANGE,
        &[
            options,
            [routes[0], routes[1], "-O", "option:ntp-server,10.77.0.1"],
        ]
        .concat(),
    );
    let mut netd = netd(&host);
    wait_for_lease(&host, "10.77.0.5");
    let found = || host.run("ip -4 route");
    assert!(
        wait_until(SOON, || found().contains("10.99.0.0/16")),
        "{}",
        found()
    );
    assert!(
        found().contains("metric 77") && !found().contains("default"),
        "{}",
        found()
    );
    assert!(
        host.run(&format!("ip link show {LINK}"))
            .contains("mtu 1500")
    );
    assert_eq!(host.read("/run/netd/resolv.conf"), None);
    let said = server.stdout() + &server.stderr();
    assert!(said.contains("client provides name: other"), "{said}");
    assert!(said.contains("vendor class: thing"), "{said}");
    netd.wait_for_output("10-lan.network:13: NotAKey= is not known", SOON);
}

#[test]
fn name_and_time_zone_are_taken_over_where_a_file_asks_for_them() {
    let host = host();
    let lan = lan(&host, SERVER);
    host.write(
        "/etc/netd/80-container-host0.network.d/use.conf",
        "[DHCPv4]\nUseHostname=yes\nUseTimezone=yes\n",
    );
    host.run("mkdir -p /usr/share/zoneinfo/Here; echo TZif >/usr/share/zoneinfo/Here/There");
    let _server = dnsmasq(
        &lan,
        RANGE,
        &["-O", "101,Here/There", "--dhcp-host=*:*:*:*:*:*,named"],
    );
    let netd = netd(&host);
    wait_for_lease(&host, "10.77.0.5");
    let named = wait_until(SOON, || host.run("uname -n") == "named");
    assert!(named, "{}", host.run("uname -n"));
    let zone = host.run("readlink /etc/localtime");
    assert_eq!(zone, "../usr/share/zoneinfo/Here/There");
    end(netd);
}

#[test]
fn where_no_containers_can_be_served_netd_is_a_client_all_the_same() {
    let host = host();
    let lan = lan(&host, SERVER);
    let _server = dnsmasq(&lan, RANGE, &[]);
    host.run("mkdir -p /var/lib/rspawn; echo >/var/lib/rspawn/subnets");
    let mut netd = host.command(NETD).arg("-vv").spawn("netd");
    netd.wait_for_output("ready, as a client alone", SOON);
    wait_for_lease(&host, "10.77.0.5");
    // A link that comes later, and one that goes.
    host.run("ip link set host0 down; ip link del host0");
    host.run(
        "ip link add host0 type veth peer name p2 netns lan
         ip -n lan link set p2 master eth0 up",
    );
    wait_for_lease(&host, "10.77.0.5");
    end(netd);
}

#[test]
fn kea_gives_renews_confirms_and_takes_back_a_lease() {
    let host = host();
    let lan = lan(&host, SERVER);
    let mut server = kea(&host, &lan, 4);
    let before = netd(&host);
    wait_for_lease(&host, "10.77.0.5");
    let monitor = monitor(&host);
    let told = || {
        let heard = monitor.stdout();
        heard
            .lines()
            .filter(|line| line.contains("10.77.0.5"))
            .count()
    };
    assert!(wait_until(SOON, || told() >= 2), "{}", monitor.stdout());
    end(before);
    // INIT-REBOOT; from now on nothing is kept.
    host.write(
        "/etc/netd/80-container-host0.network.d/keep.conf",
        "[Network]\nKeepConfiguration=no\n",
    );
    let so_far = told();
    let after = netd(&host);
    assert!(wait_until(SOON, || told() > so_far), "{}", monitor.stdout());
    assert!(
        !monitor.stdout().contains("Deleted"),
        "{}",
        monitor.stdout()
    );
    end(after);
    server.wait_for_output("DHCP4_RELEASE", SOON);
    wait_for_address(&host, "10.77.0.5", false);
}

/// RFC 5227, section 2.4: "(b) [...] the host MUST record the time that the conflicting ARP
/// packet was received, and then broadcast one single ARP Announcement [...]. However, if
/// [...] the host has seen another conflicting ARP packet recently, [...] the host MUST
/// immediately cease using this address".
#[test]
fn an_address_is_defended_once_and_then_declined() {
    let host = host();
    let lan = lan(&host, SERVER);
    let mut server = dnsmasq(&lan, RANGE, &[]);
    let mut netd = netd(&host);
    wait_for_lease(&host, "10.77.0.5");
    let address = host.run(&format!(
        "ip -4 -o address show dev {LINK} | sed 's/.* inet \\([0-9.]*\\).*/\\1/'"
    ));
    let other = host.peer("other");
    other.run(
        "ip link add eth0 type veth peer name p1 netns lan
         ip link set eth0 up",
    );
    lan.run("ip link set p1 master eth0 up");
    other.run(&format!("ip address add {address}/24 dev eth0"));
    let claim = format!("arping -c1 -w1 -A -I eth0 {address} || true");
    other.run(&claim);
    netd.wait_for_output("was told that it is ours", SOON);
    assert!(addresses(&host).contains(&address), "{}", addresses(&host));
    other.run(&claim);
    server.wait_for_output(&format!("DHCPDECLINE(eth0) {address}"), SOON);
    wait_for_address(&host, &address, false);
}

#[test]
fn a_client_goes_on_as_files_say_now_and_gives_back_what_is_not_wanted() {
    let host = host();
    let lan = lan(&host, SERVER);
    let _server = dnsmasq(
        &lan,
        "10.77.0.50,10.77.0.59,1h",
        &["-O", "option:mtu,1400", "-O", "121,10.99.0.0/16,10.77.0.9"],
    );
    let mut netd = netd(&host);
    wait_for_lease(&host, "10.77.0.5");
    let routes = || host.run(&format!("ip -4 route show dev {LINK} proto dhcp"));
    assert!(wait_until(SOON, || routes().contains("metric 1024")));
    let file = |lines: &str| {
        host.write(
            "/etc/netd/50-host0.network",
            format!("[Match]\nName={LINK}\n[Network]\n{lines}"),
        );
    };
    let changes = monitor(&host);
    let received = host.run("rspawnctl leases --received --no-legend");
    let words: Vec<&str> = received.split_whitespace().collect();
    assert!(
        matches!(words[..], [LINK, address, "10.77.0.1", ..] if address.starts_with("10.77.0.5")),
        "{received}"
    );
    file("DHCP=yes\n[DHCPv4]\nRouteMetric=7\nUseMTU=no\n");
    host.run("rspawnctl reload");
    let has = |routes: &str| routes.contains("metric 7") && !routes.contains("1024");
    assert!(wait_until(SOON, || has(&routes())), "{}", routes());
    let link = || host.run(&format!("ip link show dev {LINK}"));
    assert!(
        wait_until(SOON, || link().contains("mtu 1500")),
        "{}",
        link()
    );
    assert!(addresses(&host).contains("10.77.0.5"));
    assert!(
        !changes.stdout().contains("Deleted"),
        "{}",
        changes.stdout()
    );
    // What is said as before is not touched.
    let leased = || netd.stderr().matches(" leased ").count();
    let before = leased();
    host.run("rspawnctl reload");
    file("DHCP=no\n");
    assert_eq!(leased(), before);
    host.run("rspawnctl reload");
    let gone = || !addresses(&host).contains("10.77.0.5") && routes().is_empty();
    assert!(wait_until(SOON, gone), "{}", addresses(&host));
    host.run("rm /etc/netd/50-host0.network; rspawnctl reload");
    wait_for_lease(&host, "10.77.0.5");
    netd.signal(libc::SIGTERM);
    assert!(netd.wait(SOON).success(), "{}", netd.stderr());
}
