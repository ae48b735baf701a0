//! A container cannot fill the kernel's neighbour table through the host, and who
//! does not try meets no limit.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use netd::nft::{GoneLink, State, Table};

use crate::world::{Netns, World, wait_for};

/// What each link may do at once, and within the five seconds after.
const SOURCES: usize = 36;
const DESTINATIONS: usize = 57;

fn world() -> (World, Table) {
    let world = World::new();
    let table = world.host.enter(|| Table::install(None).unwrap());
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

/// Gives a container these addresses and sends a datagram from each of them to the host's
/// `to`. How many arrive.
fn heard_from(World { host, web, .. }: &World, addresses: &[IpAddr], to: &str) -> usize {
    let to = SocketAddr::new(to.parse().unwrap(), 9);
    let listener = host.enter(move || UdpSocket::bind(to).unwrap());
    listener.set_nonblocking(true).unwrap();
    let add: String = addresses
        .iter()
        .map(|ip| match ip {
            IpAddr::V4(_) => format!("addr add {ip}/20 dev host0\n"),
            IpAddr::V6(_) => format!("addr add {ip}/64 dev host0 nodad\n"),
        })
        .collect();
    web.sh(&format!("ip -batch - <<end\n{add}end\n"));
    // The host is known to it, so that nothing but the datagrams is sent.
    let own = if to.is_ipv4() {
        "10.9.1.2"
    } else {
        "fd09:1::2"
    };
    web.run("ping", &["-c1", "-W5", "-I", own, &to.ip().to_string()]);
    let addresses = addresses.to_vec();
    web.enter(move || {
        for source in addresses {
            let socket = UdpSocket::bind(SocketAddr::new(source, 0)).unwrap();
            socket.send_to(b"x", to).unwrap();
        }
    });
    let mut heard = 0;
    while listener.recv(&mut [0]).is_ok() {
        heard += 1;
    }
    heard
}

fn numbered(net: &str, numbers: std::ops::Range<u32>) -> Vec<IpAddr> {
    let of = |n: u32| match net.parse().unwrap() {
        IpAddr::V4(net) => IpAddr::from(std::net::Ipv4Addr::from(u32::from(net) + n)),
        IpAddr::V6(net) => IpAddr::from(std::net::Ipv6Addr::from(u128::from(net) + u128::from(n))),
    };
    numbers.map(of).collect()
}

#[test]
fn invented_ipv4_sources_of_a_wide_subnet_fill_no_table() {
    let (world, mut table) = world();
    world.host.ip("addr add 10.20.0.1/20 dev ve-web");
    let heard = heard_from(&world, &numbered("10.20.1.0", 0..400), "10.20.0.1");
    assert!((8..=SOURCES).contains(&heard), "{heard} of 400 sources");
    world
        .web
        .run("ping", &["-c1", "-W5", "-I", "10.9.1.2", "10.9.1.1"]);
    assert_eq!(table.verify().unwrap(), State::Intact);
}

#[test]
fn all_ipv4_sources_of_a_usual_link_come_up_at_once() {
    let (world, _table) = world();
    // 10.9.1.2 is the thirteenth.
    let heard = heard_from(&world, &numbered("10.9.1.0", 3..15), "10.9.1.1");
    assert_eq!(heard, 12);
}

/// For how many seconds an IPv4 address of a link is still known.
fn known_for(host: &Netns, link: &str, ip: &str) -> Option<u64> {
    let text = host.sh("nft -j list set inet rspawn ipv4_hosts");
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    let objects = report["nftables"].as_array().unwrap().iter();
    let elements = objects.filter_map(|object| object["set"]["elem"].as_array());
    let mut elements = elements.flatten().map(|element| &element["elem"]);
    let wanted = serde_json::json!([link, ip]);
    let found = elements.find(|element| element["val"]["concat"] == wanted)?;
    found["expires"].as_u64()
}

#[test]
fn who_answers_is_known_for_two_minutes_and_no_longer() {
    let (World { host, web, db, .. }, _table) = world();
    assert_eq!(known_for(&host, "ve-db", "10.9.2.2"), None);
    // Sent to before it has said anything: that alone is remembered for five seconds.
    web.run("ping", &["-c2", "-i0.01", "-W5", "10.9.2.2"]);
    let known = known_for(&host, "ve-db", "10.9.2.2").expect("known at all");
    assert!((60..=120).contains(&known), "{known} s");
    drop(db);
}

fn ifindex(shown: &str) -> u32 {
    shown.split(':').next().unwrap().trim().parse().unwrap()
}

/// The rules alone can tell who has been there; nothing of an ended link is left in them.
#[test]
fn what_a_link_left_is_forgotten_when_it_has_ended() {
    let (World { host, web, db, .. }, mut table) = world();
    web.run("ping", &["-c1", "-W5", "10.9.2.2"]);
    db.run("ping", &["-c1", "-W5", "10.9.1.1"]);
    let gone = GoneLink {
        index: ifindex(&host.ip("-o link show ve-web")),
        subnet: Some("10.9.1.1/28".parse().unwrap()),
    };
    assert_eq!(table.verify().unwrap(), State::Intact);
    table.forget(&[gone]).unwrap();
    let sets = [
        "ipv4_hosts",
        "new_ipv4_sources",
        "new_destinations",
        "dhcp_requests",
    ];
    for set in sets {
        let text = host.sh(&format!("nft list set inet rspawn {set}"));
        assert!(!text.contains("\"ve-web\""), "{text}");
    }
    assert!(known_for(&host, "ve-db", "10.9.2.2").is_some());
    assert_eq!(table.verify().unwrap(), State::Intact);
    // A change of others meanwhile is noticed all the same.
    host.sh("nft add table ip others");
    table.forget(&[gone]).unwrap();
    assert_eq!(table.verify().unwrap(), State::Intact);
}

#[test]
fn invented_sources_fill_no_table() {
    let (world, mut table) = world();
    let heard = heard_from(&world, &numbered("fd09:1::1:0", 0..400), "fd09:1::1");
    let World { web, .. } = &world;
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
