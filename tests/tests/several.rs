//! Several containers, long names, bridges.

use std::net::{IpAddr, TcpListener, UdpSocket};

use netns_fixtures::wait_until;
use rspawn_tests::{Container, SOON, Start, capture_source, start_dnsmasq, with_netd};

const SLEEP: [&str; 3] = ["-a", "/bin/sleep", "1000"];

#[test]
fn three_containers_reach_each_other_and_see_true_sources() {
    with_netd(|host, _netd| {
        let tree = host.busybox_tree();
        let names = ["one", "two", "three"];
        let containers: Vec<Container<'_>> = names
            .iter()
            .map(|name| {
                let own = host.overlay(&tree, name);
                Start::new(host, name, &own).args(SLEEP).start()
            })
            .collect();
        for from in &containers {
            for to in &containers {
                if from.name() == to.name() {
                    continue;
                }
                let (source, target) = (from.ipv4(), to.ipv4());
                from.run(&format!("ping -c1 -W5 {target}"));
                let socket = to
                    .enter_network(|| UdpSocket::bind((target, 4000)))
                    .unwrap();
                from.enter_network(|| {
                    UdpSocket::bind((source, 0)).and_then(|from| from.send_to(b"x", (target, 4000)))
                })
                .unwrap();
                let (seen, _) = capture_source(&socket, SOON).expect("a datagram");
                assert_eq!(seen.ip(), source, "{} sees {}", to.name(), from.name());
            }
        }
        // The host as well sees who it is.
        let listener = host.enter(|| TcpListener::bind("0.0.0.0:4001")).unwrap();
        let gateway = containers[0]
            .run_in_network("ip -4 route show default")
            .split_whitespace()
            .nth(2)
            .unwrap()
            .to_owned();
        let stream =
            containers[0].enter_network(|| std::net::TcpStream::connect((gateway.as_str(), 4001)));
        drop(stream.expect("a container reaches its host"));
        assert_eq!(listener.accept().unwrap().1.ip(), containers[0].ipv4());
    });
}

#[test]
fn a_name_of_forty_characters_works() {
    with_netd(|host, _netd| {
        let name = "a-name-that-is-forty-characters-long-abc";
        assert_eq!(name.len(), 40);
        let tree = host.busybox_tree();
        let container = Start::new(host, name, &tree).args(SLEEP).start();
        host.run(&format!("ping -c1 -W5 {name}"));
        // The link has 11 bytes of the name and 4 of a hash, and the whole as a second name.
        let link = host.run(&format!("ip -o link show ve-{name}"));
        let short = link.split(": ").nth(1).unwrap().split('@').next().unwrap();
        assert_eq!(short.len(), 15, "{link}");
        assert!(short.starts_with("ve-a-name-t"), "{link}");
        assert_eq!(container.run("hostname"), name);
        // Another that begins in the same way does not collide.
        let other = host.overlay(&tree, "other");
        let _second = Start::new(host, "a-name-that-is-also-long", &other)
            .args(SLEEP)
            .start();
        host.run("ping -c1 -W5 a-name-that-is-also-long");
    });
}

#[test]
fn a_container_on_a_bridge_has_the_address_that_the_bridges_server_gives() {
    with_netd(|host, _netd| {
        host.run(
            "ip link add br0 type bridge; ip address add 10.77.0.1/24 dev br0; ip link set br0 up",
        );
        let _dnsmasq = start_dnsmasq(host);
        let tree = host.busybox_tree();
        let web = Start::new(host, "web", &tree)
            .args([
                "--network-bridge=br0",
                "-a",
                "/bin/sh",
                "-c",
                "udhcpc -i host0 -f -S -n -q; exec sleep 1000",
            ])
            .start();
        let link = || host.run("ip -o link show vb-web");
        let joined = || link().contains("master br0") && link().contains("state UP");
        assert!(wait_until(SOON, joined), "{}", link());
        assert!(
            !host
                .run("ip -4 -o address show dev vb-web")
                .contains("inet")
        );
        let leased = wait_until(SOON, || {
            web.addresses()
                .iter()
                .any(|address| address.to_string().starts_with("10.77.0.5"))
        });
        assert!(leased, "{:?}\n{}", web.record(), host.run("ip a"));
        host.run("ping -c1 -W5 web");
        // What the container adds is known, too, but never an address of the host.
        web.run_in_network(
            "ip address add 10.77.0.99/24 dev host0; ip address add 10.77.0.1/24 dev host0",
        );
        let added: IpAddr = "10.77.0.99".parse().unwrap();
        assert!(
            wait_until(SOON, || web.addresses().contains(&added)),
            "{:?}",
            web.record()
        );
        assert!(
            !web.addresses().contains(&"10.77.0.1".parse().unwrap()),
            "{:?}",
            web.record()
        );
        web.run_in_network("ip address del 10.77.0.99/24 dev host0");
        assert!(
            wait_until(SOON, || !web.addresses().contains(&added)),
            "{:?}",
            web.record()
        );
    });
}
