//! The packet socket on a real link: what it hears, what it does not, and how
//! much of a flood gets through.

// A test that cannot go on has failed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod dhcp_support;

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use dhcp_support::{
    HOST0, HOST0_ADDRESS, PATIENCE, Running, SERVER, config, container, ifindex, runtime,
};
use dhcproto::Encodable;
use dhcproto::v4::{DhcpOption, Flags, Message, MessageType};
use netd::dhcp::server::{Datagram, Transmit};
use netd::packet_socket::{DhcpSocket, OpenError, Received};
use netns_fixtures::{Host, Peer};
use registry::Mac;
use tokio::runtime::Runtime;

/// A socket at each end of the link.
fn both_ends<'h>(host: &'h Host, runtime: &Runtime) -> (Peer<'h>, DhcpSocket, DhcpSocket) {
    let container = container(host);
    let here = ifindex(&host.run("ip -o link show ve-box"));
    let there = ifindex(&container.run("ip -o link show host0"));
    let open = |index| {
        let _guard = runtime.enter();
        DhcpSocket::open(index).unwrap()
    };
    let server = host.enter(|| open(here));
    let client = container.enter(|| open(there));
    (container, server, client)
}

fn request(to: Mac, destination: SocketAddrV4, text: &str) -> Transmit {
    Transmit {
        destination_mac: to,
        source: SocketAddrV4::new(HOST0_ADDRESS, 68),
        destination,
        payload: text.as_bytes().to_vec(),
    }
}

async fn next(socket: &DhcpSocket) -> Received {
    tokio::time::timeout(PATIENCE, socket.recv())
        .await
        .expect("a packet")
        .unwrap()
}

fn text(received: &Received) -> String {
    match received {
        Received::Datagram(datagram) => String::from_utf8_lossy(&datagram.payload).into_owned(),
        Received::Damaged(error) => panic!("damaged: {error}"),
    }
}

fn mac_of(host: &Host, link: &str) -> Mac {
    let shown = host.run(&format!("cat /sys/class/net/{link}/address"));
    let bytes: Vec<u8> = shown
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect();
    Mac(bytes.try_into().unwrap())
}

#[test]
fn hears_requests_to_this_host_and_nothing_else() {
    let host = Host::new();
    let runtime = runtime();
    let (_container, server, client) = both_ends(&host, &runtime);
    let own = mac_of(&host, "ve-box");
    let all = Mac([0xff; 6]);
    let to = |address, port| SocketAddrV4::new(address, port);
    runtime.block_on(async {
        // Each that must not be heard goes first; what is heard next shows that it wasn't.
        for (bad, to_mac, to_address) in [
            ("another port", own, to(SERVER, 68)),
            ("another station", Mac([2, 9, 9, 9, 9, 9]), to(SERVER, 67)),
        ] {
            client.send(&request(to_mac, to_address, bad)).unwrap();
            client
                .send(&request(all, to(Ipv4Addr::BROADCAST, 67), "broadcast"))
                .unwrap();
            assert_eq!(text(&next(&server).await), "broadcast", "after {bad}");
        }
        // The server's own packets are not heard as requests.
        server
            .send(&request(HOST0, to(HOST0_ADDRESS, 67), "own"))
            .unwrap();
        assert_eq!(text(&next(&client).await), "own");
        client
            .send(&request(own, to(SERVER, 67), "unicast"))
            .unwrap();
        let Received::Datagram(datagram) = next(&server).await else {
            panic!("damaged")
        };
        assert_eq!(
            datagram,
            Datagram {
                source_mac: HOST0,
                source: HOST0_ADDRESS,
                destination: SERVER,
                payload: b"unicast".to_vec(),
            }
        );
    });
}

