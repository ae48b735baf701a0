//! Looking whether somebody on a zone's bridge has an address already.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::rc::Weak;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use registry::Mac;
use tokio::sync::mpsc::UnboundedReceiver;

use super::super::at;
use crate::acd::{Acd, AcdConfig, Event, Input, Output, Purpose, Timings};
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
    let mut probes = HashMap::new();
    loop {
        let due = probes.values().filter_map(Acd::deadline).min();
        tokio::select! {
            address = wanted.recv() => {
                let Some(address) = address else { break };
                probes.insert(address, begin(mac, address));
            }
            heard = socket.recv() => match heard {
                Ok(heard) => {
                    let packet = heard.packet;
                    for address in [packet.sender, packet.target] {
                        if let Some(probe) = probes.get_mut(&address) {
                            probe.handle(Instant::now(), Input::Arp(packet));
                        }
                    }
                }
                Err(error) => {
                    tracing::warn!("ARP is not heard any more on a zone's bridge: {error}");
                    break;
                }
            },
            () = at(due.map(Into::into)) => {
                let now = Instant::now();
                for probe in probes.values_mut() {
                    if probe.deadline().is_some_and(|due| due <= now) {
                        probe.handle(now, Input::Time);
                    }
                }
            }
        }
        probes.retain(|address, probe| go_on(*address, probe, index, &socket, &server));
    }
    let descriptor = socket.into_descriptor();
    worker.add(move || drop(descriptor));
    // What is wanted still counts as free.
    while let Some(address) = wanted.recv().await {
        tell(&server, address, true);
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

/// Does what a probe wants. Whether it is not done yet.
fn go_on(
    address: Ipv4Addr,
    probe: &mut Acd,
    index: u32,
    socket: &ArpSocket,
    server: &Weak<Handle>,
) -> bool {
    let mut goes_on = true;
    while let Some(output) = probe.poll_output() {
        match output {
            // A probe that cannot be sent is lost as on any wire.
            Output::Send(packet) => drop(socket.send(index, &packet)),
            Output::Event(event) => {
                tell(server, address, event == Event::Free);
                goes_on = false;
            }
        }
    }
    goes_on
}

fn tell(server: &Weak<Handle>, address: Ipv4Addr, free: bool) {
    if let Some(server) = server.upgrade() {
        server.probed(address, free);
    }
}
