//! What somebody takes from a link that netd has leased an address for, and what netd tells
//! of its leases.

mod client_support;

use std::time::{Duration, Instant};

use client_support::{
    LINK, SERVER, addresses, dnsmasq, end, kea, lan, monitor, netd, wait_for_address,
    wait_for_lease,
};
use netns_fixtures::wait_until;
use rspawn_tests::{SOON, host};

const RANGE: &str = "10.77.0.50,10.77.0.50,1h";
/// What is done within a second has been done by then on a loaded machine too.
const LATE: Duration = Duration::from_secs(15);

#[test]
fn an_address_that_somebody_removes_is_back_within_a_second() {
    let host = host();
    let lan = lan(&host, SERVER);
    let _server = dnsmasq(&lan, RANGE, &["-O", "option:router,10.77.0.1"]);
    let netd = netd(&host);
    wait_for_lease(&host, "10.77.0.50");
    let route = || host.run("ip -4 route show default");
    assert!(wait_until(SOON, || route().contains("10.77.0.1")));
    let monitor = monitor(&host);
    let first = Instant::now();
    for times in 1..=3 {
        let begun = Instant::now();
        host.run(&format!("ip address del 10.77.0.50/24 dev {LINK}"));
        let back = || {
            let seen = monitor.stdout();
            let mut of_it = seen.lines().filter(|line| line.contains("10.77.0.50"));
            let last = of_it.next_back().map(str::to_owned);
            seen.matches("Deleted").count() >= times
                && last.is_some_and(|line| !line.contains("Deleted"))
        };
        assert!(wait_until(SOON, back), "{}", monitor.stdout());
        assert!(begun.elapsed() < LATE, "{times}: {:?}", begun.elapsed());
        wait_for_lease(&host, "10.77.0.50");
        assert!(
            wait_until(SOON, || route().contains("10.77.0.1")),
            "{}",
            route()
        );
    }
    // Each is told once it is done; one at once, and then one a second at most.
    let text = "restored: somebody removed the address of the lease";
    let told = || netd.stderr().matches(text).count();
    assert!(wait_until(SOON, || told() >= 3), "{}", netd.stderr());
    let most = 1 + first.elapsed().as_secs() as usize;
    assert!(told() <= most, "{most}: {}", netd.stderr());
}

#[test]
fn a_link_local_address_that_somebody_removes_is_set_again() {
    let host = host();
    let lan = lan(&host, SERVER);
    let mut netd = netd(&host);
    wait_for_address(&host, "inet 169.254.", true);
    host.run(&format!("ip address flush dev {LINK}"));
    netd.wait_for_output("restored: somebody removed the link-local address", SOON);
    wait_for_address(&host, "inet 169.254.", true);
    drop(lan);
}

/// systemd.network(5): "When "dhcp", the addresses and routes provided by a DHCP server will
/// never be dropped even if the DHCP lease expires."
#[test]
fn what_is_to_be_kept_outlasts_its_lease() {
    let host = host();
    let lan = lan(&host, SERVER);
    host.write(
        "/etc/netd/80-container-host0.network.d/keep.conf",
        "[Network]\nKeepConfiguration=dhcp\n",
    );
    let server = kea(&host, &lan, 4);
    let mut netd = netd(&host);
    wait_for_address(&host, "10.77.0.50", true);
    drop(server);
    netd.wait_for_output("it stays until there is another lease", SOON);
    let held = addresses(&host);
    assert!(
        held.contains("10.77.0.50/24") && held.contains("valid_lft forever"),
        "{held}"
    );
    let route = host.run("ip -4 route show default");
    assert!(route.contains("10.77.0.1"), "{route}");
    let _server = kea(&host, &lan, 4);
    netd.wait_for_output("leased", SOON);
    let told = |text: &str| netd.stderr().matches(text).count();
    assert!(
        wait_until(SOON, || told(" leased ") >= 2),
        "{}",
        netd.stderr()
    );
    end(netd);
}

#[test]
fn the_bus_tells_what_is_leased() {
    let host = host();
    let lan = lan(&host, SERVER);
    let _netd = netd(&host);
    let ask = || {
        host.run(
            "busctl --address=unix:path=/run/rspawn/bus.sock call org.rspawn.Netd1 \
             /org/rspawn/Netd1 org.rspawn.Netd1 ClientLeases",
        )
    };
    assert_eq!(ask(), "a(ssst) 0");
    let _server = dnsmasq(&lan, RANGE, &[]);
    wait_for_lease(&host, "10.77.0.50");
    let told = ask();
    let ours = format!("a(ssst) 1 \"{LINK}\" \"10.77.0.50/24\" \"10.77.0.1\" ");
    let left: u64 = told.strip_prefix(&ours).expect(&told).parse().unwrap();
    assert!((3000..=3600).contains(&left), "{told}");
}

/// RFC 4361, section 6.1: "DHCPv4 clients MUST use a [...] client identifier [that] persists
/// across reboots".
#[test]
fn a_client_says_the_same_of_itself_after_a_boot() {
    let host = host();
    let lan = lan(&host, SERVER);
    let capture = &lan.capture;
    let _server = dnsmasq(&lan, RANGE, &[]);
    let said = || capture.show("dhcp.type == 1", &["dhcp.option.value"]);
    let first = netd(&host);
    wait_for_lease(&host, "10.77.0.50");
    end(first);
    // As after a boot: nothing in /run, and a link that is made anew, with its address.
    host.run(&format!(
        "mac=$(cat /sys/class/net/{LINK}/address)
         ip link del {LINK}; rm -rf /run/rspawn /run/netd
         ip link add {LINK} address $mac type veth peer name p0 netns lan
         ip -n lan link set p0 master eth0 up"
    ));
    let before = said().lines().count();
    let _second = netd(&host);
    wait_for_lease(&host, "10.77.0.50");
    let said = said();
    assert!(said.lines().count() > before, "{said}");
    let ids: std::collections::BTreeSet<&str> = said
        .lines()
        .filter_map(|line| line.split(',').find(|value| value.starts_with("ff")))
        .collect();
    assert_eq!(ids.len(), 1, "{said}");
}
