//! A container cannot fill the kernel's neighbour table through the host, and who
//! does not try meets no limit.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use netd::nft::{State, Table};

use crate::world::{Netns, World, wait_for};

/// What each link may do at once, and within the five seconds after.
const SOURCES: usize = 36;
const DESTINATIONS: usize = 57;

fn world() -> (World, Table) {
    let world = World::new();
    let table = world.host.enter(|| Table::install().unwrap());
    (world, table)
}

/// Sends a datagram to each address, and is told of no failure.
fn send(from: &Netns, to: Vec<String>) {
    from.enter(move || {
        let v6 = to.first().is_some_and(|to| to.contains(':'));
        let socket = UdpSocket::bind(if v6 { "[::]:0" } else { "0.0.0.0:0" }).unwrap();
        for address in to {
            let ip: IpAddr = address.parse().unwrap();
            let _ = socket.send_to(b"x", SocketAddr::new(ip, 9));
        }
    });
}

/// How many neighbours the host has or looks for at a link.
fn neighbours(host: &Netns, link: &str, family: &str) -> usize {
    let text = host.ip(&format!("{family} neigh show dev {link}"));
    text.lines().filter(|line| !line.contains("router")).count()
}

#[test]
fn invented_sources_fill_no_table() {
    let (World { host, web, .. }, mut table) = world();
    let listener = host.enter(|| UdpSocket::bind("[fd09:1::1]:9").unwrap());
    listener.set_nonblocking(true).unwrap();
    let add: String = (0..400)
        .map(|n| format!("addr add fd09:1::1:{n:x}/64 dev host0 nodad\n"))
        .collect();
    web.sh(&format!("ip -6 -batch - <<end\n{add}end\n"));
    // The host is known to it, so that nothing but the datagrams is sent.
    web.run("ping", &["-c1", "-W5", "-I", "fd09:1::2", "fd09:1::1"]);
    web.enter(|| {
        for n in 0..400 {
            let source = format!("[fd09:1::1:{n:x}]:0");
            let socket = UdpSocket::bind(source).unwrap();
            socket.send_to(b"x", "[fd09:1::1]:9").unwrap();
        }
    });
    let mut heard = 0;
    while listener.recv(&mut [0]).is_ok() {
        heard += 1;
    }
    assert!((8..=SOURCES).contains(&heard), "{heard} of 400 sources");
    // What it had before goes on, and what packets have added is no foreign change.
    web.run("ping", &["-c1", "-W5", "-I", "fd09:1::2", "fd09:1::1"]);
    assert_eq!(table.verify().unwrap(), State::Intact);
}

#[test]
fn looking_for_hosts_fills_no_table() {
    let (World { host, web, db, .. }, _table) = world();
    for (family, net, known) in [
        ("-6", "fd09:2::", "fd09:2::2"),
        ("-4", "10.9.2.", "10.9.2.2"),
    ] {
        // Heard of: the host has asked it something.
        host.run("ping", &["-c1", "-W5", known]);
        let addresses: Vec<String> = match family {
            "-6" => (0x100..0x300).map(|n| format!("{net}{n:x}")).collect(),
            _ => (3..15).map(|n| format!("{net}{n}")).collect(),
        };
        send(&web, addresses);
        let looked_for = neighbours(&host, "ve-db", family);
        assert!(
            (2..=DESTINATIONS).contains(&looked_for),
            "{looked_for} neighbours by {family}"
        );
        // Whoever is known is reached all the same, as often as one likes.
        web.run("ping", &["-c100", "-i0.002", "-W5", "-q", known]);
    }
    drop(db);
}

#[test]
fn a_silent_receiver_is_sent_to_at_any_rate() {
    let (World { web, db, .. }, _table) = world();
    let listener = db.enter(|| UdpSocket::bind("10.9.2.2:9").unwrap());
    listener.set_nonblocking(true).unwrap();
    send(&web, vec!["10.9.2.2".into()]);
    wait_for("the first datagram", || listener.recv(&mut [0]).ok());
    let sent = 200;
    send(&web, vec!["10.9.2.2".into(); sent]);
    let mut heard = 0;
    while listener.recv(&mut [0]).is_ok() {
        heard += 1;
    }
    assert_eq!(heard, sent);
}
