//! DHCP relays: on the bridges for which a file names a server elsewhere, netd passes the
//! requests of containers on to that, and says by option 82 which machine asks.
//!
//! The bridge is a zone's or any other of the host; only ports that are containers' are
//! served, whatever else is on it.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::rc::Rc;
use std::time::{Duration, Instant};

use registry::LINK_GROUP;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::Daemon;
use crate::dhcp::relay::{CIRCUIT_MAX, Forward, Place, Relay, RelayConfig, RelaySocket};
use crate::dhcp::server::Datagram;
use crate::dhcp_wire::{BridgePort, Listener, Port, Received, RelayedPort, Requests};
use crate::log::{self, Pace};
use crate::profiles::RelayProfile;
use crate::rtnl::Link;

/// How many messages wait for the daemon, of all bridges.
const WAITING_MAX: usize = 64;
/// How many requests of one port are passed on at once, and each second after that: the
/// servers are others' as well.
const BURST: u32 = 40;
const PER_SECOND: u32 = 20;
/// How long a port is not read by which much more comes.
const REST: Duration = Duration::from_millis(200);

/// That a bridge has no relay is said at this pace.
static NO_RELAY: Pace = Pace::new();
/// So is that something cannot be passed on.
static NOT_PASSED: Pace = Pace::new();

/// The relays of all bridges.
#[derive(Debug)]
pub(super) struct Relays {
    bridges: HashMap<u32, OnBridge>,
    sender: mpsc::Sender<Heard>,
    heard: mpsc::Receiver<Heard>,
}

/// What a relay is told.
#[derive(Debug)]
pub(super) enum Heard {
    /// A client asks, on this bridge.
    Request(u32, Datagram),
    /// A server answers, to the relay of this bridge.
    Answer(u32, SocketAddrV4, Vec<u8>),
}

/// A relay.
#[derive(Debug)]
struct OnBridge {
    relay: Relay,
    /// The circuit id of all ports, where a file says one.
    circuit: Option<Vec<u8>>,
    clients: Rc<BridgePort>,
    servers: Rc<RelaySocket>,
    requests: Requests,
    ports: HashMap<u32, OnPort>,
    tasks: [AbortHandle; 2],
}

/// A container's port.
#[derive(Debug)]
struct OnPort {
    _listener: Listener,
    /// How many requests may be passed on, since when.
    left: u32,
    since: Instant,
}

impl Drop for OnBridge {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl OnPort {
    /// Whether another request may be passed on.
    fn may_ask(&mut self, now: Instant) -> bool {
        let seconds = now.saturating_duration_since(self.since).as_secs();
        if seconds > 0 {
            let more = u32::try_from(seconds).unwrap_or(u32::MAX);
            let more = more.saturating_mul(PER_SECOND);
            (self.left, self.since) = (self.left.saturating_add(more).min(BURST), now);
        }
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }
}

impl Relays {
    pub fn new() -> Self {
        let (sender, heard) = mpsc::channel(WAITING_MAX);
        Self {
            bridges: HashMap::new(),
            sender,
            heard,
        }
    }

    /// Waits for what comes next. Nothing is lost if the future is dropped.
    pub async fn next(&mut self) -> Heard {
        match self.heard.recv().await {
            Some(heard) => heard,
            // Never: there is a sender here.
            None => std::future::pending().await,
        }
    }
}

impl Daemon {
    /// Sees to it that a bridge has the relay that files ask for, and each container on it
    /// is heard. Whether all is well.
    pub(super) fn relay_on(&mut self, bridge: u32) -> bool {
        if !self.profiles.any(|profile| profile.relay.is_some()) {
            return true;
        }
        let Some(link) = self.world.link(bridge).cloned() else {
            self.relays.bridges.remove(&bridge);
            return true;
        };
        let Some(profile) = self.profile_of(&link).relay.clone() else {
            self.relays.bridges.remove(&bridge);
            return true;
        };
        let ports: BTreeSet<u32> = self.containers_on(bridge).collect();
        let Some(address) = self.relay_address(bridge).filter(|_| !ports.is_empty()) else {
            // Of its address an event tells.
            self.relays.bridges.remove(&bridge);
            return true;
        };
        let config = RelayConfig {
            remote_id: profile.remote_id.clone(),
            ..RelayConfig::new(address, profile.targets.clone())
        };
        let before = self.relays.bridges.get(&bridge);
        let is_same = |on: &OnBridge| *on.relay.config() == config && on.circuit == profile.circuit;
        if !before.is_some_and(is_same) && !self.start_relay(&link, config, &profile) {
            return false;
        }
        self.hear_ports(&link, &ports)
    }

