//! The two ways to hear DHCP requests on a real link: what they hear, what they do not,
//! and how much of a flood gets through.

// A test that cannot go on has failed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod dhcp_support;

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use dhcp_support::{
    By, HOST0, HOST0_ADDRESS, PATIENCE, Running, SERVER, config, container, ifindex, open, read,
    runtime,
};
use dhcproto::Encodable;
use dhcproto::v4::{DhcpOption, Flags, Message, MessageType};
use netd::dhcp::server::{Datagram, Transmit};
use netd::dhcp_wire::{
    LogSocket, LogSocketError, OpenError, PacketSocket, Port, Reader, Received, Wire,
};
use netd::nft::Table;
use netns_fixtures::{Host, Peer};
use registry::Mac;
use tokio::runtime::Runtime;

const BOTH: [By; 2] = [By::Log, By::PacketSocket];

/// A server's place at the host's end of the link, and a client's socket at the other.
struct Ends<'h> {
    container: Peer<'h>,
    wire: Wire,
    server: Port,
    client: PacketSocket,
    reader: Option<Reader>,
    _table: Option<Table>,
}

impl<'h> Ends<'h> {
    fn open(by: By, host: &'h Host, runtime: &Runtime) -> Self {
        let container = container(host);
        let here = ifindex(&host.run("ip -o link show ve-box"));
        let there = ifindex(&container.run("ip -o link show host0"));
        let (wire, server, reader, table) = host.enter(|| {
            let _guard = runtime.enter();
            let (wire, reader, table) = open(by);
            let port = wire.port(here).unwrap();
            (wire, port, reader, table)
        });
        let client = container.enter(|| {
            let _guard = runtime.enter();
            PacketSocket::open(there).unwrap()
        });
        Self {
            container,
            wire,
            server,
            client,
            reader,
            _table: table,
        }
    }

    /// Has `test` done while requests are handed out.
    fn meanwhile(
        &mut self,
        runtime: &Runtime,
        test: impl AsyncFnOnce(&mut Wire, &Port, &PacketSocket),
    ) {
        let reader = self.reader.take();
        runtime.block_on(async {
            tokio::select! {
                () = test(&mut self.wire, &self.server, &self.client) => {}
                () = read(reader) => {}
            }
        });
    }
}

fn request(port: u32, to: Mac, destination: SocketAddrV4, text: &str) -> Transmit {
    Transmit {
        port,
        destination_mac: to,
        source: SocketAddrV4::new(HOST0_ADDRESS, 68),
        destination,
        payload: text.as_bytes().to_vec(),
    }
}

/// The next datagram that a server would be given.
async fn next(server: &Port) -> Datagram {
    let heard = async {
        loop {
            if let Received::Datagram(datagram) = server.recv().await.unwrap() {
                return datagram;
            }
        }
    };
    let heard = tokio::time::timeout(PATIENCE, heard).await;
    heard.expect("a datagram")
}

fn text(datagram: &Datagram) -> String {
    String::from_utf8_lossy(&datagram.payload).into_owned()
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
    for by in BOTH {
        let (host, runtime) = (Host::new(), runtime());
        let mut ends = Ends::open(by, &host, &runtime);
        let own = mac_of(&host, "ve-box");
        let all = Mac([0xff; 6]);
        let to = |address, port| SocketAddrV4::new(address, port);
        ends.meanwhile(&runtime, async |_, server, client| {
            // Each that must not be heard goes first; what is heard next shows that it wasn't.
            for (bad, to_mac, to_address) in [
                ("another port", own, to(SERVER, 68)),
                ("another station", Mac([2, 9, 9, 9, 9, 9]), to(SERVER, 67)),
            ] {
                client
                    .send(&request(client.ifindex(), to_mac, to_address, bad))
                    .unwrap();
                client
                    .send(&request(
                        client.ifindex(),
                        all,
                        to(Ipv4Addr::BROADCAST, 67),
                        "broadcast",
                    ))
                    .unwrap();
                assert_eq!(
                    text(&next(server).await),
                    "broadcast",
                    "{by:?}, after {bad}"
                );
            }
            // The server's own packets are not heard as requests.
            server
                .send(&request(
                    server.ifindex(),
                    HOST0,
                    to(HOST0_ADDRESS, 67),
                    "own",
                ))
                .unwrap();
            let Received::Datagram(answer) = client.recv().await.unwrap() else {
                panic!("damaged")
            };
            assert_eq!(text(&answer), "own");
            client
                .send(&request(client.ifindex(), own, to(SERVER, 67), "unicast"))
                .unwrap();
            let wanted = Datagram {
                port: server.ifindex(),
                source_mac: HOST0,
                source: HOST0_ADDRESS,
                destination: SERVER,
                payload: b"unicast".to_vec(),
            };
            assert_eq!(next(server).await, wanted, "{by:?}");
        });
    }
}

#[test]
fn hears_what_the_kernel_sends_with_its_checksum_still_open() {
    for by in BOTH {
        let (host, runtime) = (Host::new(), runtime());
        let mut ends = Ends::open(by, &host, &runtime);
        let container = &ends.container;
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
        ends.meanwhile(&runtime, async |_, server, _| {
            assert_eq!(text(&next(server).await), "from a plain socket", "{by:?}");
        });
    }
}

