//! Conflict detection and IPv4 link-local addresses on real links, against the kernel,
//! arping and avahi-autoipd.

// A test that cannot go on has failed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod link_support;

use std::net::Ipv4Addr;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use link_support::{HOST0, PATIENCE, VE, ifindex, joined, runtime};
use netd::acd::{self, Acd, AcdConfig, Defence, Purpose, Timings};
use netd::arp_socket::ArpSocket;
use netd::ipv4ll::{self, Ipv4ll, Ipv4llConfig, Seed, is_selectable};
use netns_fixtures::{Host, wait_until};

const WANTED: Ipv4Addr = Ipv4Addr::new(169, 254, 7, 7);

/// Either machine, as far as whoever runs it is concerned.
trait Machine: Send + 'static {
    type Event: std::fmt::Debug + Send;
    fn start(&mut self, now: Instant);
    fn deadline(&self) -> Option<Instant>;
    fn heard(&mut self, now: Instant, packet: Option<acd::ArpPacket>);
    /// What is to be sent, or told.
    fn next(&mut self) -> Option<Result<acd::ArpPacket, Self::Event>>;
}

impl Machine for Acd {
    type Event = acd::Event;
    fn start(&mut self, now: Instant) {
        Acd::start(self, now);
    }
    fn deadline(&self) -> Option<Instant> {
        Acd::deadline(self)
    }
    fn heard(&mut self, now: Instant, packet: Option<acd::ArpPacket>) {
        self.handle(now, packet.map_or(acd::Input::Time, acd::Input::Arp));
    }
    fn next(&mut self) -> Option<Result<acd::ArpPacket, acd::Event>> {
        self.poll_output().map(|output| match output {
            acd::Output::Send(packet) => Ok(packet),
            acd::Output::Event(event) => Err(event),
        })
    }
}

impl Machine for Ipv4ll {
    type Event = ipv4ll::Event;
    fn start(&mut self, now: Instant) {
        Ipv4ll::start(self, now);
    }
    fn deadline(&self) -> Option<Instant> {
        Ipv4ll::deadline(self)
    }
    fn heard(&mut self, now: Instant, packet: Option<acd::ArpPacket>) {
        self.handle(now, packet.map_or(ipv4ll::Input::Time, ipv4ll::Input::Arp));
    }
    fn next(&mut self) -> Option<Result<acd::ArpPacket, ipv4ll::Event>> {
        self.poll_output().map(|output| match output {
            ipv4ll::Output::Send(packet) => Ok(packet),
            ipv4ll::Output::Event(event) => Err(event),
        })
    }
}

/// Runs a machine on the host's `ve-box` until the test ends. Its events come with the
/// time since it was started.
fn run<M: Machine>(host: &Host, mut machine: M) -> Receiver<(Duration, M::Event)> {
    let runtime = runtime();
    let link = ifindex(&host.run("ip -o link show ve-box"));
    let socket = host.enter(|| {
        let _guard = runtime.enter();
        ArpSocket::open(link).unwrap()
    });
    let (tell, told) = channel();
    std::thread::spawn(move || {
        runtime.block_on(async {
            let begun = Instant::now();
            machine.start(begun);
            loop {
                while let Some(output) = machine.next() {
                    match output {
                        // A link that is gone ends the test.
                        Ok(packet) => drop(socket.send(link, &packet)),
                        Err(event) => {
                            if tell.send((begun.elapsed(), event)).is_err() {
                                return;
                            }
                        }
                    }
                }
                let deadline = machine
                    .deadline()
                    .unwrap_or_else(|| Instant::now() + PATIENCE);
                let heard = tokio::select! {
                    heard = socket.recv() => Some(heard.unwrap()),
                    () = tokio::time::sleep_until(deadline.into()) => None,
                };
                assert!(heard.is_none_or(|heard| heard.ifindex == link));
                machine.heard(Instant::now(), heard.map(|heard| heard.packet));
            }
        });
    });
    told
}