#[test]
fn hears_what_the_kernel_sends_with_its_checksum_still_open() {
    let host = Host::new();
    let runtime = runtime();
    let (container, server, _client) = both_ends(&host, &runtime);
    container.run("ip address add 192.168.7.2/28 dev host0; ip route add default dev host0");
    container.enter(|| {
        let socket = UdpSocket::bind("0.0.0.0:68").unwrap();
        socket.set_broadcast(true).unwrap();
        // A datagram in fragments first: it must not be heard.
        socket.send_to(&[b'x'; 3000], "255.255.255.255:67").unwrap();
        socket
            .send_to(b"from a plain socket", "255.255.255.255:67")
            .unwrap();
    });
    runtime.block_on(async {
        assert_eq!(text(&next(&server).await), "from a plain socket");
    });
}

#[test]
fn works_again_after_the_link_was_down() {
    let host = Host::new();
    let runtime = runtime();
    let (_container, server, client) = both_ends(&host, &runtime);
    let broadcast = SocketAddrV4::new(Ipv4Addr::BROADCAST, 67);
    let all = Mac([0xff; 6]);
    host.run("ip link set ve-box down");
    assert_eq!(
        server
            .send(&request(all, broadcast, "down"))
            .unwrap_err()
            .kind(),
        ErrorKind::NetworkDown
    );
    host.run("ip link set ve-box up; ip link set ve-box down");
    host.run("ip link set ve-box up");
    runtime.block_on(async {
        let deadline = Instant::now() + PATIENCE;
        // The other end may need a moment to see the carrier.
        while client.send(&request(all, broadcast, "up")).is_err() {
            assert!(Instant::now() < deadline);
        }
        assert_eq!(text(&next(&server).await), "up");
    });
}

#[test]
fn says_which_link_is_not_there() {
    let host = Host::new();
    let runtime = runtime();
    let error = host.enter(|| {
        let _guard = runtime.enter();
        DhcpSocket::open(4711).unwrap_err()
    });
    assert!(
        matches!(error, OpenError::Bind { ifindex: 4711, .. }),
        "{error:?}"
    );
}

fn discover(number: u32) -> Vec<u8> {
    let none = Ipv4Addr::UNSPECIFIED;
    let [.., b, c, d] = number.to_be_bytes();
    let mut message = Message::new_with_id(number, none, none, none, none, &[2, 7, 7, b, c, d]);
    message.set_flags(Flags::default().set_broadcast());
    message
        .opts_mut()
        .insert(DhcpOption::MessageType(MessageType::Discover));
    message.to_vec().unwrap()
}

/// A container that asks as fast as it can is answered at the link's rate, and
/// is heard again as soon as it asks like others.
#[test]
fn a_flood_is_answered_at_the_links_rate() {
    const RATE: u32 = 40;
    let host = Host::new();
    let container = container(&host);
    container.run("ip address add 192.168.7.2/28 dev host0; ip route add default dev host0");
    let mut slow = config();
    slow.bounds.queries_per_second = RATE;
    let server = Running::start(&host, slow);
    let (offers, spent) = container.enter(|| {
        let socket = UdpSocket::bind("0.0.0.0:68").unwrap();
        socket.set_broadcast(true).unwrap();
        socket.set_nonblocking(true).unwrap();
        let (start, mut offers, mut buffer) = (Instant::now(), 0, [0; 1500]);
        for number in 0..20_000 {
            // A full send queue drops some, which is no matter here.
            let _ = socket.send_to(&discover(number), "255.255.255.255:67");
            while socket.recv(&mut buffer).is_ok() {
                offers += 1;
            }
        }
        (offers, start.elapsed())
    });
    let allowed = f64::from(RATE) * spent.as_secs_f64() + f64::from(RATE) / 4.0 + 1.0;
    assert!(offers > 0);
    assert!(f64::from(offers) <= allowed, "{offers} offers in {spent:?}");
    // What the kernel has kept of the flood is little, and the server answers again.
    let mut ended = container
        .command("udhcpc")
        .args([
            "-f",
            "-q",
            "-n",
            "-i",
            "host0",
            "-s",
            "/bin/true",
            "-T",
            "1",
            "-t",
            "20",
        ])
        .spawn("udhcpc");
    assert!(ended.wait(Duration::from_secs(40)).success());
    assert_eq!(server.leases().len(), 1);
}
