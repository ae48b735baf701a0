//! Router advertisements on real links, to the kernel's own client and to rdisc6.

// A test that cannot go on has failed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod link_support;

use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use link_support::{PATIENCE, VE, ifindex, joined, runtime};
use netd::ra::{
    Advertiser, Dnssl, DomainName, Input, Lifetime, Output, Prefix, RaConfig, RaSettings, RaSocket,
    Rdnss,
};
use netns_fixtures::{Host, Peer, wait_until};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

fn settings(prefix: &str) -> RaSettings {
    let server: Ipv6Addr = "fd00:1:2:3::1".parse().unwrap();
    let domain: DomainName = "example.org".parse().unwrap();
    RaSettings {
        mac: Some(VE),
        mtu: Some(1420),
        prefixes: vec![Prefix::autonomous(prefix.parse().unwrap())],
        rdnss: Some(Rdnss {
            lifetime: Lifetime(1800),
            servers: vec![server],
        }),
        dnssl: Some(Dnssl {
            lifetime: Lifetime(1800),
            domains: vec![domain],
        }),
        solicited_delay: Duration::ZERO,
        ..RaSettings::default()
    }
}

enum Order {
    Change(Box<RaSettings>),
    Stop,
}

/// A router on one socket for all its links, until the test ends.
struct Router {
    orders: UnboundedSender<Order>,
}

impl Router {
    /// Each link with its settings; an order is for all of them.
    fn start(host: &Host, links: Vec<(&str, RaSettings)>, joins: bool) -> Self {
        let runtime = runtime();
        let socket = host.enter(|| {
            let _guard = runtime.enter();
            RaSocket::open().unwrap()
        });
        let mut machines: Vec<(u32, Advertiser)> = links
            .into_iter()
            .map(|(link, settings)| {
                let link = ifindex(&host.run(&format!("ip -o link show {link}")));
                let config = RaConfig::new(settings).unwrap();
                (link, Advertiser::new(config, link.into()))
            })
            .collect();
        let (orders, mut ordered) = unbounded_channel();
        std::thread::spawn(move || {
            runtime.block_on(async {
                for (link, machine) in &mut machines {
                    if joins {
                        socket.join(*link).unwrap();
                        // Again is no error.
                        socket.join(*link).unwrap();
                    }
                    machine.start(Instant::now());
                }
                loop {
                    for (link, machine) in &mut machines {
                        send_all(&socket, *link, machine);
                    }
                    let deadlines = machines.iter().filter_map(|(_, m)| m.deadline());
                    let deadline = deadlines.min().unwrap_or_else(|| Instant::now() + PATIENCE);
                    tokio::select! {
                        heard = socket.recv() => {
                            let heard = heard.unwrap();
                            let input = heard.input().expect("a kernel's solicitation");
                            for (_, machine) in machines.iter_mut().filter(|(l, _)| *l == heard.ifindex) {
                                machine.handle(Instant::now(), input.clone());
                            }
                        }
                        order = ordered.recv() => {
                            let Some(order) = order else { return };
                            for (_, machine) in &mut machines {
                                obey(machine, &order);
                            }
                        }
                        () = tokio::time::sleep_until(deadline.into()) => {
                            for (_, machine) in &mut machines {
                                machine.handle(Instant::now(), Input::Time);
                            }
                        }
                    }
                }
            });
        });
        Self { orders }
    }

    fn order(&self, order: Order) {
        assert!(self.orders.send(order).is_ok(), "the router has ended");
    }
}

fn send_all(socket: &RaSocket, link: u32, machine: &mut Advertiser) {
    while let Some(output) = machine.poll_output() {
        match output {
            // Until the link has its link-local address nothing can be sent.
            Output::Send {
                destination,
                packet,
            } => drop(socket.send(link, None, destination, &packet)),
            Output::Event(event) => panic!("{event:?}"),
        }
    }
}

fn obey(machine: &mut Advertiser, order: &Order) {
    match order {
        Order::Change(settings) => {
            let config = RaConfig::new(settings.as_ref().clone()).unwrap();
            machine.handle(Instant::now(), Input::ConfigChanged(config));
        }
        Order::Stop => machine.stop(Instant::now()),
    }
}