    /// A zone's server's place, where relays elsewhere are heard as well if a file says so.
    pub(super) fn with_relays(&self, link: &Link, bridge: BridgePort) -> Port {
        let profile = self.profile_of(link);
        // Set by now, though the kernel's word of it may be still to come.
        let subnets = self.links.get(&link.index).and_then(|own| own.subnets);
        let host = subnets.and_then(|subnets| subnets.host().next());
        let address = host.and_then(|host| match host.ip() {
            IpAddr::V4(ip) => Some(ip),
            IpAddr::V6(_) => None,
        });
        let Some(address) = address.filter(|_| !profile.dhcp.bind_to_interface) else {
            return Port::Bridge(bridge);
        };
        match RelaySocket::open(address) {
            Ok(socket) => Port::Relayed(RelayedPort::new(bridge, address, socket)),
            Err(error) => {
                tracing::error!(
                    link = %link.name,
                    "relays elsewhere are not served: UDP port 67 of {address} cannot be had: {}",
                    why_no_port(&error)
                );
                Port::Bridge(bridge)
            }
        }
    }

    /// Passes nothing on from a bridge any more.
    pub(super) fn stop_relay(&mut self, bridge: u32) {
        self.relays.bridges.remove(&bridge);
    }

    /// The containers' ports of a bridge.
    fn containers_on(&self, bridge: u32) -> impl Iterator<Item = u32> {
        let ports = self.world.ports(bridge);
        let own = ports.filter(|link| link.group == LINK_GROUP);
        own.map(|link| link.index)
    }

    /// The address by which the servers know a bridge: the host's first on it.
    fn relay_address(&self, bridge: u32) -> Option<Ipv4Addr> {
        let addresses = self.world.addresses(bridge).iter();
        let mut usable = addresses.filter(|address| address.usable);
        usable.find_map(|address| match address.address.ip() {
            IpAddr::V4(ip) => Some(ip),
            IpAddr::V6(_) => None,
        })
    }

    fn start_relay(&mut self, link: &Link, config: RelayConfig, profile: &RelayProfile) -> bool {
        // The port of the address may be that of the one before.
        self.relays.bridges.remove(&link.index);
        let servers = match RelaySocket::open(config.address) {
            Ok(socket) => Rc::new(socket),
            Err(error) => {
                NO_RELAY.say(|more| {
                    tracing::error!(
                        link = %link.name,
                        "no DHCP relay: UDP port 67 of {} cannot be had: {}{more}",
                        config.address,
                        why_no_port(&error)
                    );
                });
                return false;
            }
        };
        let (clients, requests) = match BridgePort::open(link.index) {
            Ok((clients, requests)) => (Rc::new(clients), requests.resting(REST)),
            Err(error) => {
                NO_RELAY.say(|more| {
                    let why = log::chain(&error);
                    tracing::error!(link = %link.name, "no DHCP relay: {why}{more}");
                });
                return false;
            }
        };
        let tasks = [
            hear_clients(link.index, clients.clone(), self.relays.sender.clone()),
            hear_servers(link.index, servers.clone(), self.relays.sender.clone()),
        ];
        let targets: Vec<String> = config.targets.iter().map(Ipv4Addr::to_string).collect();
        tracing::info!(
            link = %link.name,
            "DHCP requests of containers are passed on to {}, from {}",
            targets.join(" and "),
            config.address
        );
        let on_bridge = OnBridge {
            relay: Relay::new(config),
            circuit: profile.circuit.clone(),
            clients,
            servers,
            requests,
            ports: HashMap::new(),
            tasks,
        };
        self.relays.bridges.insert(link.index, on_bridge);
        true
    }

