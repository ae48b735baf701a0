//! DHCP relays: netd passes requests on to a server that a fleet has already, and serves
//! those that others pass on to it.

use netns_fixtures::{Host, Peer, Running, wait_until};
use rspawn_tests::{Container, SOON, Start, host, outside, record, with_netd};

const SLEEP: [&str; 3] = ["-a", "/bin/sleep", "1000"];

/// A container on a zone or bridge whose DHCP client is yet to be started.
fn start<'a>(host: &'a Host, name: &str, network: &str) -> Container<'a> {
    let container = Start::without_network(host, name, &host.busybox_tree())
        .args([network])
        .args(SLEEP)
        .start();
    let is_there = || record(host, name).is_some();
    assert!(wait_until(SOON, is_there));
    let script = "#!/bin/sh\n[ \"$1\" != bound ] || ip address replace $ip/$mask dev host0\n";
    container.run(&format!(
        "printf '%s' '{script}' >/dhcp.sh; chmod +x /dhcp.sh"
    ));
    container
}

/// Has udhcpc ask once, and gives what it said.
fn ask(container: &Container<'_>, options: &str) -> String {
    container.run(&format!(
        "udhcpc -i host0 -f -n -q -t 5 -T 2 -s /dhcp.sh {options} >/dhcp 2>&1 || true; cat /dhcp"
    ))
}

/// Kea outside of the host, which knows the subnet by the address of the relay, and machines
/// by their names.
fn kea<'a>(host: &'a Host, outside: &Peer<'a>, subnet: &str) -> Running<'a> {
    let at = |last: &str| format!("{subnet}.{last}");
    outside.run(&format!("ip route replace {}/24 via 198.51.100.1", at("0")));
    let reservation = format!(r#"{{"circuit-id": "'web'", "ip-address": "{}"}}"#, at("77"));
    host.write(
        "/tmp/kea.json",
        format!(
            r#"{{"Dhcp4": {{
                "interfaces-config": {{"interfaces": ["eth0"], "dhcp-socket-type": "udp"}},
                "lease-database": {{"type": "memfile", "name": "/tmp/kea.csv"}},
                "valid-lifetime": 3600, "authoritative": true,
                "store-extended-info": true,
                "host-reservation-identifiers": ["circuit-id"],
                "loggers": [{{"name": "kea-dhcp4", "severity": "DEBUG", "debuglevel": 55,
                              "output_options": [{{"output": "/tmp/kea.log"}}]}}],
                "subnet4": [{{"id": 1, "subnet": "{}/24",
                              "pools": [{{"pool": "{} - {}"}}],
                              "reservations": [{reservation}],
                              "option-data": [{{"name": "routers", "data": "{}"}}]}}]
            }}}}"#,
            at("0"),
            at("100"),
            at("150"),
            at("1"),
        ),
    );
    let kea = outside
        .command("kea-dhcp4")
        .args(["-c", "/tmp/kea.json"])
        .env("KEA_LOCKFILE_DIR", "/tmp")
        .env("KEA_PIDFILE_DIR", "/tmp")
        .spawn("kea");
    let log = || host.read("/tmp/kea.log").unwrap_or_default();
    assert!(
        wait_until(SOON, || log().contains("DHCP4_STARTED")),
        "{}",
        log()
    );
    kea
}

const ZONE: &str = "[Match]\nName=vz-lab\n[Network]\nAddress=10.50.0.1/24\n\
                    [DHCPServer]\nRelayTarget=198.51.100.2\nRelayAgentRemoteId=string:alpha\n";

