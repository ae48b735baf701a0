//! netd as a client: from a link that is up to its address.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use netns_fixtures::{NETD, Peer, Running, wait_until};
use rustix::net::{RecvFlags, recv};

use crate::Extent;
use crate::kernel::batch::{Batch, messages, socket};
use crate::measure::Samples;
use crate::peers;
use crate::report::Section;

const RTM_NEWADDR: u16 = 20;
/// RTNLGRP_IPV4_IFADDR as a bit.
const ADDRESSES: u32 = 1 << 4;
const IFA_LOCAL: u16 = 2;
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked.
const EVERY: Duration = Duration::from_micros(100);

/// A lease from our own server, and a link-local address.
pub fn measure(extent: Extent) {
    let times = extent.pick(11, 101);
    let mut section = Section::new(
        "netd as a client: from the link set up to its address",
        &["what", "times", "time", "to reach"],
    )
    .commands(&["/usr/lib/rspawn/netd in the host, and another one at the other end of the veth"])
    .notes(&[
        "Each time the link was down, has another Ethernet address than the time before, and no \
         address: so it is a client that nobody knows the lease of, with all four messages but \
         where rapid commit says otherwise. From RTM_NEWLINK that sets it up to the kernel's \
         RTM_NEWADDR with a new address.",
    ]);
    let lease = "[Network]\nDHCP=ipv4\n[DHCPv4]\nSendDecline=no\n";
    let row = |section: &mut Section, what: &str, file: &str, serves: bool, goal: &str| {
        let samples = times_to_address(file, serves, times);
        section.row(&[&what, &times, &samples.shown(), &goal]);
    };
    row(
        &mut section,
        "a lease, conflict detection off",
        lease,
        true,
        "20 ms",
    );
    let four = format!("{lease}RapidCommit=no\n");
    row(
        &mut section,
        "the same without rapid commit",
        &four,
        true,
        "20 ms",
    );
    row(
        &mut section,
        "a lease, conflict detection of 200 ms",
        "[Network]\nDHCP=ipv4\n",
        true,
        "",
    );
    row(
        &mut section,
        "a link-local address",
        "[Network]\nLinkLocalAddressing=ipv4\n",
        false,
        "250 ms",
    );
}

fn times_to_address(file: &str, serves: bool, times: usize) -> Samples {
    let host = peers::ours();
    let network = host.peer("box");
    // What is served is a link of a container's.
    let group = if serves { "group 29299" } else { "" };
    host.run(&format!(
        "ip link add ve-box {group} type veth peer name host0 netns box
         ip link set ve-box up"
    ));
    host.write(
        "/etc/netd/50-box.network",
        "[Match]\nName=ve-box\n[Network]\nAddress=10.50.0.1/24\n",
    );
    host.write(
        "/tmp/inside/10-host0.network",
        format!("[Match]\nName=host0\n{file}"),
    );
    let _server = host.start_netd();
    if serves {
        let is_served = || {
            host.run("ip address show dev ve-box")
                .contains("10.50.0.1/")
        };
        assert!(wait_until(PATIENCE, is_served));
    }
    let _client = start_client(&network);
    let mut link = Link::open(network);
    link.time_to_address(0);
    Samples::new(
        (1..=times)
            .map(|round| link.time_to_address(round))
            .collect(),
    )
}

/// A netd with a /run, a /var/lib and files of its own.
fn start_client<'a>(network: &Peer<'a>) -> Running<'a> {
    let mut client = network
        .command("unshare")
        .args(["-m", "sh", "-euc"])
        .arg(format!(
            "mkdir -p /var/lib/rspawn /etc/netd
             mount -t tmpfs tmpfs /run; mount -t tmpfs tmpfs /var/lib/rspawn
             mount --bind /tmp/inside /etc/netd
             exec {NETD}"
        ))
        .spawn("client");
    client.wait_for_output("ready", PATIENCE);
    client
}

/// The client's link.
struct Link<'a> {
    network: Peer<'a>,
    index: u32,
    socket: OwnedFd,
    events: OwnedFd,
    last: Vec<u8>,
}

impl<'a> Link<'a> {
    fn open(network: Peer<'a>) -> Self {
        let open = |groups| network.enter(|| socket(groups).unwrap());
        let index = network.run("cat /sys/class/net/host0/ifindex");
        Self {
            index: index.parse().unwrap(),
            socket: open(0),
            events: open(ADDRESSES),
            network,
            last: Vec::new(),
        }
    }

    fn time_to_address(&mut self, round: usize) -> Duration {
        let last = 1 + round % 2;
        self.network.run(&format!(
            "ip link set host0 down; ip link set host0 address 02:00:00:00:00:0{last}
             ip address flush dev host0"
        ));
        // Until the client has heard of it all.
        std::thread::sleep(Duration::from_millis(50));
        while self.new_address().is_some() {}
        let mut batch = Batch::default();
        batch.set_up(self.index);
        let begun = Instant::now();
        batch.perform(&self.socket).unwrap();
        loop {
            let address = self.new_address().filter(|new| *new != self.last);
            if let Some(address) = address {
                self.last = address;
                return begun.elapsed();
            }
            assert!(begun.elapsed() < PATIENCE, "no address");
            std::thread::sleep(EVERY);
        }
    }

    /// The next IPv4 address that the kernel has told of.
    fn new_address(&self) -> Option<Vec<u8>> {
        let mut buffer = [0; 8192];
        let (length, _) = recv(&self.events, &mut buffer[..], RecvFlags::DONTWAIT).ok()?;
        let told = messages(&buffer[..length]).find(|told| told.kind == RTM_NEWADDR)?;
        let mut attributes = told.body.get(8..)?;
        while let [a, b, c, d, ..] = *attributes {
            let (length, kind) = (u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d]));
            let length = usize::from(length);
            if kind == IFA_LOCAL {
                return attributes.get(4..length).map(<[u8]>::to_vec);
            }
            attributes = attributes.get(length.max(4).next_multiple_of(4)..)?;
        }
        None
    }
}