/// What is said while a socket is not to hear is not heard later either.
#[test]
fn a_socket_hears_nothing_as_long_as_it_is_told() {
    let host = Host::new();
    host.run(
        "ip link add ve-box type veth peer name far && ip link set ve-box up && ip link set far up",
    );
    let runtime = runtime();
    let [link, far] =
        ["ve-box", "far"].map(|name| ifindex(&host.run(&format!("ip -o link show {name}"))));
    let [ear, mouth] = host.enter(|| {
        let _guard = runtime.enter();
        [link, far].map(|index| ArpSocket::open(index).unwrap())
    });
    let probe = |last| acd::ArpPacket::probe(VE, Ipv4Addr::new(10, 0, 0, last));
    runtime.block_on(async {
        for (last, hears) in [(1, true), (2, false), (3, true), (4, true)] {
            ear.listen(hears).unwrap();
            mouth.send(far, &probe(last)).unwrap();
        }
        for last in [1, 3, 4] {
            let heard = tokio::time::timeout(PATIENCE, ear.recv()).await;
            assert_eq!(heard.unwrap().unwrap().packet, probe(last));
        }
    });
}

fn next<E>(told: &Receiver<(Duration, E)>) -> E {
    told.recv_timeout(PATIENCE).expect("an event").1
}

fn acd(address: Ipv4Addr, timings: Timings, purpose: Purpose) -> Acd {
    let config = AcdConfig {
        mac: VE,
        address,
        timings,
        purpose,
    };
    Acd::new(config, 1)
}

fn ipv4ll(start_address: Option<Ipv4Addr>, timings: Timings) -> Ipv4ll {
    Ipv4ll::new(Ipv4llConfig {
        mac: VE,
        seed: Seed::from_mac(VE),
        start_address,
        timings,
    })
}

#[test]
fn the_kernel_says_which_addresses_it_has() {
    let host = Host::new();
    let _container = joined(&host);
    host.run("ip -n box address add 192.168.7.2/28 dev host0");
    for purpose in [Purpose::Probe, Purpose::Hold(Defence::Once)] {
        let taken = acd(Ipv4Addr::new(192, 168, 7, 2), Timings::container(), purpose);
        let told = run(&host, taken);
        assert_eq!(next(&told), acd::Event::Conflict { by: HOST0 });
        let free = acd(Ipv4Addr::new(192, 168, 7, 3), Timings::container(), purpose);
        assert_eq!(next(&run(&host, free)), acd::Event::Free);
    }
}

#[test]
fn arping_finds_what_we_hold_and_we_find_arping() {
    let host = Host::new();
    let container = joined(&host);
    // It asks for the address on behalf of nobody while we do.
    let asker = container
        .command("arping")
        .args(["-D", "-c", "100", "-I", "host0", "192.168.7.9"])
        .spawn("arping");
    let address = Ipv4Addr::new(192, 168, 7, 9);
    let slow = acd(address, Timings::rfc(), Purpose::Hold(Defence::Once));
    assert_eq!(next(&run(&host, slow)), acd::Event::Conflict { by: HOST0 });
    drop(asker);

    let hold = acd(address, Timings::container(), Purpose::Hold(Defence::Once));
    let told = run(&host, hold);
    assert_eq!(next(&told), acd::Event::Free);
    host.run("ip address add 192.168.7.9/28 dev ve-box");
    let found = container.sh("arping -D -c 2 -w 5 -I host0 192.168.7.9");
    assert_eq!(found.code(), Some(1), "{found}");
    assert!(
        found.stdout.to_lowercase().contains(&VE.to_string()),
        "{found}"
    );

    // Somebody takes it all the same, and is told; and again.
    container.run(
        "ip address add 192.168.7.9/32 dev host0
         arping -U -c 1 -I host0 192.168.7.9",
    );
    assert_eq!(next(&told), acd::Event::Defended { by: HOST0 });
    container.run("arping -U -c 1 -I host0 192.168.7.9");
    assert_eq!(next(&told), acd::Event::Lost { by: HOST0 });
}

#[test]
fn an_address_is_claimed_within_250_ms() {
    let host = Host::new();
    let _container = joined(&host);
    let claim = |_| {
        let told = run(&host, ipv4ll(None, Timings::container()));
        let (after, event) = told.recv_timeout(PATIENCE).unwrap();
        assert!(matches!(event, ipv4ll::Event::Claimed(address) if is_selectable(address)));
        after
    };
    // A machine that is busy with other things may be late, but not each time.
    let best = (0..5).map(claim).min().unwrap();
    assert!(best < Duration::from_millis(250), "{best:?}");
}

