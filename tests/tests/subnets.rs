//! Which subnet a container gets, and that it keeps it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use netns_fixtures::{Host, wait_until};
use rspawn_tests::{Container, SOON, Start, host, with_netd};

const SLEEP: [&str; 3] = ["-a", "/bin/sleep", "1000"];

fn start<'a>(host: &'a Host, tree: &Path) -> Container<'a> {
    Start::new(host, "web", tree).args(SLEEP).start()
}

/// Starts `web`, ends it, and gives the address that it had.
fn address_once(host: &Host, tree: &Path) -> IpAddr {
    let mut web = start(host, tree);
    let address = web.ipv4();
    host.run("ping -c1 -W5 web");
    web.end(libc::SIGTERM);
    address
}

fn forget(host: &Host) {
    host.run("rm /var/lib/rspawn/subnets/web");
}

#[test]
fn a_subnet_that_anything_uses_is_passed_over_and_the_choice_is_kept() {
    let host = host();
    let tree = host.busybox_tree();
    let netd = host.start_netd();
    host.run("ip link add vpn0 type bridge; ip link set vpn0 up");
    let first = address_once(&host, &tree);
    assert_eq!(
        address_once(&host, &tree),
        first,
        "kept over a restart of the container"
    );

    // A route as a VPN makes it, in a table of its own, wider than the subnet.
    host.run(&format!(
        "ip route add {}/20 dev vpn0 table 51820; ip rule add lookup 51820 suppress_prefixlength 0",
        mask(first, 20)
    ));
    let second = address_once(&host, &tree);
    assert_ne!(
        mask(second, 20),
        mask(first, 20),
        "a route has {first}'s subnet now"
    );
    assert_eq!(address_once(&host, &tree), second, "kept");

    // An address of a link that is not ours.
    forget(&host);
    host.run(&format!("ip address add {}/28 dev vpn0", mask(second, 28)));
    let third = address_once(&host, &tree);
    assert_ne!(
        mask(third, 28),
        mask(second, 28),
        "an address of vpn0 is in {second}'s subnet"
    );

    // Over a restart of netd with the container running, and after it.
    let mut web = start(&host, &tree);
    assert_eq!(web.ipv4(), third);
    drop(netd);
    host.wait_for_no_netd();
    let _netd = host.start_netd();
    host.run("ping -c1 -W5 web");
    assert_eq!(web.ipv4(), third);
    web.end(libc::SIGTERM);
    assert_eq!(address_once(&host, &tree), third);
}

fn mask(address: IpAddr, bits: u32) -> String {
    let IpAddr::V4(address) = address else {
        panic!("{address} is no IPv4 address")
    };
    std::net::Ipv4Addr::from(u32::from(address) & (u32::MAX << (32 - bits))).to_string()
}

#[test]
fn containers_that_start_at_once_get_different_subnets() {
    with_netd(|host, _netd| {
        let tree = host.busybox_tree();
        let starts: Vec<_> = (0..8)
            .map(|number| {
                let name = format!("web{number}");
                let own = host.overlay(&tree, &name);
                let running = Start::new(host, &name, &own)
                    .args(SLEEP)
                    .command()
                    .spawn(&name);
                (name, running)
            })
            .collect();
        let mut subnets = BTreeSet::new();
        for (name, _running) in &starts {
            let up = netns_fixtures::wait_until(rspawn_tests::SOON, || {
                host.sh(&format!("ping -c1 -W1 {name}")).success()
            });
            assert!(up, "{name} is not reached");
            let address = host.run(&format!("getent ahostsv4 {name} | head -1 | cut -d' ' -f1"));
            assert!(
                subnets.insert(mask(address.parse().unwrap(), 28)),
                "{name} shares {address}'s subnet"
            );
        }
    });
}

#[test]
fn a_corrupt_file_of_a_kept_subnet_is_replaced() {
    with_netd(|host, _netd| {
        let tree = host.busybox_tree();
        let address = address_once(host, &tree);
        let kept = host
            .read("/var/lib/rspawn/subnets/web")
            .expect("the subnet is kept");
        for garbage in [&b""[..], b"\0\xff\xfe", b"300.1.2.3/99\n", &[b'x'; 100_000]] {
            host.write("/var/lib/rspawn/subnets/web", garbage);
            assert_eq!(
                address_once(host, &tree),
                address,
                "the choice begins at the same candidate"
            );
        }
        assert_eq!(
            host.read("/var/lib/rspawn/subnets/web")
                .map(|text| text.lines().count()),
            Some(kept.lines().count())
        );
    });
}

#[test]
fn a_corrupt_file_that_netd_finds_at_its_start_does_not_stop_it() {
    let host = host();
    let tree = host.busybox_tree();
    host.write("/var/lib/rspawn/subnets/web", b"\0garbage");
    host.run(
        "mkdir /var/lib/rspawn/subnets/directory; ln -s /etc/passwd /var/lib/rspawn/subnets/link",
    );
    let _netd = host.start_netd();
    address_once(&host, &tree);
}

#[test]
fn a_route_that_appears_while_the_container_is_down_moves_it_at_its_next_start() {
    with_netd(|host, _netd| {
        let tree = host.busybox_tree();
        host.run("ip link add vpn0 type bridge; ip link set vpn0 up");
        let mut addresses = BTreeSet::new();
        for _ in 0..4 {
            let address = address_once(host, &tree);
            assert!(
                addresses.insert(address),
                "{address} again, in spite of its route"
            );
            // At once before the next start: what netd has observed may be older.
            host.run(&format!("ip route add {}/28 dev vpn0", mask(address, 28)));
        }
    });
}

#[test]
fn a_link_that_goes_down_and_comes_back_does_not_clash_with_itself() {
    with_netd(|host, netd| {
        let tree = host.busybox_tree();
        let web = start(host, &tree);
        host.run("ip link set ve-web down");
        assert!(wait_until(SOON, || host
            .sh("ping -c1 -W1 -4 web")
            .success()));
        // A clash that is one comes after, so that a false one would have been told.
        host.run("ip link add vpn0 type bridge; ip link set vpn0 up");
        host.run(&format!(
            "ip route add {}/20 dev vpn0",
            mask(web.ipv4(), 20)
        ));
        netd.wait_for_output("(vpn0) now overlaps", SOON);
        let told = netd.stderr();
        assert!(!told.contains("(ve-web) now overlaps"), "{told}");
    });
}
