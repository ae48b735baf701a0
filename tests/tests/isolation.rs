//! What a neighbour on the LAN, and a hostile container, cannot do.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use netns_fixtures::{Host, Peer};
use rspawn_tests::{Container, SOON, Start, capture_source, with_netd};

const SLEEP: [&str; 3] = ["-a", "/bin/sleep", "1000"];
/// How long to wait for what must not come.
const NEVER: Duration = Duration::from_millis(700);

fn lan(host: &Host) -> Peer<'_> {
    host.peer("lan")
        .joined("lan0", "192.0.2.1/24", "192.0.2.2/24")
}

fn connects_from(lan: &Peer<'_>, to: SocketAddr) -> bool {
    lan.enter(|| TcpStream::connect_timeout(&to, NEVER)).is_ok()
}

#[test]
fn a_neighbour_on_the_lan_reaches_no_port_of_a_container() {
    with_netd(|host, _netd| {
        let lan = lan(host);
        let tree = host.busybox_tree();
        let web = Start::new(host, "web", &tree).args(SLEEP).start();
        let address = SocketAddr::new(web.ipv4(), 80);
        let _listener = web.enter_network(|| TcpListener::bind(address)).unwrap();
        lan.run(&format!("ip route add {}/32 via 192.0.2.1", web.ipv4()));
        host.enter(|| TcpStream::connect_timeout(&address, SOON))
            .expect("the host itself reaches it");
        assert!(!connects_from(&lan, address), "the LAN reaches {address}");
        assert!(!lan.sh(&format!("ping -c1 -W1 {}", web.ipv4())).success());
        // The way out, and back, is open all the same.
        let outside = lan.enter(|| TcpListener::bind("192.0.2.2:80")).unwrap();
        web.enter_network(|| TcpStream::connect_timeout(&"192.0.2.2:80".parse().unwrap(), SOON))
            .expect("the way out");
        assert_eq!(outside.accept().unwrap().1.ip().to_string(), "192.0.2.1");
    });
}

#[test]
fn nobody_reaches_the_hosts_loopback() {
    with_netd(|host, _netd| {
        let lan = lan(host);
        let tree = host.busybox_tree();
        let web = Start::new(host, "web", &tree).args(SLEEP).start();
        let _listener = host.enter(|| TcpListener::bind("127.0.0.1:8080")).unwrap();
        let _further = host.enter(|| TcpListener::bind("127.0.0.2:8080")).unwrap();
        let gateway = web
            .run_in_network("ip -4 route show default")
            .split_whitespace()
            .nth(2)
            .unwrap()
            .to_owned();
        // Both send packets for 127/8 to the host's link address.
        let hostile = |link: &str, gateway: &str| {
            format!(
                "sysctl -qw net.ipv4.conf.all.route_localnet=1 net.ipv4.conf.{link}.route_localnet=1
                 ip address flush dev lo
                 ip route flush table local dev lo
                 ip route add 127.0.0.0/8 via {gateway} dev {link}"
            )
        };
        lan.run(&hostile("eth0", "192.0.2.1"));
        web.run_in_network(&hostile("host0", &gateway));
        for address in ["127.0.0.1:8080", "127.0.0.2:8080"] {
            let address: SocketAddr = address.parse().unwrap();
            assert!(!connects_from(&lan, address), "the LAN reaches {address}");
            let connected = web.enter_network(|| TcpStream::connect_timeout(&address, NEVER));
            assert!(connected.is_err(), "the container reaches {address}");
            host.enter(|| TcpStream::connect(address))
                .expect("the host itself reaches it");
        }
        assert_eq!(
            host.run(
                "sysctl -n net.ipv4.conf.ve-web.route_localnet net.ipv4.conf.all.route_localnet"
            ),
            "0\n0"
        );
    });
}

#[test]
fn a_container_that_takes_its_neighbours_address_is_not_heard() {
    with_netd(|host, _netd| {
        let tree = host.busybox_tree();
        let start = |name: &str| -> Container<'_> {
            Start::new(host, name, &host.overlay(&tree, name))
                .args(SLEEP)
                .start()
        };
        let (thief, victim, witness) = (start("thief"), start("victim"), start("witness"));
        let stolen = victim.ipv4();
        let ula = *victim
            .addresses()
            .iter()
            .find(|address| address.is_ipv6())
            .expect("a ULA");
        let at = SocketAddr::new(witness.ipv4(), 4000);
        let socket = witness.enter_network(|| UdpSocket::bind(at)).unwrap();
        thief.run_in_network(&format!(
            "ip address add {stolen}/32 dev host0; ip address add {ula}/128 dev host0 nodad"
        ));
        send(&thief, stolen, at, "stolen");
        send(&thief, thief.ipv4(), at, "honest");
        let (source, text) = capture_source(&socket, SOON).expect("the honest datagram");
        assert_eq!(
            (source.ip(), text.as_str()),
            (thief.ipv4(), "honest"),
            "the stolen one came first"
        );
        assert!(capture_source(&socket, NEVER).is_none());

        // Neither to the host, nor by IPv6, and the name of neither changes.
        let host_socket = host.enter(|| UdpSocket::bind("[::]:4001")).unwrap();
        let gateway = |container: &Container<'_>, family: &str| -> IpAddr {
            let route = container.run_in_network(&format!(
                "ip {family} route get {}",
                if family == "-4" {
                    "198.51.100.2"
                } else {
                    "2001:db8::99"
                }
            ));
            let mut words = route.split_whitespace().skip_while(|word| *word != "via");
            words.nth(1).expect("a gateway").parse().unwrap()
        };
        host.run("ip route add 198.51.100.0/24 dev lo || true");
        send(
            &thief,
            stolen,
            SocketAddr::new(gateway(&thief, "-4"), 4001),
            "stolen",
        );
        send(
            &thief,
            thief.ipv4(),
            SocketAddr::new(gateway(&thief, "-4"), 4001),
            "honest",
        );
        assert_eq!(
            capture_source(&host_socket, SOON)
                .expect("the honest one")
                .1,
            "honest"
        );
        let names = host.run("getent ahosts thief; getent ahosts victim");
        assert!(
            names.matches(&stolen.to_string()).count()
                == host
                    .run("getent ahosts victim")
                    .matches(&stolen.to_string())
                    .count(),
            "{names}"
        );
        host.run(&format!("ping -c1 -W5 {stolen}"));
        assert!(
            host.run(&format!("getent hosts {stolen}"))
                .contains("victim")
        );
    });
}

/// Sends `text` from `source`, which the container has. It may be refused: the
/// kernel tells the sender of a drop on its own side.
fn send(from: &Container<'_>, source: IpAddr, to: SocketAddr, text: &str) {
    let sent = from.enter_network(|| {
        UdpSocket::bind((source, 0)).and_then(|socket| socket.send_to(text.as_bytes(), to))
    });
    assert!(sent.is_ok() || sent.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied));
}