#[test]
fn works_again_after_the_link_was_down() {
    for by in BOTH {
        let (host, runtime) = (Host::new(), runtime());
        let mut ends = Ends::open(by, &host, &runtime);
        let broadcast = SocketAddrV4::new(Ipv4Addr::BROADCAST, 67);
        let all = Mac([0xff; 6]);
        host.run("ip link set ve-box down");
        let down = ends
            .server
            .send(&request(ends.server.ifindex(), all, broadcast, "down"));
        assert_eq!(down.unwrap_err().kind(), ErrorKind::NetworkDown);
        host.run("ip link set ve-box up; ip link set ve-box down");
        host.run("ip link set ve-box up");
        ends.meanwhile(&runtime, async |_, server, client| {
            let deadline = Instant::now() + PATIENCE;
            // The other end may need a moment to see the carrier.
            while client
                .send(&request(client.ifindex(), all, broadcast, "up"))
                .is_err()
            {
                assert!(Instant::now() < deadline);
            }
            assert_eq!(text(&next(server).await), "up", "{by:?}");
        });
    }
}

/// Where the one socket cannot be had, each link has one of its own.
#[test]
fn a_group_that_another_program_listens_to_is_left_to_it() {
    let host = Host::new();
    let _container = container(&host);
    let index = ifindex(&host.run("ip -o link show ve-box"));
    host.enter(|| {
        let (runtime, local) = (crate::runtime(), tokio::task::LocalSet::new());
        let _guard = (runtime.enter(), local.enter());
        let _first = LogSocket::open().unwrap();
        let second = LogSocket::open().map(|_| ());
        assert!(matches!(second, Err(LogSocketError::Bind(_))), "{second:?}");
        let wire = Wire::open();
        assert_eq!(wire.log_group(), None);
        assert!(matches!(wire.port(index), Ok(Port::PacketSocket(_))));
    });
}

/// Another link to the container: its index, and a client's socket at its other end.
fn other_link(host: &Host, container: &Peer<'_>, runtime: &Runtime) -> (u32, PacketSocket) {
    host.run(&format!(
        "ip link add ve-other group {} type veth peer name host1 netns box
         ip link set ve-other up; ip -n box link set host1 up",
        registry::LINK_GROUP
    ));
    let there = ifindex(&container.run("ip -o link show host1"));
    let client = container.enter(|| {
        let _guard = runtime.enter();
        PacketSocket::open(there).unwrap()
    });
    (ifindex(&host.run("ip -o link show ve-other")), client)
}

/// Sends a request to all.
fn say(client: &PacketSocket, text: &str) {
    let broadcast = SocketAddrV4::new(Ipv4Addr::BROADCAST, 67);
    let sent = client.send(&request(client.ifindex(), Mac([0xff; 6]), broadcast, text));
    sent.unwrap();
}

/// Each link's requests come to its own server, and to none once that has ended.
#[test]
fn requests_come_to_the_server_of_their_link() {
    let (host, runtime) = (Host::new(), runtime());
    let mut ends = Ends::open(By::Log, &host, &runtime);
    let (other, client) = other_link(&host, &ends.container, &runtime);
    // The later one of two has the place, also when the earlier one ends after that.
    let first = ends.wire.port(other).unwrap();
    let second = ends.wire.port(other).unwrap();
    drop(first);
    ends.meanwhile(&runtime, async |_, server, own| {
        say(&client, "by the other");
        say(own, "by its own");
        assert_eq!(text(&next(server).await), "by its own");
        assert_eq!(text(&next(&second).await), "by the other");
        drop(second);
        say(&client, "to nobody");
        say(own, "again");
        assert_eq!(text(&next(server).await), "again");
    });
}

/// A link needs no server before somebody asks on it, and its first request is not lost.
#[test]
fn requests_wait_for_the_server_that_they_call_for() {
    let (host, runtime) = (Host::new(), runtime());
    let mut ends = Ends::open(By::Log, &host, &runtime);
    let (other, client) = other_link(&host, &ends.container, &runtime);
    ends.meanwhile(&runtime, async |wire, server, own| {
        let called = async |wire: &mut Wire| tokio::time::timeout(PATIENCE, wire.asked()).await;
        let expected = wire.expect(other).unwrap();
        for text in ["first", "second"] {
            say(&client, text);
        }
        assert_eq!(called(wire).await, Ok(other));
        let port = wire.port(other).unwrap();
        drop(expected);
        for wanted in ["first", "second"] {
            assert_eq!(text(&next(&port).await), wanted);
        }
        // Once for a link, until its server has ended.
        say(&client, "third");
        assert_eq!(text(&next(&port).await), "third");
        drop(port);
        let expected = wire.expect(other).unwrap();
        say(&client, "anew");
        assert_eq!(called(wire).await, Ok(other));
        drop(expected);
        // Also of one whose server has yet to notice that it is over.
        let port = wire.port(other).unwrap();
        let expected = wire.expect(other).unwrap();
        drop(port);
        say(&client, "in between");
        assert_eq!(called(wire).await, Ok(other));
        drop(expected);
        // Of a link that is gone nothing is kept.
        say(&client, "to nobody");
        say(own, "again");
        assert_eq!(text(&next(server).await), "again");
        drop(wire.expect(other));
        let port = wire.port(other).unwrap();
        say(&client, "last");
        assert_eq!(text(&next(&port).await), "last");
    });
}

#[test]
fn says_which_link_is_not_there() {
    let host = Host::new();
    let runtime = runtime();
    let error = host.enter(|| {
        let _guard = runtime.enter();
        PacketSocket::open(4711).unwrap_err()
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
    BOTH.into_iter().for_each(|by| flood(by, RATE));
}

fn flood(by: By, rate: u32) {
    let host = Host::new();
    let container = container(&host);
    container.run("ip address add 192.168.7.2/28 dev host0; ip route add default dev host0");
    let mut slow = config();
    slow.bounds.queries_per_second = rate;
    let server = Running::start_by(by, &host, slow);
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
    let allowed = f64::from(rate) * spent.as_secs_f64() + f64::from(rate) / 4.0 + 1.0;
    assert!(offers > 0);
    assert!(
        f64::from(offers) <= allowed,
        "{by:?}: {offers} offers in {spent:?}"
    );
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
