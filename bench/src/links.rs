//! Many links at once, as many containers would have them.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use ipnetwork::IpNetwork;
use netns_fixtures::Host;
use registry::mac::Side;
use registry::{HostId, Mac, MachineName};

use crate::kernel::batch::{Batch, Veth, socket};
use crate::kernel::dhcp::Clients;
use crate::kernel::monitor::Monitor;
use crate::machine::wait_until_quiet;

/// The network namespace in which the containers' ends are, by its file in a host.
pub const PEERS: &str = "/run/netns/containers";

/// How long somebody may take to configure the links that were made.
const PATIENCE: Duration = Duration::from_secs(120);

/// The machine of this number.
pub fn machine(number: u32) -> MachineName {
    format!("m{number}").parse().unwrap()
}

/// Interface index of the host's end of a machine's link.
pub fn index(number: u32) -> u32 {
    10_000 + number
}

fn mac(number: u32, side: Side) -> Mac {
    // The id is that of every host of the fixtures.
    static HOST: std::sync::OnceLock<HostId> = std::sync::OnceLock::new();
    let host = HOST.get_or_init(|| HostId::load().unwrap());
    Mac::of_machine(host, &machine(number), side, 0)
}

/// Gives a host the namespace for the containers' ends. There is no IPv6 in it: with that,
/// the kernel would look at all of thousands of links for each one, in a place where a
/// container has but one.
pub fn prepare(host: &Host) {
    // The links of the last host may be thousands.
    wait_until_quiet();
    let name = PEERS.rsplit('/').next().unwrap();
    host.run(&format!(
        "ip netns add {name}
         ip netns exec {name} sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1"
    ));
}

/// Addresses that nobody else gives: of the link of this number the `last` of each family.
pub fn addresses(number: u32, last: u8) -> impl Iterator<Item = IpNetwork> {
    let v4 = Ipv4Addr::from(0x0a80_0000 + (number << 4) + u32::from(last));
    let v6 = Ipv6Addr::from((0xfdbe << 112) | u128::from(number) << 64 | u128::from(last));
    let of = |ip, prefix| IpNetwork::new(ip, prefix).unwrap();
    [of(IpAddr::V4(v4), 28), of(IpAddr::V6(v6), 64)].into_iter()
}

/// Makes links in one go, sets both ends up, and gives the host's ends addresses: what the
/// kernel alone takes for it.
pub fn make_with_addresses(host: &Host, numbers: Range<u32>) -> Duration {
    let mut plan = Plan::new(host, numbers.clone(), 0);
    let [batch, _] = &mut plan.batches;
    for number in numbers {
        batch.set_up(index(number));
        addresses(number, 1).for_each(|address| batch.add_address(index(number), address));
    }
    plan.perform()
}

/// Makes links in one go, and sets the containers' ends up. Gives how long the kernel
/// took for it.
pub fn make(host: &Host, numbers: Range<u32>, group: u32) -> Duration {
    let plan = Plan::new(host, numbers, group);
    plan.perform()
}

/// What is done with the containers' ends of links that are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// They are set up at once.
    Up,
    /// They stay down, as rspawn leaves them until netd has answered.
    Down,
}

/// Sets the containers' ends of links up.
pub fn set_others_up(host: &Host, numbers: Range<u32>) {
    let inside = host.enter_network(PEERS, || socket(0).unwrap());
    let mut batch = Batch::default();
    numbers.for_each(|number| batch.set_up(index(number)));
    batch.perform(&inside).unwrap();
}

/// Links that are to be made, by sockets in the host and in the other ends' namespace.
struct Plan {
    // Sockets stay in the namespace that they were made in.
    sockets: [OwnedFd; 2],
    batches: [Batch; 2],
    // The request names it.
    _namespace: File,
}

impl Plan {
    fn new(host: &Host, numbers: Range<u32>, group: u32) -> Self {
        let inside = host.enter_network(PEERS, || socket(0).unwrap());
        host.enter(|| {
            let namespace = File::open(PEERS).unwrap();
            let (mut batch, mut peers) = (Batch::default(), Batch::default());
            for number in numbers {
                batch.add_veth(&Veth {
                    index: index(number),
                    name: format!("ve-m{number}"),
                    group,
                    peer: format!("c{number}"),
                    peer_index: index(number),
                    macs: [Side::Host, Side::Container].map(|side| mac(number, side)),
                    namespace: namespace.as_fd(),
                });
                peers.set_up(index(number));
            }
            Self {
                sockets: [socket(0).unwrap(), inside],
                batches: [batch, peers],
                _namespace: namespace,
            }
        })
    }

    fn leave_others_down(&mut self) {
        let [_, others] = &mut self.batches;
        *others = Batch::default();
    }

    fn perform(self) -> Duration {
        let done = self.sockets.iter().zip(self.batches);
        done.map(|(socket, batch)| batch.perform(socket).unwrap())
            .sum()
    }
}

/// What was seen while links were made and configured.
#[derive(Debug)]
pub struct Made {
    /// When the kernel was asked for the links.
    pub started: Instant,
    /// When each link was up with an address, in order of time.
    pub configured: Vec<Instant>,
}

/// Makes links in one go and waits until each is up with an address.
///
/// # Panics
/// When some never are.
pub fn make_and_wait(host: &Host, numbers: Range<u32>, group: u32, others: Others) -> Made {
    let (first, count) = (index(numbers.start), numbers.len() as u32);
    let mut monitor = host.enter(|| Monitor::open().unwrap());
    let mut plan = Plan::new(host, numbers, group);
    if others == Others::Down {
        plan.leave_others_down();
    }
    let made = std::thread::scope(|scope| {
        let seen = scope.spawn(move || monitor.configured(first, count, PATIENCE));
        let started = Instant::now();
        plan.perform();
        Made {
            started,
            configured: seen.join().unwrap(),
        }
    });
    let configured = made.configured.len();
    assert_eq!(configured, count as usize, "links that were configured");
    made
}

/// Asks for an address from the containers' end of each link, until each was offered one.
/// Gives when that was.
///
/// # Panics
/// When one gets no offer.
pub fn ask_for_addresses(host: &Host, numbers: Range<u32>) -> Instant {
    let links: Vec<(u32, Mac)> = numbers
        .map(|number| (index(number), mac(number, Side::Container)))
        .collect();
    let clients = host.enter_network(PEERS, || Clients::open().unwrap());
    let without = clients.ask(&links, PATIENCE).unwrap();
    let seen = Instant::now();
    assert!(without.is_empty(), "get no address by DHCP: {without:?}");
    seen
}
