//! What the table lets pass and what not, with real packets over real links.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use netd::nft::{State, Table};
use serde_json::Value;

use crate::world::{Netns, PATIENCE, World, end_owner, wait_for};

/// Long enough for a packet over three veths, short enough to wait for one that is dropped.
const DROPPED: Duration = Duration::from_millis(400);

fn world() -> (World, Table) {
    let world = World::new();
    let table = world.host.enter(|| Table::install(None).unwrap());
    (world, table)
}

/// Packets dropped by the rules of this comment.
fn dropped(host: &Netns, comment: &str) -> u64 {
    let text = host.run("nft", &["-j", "list", "table", "inet", "rspawn"]);
    let report: Value = serde_json::from_str(&text).unwrap();
    let rules = report["nftables"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|o| o.get("rule"));
    rules
        .filter(|rule| rule["comment"] == comment)
        .flat_map(|rule| rule["expr"].as_array().unwrap())
        .filter_map(|part| part["counter"]["packets"].as_u64())
        .sum()
}

fn listen(netns: &Netns, address: &'static str) -> TcpListener {
    netns.enter(move || TcpListener::bind(address).unwrap())
}

/// Connects from one namespace to a listener in another; what the listener's side sees
/// as the source.
fn connect(from: &Netns, listener: &TcpListener, to: &str) -> std::io::Result<IpAddr> {
    let ip: IpAddr = to.parse().unwrap();
    let to = SocketAddr::new(ip, listener.local_addr().unwrap().port());
    let mut client = from.enter(move || TcpStream::connect_timeout(&to, DROPPED))?;
    let (mut server, peer) = listener.accept()?;
    client.write_all(b"x")?;
    server.read_exact(&mut [0])?;
    Ok(peer.ip())
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn the_outside_sees_the_host_and_containers_see_each_other() {
    let (World { host, web, db, lan }, _table) = world();
    for (bind, outside, gateway, other, own) in [
        (
            "0.0.0.0:0",
            "192.0.2.2",
            "192.0.2.1",
            "10.9.2.2",
            "10.9.1.2",
        ),
        (
            "[::]:0",
            "fd09:99::2",
            "fd09:99::1",
            "fd09:2::2",
            "fd09:1::2",
        ),
    ] {
        web.run("ping", &["-c1", "-W5", outside]);
        web.run("ping", &["-c1", "-W5", other]);
        let seen = connect(&web, &listen(&lan, bind), outside).unwrap();
        assert_eq!(seen, ip(gateway), "masqueraded");
        let seen = connect(&web, &listen(&db, bind), other).unwrap();
        assert_eq!(seen, ip(own), "no NAT between containers");
        // The host itself sees true addresses, too, and its own flows keep theirs.
        let seen = connect(&web, &listen(&host, bind), gateway).unwrap();
        assert_eq!(seen, ip(own), "the host sees the container");
        let seen = connect(&host, &listen(&lan, bind), outside).unwrap();
        assert_eq!(seen, ip(gateway), "the host as ever");
    }
}

#[test]
fn what_is_not_published_is_not_reached_from_outside() {
    let (World { host, web, lan, .. }, mut table) = world();
    let index: u32 = host
        .sh("cat /sys/class/net/ve-web/ifindex || true")
        .trim()
        .parse()
        .unwrap_or(
            // The sysfs here may be that of another namespace.
            host.ip("-o link show ve-web")
                .split(':')
                .next()
                .unwrap()
                .trim()
                .parse()
                .unwrap(),
        );
    for (bind, address) in [("0.0.0.0:0", "10.9.1.2"), ("[::]:0", "fd09:1::2")] {
        let listener = listen(&web, bind);
        let before = dropped(&host, "not published");
        let error = connect(&lan, &listener, address).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{address}");
        assert!(dropped(&host, "not published") > before);
        connect(&host, &listener, address).expect("the host reaches it");

        table.set_inbound_open(&BTreeSet::from([index])).unwrap();
        connect(&lan, &listener, address).expect("Inbound=yes");
        table.set_inbound_open(&BTreeSet::new()).unwrap();
        connect(&lan, &listener, address).unwrap_err();
    }
}

#[test]
fn a_published_port_is_reached_and_others_are_not() {
    let (World { host, web, lan, .. }, _table) = world();
    let (published, other) = (listen(&web, "0.0.0.0:8080"), listen(&web, "0.0.0.0:8081"));
    host.nft(
        "add table ip nat { chain pre { type nat hook prerouting priority -100; \
         tcp dport 8080 ip daddr 192.0.2.1 dnat to 10.9.1.2; }; }",
    );
    let seen = connect(&lan, &published, "192.0.2.1").unwrap();
    assert_eq!(seen, ip("192.0.2.2"));
    connect(&lan, &other, "10.9.1.2").unwrap_err();
}

/// A UDP socket in a namespace, with a bound on its waiting.
fn udp(netns: &Netns, address: &'static str) -> UdpSocket {
    let socket = netns.enter(move || UdpSocket::bind(address).unwrap());
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = [0; 64];
    let (length, _) = socket.recv_from(&mut buffer).unwrap();
    buffer[..length].to_vec()
}

#[test]
fn a_forged_source_is_not_heard() {
    let (World { host, web, db, lan }, _table) = world();
    for (bind, target, neighbour, nobody, own) in [
        (
            "0.0.0.0:7000",
            "10.9.2.2:7000",
            "10.9.2.9",
            "198.51.100.7",
            "10.9.1.2",
        ),
        (
            "[::]:7000",
            "[fd09:2::2]:7000",
            "fd09:2::9",
            "2001:db8::7",
            "fd09:1::2",
        ),
    ] {
        let listener = udp(&db, bind);
        // The gateway is known from here on, no solicitation stands between.
        web.run(
            "ping",
            &[
                "-c1",
                "-W5",
                &target.replace(['[', ']'], "").replace(":7000", ""),
            ],
        );
        // The neighbour's range, a foreign one, an address of the host itself.
        let hosts = if neighbour.contains(':') {
            "fd09:99::1"
        } else {
            "192.0.2.1"
        };
        for forged in [neighbour, nobody, hosts] {
            let before = dropped(&host, "forged source address");
            let prefix = if forged.contains(':') { 128 } else { 32 };
            let nodad = if forged.contains(':') { " nodad" } else { "" };
            web.ip(&format!("addr add {forged}/{prefix} dev host0{nodad}"));
            let (source, target) = (forged.to_owned(), target.to_owned());
            web.enter(move || {
                let socket = UdpSocket::bind((source.as_str(), 0)).unwrap();
                socket.send_to(b"forged", target).unwrap();
            });
            wait_for("the drop", || {
                (dropped(&host, "forged source address") > before).then_some(())
            });
            web.ip(&format!("addr del {forged}/{prefix} dev host0"));
        }
        web.enter(move || {
            let socket = UdpSocket::bind((own, 0)).unwrap();
            socket.send_to(b"true", target).unwrap();
        });
        assert_eq!(receive(&listener), b"true", "the first that was heard");
    }
    // Not to the outside either, where the answer could not come back.
    assert!(!lan.ip("neigh").contains("198.51.100.7"));
}

#[test]
fn a_neighbours_address_gives_no_way_in_to_the_host() {
    let (World { host, web, .. }, _table) = world();
    let listener = udp(&host, "0.0.0.0:7001");
    web.ip("addr add 10.9.2.2/32 dev host0");
    web.enter(|| {
        let socket = UdpSocket::bind("10.9.2.2:0").unwrap();
        socket.send_to(b"forged", "10.9.1.1:7001").unwrap();
        let socket = UdpSocket::bind("10.9.1.2:0").unwrap();
        socket.send_to(b"true", "10.9.1.1:7001").unwrap();
    });
    assert_eq!(receive(&listener), b"true");
}

#[test]
fn dhcp_to_the_host_is_dropped_without_an_error_to_the_client() {
    let (World { host, web, .. }, _table) = world();
    let (client, control) = (udp(&web, "10.9.1.2:0"), udp(&web, "10.9.1.2:0"));
    client.connect("10.9.1.1:67").unwrap();
    control.connect("10.9.1.1:69").unwrap();
    client.send(b"renew").unwrap();
    control.send(b"nobody listens").unwrap();
    // The error for the second one comes after whatever the first one would have caused.
    assert_eq!(
        control.recv(&mut [0]).unwrap_err().kind(),
        ErrorKind::ConnectionRefused
    );
    client.set_nonblocking(true).unwrap();
    assert_eq!(
        client.recv(&mut [0]).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
    assert_eq!(dropped(&host, "DHCP is served ahead of the firewall"), 1);
}

#[test]
fn the_hosts_loopback_is_out_of_reach() {
    let (World { host, web, .. }, _table) = world();
    // Even where a host lets 127/8 in by its links.
    host.sh("echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet");
    web.sh("echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet");
    web.ip("route add 127.0.0.2/32 via 10.9.1.1 src 10.9.1.2");
    web.ip("rule add pref 0 to 127.0.0.2 lookup main");
    web.ip("rule add pref 1 lookup local");
    web.ip("rule del pref 0 lookup local");
    let listener = listen(&host, "127.0.0.2:0");
    let error = connect(&web, &listener, "127.0.0.2").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(dropped(&host, "loopback of the host") > 0);
}

#[test]
fn duplicate_address_detection_reaches_the_host() {
    let (World { host, web, .. }, _table) = world();
    web.sh("echo 1 > /proc/sys/net/ipv6/conf/host0/dad_transmits");
    // The host has this address: its answer to a solicitation from `::` tells.
    web.ip("addr add fd09:1::1/64 dev host0");
    wait_for("the duplicate to be found", || {
        web.ip("-6 addr show dev host0")
            .contains("dadfailed")
            .then_some(())
    });
    assert_eq!(dropped(&host, "no source address"), 0);
}

/// Sends an ICMPv6 message of this type from a link-local address to all nodes.
#[allow(unsafe_code)]
fn send_icmpv6(netns: &Netns, link: &'static str, message: Vec<u8>) {
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
    wait_for("a link-local address", || {
        let addresses = netns.ip(&format!("-6 addr show dev {link} scope link"));
        (addresses.contains("fe80:") && !addresses.contains("tentative")).then_some(())
    });
    netns.enter(move || {
        // SAFETY: a new descriptor, owned from here on.
        let socket = unsafe {
            let fd = libc::socket(libc::AF_INET6, libc::SOCK_RAW, libc::IPPROTO_ICMPV6);
            assert!(fd >= 0);
            OwnedFd::from_raw_fd(fd)
        };
        let link = std::ffi::CString::new(link).unwrap();
        // SAFETY: a C string; plain values for the options and the address, with their sizes.
        unsafe {
            let index = libc::if_nametoindex(link.as_ptr());
            let hops: libc::c_int = 255;
            for (option, value) in [
                (libc::IPV6_MULTICAST_HOPS, hops),
                (libc::IPV6_MULTICAST_IF, index.cast_signed()),
            ] {
                let size = size_of::<libc::c_int>() as u32;
                let value = (&raw const value).cast();
                let fd = socket.as_raw_fd();
                assert_eq!(
                    libc::setsockopt(fd, libc::IPPROTO_IPV6, option, value, size),
                    0
                );
            }
            let mut all_nodes: libc::sockaddr_in6 = std::mem::zeroed();
            all_nodes.sin6_family = libc::AF_INET6 as u16;
            all_nodes.sin6_addr.s6_addr =
                std::net::Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1).octets();
            all_nodes.sin6_scope_id = index;
            let size = size_of::<libc::sockaddr_in6>() as u32;
            let to = (&raw const all_nodes).cast();
            let sent = libc::sendto(
                socket.as_raw_fd(),
                message.as_ptr().cast(),
                message.len(),
                0,
                to,
                size,
            );
            assert_eq!(usize::try_from(sent).ok(), Some(message.len()));
        }
    });
}

#[test]
fn a_container_cannot_become_the_hosts_router() {
    let (World { host, web, lan, .. }, _table) = world();
    // A host that would listen on all its links.
    host.sh("for f in ve-web up0; do echo 2 > /proc/sys/net/ipv6/conf/$f/accept_ra; done");
    let mut advertisement = vec![134, 0, 0, 0, 64, 0, 0x07, 0x08];
    advertisement.extend([0; 8]);
    let routes = || host.ip("-6 route show default");
    send_icmpv6(&lan, "eth0", advertisement.clone());
    wait_for("the LAN's router", || {
        routes().contains("dev up0").then_some(())
    });
    send_icmpv6(&web, "host0", advertisement);
    wait_for("the drop", || {
        let comment = "router advertisement or redirect from a container";
        (dropped(&host, comment) == 1).then_some(())
    });
    assert!(!routes().contains("dev ve-web"), "{}", routes());
}

#[test]
fn flows_live_on_while_the_owner_changes() {
    let (World { host, web, lan, .. }, table) = world();
    let listener = listen(&lan, "0.0.0.0:0");
    let to = SocketAddr::new(ip("192.0.2.2"), listener.local_addr().unwrap().port());
    let mut client = web.enter(move || TcpStream::connect_timeout(&to, PATIENCE).unwrap());
    let (mut server, _) = listener.accept().unwrap();
    end_owner(&host, table);
    client.write_all(b"orphan").unwrap();
    server.read_exact(&mut [0; 6]).unwrap();
    let mut table = host.enter(|| Table::install(None).unwrap());
    server.write_all(b"adopted").unwrap();
    client.read_exact(&mut [0; 7]).unwrap();
    assert_eq!(table.verify().unwrap(), State::Intact);
}
