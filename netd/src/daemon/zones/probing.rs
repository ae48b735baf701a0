//! Looking whether somebody on a zone's bridge has an address already.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::rc::Weak;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use registry::Mac;
use tokio::sync::mpsc::UnboundedReceiver;

use super::super::at;
use crate::acd::{Acd, AcdConfig, ArpPacket, Event, Input, Output, Purpose, Timings};
use crate::arp_socket::ArpSocket;
use crate::dhcp::server::Handle;
use crate::log;
use crate::worker::Queue;

/// Looks for the addresses that are `wanted` on the bridge with this interface index and
/// Ethernet address, and tells `server`, until nobody wants any.
pub async fn run(
    (index, mac): (u32, Mac),
    mut wanted: UnboundedReceiver<Ipv4Addr>,
    server: Weak<Handle>,
    worker: Queue,
) {
    let socket = match ArpSocket::open(index) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::error!(
                "{}: addresses are given out without looking whether they are in use",
                log::chain(&error)
            );
            while let Some(address) = wanted.recv().await {
                tell(&server, address, true);
            }
            return;
        }
    };
    let mut probes = Probes::new((index, mac), &socket, &server);
    loop {
        tokio::select! {
            address = wanted.recv() => {
                let Some(address) = address else { break };
                probes.begin(address);
            }
            heard = socket.recv() => match heard {
                Ok(heard) => probes.hear(heard.packet),
                Err(error) => {
                    tracing::warn!("ARP is not heard any more on a zone's bridge: {error}");
                    break;
                }
            },
            () = at(probes.next().map(Into::into)) => probes.go_on(),
        }
    }
    let descriptor = socket.into_descriptor();
    worker.add(move || drop(descriptor));
    // What is wanted still counts as free.
    while let Some(address) = wanted.recv().await {
        tell(&server, address, true);
    }
}

/// All that is looked for. What happens to one costs nothing for the others.
struct Probes<'a> {
    index: u32,
    mac: Mac,
    socket: &'a ArpSocket,
    server: &'a Weak<Handle>,
    by_address: HashMap<Ipv4Addr, Acd>,
    /// When each of them is to go on.
    due: BTreeSet<(Instant, Ipv4Addr)>,
}

impl<'a> Probes<'a> {
    fn new((index, mac): (u32, Mac), socket: &'a ArpSocket, server: &'a Weak<Handle>) -> Self {
        Self {
            index,
            mac,
            socket,
            server,
            by_address: HashMap::new(),
            due: BTreeSet::new(),
        }
    }

    /// When the next one is to go on.
    fn next(&self) -> Option<Instant> {
        self.due.first().map(|(when, _)| *when)
    }

    fn begin(&mut self, address: Ipv4Addr) {
        self.forget(address);
        let mut probe = begin(self.mac, address);
        self.perform(address, &mut probe);
        self.keep(address, probe);
    }

    fn hear(&mut self, packet: ArpPacket) {
        for address in [packet.sender, packet.target] {
            self.handle(address, Instant::now(), Input::Arp(packet));
        }
    }

    fn go_on(&mut self) {
        let now = Instant::now();
        while let Some((when, address)) = self.due.first().copied()
            && when <= now
        {
            self.handle(address, now, Input::Time);
        }
    }

    fn handle(&mut self, address: Ipv4Addr, now: Instant, input: Input) {
        let Some(mut probe) = self.forget(address) else {
            return;
        };
        probe.handle(now, input);
        if self.perform(address, &mut probe) {
            self.keep(address, probe);
        }
    }

    fn keep(&mut self, address: Ipv4Addr, probe: Acd) {
        if let Some(when) = probe.deadline() {
            self.due.insert((when, address));
            self.by_address.insert(address, probe);
        }
    }

    fn forget(&mut self, address: Ipv4Addr) -> Option<Acd> {
        let probe = self.by_address.remove(&address)?;
        if let Some(when) = probe.deadline() {
            self.due.remove(&(when, address));
        }
        Some(probe)
    }

    /// Does what a probe wants. Whether it is not done yet.
    fn perform(&self, address: Ipv4Addr, probe: &mut Acd) -> bool {
        let mut goes_on = true;
        while let Some(output) = probe.poll_output() {
            match output {
                // A probe that cannot be sent is lost as on any wire.
                Output::Send(packet) => drop(self.socket.send(self.index, &packet)),
                Output::Event(event) => {
                    tell(self.server, address, event == Event::Free);
                    goes_on = false;
                }
            }
        }
        goes_on
    }
}

fn begin(mac: Mac, address: Ipv4Addr) -> Acd {
    let config = AcdConfig {
        mac,
        address,
        timings: Timings::container(),
        purpose: Purpose::Probe,
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let seed = u64::from(now.unwrap_or_default().subsec_nanos()) << 32;
    let mut probe = Acd::new(config, seed ^ u64::from(u32::from(address)));
    probe.start(Instant::now());
    probe
}

fn tell(server: &Weak<Handle>, address: Ipv4Addr, free: bool) {
    if let Some(server) = server.upgrade() {
        server.probed(address, free);
    }
}