#[test]
fn a_fleet_gives_a_zones_members_their_addresses() {
    let host = host();
    let outside = outside(&host);
    let _kea = kea(&host, &outside, "10.50.0");
    host.write("/etc/netd/10-lab.network", ZONE);
    let netd = host.start_netd();
    let web = start(&host, "web", "--network-zone=lab");
    let db = start(&host, "db", "--network-zone=lab");
    // netd itself has no address for them.
    let before = db.run_in_network("ip -4 address show dev host0");
    assert_eq!(before, "");
    // By its name, which netd has said, not the client.
    let told = ask(&web, "");
    assert!(
        told.contains("lease of 10.50.0.77 obtained"),
        "{told}\n{}",
        netd.stderr()
    );
    let told = ask(&db, "");
    assert!(told.contains("lease of 10.50.0.10"), "{told}");
    // Circuit id `db` and remote id `alpha`, as the server keeps them with the lease.
    let leases = host.read("/tmp/kea.csv").unwrap_or_default();
    assert!(leases.contains("010264620205616C706861"), "{leases}");
    // They are known by it, as is any address of theirs in the zone's subnet.
    for (container, address) in [(&web, "10.50.0.77"), (&db, "10.50.0.10")] {
        let known = || {
            let addresses = container.addresses();
            addresses
                .iter()
                .any(|ip| ip.to_string().starts_with(address))
        };
        assert!(wait_until(SOON, known), "{:?}", container.record());
        host.run(&format!("ping -4 -c1 -W5 {}", container.name()));
    }
}

#[test]
fn who_has_a_lease_renews_it_by_the_relay() {
    let host = host();
    let outside = outside(&host);
    let _kea = kea(&host, &outside, "10.50.0");
    host.write("/etc/netd/10-lab.network", ZONE);
    let _netd = host.start_netd();
    let web = start(&host, "web", "--network-zone=lab");
    web.run("udhcpc -i host0 -f -s /dhcp.sh >/dhcp 2>&1 & echo $! >/client");
    let told = || web.run("cat /dhcp");
    let obtained = "lease of 10.50.0.77 obtained";
    assert!(wait_until(SOON, || told().contains(obtained)), "{}", told());
    web.run("ip route replace default via 10.50.0.1");
    // An answer that comes before udhcpc has closed the socket by which it asked goes to that
    // one and is lost: it asks everybody then.
    let by_unicast = (2..12).any(|times| {
        let asked_all = told().matches("broadcasting renew").count();
        web.run("kill -USR1 $(cat /client)");
        let renewed = || told().matches(obtained).count() == times;
        assert!(wait_until(SOON, renewed), "{}", told());
        told().matches("broadcasting renew").count() == asked_all
    });
    assert!(by_unicast, "{}", told());
    web.run("kill $(cat /client)");
}

#[test]
fn nobody_says_himself_where_he_is() {
    let host = host();
    let outside = outside(&host);
    let _kea = kea(&host, &outside, "10.50.0");
    host.write("/etc/netd/10-lab.network", ZONE);
    let _netd = host.start_netd();
    let db = start(&host, "db", "--network-zone=lab");
    // As `web` would be called by a relay.
    let told = ask(&db, "-t 2 -T 1 -x 82:0103776562");
    assert!(told.contains("no lease"), "{told}");
    let log = || host.read("/tmp/kea.log").unwrap_or_default();
    assert!(!log().contains("DHCPDISCOVER"), "{}", log());
    assert!(ask(&db, "").contains("lease of 10.50.0.10"));
    assert!(log().contains("DHCPDISCOVER"), "{}", log());
}

#[test]
fn containers_on_a_bridge_of_the_hosts_are_relayed_where_a_file_says_so() {
    let host = host();
    let outside = outside(&host);
    let _kea = kea(&host, &outside, "10.77.0");
    host.run(
        "ip link add br0 type bridge; ip address add 10.77.0.1/24 dev br0; ip link set br0 up",
    );
    host.write(
        "/etc/netd/10-br0.network",
        "[Match]\nName=br0\n[DHCPServer]\nRelayTarget=198.51.100.2\n",
    );
    let _netd = host.start_netd();
    let web = start(&host, "web", "--network-bridge=br0");
    let told = ask(&web, "");
    assert!(told.contains("lease of 10.77.0.77 obtained"), "{told}");
    let known = || {
        web.addresses()
            .iter()
            .any(|ip| ip.to_string() == "10.77.0.77")
    };
    assert!(wait_until(SOON, known), "{:?}", web.record());
    host.run("ping -c1 -W5 web");
}