/// avahi-autoipd on the container's link, started with [`WANTED`].
fn autoipd<'h>(container: &netns_fixtures::Peer<'h>) -> netns_fixtures::Running<'h> {
    container
        .command("avahi-autoipd")
        .args([
            "--no-drop-root",
            "--no-chroot",
            "--start=169.254.7.7",
            "host0",
        ])
        .spawn("avahi-autoipd")
}

/// The link-local address that a link has, once it has one.
#[track_caller]
fn address_of(container: &netns_fixtures::Peer<'_>) -> String {
    let show = "ip -4 -o address show dev host0 | grep -o '169[.]254[.][0-9.]*' | head -n 1";
    let found = wait_until(PATIENCE, || !container.sh(show).stdout.trim().is_empty());
    assert!(found, "no link-local address on host0");
    container.run(show)
}

fn claimed(told: &Receiver<(Duration, ipv4ll::Event)>) -> Ipv4Addr {
    loop {
        if let ipv4ll::Event::Claimed(address) = next(told) {
            return address;
        }
    }
}

#[test]
fn avahi_autoipd_has_the_address_first() {
    let host = Host::new();
    let container = joined(&host);
    let _autoipd = autoipd(&container);
    assert_eq!(address_of(&container), WANTED.to_string());
    let told = run(&host, ipv4ll(Some(WANTED), Timings::container()));
    assert_eq!(
        next(&told),
        ipv4ll::Event::Taken {
            address: WANTED,
            by: HOST0
        }
    );
    assert_ne!(claimed(&told), WANTED);
}

#[test]
fn we_have_the_address_first() {
    let host = Host::new();
    let container = joined(&host);
    let told = run(&host, ipv4ll(Some(WANTED), Timings::container()));
    assert_eq!(claimed(&told), WANTED);
    host.run("ip address add 169.254.7.7/16 dev ve-box");
    let _autoipd = autoipd(&container);
    assert_ne!(address_of(&container), WANTED.to_string());
    assert!(told.try_recv().is_err(), "the address was contested");
}

#[test]
fn avahi_autoipd_and_we_start_together() {
    let host = Host::new();
    let container = joined(&host);
    let _autoipd = autoipd(&container);
    // As slowly as it does.
    let told = run(&host, ipv4ll(Some(WANTED), Timings::rfc()));
    let ours = claimed(&told);
    host.run(&format!("ip address add {ours}/16 dev ve-box"));
    let theirs = address_of(&container);
    assert_ne!(theirs, ours.to_string());
    // They reach each other, and neither gives up.
    let reached = wait_until(PATIENCE, || {
        container
            .sh(&format!("ping -c 1 -W 1 -I host0 {ours}"))
            .success()
    });
    assert!(reached);
    assert_eq!(address_of(&container), theirs);
    assert!(told.try_recv().is_err(), "the address was contested");
}

#[test]
fn one_socket_hears_all_links_and_tells_them_apart() {
    let host = Host::new();
    let _container = joined(&host);
    let _other = host
        .peer("other")
        .joined("ve-other", "10.9.0.1/24", "10.9.0.2/24");
    let runtime = runtime();
    let socket = host.enter(|| {
        let _guard = runtime.enter();
        ArpSocket::open_all().unwrap()
    });
    host.run("ip -n box address add 192.168.7.2/28 dev host0");
    let links = ["ve-box", "ve-other"].map(|l| ifindex(&host.run(&format!("ip -o link show {l}"))));
    let addresses = [Ipv4Addr::new(192, 168, 7, 2), Ipv4Addr::new(10, 9, 0, 2)];
    host.run("ip link set ve-other address 02:00:00:00:00:10");
    runtime.block_on(async {
        for (link, address) in links.into_iter().zip(addresses) {
            socket
                .send(link, &acd::ArpPacket::probe(VE, address))
                .unwrap();
            let heard = async {
                loop {
                    let heard = socket.recv().await.unwrap();
                    if heard.packet.sender == address {
                        return heard;
                    }
                }
            };
            let heard = tokio::time::timeout(PATIENCE, heard)
                .await
                .expect("an answer");
            assert_eq!(heard.ifindex, link);
            assert_eq!(heard.packet.operation, acd::Operation::Reply);
        }
    });
}