    fn hear_ports(&mut self, link: &Link, ports: &BTreeSet<u32>) -> bool {
        let (Some(on_bridge), Some(mac)) = (self.relays.bridges.get_mut(&link.index), link.mac)
        else {
            return true;
        };
        on_bridge.ports.retain(|port, _| ports.contains(port));
        let mut well = true;
        for port in ports {
            if on_bridge.ports.contains_key(port) {
                continue;
            }
            match on_bridge.requests.listen(*port, mac, self.worker.queue()) {
                Ok(listener) => {
                    let on_port = OnPort {
                        _listener: listener,
                        left: BURST,
                        since: Instant::now(),
                    };
                    on_bridge.ports.insert(*port, on_port);
                }
                // It may be gone, of which an event tells.
                Err(error) => {
                    tracing::debug!("{}", log::chain(&error));
                    well = false;
                }
            }
        }
        well
    }

    /// Passes on what was heard.
    pub(super) fn take_relayed(&mut self, heard: Heard) {
        match heard {
            Heard::Request(bridge, datagram) => self.pass_on(bridge, &datagram),
            Heard::Answer(bridge, server, message) => self.hand_back(bridge, server, &message),
        }
    }

    fn pass_on(&mut self, bridge: u32, datagram: &Datagram) {
        let name = self.attached.get(&datagram.port);
        let Some(on_bridge) = self.relays.bridges.get_mut(&bridge) else {
            return;
        };
        let now = Instant::now();
        let port = on_bridge.ports.get_mut(&datagram.port);
        if !port.is_some_and(|port| port.may_ask(now)) {
            return;
        }
        let Some(circuit) = on_bridge
            .circuit
            .as_deref()
            .or(name.map(|name| name.as_bytes()))
        else {
            return;
        };
        let place = Place {
            port: datagram.port,
            circuit: circuit.get(..CIRCUIT_MAX).unwrap_or(circuit),
            trusted: false,
        };
        let forwards = match on_bridge.relay.from_client(now, &place, &datagram.payload) {
            Ok(forwards) => forwards,
            Err(error) => {
                tracing::debug!(bridge, port = datagram.port, %error, "not passed on");
                return;
            }
        };
        for forward in forwards {
            let Forward::ToServer {
                destination,
                payload,
                ..
            } = forward
            else {
                continue;
            };
            if let Err(error) = on_bridge.servers.send(destination, &payload) {
                NOT_PASSED.say(|more| {
                    tracing::warn!("cannot pass DHCP requests on to {destination}: {error}{more}");
                });
            }
        }
    }

    fn hand_back(&mut self, bridge: u32, server: SocketAddrV4, message: &[u8]) {
        let Some(on_bridge) = self.relays.bridges.get_mut(&bridge) else {
            return;
        };
        let answer = on_bridge
            .relay
            .from_server(Instant::now(), *server.ip(), message);
        match answer {
            Ok(Forward::ToClient(transmit)) => {
                if let Err(error) = on_bridge.clients.send(&transmit) {
                    tracing::debug!(bridge, %error, "cannot hand back an answer");
                }
            }
            Ok(Forward::ToServer { .. }) => {}
            Err(error) => tracing::debug!(bridge, %server, %error, "not handed back"),
        }
    }
}

fn hear_clients(bridge: u32, clients: Rc<BridgePort>, heard: mpsc::Sender<Heard>) -> AbortHandle {
    let hear = async move {
        loop {
            if let Received::Datagram(datagram) = clients.recv().await
                && heard.send(Heard::Request(bridge, datagram)).await.is_err()
            {
                return;
            }
        }
    };
    tokio::task::spawn_local(hear).abort_handle()
}

fn hear_servers(bridge: u32, servers: Rc<RelaySocket>, heard: mpsc::Sender<Heard>) -> AbortHandle {
    let hear = async move {
        loop {
            let (from, message) = match servers.recv().await {
                Ok(received) => received,
                Err(error) => {
                    tracing::warn!("no answers of DHCP servers any more: {error}");
                    return;
                }
            };
            let answer = Heard::Answer(bridge, from, message);
            if heard.send(answer).await.is_err() {
                return;
            }
        }
    };
    tokio::task::spawn_local(hear).abort_handle()
}

/// Why there is no UDP port, and what to do.
fn why_no_port(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EAFNOSUPPORT) => "netd's service may have none; `systemctl edit netd.service` \
             and add [Service] RestrictAddressFamilies=AF_INET and IPAddressAllow=any"
            .to_owned(),
        Some(libc::EADDRINUSE) => {
            format!("{error}: another DHCP server or relay is bound to it (ss -ulpn 'sport = 67')")
        }
        _ => error.to_string(),
    }
}