#[test]
fn a_port_67_that_somebody_keeps_is_told_and_had_once_it_is_free() {
    let host = host();
    let outside = outside(&host);
    let _kea = kea(&host, &outside, "10.50.0");
    host.write("/etc/netd/10-lab.network", ZONE);
    let mut keeps = host
        .command("python3")
        .args([
            "-c",
            "import socket,time\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\n\
             s.bind(('0.0.0.0',67))\nprint('bound',flush=True)\ntime.sleep(1000)",
        ])
        .spawn("keeper");
    keeps.wait_for_output("bound", SOON);
    let netd = host.start_netd();
    let web = start(&host, "web", "--network-zone=lab");
    let said = || {
        netd.stderr()
            .contains("UDP port 67 of 10.50.0.1 cannot be had")
    };
    assert!(wait_until(SOON, said), "{}", netd.stderr());
    drop(keeps);
    let has = || ask(&web, "").contains("lease of 10.50.0.77 obtained");
    assert!(wait_until(SOON, has), "{}", netd.stderr());
}

#[test]
fn requests_that_a_relay_in_a_zone_passes_on_are_served() {
    with_netd(|host, netd| {
        let member = start(host, "relay", "--network-zone=lab");
        let own = member.ipv4().to_string();
        let subnet = own.rsplit_once('.').unwrap().0.to_owned();
        let (server, relay) = (format!("{subnet}.1"), format!("{subnet}.250"));
        // A network behind it, whose relay has an address of the zone's subnet.
        member.run_in_network(&format!(
            "ip link add down0 type veth peer name client0
             ip address add {relay}/32 dev down0
             ip link set down0 up; ip link set client0 up"
        ));
        let mut agent = host
            .command_in_network(member.network(), "dhcrelay")
            .args(["-4", "-d", "-iu", "host0", "-id", "down0", &server])
            .spawn("dhcrelay");
        let listens = || agent.stderr().contains("Sending on") || agent.ended().is_some();
        assert!(wait_until(SOON, listens));
        let told = member.run_in_network(
            "timeout 20 busybox udhcpc -i client0 -f -n -q -t 3 -T 3 -s /bin/true 2>&1 || true",
        );
        assert!(
            told.contains(&format!("lease of {subnet}.")) && told.contains("obtained"),
            "{told}\n{}\n{}",
            agent.stderr(),
            netd.stderr()
        );
    });
}

#[test]
fn a_relay_elsewhere_is_served_where_a_file_says_so() {
    let host = host();
    let outside = outside(&host);
    let served = |name: &str, more: &str| {
        host.write(
            format!("/etc/netd/10-{name}.network"),
            format!(
                "[Match]\nName=vz-{name}\n[Network]\nAddress=10.50.0.1/24\n[DHCPServer]\n{more}"
            ),
        );
    };
    served("lab", "BindToInterface=no\n");
    let netd = host.start_netd();
    let _member = start(&host, "web", "--network-zone=lab");
    // Another host with a link of the same subnet, whose relay has an address of that.
    outside.run(
        "ip route replace 10.50.0.0/24 via 198.51.100.1
         ip link add down0 type veth peer name client0
         ip address add 10.50.0.250/32 dev down0
         ip link set down0 up; ip link set client0 up",
    );
    host.run("ip route add 10.50.0.250/32 via 198.51.100.2");
    let mut agent = outside
        .command("dhcrelay")
        .args(["-4", "-d", "-iu", "eth0", "-id", "down0", "10.50.0.1"])
        .spawn("dhcrelay");
    let listens = || agent.stderr().contains("Sending on") || agent.ended().is_some();
    assert!(wait_until(SOON, listens));
    let ask = || {
        outside.run(
            "timeout 20 busybox udhcpc -i client0 -f -n -q -t 3 -T 2 -s /bin/true 2>&1 || true",
        )
    };
    let told = ask();
    assert!(
        told.contains("lease of 10.50.0.") && told.contains("obtained"),
        "{told}\n{}\n{}",
        agent.stderr(),
        netd.stderr()
    );
    // Without that, nobody elsewhere is.
    served("lab", "");
    drop(netd);
    host.wait_for_no_netd();
    let _netd = host.start_netd();
    let told = ask();
    assert!(told.contains("no lease"), "{told}");
}
