//! Many links at once, as many containers would have them.

use std::fs::File;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use netns_fixtures::Host;
use registry::mac::Side;
use registry::{HostId, Mac, MachineName};

use crate::kernel::batch::{Batch, Veth, socket};
use crate::kernel::dhcp::Clients;
use crate::kernel::monitor::Monitor;

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

/// Gives a host the namespace for the containers' ends.
pub fn prepare(host: &Host) {
    let name = PEERS.rsplit('/').next().unwrap();
    host.run(&format!("ip netns add {name}"));
}

/// Makes links in one go, and sets the containers' ends up. Gives how long the kernel
/// took for it.
pub fn make(host: &Host, numbers: Range<u32>, group: u32) -> Duration {
    let plan = Plan::new(host, numbers, group);
    plan.perform()
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
pub fn make_and_wait(host: &Host, numbers: Range<u32>, group: u32) -> Made {
    let (first, count) = (index(numbers.start), numbers.len() as u32);
    let mut monitor = host.enter(|| Monitor::open().unwrap());
    let plan = Plan::new(host, numbers, group);
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
