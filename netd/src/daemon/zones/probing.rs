//! Looking whether somebody on a zone's bridge has an address already.

use std::collections::{HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::rc::Weak;
use std::time::{Duration, Instant};

use registry::Mac;
use tokio::sync::mpsc::UnboundedReceiver;

use super::super::at;
use crate::acd::ArpPacket;
use crate::arp_socket::ArpSocket;
use crate::dhcp::server::Handle;
use crate::log;
use crate::worker::Queue;

/// How long an answer may take: on a bridge of one host, somebody who is there answers within
/// a millisecond.
const ANSWERED_WITHIN: Duration = Duration::from_millis(180);
/// How much later it may be done with an address, so that several are at once.
const TOGETHER_WITHIN: Duration = Duration::from_millis(20);

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
        if probes.order.is_empty() {
            probes.listen(false);
        }
        tokio::select! {
            address = wanted.recv() => {
                let Some(address) = address else { break };
                probes.listen(true);
                probes.begin(address);
                while let Ok(address) = wanted.try_recv() {
                    probes.begin(address);
                }
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

/// All that is looked for: one request for each address (RFC 2131, section 3.1: "servers
/// SHOULD check that the offered network address is not already in use"), and each for as
/// long, so that many are done with at one time.
struct Probes<'a> {
    index: u32,
    mac: Mac,
    socket: &'a ArpSocket,
    server: &'a Weak<Handle>,
    /// When each was asked for.
    asked: HashMap<Ipv4Addr, Instant>,
    /// The same in order, with what was asked for again or found in use meanwhile.
    order: VecDeque<(Instant, Ipv4Addr)>,
    /// Whether the socket hears anything: while nothing is looked for, what a zone's members
    /// say to each other is none of netd's business.
    hears: bool,
}

impl<'a> Probes<'a> {
    fn new((index, mac): (u32, Mac), socket: &'a ArpSocket, server: &'a Weak<Handle>) -> Self {
        Self {
            index,
            mac,
            socket,
            server,
            asked: HashMap::new(),
            order: VecDeque::new(),
            hears: true,
        }
    }

    fn listen(&mut self, hears: bool) {
        if self.hears == hears {
            return;
        }
        match self.socket.listen(hears) {
            Ok(()) => self.hears = hears,
            Err(error) => tracing::debug!("{}", log::chain(&error)),
        }
    }

    /// When the next ones are done with.
    fn next(&self) -> Option<Instant> {
        let (first, _) = self.order.front()?;
        Some(*first + ANSWERED_WITHIN + TOGETHER_WITHIN)
    }

    fn begin(&mut self, address: Ipv4Addr) {
        let now = Instant::now();
        let probe = ArpPacket::probe(self.mac, address);
        // One that cannot be sent is lost as on any wire.
        drop(self.socket.send(self.index, &probe));
        self.asked.insert(address, now);
        self.order.push_back((now, address));
    }

    /// RFC 5227, section 2.1.1: in use is what somebody sends from, and what somebody else
    /// looks for as well.
    fn hear(&mut self, packet: ArpPacket) {
        if packet.sender_mac == self.mac {
            return;
        }
        let in_use = match packet.sender {
            Ipv4Addr::UNSPECIFIED if packet.is_probe_for(packet.target) => packet.target,
            sender => sender,
        };
        if self.asked.remove(&in_use).is_some() {
            tell(self.server, in_use, false);
        }
    }

    fn go_on(&mut self) {
        let Some(until) = Instant::now().checked_sub(ANSWERED_WITHIN) else {
            return;
        };
        while let Some((asked, address)) = self.order.pop_front_if(|(asked, _)| *asked <= until) {
            if self.asked.get(&address) == Some(&asked) {
                self.asked.remove(&address);
                tell(self.server, address, true);
            }
        }
    }
}

fn tell(server: &Weak<Handle>, address: Ipv4Addr, free: bool) {
    if let Some(server) = server.upgrade() {
        server.probed(address, free);
    }
}
