//! A host with one container's link, and the DHCP server on it.
#![allow(dead_code)]

use std::net::Ipv4Addr;
use std::thread::JoinHandle;
use std::time::Duration;

use netd::dhcp::server::{Event, Handle, Lease, Server, ServerConfig, serve};
use netd::dhcp_wire::{GROUP, LogSocket, Reader, Wire};
use netd::nft::Table;
use netns_fixtures::{Host, Peer, eventually};
use registry::Mac;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;

pub const HOST0: Mac = Mac([2, 0, 0, 0, 0, 1]);
pub const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 7, 1);
pub const HOST0_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 7, 2);
/// Longer than any of this takes on a machine that is busy with other things.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A container's network, joined to the host by `ve-box` and `host0`, behind a
/// firewall on the host that lets nothing in and nothing out.
pub fn container(host: &Host) -> Peer<'_> {
    let peer = host.peer("box");
    host.run(&format!(
        "ip link add ve-box group {} type veth peer name host0 address 02:00:00:00:00:01 netns box
         ip address add 192.168.7.1/28 dev ve-box
         ip link set ve-box up
         ip -n box link set host0 up
         nft 'table inet closed {{
             chain early {{ type filter hook prerouting priority -500; policy drop; }}
             chain incoming {{ type filter hook input priority filter; policy drop; }}
             chain outgoing {{ type filter hook output priority filter; policy drop; }}
         }}'",
        registry::LINK_GROUP
    ));
    peer
}

pub fn config() -> ServerConfig {
    let mut config = ServerConfig::new("192.168.7.1/28".parse().unwrap()).unwrap();
    config.reserve(HOST0, HOST0_ADDRESS).unwrap();
    config.dns = vec![Ipv4Addr::new(9, 9, 9, 9)];
    config.domain = Some("example.org".to_owned());
    config.mtu = Some(1400);
    config
}

/// A runtime that a test drives itself or gives to a server.
pub fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// The index of the link that `ip -o link show` has shown.
pub fn ifindex(shown: &str) -> u32 {
    shown.split(':').next().unwrap().trim().parse().unwrap()
}

/// By what a server hears and answers.
#[derive(Clone, Copy, Debug)]
pub enum By {
    /// A rule of our firewall table, and one socket for all links.
    Log,
    /// A packet socket of the link's own.
    PacketSocket,
}

/// A server that runs on the host's `ve-box`.
pub struct Running {
    thread: Option<JoinHandle<()>>,
    handle: Option<Handle>,
    /// Its rules stay while this does.
    _table: Option<Table>,
    events: mpsc::Receiver<Event>,
}

impl Running {
    pub fn start(host: &Host, config: ServerConfig) -> Self {
        Self::start_by(By::Log, host, config)
    }

    pub fn start_by(by: By, host: &Host, config: ServerConfig) -> Self {
        let runtime = runtime();
        let index = ifindex(&host.run("ip -o link show ve-box"));
        let (port, reader, table) = host.enter(|| {
            let _guard = runtime.enter();
            let (wire, reader, table) = open(by);
            (wire.port(index).unwrap(), reader, table)
        });
        let handle = Handle::default();
        let told = handle.told();
        let (sender, events) = mpsc::channel(4096);
        let tell = move |event| drop(sender.try_send(event));
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = serve(&port, Server::new(config), told, tell) => {}
                    () = read(reader) => {}
                }
            });
        });
        Self {
            thread: Some(thread),
            handle: Some(handle),
            _table: table,
            events,
        }
    }

    /// Waits for an event that `is_it` accepts; earlier ones are passed over.
    #[track_caller]
    pub fn expect(&mut self, what: &str, is_it: impl Fn(&Event) -> bool) -> Event {
        let mut seen = Vec::new();
        let found = eventually(PATIENCE, || {
            while let Ok(event) = self.events.try_recv() {
                if is_it(&event) {
                    return Some(event);
                }
                seen.push(event);
            }
            None
        });
        found.unwrap_or_else(|| panic!("never told of {what}, only of {seen:#?}"))
    }

    pub fn configure(&self, config: ServerConfig) {
        self.handle().set_config(config);
    }

    pub fn leases(&self) -> Vec<Lease> {
        self.handle().leases().blocking_recv().unwrap()
    }

    fn handle(&self) -> &Handle {
        self.handle.as_ref().unwrap()
    }
}

/// A way to hear requests, what hands them out, and the rules that it needs.
pub fn open(by: By) -> (Wire, Option<Reader>, Option<Table>) {
    match by {
        By::Log => {
            let (socket, reader, asked) = LogSocket::open().unwrap();
            let table = Table::install(Some(GROUP)).unwrap();
            (Wire::Log(socket, asked), Some(reader), Some(table))
        }
        By::PacketSocket => (Wire::PacketSockets, None, None),
    }
}

pub async fn read(reader: Option<Reader>) {
    match reader {
        Some(reader) => reader.run().await,
        None => std::future::pending().await,
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.handle = None;
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(ended.is_some_and(|ended| ended.is_ok()) || std::thread::panicking());
    }
}
