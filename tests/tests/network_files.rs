//! What administrators say of links in `/etc/netd`.

use std::path::Path;

use netns_fixtures::{Host, Running};
use rspawn_tests::{Container, SOON, Start, host};

const SLEEP: [&str; 3] = ["-a", "/bin/sleep", "1000"];

fn start<'a>(host: &'a Host, name: &str, tree: &Path) -> Container<'a> {
    Start::new(host, name, tree).args(SLEEP).start()
}

/// What DHCP tells the container, as the variables of a shell.
fn lease(web: &Container<'_>) -> String {
    web.run(
        "printf '#!/bin/sh\\n[ $1 = bound ] || exit 0\\nset' >/tmp/told; chmod +x /tmp/told; \
         busybox udhcpc -i host0 -f -n -q -t 5 -T 1 -O mtu -s /tmp/told 2>/dev/null",
    )
}

fn said(netd: &mut Running<'_>, text: &str) {
    netd.wait_for_output(text, SOON);
}

#[test]
fn a_file_gives_a_link_its_subnet_and_what_dhcp_hands_out() {
    let host = host();
    let tree = host.busybox_tree();
    host.write(
        "/etc/netd/50-web.network",
        "[Match]\nName=ve-web\n\n[Link]\nMTUBytes=1400\n\n[Network]\nAddress=10.50.0.1/24\n\n\
         [DHCPServer]\nDefaultLeaseTimeSec=20min\nDNS=192.0.2.53\n",
    );
    let netd = host.start_netd();
    let web = start(&host, "web", &tree);
    assert_eq!(web.ipv4().to_string(), "10.50.0.2");
    let link = host.run("ip address show dev ve-web");
    assert!(
        link.contains("inet 10.50.0.1/24") && link.contains("mtu 1400"),
        "{link}"
    );
    host.run("ping -c1 -W5 web");
    let lease = lease(&web);
    for told in [
        "ip='10.50.0.2'",
        "lease='1200'",
        "router='10.50.0.1'",
        "dns='192.0.2.53'",
        "mtu='1400'",
        "mask='24'",
    ] {
        assert!(lease.contains(told), "{told} is missing in: {lease}");
    }
    // It is of that link alone.
    let other = start(&host, "other", &host.overlay(&tree, "other"));
    assert_ne!(other.ipv4().to_string().split('.').next(), Some("10"));
    let told = netd.stderr();
    assert!(!told.contains("/etc/netd"), "{told}");
}

#[test]
fn what_is_wrong_in_a_file_is_said_and_the_rest_serves() {
    let host = host();
    let tree = host.busybox_tree();
    host.write(
        "/etc/netd/50-web.network",
        "[Match]\nName=ve-web\n[Network]\nAddress=10.50.0.7/24\nIPForward=yes\n[DHCPServer]\n\
         DefaultLeaseTimeSec=soon\nMaxLeaseTimeSec=10min\n",
    );
    host.write(
        "/etc/netd/netd.conf",
        "[Subnets]\nPool=10.77.0.0/16\nExclude=10.77\n",
    );
    let mut netd = host.start_netd();
    for text in [
        "ERROR /etc/netd/50-web.network:4: Address= has no effect",
        "write 10.50.0.1/24",
        "WARN /etc/netd/50-web.network:5: IPForward= is not known",
        "ERROR /etc/netd/50-web.network:7: DefaultLeaseTimeSec= has no effect",
        "ERROR /etc/netd/netd.conf:3: Exclude= has no effect",
    ] {
        said(&mut netd, text);
    }
    let web = start(&host, "web", &tree);
    let address = web.ipv4().to_string();
    assert!(
        address.starts_with("10.77."),
        "{address} is not of the pool"
    );
    let lease = lease(&web);
    assert!(lease.contains("lease='600'"), "{lease}");
}

#[test]
fn a_changed_file_holds_from_the_next_start_of_the_container() {
    let host = host();
    let tree = host.busybox_tree();
    let netd = host.start_netd();
    let mut web = start(&host, "web", &tree);
    let before = web.ipv4();
    drop(netd);
    host.wait_for_no_netd();
    host.write(
        "/etc/netd/80-container-ve.network.d/size.conf",
        "[Network]\nAddress=\nAddress=0.0.0.0/24\n",
    );
    let mut netd = host.start_netd();
    host.run("ping -c1 -W5 web");
    assert_eq!(web.ipv4(), before, "what runs keeps what it has");
    web.end(libc::SIGTERM);
    let mut web = start(&host, "web", &tree);
    let link = host.run("ip -4 -o address show dev ve-web");
    assert!(link.contains("/24 "), "{link}");
    assert_ne!(web.ipv4(), before);
    said(&mut netd, "is not what is configured now");
    let kept = web.ipv4();
    web.end(libc::SIGTERM);
    assert_eq!(start(&host, "web", &tree).ipv4(), kept);
}

#[test]
fn a_subnet_that_another_has_is_not_given_though_a_file_asks_for_it() {
    let host = host();
    let tree = host.busybox_tree();
    host.write(
        "/etc/netd/50-all.network",
        "[Match]\nName=ve-*\n[Network]\nAddress=10.50.0.1/24\n",
    );
    let mut netd = host.start_netd();
    let first = start(&host, "first", &tree);
    assert_eq!(first.ipv4().to_string(), "10.50.0.2");
    let second = start(&host, "second", &host.overlay(&tree, "second"));
    assert_ne!(second.ipv4(), first.ipv4());
    said(
        &mut netd,
        "50-all.network asks for 10.50.0.0/24, but machine first has what overlaps it",
    );
    host.run("ping -c1 -W5 first; ping -c1 -W5 second");
}
