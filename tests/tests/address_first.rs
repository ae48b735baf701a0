//! The address is there before the payload's first instruction, whatever the tree holds.

use std::net::TcpListener;

use rspawn_tests::{SOON, Start, outside, serve_peer_name, with_netd};

#[test]
fn a_static_binary_and_nothing_else_has_an_address_at_its_first_instruction() {
    with_netd(|host, _netd| {
        let tree = host.static_binary_tree();
        let output = Start::new(host, "bare", &tree)
            .args(["--console=pipe", "/init"])
            .output()
            .expect_success();
        let addresses = addresses_of(&output.stdout, "host0");
        assert!(
            addresses.iter().any(|address| address.contains('.')),
            "{output}"
        );
        assert!(
            addresses.iter().any(|address| address.starts_with("fd")),
            "{output}"
        );
        assert!(output.stdout.contains("lo 127.0.0.1"), "{output}");
    });
}

fn addresses_of<'a>(listed: &'a str, link: &str) -> Vec<&'a str> {
    listed
        .lines()
        .filter_map(|line| line.strip_prefix(link)?.strip_prefix(' '))
        .collect()
}

#[test]
fn a_busybox_under_a_stub_init_is_reached_by_its_name_and_reaches_the_outside() {
    with_netd(|host, _netd| {
        let outside = outside(host);
        let tree = host.busybox_tree();
        let listener = outside
            .enter(|| TcpListener::bind("198.51.100.2:80"))
            .unwrap();
        let mut web = Start::new(host, "web", &tree)
            .args([
                "-a",
                "/bin/sh",
                "-c",
                "nc 198.51.100.2 80 </dev/null; echo over; exec sleep 1000",
            ])
            .start();
        assert_eq!(serve_peer_name(&listener).to_string(), "198.51.100.1");
        web.supervisor().wait_for_output("over", SOON);
        host.run("ping -c1 -W5 web");
        assert!(host.run("getent hosts web").contains("web"));
        // The route says where it came from, as a client's would.
        let route = web.run_in_network("ip -4 route show default");
        assert!(
            route.contains("dev host0") && route.contains(&format!("src {}", web.ipv4())),
            "{route}"
        );
    });
}

#[test]
fn the_payload_runs_and_has_a_network_later_where_netd_is_not_there() {
    let host = rspawn_tests::host();
    let tree = host.busybox_tree();
    let mut web = Start::new(&host, "web", &tree)
        .unregistered()
        .args(["-a", "/bin/sleep", "1000"])
        .start();
    assert!(
        netns_fixtures::wait_until(SOON, || !web.supervisor().stderr().is_empty()),
        "a word of warning"
    );
    let _netd = host.start_netd();
    let named = netns_fixtures::wait_until(SOON, || {
        host.sh("getent -s rspawn hosts web; ping -c1 -W2 web")
            .success()
    });
    assert!(named, "no network once netd is there\n{}", host.run("ip a"));
    assert!(web.supervisor().ended().is_none());
}

#[test]
fn an_image_without_a_resolver_gets_the_hosts_and_one_with_its_own_keeps_it() {
    with_netd(|host, _netd| {
        let tree = host.busybox_tree();
        let show = ["--console=pipe", "/bin/cat", "/etc/resolv.conf"];
        let output = Start::new(host, "web", &tree)
            .args(show)
            .output()
            .expect_success();
        assert!(
            output.stdout.contains("nameserver 198.51.100.53"),
            "{output}"
        );
        assert!(
            !host.exists(tree.join("etc/resolv.conf"))
                || host
                    .read(tree.join("etc/resolv.conf"))
                    .is_none_or(|text| text.is_empty()),
            "nothing is left in the tree"
        );
        host.write(tree.join("etc/resolv.conf"), "nameserver 127.0.0.53\n");
        let output = Start::new(host, "web", &tree)
            .args(show)
            .output()
            .expect_success();
        assert!(
            output.stdout.contains("nameserver 198.51.100.53"),
            "{output}"
        );
        let output = Start::new(host, "web", &tree)
            .args(["--resolv-conf=off"])
            .args(show)
            .output();
        assert_eq!(output.expect_success().stdout, "nameserver 127.0.0.53\n");
        host.write(tree.join("etc/resolv.conf"), "nameserver 203.0.113.7\n");
        let output = Start::new(host, "web", &tree)
            .args(show)
            .output()
            .expect_success();
        assert_eq!(output.stdout, "nameserver 203.0.113.7\n");
    });
}