#[track_caller]
fn expect(peer: &Peer<'_>, script: &str, texts: &[&str]) {
    let has_all = || {
        let shown = peer.sh(script).stdout;
        texts.iter().all(|text| shown.contains(text))
    };
    let found = wait_until(PATIENCE, has_all);
    assert!(found, "not all of {texts:?} in: {}", peer.sh(script));
}

const ADDRESSES: &str = "ip -6 -o address show dev host0 scope global";

#[test]
fn a_kernel_configures_itself_and_follows_changes() {
    let host = Host::new();
    let container = joined(&host);
    let old = settings("fd00:1:2:3::/64");
    let router = Router::start(&host, vec![("ve-box", old)], true);
    // By the interface's own address: 02:00:00:00:00:01.
    expect(&container, ADDRESSES, &["fd00:1:2:3:0:ff:fe00:1/64"]);
    let routes = "ip -6 route show";
    let by_us = "default via fe80::ff:fe00:10 dev host0 proto ra";
    expect(
        &container,
        routes,
        &[by_us, "fd00:1:2:3::/64 dev host0 proto kernel"],
    );
    expect(
        &container,
        "cat /proc/sys/net/ipv6/conf/host0/mtu",
        &["1420"],
    );
    let hop_limit = "cat /proc/sys/net/ipv6/conf/host0/hop_limit";
    expect(&container, hop_limit, &["64"]);

    router.order(Order::Change(Box::new(settings("fd00:1:2:4::/64"))));
    let both = [
        "fd00:1:2:4:0:ff:fe00:1/64",
        // The old one serves what is open, and is used for nothing new.
        "fd00:1:2:3:0:ff:fe00:1/64 scope global deprecated",
    ];
    expect(&container, ADDRESSES, &both);
    let routed = container.run(routes);
    assert!(!routed.contains("fd00:1:2:3::/64"), "{routed}");

    router.order(Order::Stop);
    let gone = || !container.run(routes).contains("default");
    assert!(
        wait_until(PATIENCE, gone),
        "the router stays: {}",
        container.run(routes)
    );
    expect(
        &container,
        ADDRESSES,
        &["fd00:1:2:4:0:ff:fe00:1/64 scope global deprecated"],
    );
}

#[test]
fn a_prefix_alone_makes_no_default_route() {
    let host = Host::new();
    let container = joined(&host);
    let prefix_only = RaSettings {
        router_lifetime: 0,
        ..settings("fd00:1:2:3::/64")
    };
    let _router = Router::start(&host, vec![("ve-box", prefix_only)], true);
    expect(&container, ADDRESSES, &["fd00:1:2:3:0:ff:fe00:1/64"]);
    let routed = container.run("ip -6 route show");
    assert!(!routed.contains("default"), "{routed}");
}

/// Each of several links is told its own, by one socket; also where the kernel has joined
/// the routers' group because it forwards, and the socket has not.
#[test]
fn rdisc6_hears_its_own_links_router() {
    for joins in [true, false] {
        let host = Host::new();
        if !joins {
            host.run("echo 1 >/proc/sys/net/ipv6/conf/all/forwarding");
        }
        let container = joined(&host);
        let other = host.peer("other");
        host.run(
            "ip link add ve-other type veth peer name host0 netns other
             ip link set ve-other up
             ip -n other link set host0 up",
        );
        let links = vec![
            ("ve-box", settings("fd00:1:2:3::/64")),
            ("ve-other", settings("fd00:1:2:9::/64")),
        ];
        let _router = Router::start(&host, links, joins);
        let told = [
            "Prefix: fd00:1:2:3::/64",
            "On-link: Yes",
            "Autonomous address conf.: Yes",
            "Valid time: 2592000",
            "Pref. time: 604800",
            "Recursive DNS server: fd00:1:2:3::1",
            "DNS server lifetime: 1800",
            "DNS search list: example.org",
            "MTU: 1420 bytes (valid)",
            "Source link-layer address: 02:00:00:00:00:10",
            "Hop limit: 64",
            "Router lifetime: 1800",
            "from fe80::ff:fe00:10",
        ];
        // Without the spaces that make columns.
        let ask = "rdisc6 -1 -r 3 -w 1000 host0 | sed 's/ *:  */: /'";
        expect(&container, ask, &told);
        expect(&other, ask, &["fd00:1:2:9::/64"]);
        let shown = container.run(ask);
        assert!(!shown.contains("fd00:1:2:9"), "{shown}");
    }
}
